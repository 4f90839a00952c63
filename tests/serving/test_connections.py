"""Clients that are slow, silent, too many, or send without reading: others are answered all the while."""

import json
import socket
import time
from contextlib import ExitStack

import pytest
from served import HEAD, ROWS, ask, eventually, get, in_thread

from eulernet import Predictor
from eulernet.serving import connections, server


@pytest.fixture(scope="module")
def predictor(trained):
    return Predictor.load(trained.run)


@pytest.fixture
def served(trained, predictor, request):
    with in_thread(predictor, trained.run, **getattr(request, "param", {})) as served:
        yield served


def connect(served):
    return socket.create_connection(served.address, timeout=30)


def ended(connection):
    """Whether the server has hung up, with or without unread data."""
    try:
        while connection.recv(1 << 16):
            pass
    except ConnectionError:
        pass
    return True


@pytest.mark.parametrize("served", [{"body_seconds": 1.0}], indirect=True)
def test_slow_clients_are_left_and_hold_up_nobody(served):
    """One that stops within its body is told so; meanwhile others are answered."""
    slow = [connect(served) for _ in range(20)]
    for connection in slow:
        connection.sendall(HEAD % 1000 + b"[{")
    assert ask(served.port, ROWS)[0] == 200
    for connection in slow:
        assert connection.recv(1000).startswith(b"HTTP/1.1 408")
        connection.close()


def test_a_client_without_a_header_is_hung_up_on(served, monkeypatch):
    monkeypatch.setattr(connections, "HEADER_SECONDS", 0.2)
    for sent in (b"", b"POST /predict HTTP/1.1\r\nHo"):
        with connect(served) as connection:
            connection.sendall(sent)
            assert connection.recv(100) == b""
    with connect(served) as connection:
        connection.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
        answer = b""
        while b"}" not in answer:
            answer += connection.recv(1000)
        connection.sendall(b"GET / HTTP/1.1\r\nHo")  # and now it gets slow
        assert connection.recv(100) == b""


def test_a_header_has_a_length(served):
    with connect(served) as connection, pytest.raises(ConnectionError):
        connection.sendall(b"GET /health HTTP/1.1\r\nX: " + b"x" * 100_000_000)


def test_requests_sent_ahead_are_answered_in_order_up_to_a_limit(served):
    asked = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n" * 3 + b"GET /ready HTTP/1.1\r\nHost: x\r\n\r\n"
    with connect(served) as connection:
        connection.sendall(asked)
        answers = b""
        while b"ready" not in answers:
            answers += connection.recv(1 << 16)
        assert answers.count(b"HTTP/1.1 200") == 4
        assert answers.count(b'"ok"') == 3
    with connect(served) as connection:
        connection.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n" * 1000)
        assert ended(connection)


def test_a_client_that_does_not_read_is_hung_up_on(served, monkeypatch):
    """Its answers do not pile up: its next request is not begun before the last answer is taken."""
    monkeypatch.setattr(connections, "WRITE_SECONDS", 0.3)
    monkeypatch.setattr(connections, "PIPELINE", 1 << 30)
    served.service.about = b"x" * 5_000_000
    with connect(served) as connection:
        connection.sendall(b"GET /metadata HTTP/1.1\r\nHost: localhost\r\n\r\n" * 20)
        assert eventually(lambda: served.server.server_state.connections)
        (protocol,) = served.server.server_state.connections
        assert eventually(lambda: protocol.writing is not None)
        assert protocol.transport.get_write_buffer_size() <= 5_000_100
        assert eventually(lambda: not served.server.server_state.connections)
        assert ended(connection)


@pytest.mark.parametrize("served", [{"max_connections": 20, "client_connections": 15}], indirect=True)
def test_silent_connections_make_room(served):
    """More of them than there are places: everybody is answered, health and rows alike."""
    with ExitStack() as stack:
        silent = [stack.enter_context(connect(served)) for _ in range(60)]
        for _ in range(5):
            assert get(served.port, "/health")[0] == 200
            assert ask(served.port, ROWS)[0] == 200
        assert len(served.server.server_state.connections) <= 20
        assert ended(silent[0])


@pytest.mark.parametrize("served", [{"client_connections": 5}], indirect=True)
def test_when_all_connections_are_busy_health_is_answered(served):
    """Others are told to come back."""
    body = json.dumps(ROWS).encode()
    with ExitStack() as stack:
        busy = [stack.enter_context(connect(served)) for _ in range(5)]
        for connection in busy:
            connection.sendall(HEAD % len(body) + body[:10])
        open_ones = served.server.config.http_protocol_class.args[0]
        assert eventually(lambda: open_ones.of_client["127.0.0.1"] == 5 and not open_ones.silent)
        assert get(served.port, "/health") == (200, {"status": "ok"})
        assert ask(served.port, ROWS) == (503, {"error": "too many connections; try again"})
        for connection in busy:
            connection.sendall(body[10:])
            assert connection.recv(1000).startswith(b"HTTP/1.1 200")
        assert ask(served.port, ROWS)[0] == 200
    assert eventually(lambda: not open_ones.of_client and not open_ones.silent and not open_ones.spare)


def test_connections_that_are_lost_are_not_counted(served):
    open_ones = served.server.config.http_protocol_class.args[0]
    for body in (b"", HEAD % 1000 + b"[{", b"nonsense\r\n\r\n"):
        with connect(served) as connection:
            connection.sendall(body)
    assert eventually(lambda: not open_ones.of_client and not open_ones.silent)


def test_clocks_that_jump_change_nothing(served, monkeypatch):
    now = time.time()
    for jump in (-1e9, 1e9):
        monkeypatch.setattr(time, "time", lambda jump=jump: now + jump)
        assert ask(served.port, ROWS)[0] == 200


def test_ipv6_and_names(trained, predictor):
    try:
        with in_thread(predictor, trained.run, host="::1") as served:
            assert ask(served.port, ROWS, host="::1")[0] == 200
    except server.UserError as error:
        pytest.skip(str(error))
    with in_thread(predictor, trained.run, host="localhost") as served:
        assert ask(served.port, ROWS)[0] == 200


def test_a_unix_socket(trained, predictor, tmp_path):
    path = tmp_path / "socket"
    for _ in range(2):
        with in_thread(predictor, trained.run, socket=str(path)):
            body = json.dumps(ROWS).encode()
            for sent in (HEAD % len(body) + body, b"POST /reload HTTP/1.1\r\nHost: localhost\r\n\r\n"):
                with socket.socket(socket.AF_UNIX) as connection:
                    connection.connect(str(path))
                    connection.sendall(sent)
                    assert connection.recv(1000).startswith(b"HTTP/1.1 200")
            with pytest.raises(server.UserError, match=r"cannot listen on .*socket \(Address already in use\)"):
                server.bind_path(path).__enter__()
        assert not path.exists()
        with socket.socket(socket.AF_UNIX) as left:  # as one that was killed leaves it
            left.bind(str(path))


@pytest.mark.parametrize("name", ["file", "x" * 200, "missing/socket"])
def test_a_path_that_is_no_socket(tmp_path, name):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(server.UserError, match=r"cannot listen on .*; give another socket="):
        server.bind_path(tmp_path / name).__enter__()
    assert (tmp_path / "file").read_text() == "mine"
