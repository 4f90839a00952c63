"""Servers as processes of their own: signals, workers that are killed, and what the command says."""

import json
import re
import shutil
import signal
import socket
import time
from urllib.request import urlopen

import pytest
from served import HEAD, ROWS, as_process, ask, children_of, eventually, kill, runs


def test_one_process_reloads_on_sighup_and_answers_what_is_under_way_when_it_stops(trained, tmp_path):
    run = shutil.copytree(trained.run, tmp_path / "run")
    with as_process(run, "body_seconds=20") as process:
        body = json.dumps(ROWS).encode()
        connection = socket.create_connection(("127.0.0.1", process.port), timeout=30)
        connection.sendall(HEAD % len(body) + body[:10])
        assert eventually(lambda: ask(process.port, ROWS)[0] == 200)
        process.send_signal(signal.SIGHUP)
        assert process.stdout.readline() == f"reloaded {run}\n"
        (run / "model.safetensors").write_bytes(b"nothing")
        process.send_signal(signal.SIGHUP)
        said = process.stderr.readline()
        assert said.startswith("error: the model stays as it was: ")
        assert said.count("model.safetensors") == 1
        assert ask(process.port, ROWS)[0] == 200
        process.send_signal(signal.SIGTERM)
        time.sleep(0.5)
        connection.sendall(body[10:])
        assert connection.recv(1000).startswith(b"HTTP/1.1 200")
        out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (0, "stopped\n", "")


def scored(port):
    """The rows that /metrics counts."""
    with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as found:
        return float(re.search(r"^eulernet_rows_total (.*)$", found.read().decode(), re.MULTILINE)[1])


def test_workers(trained, tmp_path):
    """A killed one is missed by nobody, said and started anew; all load a new run; they end with their supervisor."""
    run = shutil.copytree(trained.run, tmp_path / "run")
    with as_process(run, "workers=2", "shutdown_seconds=5") as process:
        pids = [int(re.fullmatch(r"worker (\d+) serves\n", process.stdout.readline())[1]) for _ in range(2)]
        kill(pids[0])
        assert [ask(process.port, ROWS)[0] for _ in range(20)] == [200] * 20  # by the other
        assert scored(process.port) == 20 * len(ROWS)  # of both, whichever is asked
        assert process.stderr.readline() == f"worker {pids[0]} ended with -9; another is started\n"
        assert eventually(lambda: len(children_of(process.pid)) == 2)
        assert ask(process.port, path="/reload") == (200, {"serving": str(run)})  # also by the one that has to start
        assert re.fullmatch(r"worker \d+ serves\n", process.stdout.readline())
        (run / "model.safetensors").write_bytes(b"nothing")
        status, found = ask(process.port, path="/reload")
        assert status == 422
        assert found["error"].startswith("the model stays as it was: ")
        process.send_signal(signal.SIGHUP)
        assert process.stderr.readline().startswith("error: the model stays as it was: ")
        assert [ask(process.port, ROWS)[0] for _ in range(20)] == [200] * 20
        assert scored(process.port) == 40 * len(ROWS)
        workers = children_of(process.pid)
        assert len(workers) == 2
        kill(process.pid)
        assert eventually(lambda: not any(map(runs, workers)))
        socket.create_server(("127.0.0.1", process.port)).close()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "error: run=: give the folder of a finished run"),
        (["run=x", "workers=0"], "error: workers must be at least 1, got 0"),
        (["run=x", "device=gpu"], "error: device=gpu: no such device; use auto, cpu, cuda or cuda:N"),
        (["run=x", "port=99999"], "error: port=99999: should lie between 0 and 65535"),
        (["run=x", "max_rows=many"], "error: max_rows=many: should be of type int"),
        (["run=x", "prot=80"], "error: unknown key 'prot'; did you mean 'port'?"),
    ],
)
def test_the_command_refuses_in_one_line(run_command, arguments, message):
    ended = run_command("serve", *arguments)
    assert (ended.code, ended.err, ended.out) == (1, message, "")


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_port_that_is_taken(run_command, trained, host):
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, 0), family=family) as other:
        taken = other.getsockname()[1]
        ended = run_command("serve", f"run={trained.run}", f"host='{host}'", f"port={taken}")
    said = f"error: cannot listen on {host}:{taken} (Address already in use); give another host= or port="
    assert (ended.code, ended.err) == (1, said)
