"""What a server says of itself, and what is seen of its requests: OpenAPI, Swagger UI, Prometheus, ids, the log."""

import json
import re
from http.client import HTTPConnection

import pytest
from prometheus_client.parser import text_string_to_metric_families
from served import JSON, LIMITS, ROWS, ask, in_thread

from eulernet import Predictor


@pytest.fixture(scope="module")
def predictor(trained):
    return Predictor.load(trained.run)


@pytest.fixture
def port(trained, predictor):
    with in_thread(predictor, trained.run) as served:
        yield served.port


def fetch(port, path, body=None, **headers):
    """Status, headers and text."""
    connection = HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("GET" if body is None else "POST", path, body, headers)
    answer = connection.getresponse()
    found = answer.status, answer.headers, answer.read().decode()
    connection.close()
    return found


def samples(port):
    """(name, labels) to value, as Prometheus itself would read /metrics."""
    families = text_string_to_metric_families(fetch(port, "/metrics")[2])
    return {(one.name, *sorted(one.labels.values())): one.value for family in families for one in family.samples}


def test_openapi_describes_the_columns_of_this_model(port, predictor):
    status, headers, text = fetch(port, "/openapi.json")
    assert (status, headers["content-type"]) == (200, "application/json")
    api = json.loads(text)
    row = api["components"]["schemas"]["Row"]
    kinds = {name: schema.get("type") for name, schema in row["properties"].items()}
    assert kinds == {
        "user": "string", "city": "string", "store": "string", "price": "number", "age": "number",
        "visits": "integer", "tags": None,
    }  # fmt: skip
    assert row["properties"]["tags"]["oneOf"] == [{"type": "array", "items": {}}, {"type": "string"}]
    assert row["required"] == ["user", "store", "age"]
    assert {name for name, schema in row["properties"].items() if schema.get("nullable")} == {
        "city", "price", "visits", "tags",
    }  # fmt: skip
    one, many = api["paths"]["/predict"]["post"]["requestBody"]["content"]["application/json"]["schema"]["oneOf"]
    assert one == {"$ref": "#/components/schemas/Row"}
    assert many == {"type": "array", "items": one, "maxItems": LIMITS["max_rows"]}
    for path, methods in api["paths"].items():
        assert fetch(port, path, "[]" if "post" in methods else None, **JSON)[0] == 200
    assert ask(port, row["example"]) == (200, {"probabilities": predictor.predict([row["example"]]).tolist()})
    lists = [{**row["example"], "tags": tags} for tags in (["t1", "t2"], "t1|t2")]
    assert ask(port, lists[0]) == ask(port, lists[1]) == (200, {"probabilities": predictor.predict(lists[:1]).tolist()})


def test_docs_are_a_page_whose_files_the_server_has_itself(port):
    status, headers, page = fetch(port, "/docs")
    assert (status, headers.get_content_type()) == (200, "text/html")
    needed = re.findall(r'(?:src|href)="([^"]*)"', page)
    assert len(needed) == 3
    for name in needed:
        assert not re.match(r"https?:|//", name)
        assert name == "data:," or fetch(port, f"/{name}")[0] == 200
    assert fetch(port, "/docs/index.html")[0] == 404


def test_one_row_is_a_list_of_one(port):
    assert ask(port, ROWS[0]) == ask(port, ROWS[:1])


def test_metrics_count_requests_by_status_and_rows(port):
    for body in (ROWS, ROWS[0], [], [{"age": 1}], "x"):
        ask(port, body)
    for _ in range(3):
        fetch(port, "/no/such/path")
    found = samples(port)
    assert found["eulernet_requests_total", "/predict", "200"] == 3
    assert found["eulernet_requests_total", "/predict", "422"] == 2
    assert found["eulernet_requests_total", "404", "other"] == 3
    assert found["eulernet_rows_total",] == len(ROWS) + 1
    assert found["eulernet_predict_seconds_count",] == 5
    assert found["process_resident_memory_bytes",] > 0
    assert samples(port)["eulernet_requests_total", "/metrics", "200"] == 1


@pytest.mark.parametrize(
    ("sent", "echoed"),
    [("a-1_B.7", True), ("x" * 128, True), ("", False), ("x" * 129, False), ("a b", False), ("é", False)],
)  # fmt: skip
def test_request_ids_are_echoed_or_made(port, sent, echoed):
    for path in ("/health", "/no/such/path", "/predict"):
        headers = {"X-Request-ID": sent.encode()}
        first, second = (fetch(port, path, **headers)[1]["x-request-id"] for _ in range(2))
        if echoed:
            assert first == second == sent
        else:
            assert re.fullmatch(r"[0-9a-f]{16}", first)
            assert first != second


def test_the_access_log_has_a_line_of_json_a_request(trained, predictor, capsys):
    with in_thread(predictor, trained.run, access_log=True) as served:
        fetch(served.port, "/predict", json.dumps(ROWS), **JSON, **{"X-Request-ID": "first"})
        fetch(served.port, "/predict", "x", **JSON)
        fetch(served.port, "/" + "long" * 100, Host="other.example")
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(line["method"], line["path"][:8], line["status"], line["rows"]) for line in lines] == [
        ("POST", "/predict", 200, len(ROWS)), ("POST", "/predict", 400, 0), ("GET", "/longlon", 403, 0),
    ]  # fmt: skip
    assert lines[0]["id"] == "first"
    assert lines[0]["client"] == "127.0.0.1"
    assert len(lines[2]["path"]) == 200


def test_nothing_is_logged_unless_it_is_asked_for(port, capsys):
    ask(port, ROWS)
    assert capsys.readouterr().out == ""
