"""A server as a process of its own: what it answers, what it refuses, and what it survives."""

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import pytest
from conftest import REPOSITORY
from trained import raw_rows

from eulernet import Predictor
from eulernet.serving import server

LIMITS = ("max_rows=50", "max_body=1", "body_seconds=3")
ROWS = raw_rows(40, 1).drop("click").to_dicts()


@contextmanager
def serving(run, *options):
    command = [sys.executable, "-m", "eulernet.serve", f"run={run}", "port=0", *options]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    try:
        said = process.stdout.readline()
        process.port = int(re.search(r":(\d+): POST /predict", said)[1]) if ":" in said else pytest.fail(said)
        yield process
    finally:
        process.terminate()
        process.communicate(timeout=60)


@pytest.fixture(scope="module")
def run_folder(trained):
    return trained.run


@pytest.fixture(scope="module")
def predictor(run_folder):
    return Predictor.load(run_folder)


@pytest.fixture(scope="module")
def port(run_folder):
    with serving(run_folder, *LIMITS) as process:
        yield process.port
    assert process.returncode == 0


def ask(port, body=None, path="/predict", method="POST"):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    body = body if isinstance(body, bytes | None) else json.dumps(body).encode()
    connection.request(method, path, body)
    answer = connection.getresponse()
    text = answer.read()
    connection.close()
    return answer.status, json.loads(text) if answer.headers["content-type"] == "application/json" else text


def test_answers_are_the_predictors(port, predictor):
    status, answer = ask(port, ROWS)
    assert status == 200
    np.testing.assert_allclose(answer["probabilities"], predictor.predict(ROWS), rtol=0, atol=1e-6)


def test_concurrent_answers_are_the_predictors(port, predictor):
    """Rows that write the same thing in other types, too: requests that are scored together do not mix."""
    numbers = [{**row, "store": int(row["store"]), "age": str(row["age"])} for row in ROWS]
    asked = [[row] for row in ROWS + numbers] + [ROWS[:3], numbers[:5], [{**ROWS[0], "store": 3.0}]]
    with ThreadPoolExecutor(16) as clients:
        answers = list(clients.map(lambda rows: ask(port, rows), asked))
    for rows, (status, answer) in zip(asked, answers, strict=True):
        assert status == 200
        np.testing.assert_allclose(answer["probabilities"], predictor.predict(rows), rtol=0, atol=1e-6)


def test_one_bad_request_spoils_no_other(port):
    asked = [[ROWS[0]] if i % 3 else [{**ROWS[0], "age": "old"}] for i in range(60)]
    with ThreadPoolExecutor(16) as clients:
        statuses = [status for status, _ in clients.map(lambda rows: ask(port, rows), asked)]
    assert statuses == [200 if i % 3 else 422 for i in range(60)]


@pytest.mark.parametrize(
    ("body", "status", "answer"),
    [
        (b"[]", 200, {"probabilities": []}),
        (b"{", 400, {"error": r"the body is not JSON \(.*\)"}),
        (b"", 400, {"error": r"the body is not JSON \(.*\)"}),
        (b"\xff\xfe\xfd", 400, {"error": r"the body is not JSON \(.*\)"}),
        (b"[" * 100_000, 400, {"error": r"the body is not JSON \(.*\)"}),
        (b'{"city": "a"}', 422, {"error": r"send a list of rows, .*; this is an object"}),
        (b"[7]", 422, {"error": r"row 1 is a number; a row is an object, .*", "row": 1}),
        ([ROWS[0], {**ROWS[1], "citi": 1}], 422, {"error": r".*did you mean 'city'\?", "row": 2, "field": "citi"}),
        ([{**ROWS[0], "age": "old"}], 422, {"error": r".*'old', not a number", "row": 1, "field": "age"}),
        ([{**ROWS[0], "age": {"years": 3}}], 422, {"error": r".*", "field": "age"}),
        ([{**ROWS[0], "visits": 1.5}], 422, {"error": r".*not a whole number", "row": 1, "field": "visits"}),
        ([{"store": "1"}], 422, {"error": r"row 1 has no 'user'", "row": 1, "field": "user"}),
        ([{**ROWS[0], "city": "\ud800"}], 422, {"error": r".*", "field": "city"}),
        (ROWS * 2, 413, {"error": r"80 rows; a request has at most 50, send several"}),
        (b" " * 100_000_000, 413, {"error": r"a body has at most 1 MiB; send several"}),
    ],
)
def test_refusals_say_what_is_wrong(port, body, status, answer):
    found_status, found = ask(port, body)
    assert found_status == status, found
    assert found.keys() == answer.keys()
    for key, value in answer.items():
        assert found[key] == value or re.fullmatch(str(value), found[key]), found


def test_says_what_it_serves(port, predictor):
    assert ask(port, path="/health", method="GET") == (200, {"status": "ok"})
    status, about = ask(port, path="/metadata", method="GET")
    assert status == 200
    assert about["model"]["name"] == "eulernet"
    assert about["fields"] == predictor.fields
    assert about["limits"] == {"max_rows": 50, "max_body": 1.0, "body_seconds": 3.0}
    assert ask(port, path="/elsewhere", method="GET") == (404, {"error": "Not Found"})
    assert ask(port, path="/predict", method="GET") == (405, {"error": "Method Not Allowed"})


def test_slow_clients_are_left_and_hold_up_nobody(port):
    """One that stops within its body is told so; meanwhile others are answered."""
    head = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n[{"
    slow = [socket.create_connection(("127.0.0.1", port), timeout=30) for _ in range(20)]
    for connection in slow:
        connection.sendall(head)
    began = time.monotonic()
    assert ask(port, ROWS)[0] == 200
    assert time.monotonic() - began < 3  # their time is not up
    for connection in slow:
        assert connection.recv(1000).startswith(b"HTTP/1.1 408")
        connection.close()


def test_a_client_without_a_header_is_hung_up_on(monkeypatch):
    """The protocol alone, with a short patience."""
    import asyncio

    import uvicorn

    monkeypatch.setattr(server, "HEADER_SECONDS", 0.2)
    listening = server.bind(server.Serving("127.0.0.1", 0, 1, 10, 1))

    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})

    running = uvicorn.Server(uvicorn.Config(app, http=server.Protocol, lifespan="off", log_config=None))
    thread = threading.Thread(target=lambda: asyncio.run(running.serve([listening])))
    thread.start()
    try:
        for sent in (b"", b"POST /predict HTTP/1.1\r\nHo"):
            with socket.create_connection(listening.getsockname(), timeout=30) as connection:
                connection.sendall(sent)
                assert connection.recv(100) == b""
        with socket.create_connection(listening.getsockname(), timeout=30) as connection:
            connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            assert connection.recv(1000).startswith(b"HTTP/1.1 200")
            connection.sendall(b"GET / HTTP/1.1\r\nHo")  # and now it gets slow
            assert connection.recv(100) == b""
    finally:
        running.should_exit = True
        thread.join(30)


def test_requests_under_way_are_answered_when_it_stops(run_folder):
    with serving(run_folder, "body_seconds=20") as process:
        body = json.dumps(ROWS).encode()
        connection = socket.create_connection(("127.0.0.1", process.port), timeout=30)
        connection.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body[:10])
        time.sleep(0.3)
        process.send_signal(signal.SIGTERM)
        time.sleep(0.5)
        connection.sendall(body[10:])
        assert connection.recv(1000).startswith(b"HTTP/1.1 200")
        out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (0, "stopped\n", "")


def test_a_worker_that_is_killed_is_missed_by_nobody_and_started_anew(run_folder):
    with serving(run_folder, "workers=2") as process:
        assert eventually(lambda: ask(process.port, ROWS)[0] == 200)
        assert eventually(lambda: len(workers_of(process.pid)) == 2)
        before = workers_of(process.pid)
        os.kill(before[0], signal.SIGKILL)
        assert [ask(process.port, ROWS)[0] for _ in range(20)] == [200] * 20  # by the other
        assert eventually(lambda: len(set(workers_of(process.pid)) - set(before)) == 1)
        assert eventually(lambda: ask(process.port, ROWS)[0] == 200)
    assert process.returncode == 0


def workers_of(pid):
    """The child processes that serve, which are told so on their command line."""
    found = []
    for folder in os.listdir("/proc"):  # noqa: PTH208
        if folder.isdigit():
            try:
                with open(f"/proc/{folder}/stat") as stat, open(f"/proc/{folder}/cmdline") as line:  # noqa: PTH123
                    if stat.read().rsplit(")", 1)[1].split()[1] == str(pid) and "spawn_main" in line.read():
                        found.append(int(folder))
            except OSError:
                continue
    return found


def eventually(holds, seconds=60):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            if holds():
                return True
        except OSError:
            pass
        time.sleep(0.1)
    return False


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "error: run=: give the folder of a finished run"),
        (["run=x", "workers=0"], "error: workers must be at least 1, got 0"),
        (["run=x", "port=99999"], "error: port=99999: should lie between 0 and 65535"),
        (["run=x", "max_rows=many"], "error: max_rows=many: should be of type int"),
        (["run=x", "prot=80"], "error: unknown key 'prot'; did you mean 'port'?"),
    ],
)
def test_the_command_refuses_in_one_line(run_command, arguments, message):
    ended = run_command("serve", *arguments)
    assert (ended.code, ended.err, ended.out) == (1, message, "")


def test_a_port_that_is_taken(run_command, run_folder):
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = other.getsockname()[1]
        ended = run_command("serve", f"run={run_folder}", f"port={taken}")
    said = f"error: cannot listen on 127.0.0.1:{taken} (Address already in use); give another host= or port="
    assert (ended.code, ended.err) == (1, said)
