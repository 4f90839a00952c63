"""What a server answers and what it refuses, over HTTP, in this process."""

import json
import re
import shutil
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from served import JSON, LIMITS, ROWS, ask, get, in_thread

from eulernet import Predictor
from eulernet.errors import UserError
from eulernet.serving import batches
from eulernet.serving.guard import is_loopback
from eulernet.serving.rows import Refused


@pytest.fixture(scope="module")
def predictor(trained):
    return Predictor.load(trained.run)


@pytest.fixture(scope="module")
def port(trained, predictor):
    with in_thread(predictor, trained.run) as served:
        yield served.port


def test_answers_are_the_predictors(port, predictor):
    status, answer = ask(port, ROWS)
    assert status == 200
    np.testing.assert_allclose(answer["probabilities"], predictor.predict(ROWS), rtol=0, atol=1e-6)


def test_a_calibrated_run_is_served_calibrated(trained, predictor):
    ours = replace(predictor, calibration={"method": "sigmoid", "a": -0.5, "b": 1.0})
    with in_thread(ours, trained.run) as served:
        status, answer = ask(served.port, ROWS)
    assert (status, answer["probabilities"]) == (200, ours.predict(ROWS).tolist())
    logits = predictor.logits(ROWS)
    np.testing.assert_allclose(answer["probabilities"], 1 / (1 + np.exp(1 - logits / 2)), rtol=1e-12)


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
    bad = [[{**ROWS[0], "age": "old"}], [{**ROWS[0], "age": [1]}], b"[", [7]]
    asked = [[ROWS[0]] if i % 3 else bad[i % len(bad)] for i in range(60)]
    with ThreadPoolExecutor(16) as clients:
        statuses = [status for status, _ in clients.map(lambda rows: ask(port, rows), asked)]
    assert statuses == [200 if i % 3 else 400 if bad[i % len(bad)] == b"[" else 422 for i in range(60)]


LESS = {name: value for name, value in ROWS[0].items() if name != "city"}


def test_a_row_of_the_log_is_taken_as_it_stands(port, predictor):
    """Other columns, the label and a date, are left out where no column of the model can be meant by them."""
    rows = [{"when": "2026-01-31", **row, "click": 1, "others": {"a": [1]}} for row in ROWS[:3]]
    assert ask(port, rows) == ask(port, ROWS[:3])
    assert ask(port, rows[0])[0] == 200


def row_with(age):
    """A body of one row, whose age is this text."""
    return json.dumps([{**ROWS[0], "age": 0}]).replace('"age": 0', f'"age": {age}').encode()


@pytest.mark.parametrize(
    ("body", "status", "answer"),
    [
        (b"[]", 200, {"probabilities": []}),
        (b"{", 400, {"error": r"the body is not JSON \(.*\)"}),
        (b"", 400, {"error": r"the body is not JSON \(.*\)"}),
        (b"\xff\xfe\xfd", 400, {"error": r"the body is not JSON \(.*\)"}),
        (b"[" * 100_000, 400, {"error": r"the body is not JSON \(.*\)"}),
        (b'"Wien"', 422, {"error": r"send a row, .*, or a list of rows, .*; this is text"}),
        (b'{"town": "a"}', 422, {"error": r'row 1: unknown field "town".*', "row": 1, "field": "town"}),
        (b"[7]", 422, {"error": r"row 1 is a number; a row is an object, .*", "row": 1}),
        ([ROWS[0], {**LESS, "citi": 1}], 422, {"error": r".*did you mean 'city'\?", "row": 2, "field": "citi"}),
        ([{**LESS, "x" * 500_000: 1}], 422, {"error": r"row 1: unknown.{100,400}", "row": 1, "field": "x" * 100}),
        ([{**ROWS[0], "age": "old"}], 422, {"error": r".*'old', not a number", "row": 1, "field": "age"}),
        ([{**ROWS[0], "age": "o" * 500_000}], 422, {"error": r".{100,600}", "row": 1, "field": "age"}),
        ([{**ROWS[0], "age": {"years": 3}}], 422, {"error": r"row 1: age is an object.*", "row": 1, "field": "age"}),
        ([ROWS[0], {**ROWS[0], "city": ["t1"]}], 422, {"error": r"row 2: city is a list.*", "row": 2, "field": "city"}),
        ([ROWS[0], {**ROWS[0], "tags": [{}]}], 422, {"error": r"row 2: tags has an obj.*", "row": 2, "field": "tags"}),
        ([{**ROWS[0], "visits": 1.5}], 422, {"error": r".*not a whole number", "row": 1, "field": "visits"}),
        ([{"store": "1"}], 422, {"error": r"row 1 has no 'user'", "row": 1, "field": "user"}),
        ([{**ROWS[0], "city": "\ud800"}], 422, {"error": r".*", "field": "city"}),
        (ROWS * 2, 413, {"error": r"80 rows; a request has at most 50, send several"}),
        (b" " * 20_000_000, 413, {"error": r"a body has at most 1 MiB; send several"}),
    ],
)
def test_refusals_say_what_is_wrong(port, body, status, answer):
    found_status, found = ask(port, body)
    assert found_status == status, found
    assert found.keys() == answer.keys()
    for key, value in answer.items():
        assert found[key] == value or re.fullmatch(str(value), found[key]), found


@pytest.mark.parametrize("depth", [1, 2, 200, 900, 950])
def test_nested_lists_are_refused_before_a_frame_is_made(predictor, monkeypatch, depth):
    """A frame of 900 nested lists took 27 seconds, in which nobody else was answered."""
    monkeypatch.setattr(Predictor, "frame", lambda *_: pytest.fail("a frame was made"))
    asked = [row_with("[" * depth + "]" * depth)]
    with ThreadPoolExecutor(1) as thread:  # as in a server, without pytest's calls beneath
        (found,) = thread.submit(batches.answer, predictor, asked, 10).result()
    assert str(found) == "row 1: age is a list; a value is text, a number, true, false or null"


@pytest.mark.parametrize("digits", [20, 38, 39, 40, 400, 4000])
@pytest.mark.parametrize("sign", ["", "-"])
def test_numbers_of_many_digits_are_refused(port, digits, sign):
    status, found = ask(port, row_with(sign + "9" * digits))
    assert (status, found["row"], found["field"]) == (422, 1, "age"), found


@pytest.mark.parametrize(
    ("value", "status"),
    [
        ("18446744073709551615", 200), ("18446744073709551616", 422), ("-9223372036854775809", 422),
        ("Infinity", 422), ("-Infinity", 422), ("1e999", 422), ("9" * 5000, 400), ("0" * 40, 400),
    ],
)  # fmt: skip
def test_numbers_at_the_edge(port, value, status):
    assert ask(port, row_with(value))[0] == status


def test_nan_over_http_is_a_missing_value(port, predictor):
    """Python's own JSON writes it so."""
    status, answer = ask(port, row_with("NaN"))
    assert status == 200
    np.testing.assert_allclose(answer["probabilities"], predictor.predict([{**ROWS[0], "age": None}]), atol=1e-6)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)
NAMES = st.sampled_from([*ROWS[0], "other"])


@given(st.lists(VALUES | st.dictionaries(NAMES, VALUES).map(lambda row: {**ROWS[0], **row}), max_size=3))
@settings(max_examples=60)
def test_any_rows_have_probabilities_or_one_line(predictor, rows):
    good, found = batches.answer(predictor, [json.dumps(ROWS[:2]).encode(), json.dumps(rows).encode()], 10)
    np.testing.assert_allclose(good, predictor.predict(ROWS[:2]), rtol=0, atol=1e-6)
    if isinstance(found, np.ndarray):
        assert len(found) == len(rows)
        assert ((found >= 0) & (found <= 1)).all()
    else:
        assert isinstance(found, UserError | Refused), found
        assert len(str(found).splitlines()) == 1


ODD = st.sampled_from(
    [None, 1, 2.5, 3.0, -0.0, float("nan"), True, "3", "", "x", 2**53 + 1, 2**63, 10**30, ["a"], [1], [2.5], []]
)


@given(
    st.lists(
        st.lists(st.dictionaries(st.sampled_from([*ROWS[0]]), ODD, max_size=3), min_size=1, max_size=2), max_size=5
    )
)
@settings(max_examples=25)
def test_together_is_as_each_alone(predictor, changes):
    """Whatever the types of their values, missing ones among them, bodies do not change each other."""
    bodies = [json.dumps([{**row, **change} for row, change in zip(ROWS, body, strict=False)]) for body in changes]
    bodies = [body.encode() for body in bodies]
    for together, body in zip(batches.answer(predictor, bodies, 10), bodies, strict=True):
        (alone,) = batches.answer(predictor, [body], 10)
        assert type(together) is type(alone), (together, alone)
        if isinstance(alone, np.ndarray):
            np.testing.assert_allclose(together, alone, rtol=0, atol=1e-6)
        else:
            assert str(together) == str(alone)


def test_many_requests_are_one_frame(predictor, monkeypatch):
    """Missing values and whole numbers among others need no frame of their own; one at fault is found by halves."""
    frames, frame = [], Predictor.frame
    monkeypatch.setattr(Predictor, "frame", lambda self, rows: frames.append(len(rows)) or frame(self, rows))
    rows = [{**row, **change} for row in ROWS[:16] for change in ({}, {"age": None}, {"age": 7}, {"age": 7.5})]
    found = batches.answer(predictor, [json.dumps(row).encode() for row in rows], 10)
    np.testing.assert_allclose(np.concatenate(found), predictor.predict(rows), rtol=0, atol=1e-6)
    assert frames[0] == 64
    frames.clear()
    bodies = [json.dumps(ROWS[0]).encode()] * 63 + [json.dumps({**ROWS[0], "visits": 1.5}).encode()]
    assert isinstance(batches.answer(predictor, bodies, 10)[-1], UserError)
    assert frames == [64, 32, 32, 16, 16, 8, 8, 4, 4, 2, 2, 1, 1]


def test_a_refusal_does_not_hold_the_rows(predictor, monkeypatch):
    """It stays for a while, and what it was raised in has them; a failure keeps that for the log."""
    for error in batches.answer(predictor, [b"{", b'{"town": 1}', json.dumps({**ROWS[0], "age": "old"}).encode()], 10):
        assert (error.__traceback__, error.__context__) == (None, None)
    monkeypatch.setattr(Predictor, "frame", lambda *_: 1 / 0)
    (error,) = batches.answer(predictor, [json.dumps(ROWS[0]).encode()], 10)
    assert isinstance(error, ZeroDivisionError)
    assert error.__traceback__ is not None


def test_says_what_it_serves(port, predictor):
    assert get(port, "/health") == (200, {"status": "ok"})
    assert get(port, "/ready") == (200, {"status": "ready"})
    status, about = get(port, "/metadata")
    assert status == 200
    assert about["model"]["name"] == "eulernet"
    assert about["fields"] == predictor.fields
    assert about["limits"] == LIMITS
    assert get(port, "/elsewhere") == (404, {"error": "Not Found"})
    assert get(port, "/predict") == (405, {"error": "Method Not Allowed"})


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 415),
        ({"Content-Type": "text/plain"}, 415),
        ({"Content-Type": "application/x-www-form-urlencoded"}, 415),
        ({"Content-Type": "Application/JSON; charset=utf-8"}, 200),
        ({**JSON, "Host": "localhost"}, 200),
        ({**JSON, "Host": "[::1]:80"}, 200),
        ({**JSON, "Host": "evil.example"}, 403),
        ({**JSON, "Host": "127.0.0.1.evil.example:8000"}, 403),
        ({**JSON, "Host": "10.0.0.1"}, 403),
        ({**JSON, "Host": "[::1"}, 403),
        ({**JSON, "Host": ""}, 403),
        ({**JSON, "Origin": "http://evil.example"}, 403),
        ({**JSON, "Origin": "null"}, 403),
        ({**JSON, "Origin": "http://localhost:3000"}, 200),
    ],
)
def test_foreign_names_and_other_types_are_refused(port, headers, status):
    found_status, found = ask(port, ROWS[:1], headers=headers)
    assert found_status == status, found
    assert ("error" in found) == (status != 200)


def test_hosts_name_what_the_server_answers_to(trained, predictor):
    with in_thread(predictor, trained.run, hosts=["Scores.Example"]) as served:
        for host, status in (("scores.example", 200), ("other.example", 403)):
            assert ask(served.port, ROWS, headers={**JSON, "Host": host})[0] == status
        assert ask(served.port, path="/health", method="GET", headers={"Host": "other.example"})[0] == 200
    with in_thread(predictor, trained.run, hosts=["*"]) as served:
        assert ask(served.port, ROWS, headers={**JSON, "Host": "other.example"})[0] == 200


def test_loopback_has_many_names():
    assert all(map(is_loopback, ("127.0.0.1", "127.8.0.1", "::1", "::ffff:127.0.0.1", "localhost")))
    assert not any(map(is_loopback, ("10.0.0.1", "::2", "::ffff:10.0.0.1", "localhost.example", "")))


class Held:
    """A predictor whose scoring waits until it is let go."""

    def __init__(self, predictor, monkeypatch):
        self.began, self.go = threading.Event(), threading.Event()
        score = Predictor.score

        def held(*given):
            self.began.set()
            assert self.go.wait(60)
            return score(*given)

        monkeypatch.setattr(Predictor, "score", held)


def test_too_many_that_wait_are_told_to_come_back(trained, predictor, monkeypatch):
    held = Held(predictor, monkeypatch)
    with in_thread(predictor, trained.run, max_waiting=2) as served, ThreadPoolExecutor(8) as clients:
        first = clients.submit(ask, served.port, ROWS)
        assert held.began.wait(60)
        waiting = [clients.submit(ask, served.port, ROWS) for _ in range(2)]
        while not served.service.batcher.full:
            time.sleep(0.01)
        with socket.create_connection(served.address, timeout=30) as connection:
            body = json.dumps(ROWS).encode()
            head = "POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            connection.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
            answer = connection.recv(1000)
        assert answer.startswith(b"HTTP/1.1 503")
        assert b"retry-after: 1" in answer
        assert get(served.port, "/ready")[0] == 503
        assert get(served.port, "/health")[0] == 200
        held.go.set()
        assert [future.result()[0] for future in (first, *waiting)] == [200] * 3
        assert get(served.port, "/ready")[0] == 200


def test_an_answer_has_a_deadline(trained, predictor, monkeypatch):
    held = Held(predictor, monkeypatch)
    with in_thread(predictor, trained.run, answer_seconds=0.2) as served:
        assert ask(served.port, ROWS) == (503, {"error": "no answer within 0.2 seconds; try again"})
        assert get(served.port, "/health")[0] == 200
        held.go.set()
        assert served.service.held == 0


def test_bodies_under_way_have_a_limit_together(trained, predictor, monkeypatch):
    held = Held(predictor, monkeypatch)
    body = json.dumps(ROWS).encode() + b" " * 6_000  # a refused one fits in the socket: its client reads the answer
    with in_thread(predictor, trained.run) as served, ThreadPoolExecutor(1) as clients:
        monkeypatch.setattr("eulernet.serving.app.BODIES", 1.5 * len(body) / served.service.limits.body_bytes)
        first = clients.submit(ask, served.port, body)
        assert held.began.wait(60)
        assert ask(served.port, body) == (503, {"error": "too many bodies are under way; try again"})
        held.go.set()
        assert first.result()[0] == 200
        assert ask(served.port, body)[0] == 200


def test_a_reload_loses_nothing_and_a_broken_run_keeps_the_model(trained, predictor, tmp_path):
    """Answers go on while the run is loaded anew; those after it are of the new run."""
    runs = tmp_path / "runs"
    shutil.copytree(trained.run, runs / "good")
    shutil.copytree(trained.run, runs / "broken")
    (runs / "broken" / "model.safetensors").write_bytes(b"nothing")
    with in_thread(predictor, runs / "good", reload_from=str(runs)) as served, ThreadPoolExecutor(4) as clients:
        before = served.service.batcher.predictor
        done = threading.Event()

        def keep_asking():
            statuses = []
            while not done.is_set():
                statuses.append(ask(served.port, ROWS[:2])[0])
            return statuses

        asking = [clients.submit(keep_asking) for _ in range(3)]
        status, found = ask(served.port, {"run": "broken"}, path="/reload")
        assert status == 422
        assert found["error"].startswith("the model stays as it was: ")
        assert "broken" in found["error"]
        assert served.service.batcher.predictor is before
        assert ask(served.port, path="/reload") == (200, {"serving": str(runs / "good")})
        assert served.service.batcher.predictor is not before
        assert ask(served.port, {"run": "good"}, path="/reload")[0] == 200
        done.set()
        assert {status for future in asking for status in future.result()} == {200}
        for name in ("../elsewhere", "/etc", "good/../.."):
            status, found = ask(served.port, {"run": name}, path="/reload")
            assert (status, found["error"][-45:]) == (422, "does not lie below the folder of reload_from=")
        assert ask(served.port, [1], path="/reload")[0] == 400


def test_only_this_machine_may_reload(trained, predictor):
    """A proxy on this machine says for whom it asks."""
    with in_thread(predictor, trained.run) as served:
        headers = {"X-Forwarded-For": "203.0.113.7"}
        assert ask(served.port, path="/reload", headers=headers) == (
            403,
            {"error": "only this machine may ask for that"},
        )
        assert ask(served.port, {"run": "x"}, path="/reload")[0] == 422  # without reload_from= there is no other run
