"""/openapi.json: what the server of one model takes and answers; /docs: the same as Swagger UI, without a network."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, Response
from starlette.routing import Route
from swagger_ui_bundle import swagger_ui_path

import eulernet
from eulernet.errors import UserError
from eulernet.runs.predictor import Predictor

TYPES = {"a whole number": "integer", "a number": "number", "a truth value": "boolean"}  # any other is sent as text
ASSETS = {"swagger-ui.css": "text/css", "swagger-ui-bundle.js": "text/javascript"}
PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,">
<title>eulernet: how to ask this server</title>
<link rel="stylesheet" href="docs/swagger-ui.css">
<div id="swagger-ui"></div>
<script src="docs/swagger-ui-bundle.js"></script>
<script>
SwaggerUIBundle({url: "openapi.json", dom_id: "#swagger-ui", tryItOutEnabled: true, validatorUrl: null})
</script>
</html>
"""


def openapi(predictor: Predictor, max_rows: int) -> dict[str, Any]:
    """The OpenAPI 3.0 description of a server of ``predictor``: the columns of its rows with their types."""
    columns, model = predictor.fields, predictor.config["model"]["name"]
    row = {
        "type": "object",
        "properties": {column["name"]: schema_of(column) for column in columns},
        "required": [column["name"] for column in columns if column["required"]],
        "description": "Other names are left out of a row that has all of these; else they are refused",
    }
    if (example := example_row(predictor)) is not None:
        row["example"] = example
    one = {"$ref": "#/components/schemas/Row"}
    rows = {"oneOf": [one, {"type": "array", "items": one, "maxItems": max_rows}]}
    probability = {"type": "number", "minimum": 0, "maximum": 1}
    answered = {"type": "object", "properties": {"probabilities": {"type": "array", "items": probability}}}
    refused = {"error": {"type": "string"}, "row": {"type": "integer"}, "field": {"type": "string"}}
    wrong = {
        str(status): answer(what, {"$ref": "#/components/schemas/Error"})
        for status, what in {
            400: "The body is not JSON",
            413: "Too many rows or bytes",
            415: "The body is not sent as application/json",
            422: "The rows do not fit the model",
            503: "Ask again after the seconds of Retry-After",
        }.items()
    }
    predict = {
        "summary": "The click probability of each row",
        "description": f"One row, or a list of at most {max_rows:,}. Text may stand for numbers, and numbers for text.",
        "requestBody": {"required": True, "content": {"application/json": {"schema": rows}}},
        "responses": {"200": answer("In the order of the rows", answered), **wrong},
    }
    told = {
        "/metadata": "The model, its data, the columns of a row, the limits",
        "/health": "200 while the process lives",
        "/ready": "200 while it takes requests, else 503",
        "/metrics": "Counts and times, as Prometheus reads them",
    }
    return {
        "openapi": "3.0.3",
        "info": {
            "title": f"{model} on {predictor.preprocessor.meta['name']}",
            "description": "A click model, served by eulernet.",
            "version": eulernet.__version__,
        },
        "paths": {
            "/predict": {"post": predict},
            **{
                path: {"get": {"summary": what, "responses": {"200": {"description": what}}}}
                for path, what in told.items()
            },
        },
        "components": {"schemas": {"Row": row, "Error": {"type": "object", "properties": refused}}},
    }


def answer(what: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    return {"description": what, "content": {"application/json": {"schema": schema}}}


def schema_of(column: Mapping[str, Any]) -> dict[str, Any]:
    """A raw column; null is a missing value, of one that may miss."""
    schema: dict[str, Any] = {"type": TYPES.get(column["type"], "string")}
    if column["type"].startswith("a list"):
        several = {"type": "array", "items": {}}
        schema = {"oneOf": [several, schema]} if column["type"].endswith("or text") else several
    if column["fields"] != [column["name"]]:
        schema["description"] = f"makes {', '.join(column['fields'])}"
    return schema if column["required"] else {**schema, "nullable": True}


def example_row(predictor: Predictor) -> dict[str, Any] | None:
    """A row that the model takes: known values where a field keeps them as they are. None where none is found."""
    known: dict[str, Any] = {}
    for field, coder in zip(predictor.preprocessor.meta["fields"], predictor.preprocessor.coders, strict=True):
        if coder.vocabulary:
            known.setdefault(field["column"], coder.vocabulary.values[0])
    plain: dict[str, Any] = {"integer": 1, "number": 1.0, "boolean": True, "string": "a"}
    row: dict[str, Any] = {}
    for column in predictor.fields:
        kind, value = schema_of(column).get("type", "array"), known.get(column["name"])
        if kind == "array":
            row[column["name"]] = ["a" if value is None else value]
            continue
        fits = isinstance(value, str) if kind == "string" else type(value) is type(plain[kind])
        row[column["name"]] = value if fits else plain[kind]
    try:
        predictor.encode([row])
    except UserError:
        return None
    return row


async def docs(_: Request) -> Response:
    return HTMLResponse(PAGE)


def asset(name: str) -> Route:
    """A file of Swagger UI, from its package."""

    async def send(_: Request) -> Response:
        kept = {"cache-control": "max-age=86400"}
        return FileResponse(Path(swagger_ui_path) / name, media_type=ASSETS[name], headers=kept)

    return Route(f"/docs/{name}", send)


ROUTES = [Route("/docs", docs), *map(asset, ASSETS)]
