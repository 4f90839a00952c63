"""Servers for tests: in a thread of the test's own process, or as a process; and clients that ask them."""

import asyncio
import http.client
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, suppress
from types import SimpleNamespace

import pytest
from conftest import REPOSITORY
from trained import raw_rows

from eulernet.serving import server
from eulernet.serving.app import Limits, Service

ROWS = raw_rows(40, 1).drop("click").to_dicts()
JSON = {"Content-Type": "application/json"}
HEAD = b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
LIMITS = {"max_rows": 50, "max_body": 1.0, "max_waiting": 100, "body_seconds": 3.0, "answer_seconds": 60.0}
SERVING = {
    "host": "127.0.0.1", "port": 0, "socket": None, "hosts": [], "access_log": False, "workers": 1,
    "device": "cpu", "backend": "torch",
    "max_connections": 100, "client_connections": 100, "start_seconds": 60.0, "shutdown_seconds": 10,
    "reload_from": None,
}  # fmt: skip


@contextmanager
def in_thread(predictor, run, **settings):
    """A server as ``server.run`` makes it, without signals; its port, its service and its server."""
    limits = Limits(**{name: settings.pop(name, value) for name, value in LIMITS.items()})
    serving = server.Serving(**{**SERVING, **settings})
    with server.bind(serving) as (listening, _):
        service = Service(predictor, limits, serving.hosts, serving.access_log, serving.backend)
        service.reload = server.Reloads(run, serving, service.load)
        running = server.make_server(service, serving)
        running.shutdown = lambda sockets: server.uvicorn.Server.shutdown(running, sockets)  # none of it ends pytest
        thread = threading.Thread(target=lambda: asyncio.run(running.serve([listening])))
        address = listening.getsockname()
        thread.start()
        try:
            assert eventually(lambda: running.started)
            yield SimpleNamespace(address=address, port=address[1], service=service, server=running)
        finally:
            running.should_exit = True
            thread.join(60)
            assert not thread.is_alive()


@contextmanager
def as_process(run, *options):
    """``python -m eulernet.serve``, with the port that it says it has."""
    command = [sys.executable, "-m", "eulernet.serve", f"run={run}", "port=0", *options]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        preexec_fn=lambda: signal.signal(
            signal.SIGHUP, signal.SIG_DFL
        ),  # nohup, which the suite may run under, ignores it
    )
    try:
        said = process.stdout.readline()
        process.port = int(re.search(r":(\d+): POST /predict", said)[1]) if ":" in said else pytest.fail(said)
        yield process
    finally:
        process.terminate()
        process.communicate(timeout=60)


def ask(port, body=None, path="/predict", method="POST", headers=JSON, host="127.0.0.1"):
    connection = http.client.HTTPConnection(host, port, timeout=60)
    body = body if isinstance(body, bytes | None) else json.dumps(body).encode()
    with suppress(BrokenPipeError):  # a server that refuses may hang up before it has the whole body
        connection.request(method, path, body, headers)
    answer = connection.getresponse()
    text = answer.read()
    connection.close()
    return answer.status, json.loads(text) if answer.headers["content-type"] == "application/json" else text


def get(port, path):
    return ask(port, path=path, method="GET")


def children_of(pid):
    """Processes whose parent ``pid`` is, and its workers, which are told so on their command line."""
    found = []
    for folder in os.listdir("/proc"):  # noqa: PTH208
        if folder.isdigit():
            try:
                with open(f"/proc/{folder}/stat") as stat, open(f"/proc/{folder}/cmdline") as line:  # noqa: PTH123
                    state, parent = stat.read().rsplit(")", 1)[1].split()[:2]
                    if parent == str(pid) and state != "Z" and "serving.workers" in line.read():
                        found.append(int(folder))
            except OSError:
                continue
    return found


def runs(pid):
    try:
        with open(f"/proc/{pid}/stat") as stat:  # noqa: PTH123
            return stat.read().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def kill(pid):
    os.kill(pid, signal.SIGKILL)


def eventually(holds, seconds=60):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            if holds():
                return True
        except OSError:
            pass
        time.sleep(0.05)
    return False
