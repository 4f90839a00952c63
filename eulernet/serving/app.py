"""The HTTP side: what is asked, what is answered, and what is refused with which status.

    POST /predict   [{"user_id": 7, ...}, ...]  ->  {"probabilities": [0.31, ...]}, in the order of the rows
    GET  /health    {"status": "ok"}
    GET  /metadata  the model, its data, the columns of a row, the limits

Errors are {"error": "one line"}, with "field" and "row" (from 1) where one of these is at fault: 400 for what is no
JSON, 408 for a body that takes too long, 413 for too much of it, 422 for rows that do not fit the model.
"""

import asyncio
import contextlib
import json
import re
from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import polars as pl
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

import eulernet
from eulernet.errors import UserError, nearest, require
from eulernet.runs.predictor import Predictor
from eulernet.serving.batches import Batcher

SMALL = 1 << 16  # bytes of a body that is read in the event loop; longer ones would make the others wait


@dataclass(frozen=True)
class Limits:
    """What one request may ask for. UserError for impossible values."""

    max_rows: int
    max_body: float  # MiB
    body_seconds: float  # from the headers to the end of the body

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            require(value > 0, f"{name} must be positive, got {value}")

    @property
    def body_bytes(self) -> int:
        return int(self.max_body * 2**20)


def make_app(predictor: Predictor, limits: Limits) -> Starlette:
    """The ASGI application that answers for ``predictor``."""
    columns = [column["name"] for column in predictor.fields]
    batcher = Batcher(predictor, limits.max_rows)

    async def predict(request: Request) -> Response:
        body = await read_body(request, limits)
        try:
            if len(body) <= SMALL:
                frame = read_rows(body, columns, predictor, limits)
            else:
                frame = await asyncio.to_thread(read_rows, body, columns, predictor, limits)
            scores = (await batcher.predict(frame)).tolist() if len(frame) else []
        except UserError as error:
            return JSONResponse(explain(str(error), columns), 422)
        return JSONResponse({"probabilities": scores})

    async def health(_: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def metadata(_: Request) -> Response:
        return JSONResponse(describe(predictor, limits))

    async def refuse(_: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        headers = {"connection": "close"} if error.status_code in (408, 413) else None
        return JSONResponse({"error": error.detail}, error.status_code, headers=headers)

    async def fail(_: Request, error: Exception) -> Response:
        return JSONResponse({"error": "the server failed; its log says how"}, 500)

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        yield
        batcher.close()

    return Starlette(
        routes=[
            Route("/predict", predict, methods=["POST"]),
            Route("/health", health),
            Route("/metadata", metadata),
        ],
        exception_handlers={HTTPException: refuse, Exception: fail},
        lifespan=lifespan,
    )


async def read_body(request: Request, limits: Limits) -> bytes:
    """The body, of which more than the limit is read but not kept: a client that is cut off sees no answer."""
    body, length = bytearray(), 0
    try:
        async with asyncio.timeout(limits.body_seconds):
            async for chunk in request.stream():
                length += len(chunk)
                if length <= limits.body_bytes:
                    body += chunk
    except TimeoutError:
        raise HTTPException(408, f"the body took longer than {limits.body_seconds:g} seconds") from None
    except ClientDisconnect:
        raise HTTPException(400, "the connection was closed within the body") from None
    if length > limits.body_bytes:
        raise HTTPException(413, f"a body has at most {limits.max_body:g} MiB; send several")
    return bytes(body)


def read_rows(body: bytes, columns: Sequence[str], predictor: Predictor, limits: Limits) -> pl.DataFrame:
    """The rows of a body as a frame. UserError for rows that cannot be, HTTPException for what is none at all."""
    try:
        rows: Any = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise HTTPException(400, f"the body is not JSON ({error})") from None
    require(isinstance(rows, list), f"send a list of rows, [{{...}}, ...]; this is {kind(rows)}")
    if len(rows) > limits.max_rows:
        raise HTTPException(413, f"{len(rows):,} rows; a request has at most {limits.max_rows:,}, send several")
    known = set(columns)
    for i, row in enumerate(rows, 1):
        require(isinstance(row, dict), f"row {i} is {kind(row)}; a row is an object, {{name: value}}")
        if not known.issuperset(row):
            name = next(name for name in row if name not in known)
            raise UserError(f"row {i}: unknown field {json.dumps(name)}; {nearest(name, columns)}")
    return predictor.frame(rows)


def kind(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "text", bool: "a truth value", type(None): "null"}
    return names.get(type(value), "a number")


def explain(message: str, columns: Sequence[str]) -> dict[str, Any]:
    """The answer for an error in the rows, with the row and the field that it names."""
    answer: dict[str, Any] = {"error": message}
    if row := re.match(r"row (\d+)", message):
        answer["row"] = int(row[1])
    if unknown := re.match(r"row \d+: unknown field ", message):
        answer["field"] = json.JSONDecoder().raw_decode(message, unknown.end())[0]
        return answer
    places = {name: re.search(rf"(?<!\w){re.escape(name)}(?!\w)", message) for name in columns}
    found = {name: place.span() for name, place in places.items() if place}
    if found:  # the first of them, and the longer of two that begin there
        answer["field"] = min(found, key=lambda name: (found[name][0], -found[name][1]))
    return answer


def describe(predictor: Predictor, limits: Limits) -> dict[str, Any]:
    meta = predictor.preprocessor.meta
    return {
        "model": predictor.config["model"],
        "dataset": {"name": meta["name"], "protocol": meta["protocol"]},
        "fields": predictor.fields,
        "limits": asdict(limits),
        "eulernet": eulernet.__version__,
    }
