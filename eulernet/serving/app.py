"""The HTTP side: what is asked, what is answered, and what is refused with which status.

    POST /predict   [{"user_id": 7, ...}, ...]  ->  {"probabilities": [0.31, ...]}, in the order of the rows; or one row
    GET  /metadata  the model, its data, the columns of a row, the limits
    GET  /openapi.json, /docs   the same for programs, and as a page to try it out
    GET  /metrics   counts and times, for Prometheus
    GET  /health    200 while the process lives, under any load
    GET  /ready     200 while it takes requests, else 503
    POST /reload    from this machine alone: the run is read again, or another, {"run": "name"}, below reload_from

Every answer has the X-Request-ID of its request, or a new one.
Errors are {"error": "one line"}, with "field" and "row" (from 1) where one of these is at fault: 400 for what is no
JSON, 403 for a foreign Host or Origin, 408 for a body that takes too long, 413 for too much of it, 415 for another type
than JSON, 422 for rows that do not fit the model, 503 for what should be asked again after ``Retry-After`` seconds.
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

import eulernet
from eulernet.errors import UserError, require
from eulernet.memory import return_freed_memory
from eulernet.runs.predictor import Predictor
from eulernet.serving.backends import load
from eulernet.serving.batches import Batcher
from eulernet.serving.guard import Guard, is_loopback
from eulernet.serving.observed import ROWS, Metrics, Observed
from eulernet.serving.openapi import ROUTES, openapi
from eulernet.serving.rows import Refused, explain

BODIES = 16  # bodies of the largest size that may be under way together: more are told to come back
LARGE = 1 << 18  # bytes of a body, a second after which freed memory is returned to the system
Reload = Callable[[str | None], Awaitable[str]]  # of a run, or of the one that is served; says what was loaded


@dataclass(frozen=True)
class Limits:
    """What requests may ask for. UserError for impossible values."""

    max_rows: int
    max_body: float  # MiB
    max_waiting: int  # requests that wait for the model
    body_seconds: float  # from the headers to the end of the body
    answer_seconds: float  # from there to the answer

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            require(value > 0, f"{name} must be positive, got {value}")

    @property
    def body_bytes(self) -> int:
        return int(self.max_body * 2**20)


class Service:
    """The answers of one process. ``load`` replaces the model between two batches; requests under way lose nothing."""

    def __init__(
        self, predictor: Predictor, limits: Limits, hosts: list[str], access_log: bool, backend: str = "torch"
    ) -> None:
        self.limits = limits
        self.backend = backend
        self.hosts = hosts
        self.access_log = access_log
        self.metrics = Metrics()
        self.held = 0  # bytes of bodies under way
        self.tidying: asyncio.TimerHandle | None = None
        self.batcher = Batcher(predictor, limits.max_rows, limits.max_waiting)
        self.reload: Reload | None = None
        self.show(predictor)

    def show(self, predictor: Predictor) -> None:
        self.about = json.dumps(describe(predictor, self.limits)).encode()
        self.api = json.dumps(openapi(predictor, self.limits.max_rows)).encode()
        self.batcher.predictor = predictor

    async def load(self, path: Path) -> None:
        """Serve the run in ``path`` from now on. UserError, and all stays as it is, if there is no whole run in it."""
        self.show(await asyncio.to_thread(load, path, self.batcher.predictor.device, self.backend))

    def app(self) -> ASGIApp:
        @contextlib.asynccontextmanager
        async def lifespan(_: Starlette) -> AsyncIterator[None]:
            yield
            self.batcher.close()

        routes = [
            Route("/predict", self.predict, methods=["POST"]),
            Route("/metadata", self.metadata),
            Route("/openapi.json", self.openapi),
            Route("/metrics", self.metrics.answer),
            Route("/health", self.health),
            Route("/ready", self.ready),
            Route("/reload", self.ask_to_reload, methods=["POST"]),
            *ROUTES,
        ]
        app = Starlette(
            routes=routes,
            middleware=[Middleware(Guard, hosts=self.hosts)],
            exception_handlers={Refused: refuse, HTTPException: refuse_route, Exception: fail},
            lifespan=lifespan,
        )
        return Observed(app, self.metrics, [route.path for route in routes], self.access_log)

    async def predict(self, request: Request) -> Response:
        sent_as = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if sent_as != "application/json":
            raise Refused(415, "send JSON, with the header Content-Type: application/json")
        try:
            async with self.body_of(request) as body:
                scores = await self.score(body)
        except UserError as error:
            return JSONResponse(explain(str(error), list(self.batcher.predictor.preprocessor.columns)), 422)
        request.scope[ROWS] = len(scores)
        return JSONResponse({"probabilities": scores.tolist()})

    async def score(self, body: bytes) -> np.ndarray:
        seconds = self.limits.answer_seconds
        try:
            return await asyncio.wait_for(self.batcher.predict(body), seconds)
        except TimeoutError:
            raise Refused(503, f"no answer within {seconds:g} seconds; try again") from None

    @contextlib.asynccontextmanager
    async def body_of(self, request: Request) -> AsyncIterator[bytes]:
        """The body, which counts as under way until it is done with.

        More than the limit is read but not kept: a client that is cut off sees no answer.
        """
        chunks, length, limits = list[bytes](), 0, self.limits
        claimed = min(int(request.headers.get("content-length", 0)), limits.body_bytes)
        self.held += claimed
        try:
            async with asyncio.timeout(limits.body_seconds):
                self.check_held()
                async for chunk in request.stream():
                    length += len(chunk)
                    if length <= limits.body_bytes:
                        chunks.append(chunk)
                        self.held += max(length - claimed, 0)  # of a body whose length was not said
                        claimed = max(length, claimed)
                        self.check_held()
            if length > limits.body_bytes:
                raise Refused(413, f"a body has at most {limits.max_body:g} MiB; send several")
            body = b"".join(chunks)
            chunks.clear()
            yield body
        except TimeoutError:
            raise Refused(408, f"the body took longer than {limits.body_seconds:g} seconds") from None
        except ClientDisconnect:
            raise Refused(400, "the connection was closed within the body") from None
        finally:
            self.held -= claimed
            if claimed >= LARGE and self.tidying is None:
                self.tidying = asyncio.get_running_loop().call_later(1, self.tidy)

    def tidy(self) -> None:
        self.tidying = None
        asyncio.get_running_loop().run_in_executor(None, return_freed_memory)

    def check_held(self) -> None:
        if self.held > BODIES * self.limits.body_bytes:
            raise Refused(503, "too many bodies are under way; try again")

    async def metadata(self, _: Request) -> Response:
        return Response(self.about, media_type="application/json")

    async def openapi(self, _: Request) -> Response:
        return Response(self.api, media_type="application/json")

    async def health(self, _: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def ready(self, _: Request) -> Response:
        if self.batcher.full:
            raise Refused(503, "too many requests are waiting")
        return JSONResponse({"status": "ready"})

    async def ask_to_reload(self, request: Request) -> Response:
        local = request.client is None or is_loopback(request.client.host)  # a Unix socket has no client
        if self.reload is None or not local:
            raise Refused(403, "only this machine may ask for that")
        async with self.body_of(request) as body:
            asked = body
        try:
            name = json.loads(asked or b"{}").get("run")
            require(name is None or isinstance(name, str), "run: give the name of a folder")
        except (ValueError, RecursionError, AttributeError):
            raise Refused(400, 'send nothing, or {"run": "name"}') from None
        try:
            return JSONResponse({"serving": await self.reload(name)})
        except UserError as error:
            return JSONResponse({"error": f"the model stays as it was: {error}"}, 422)


async def refuse(_: Request, error: Exception) -> Response:
    assert isinstance(error, Refused)
    headers = {"connection": "close"} if error.status in (408, 413, 415, 503) else {}
    if error.status == 503:
        headers["retry-after"] = "1"
    return JSONResponse({"error": str(error)}, error.status, headers=headers)


async def refuse_route(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return JSONResponse({"error": error.detail}, error.status_code, headers=error.headers)


async def fail(_: Request, error: Exception) -> Response:
    return JSONResponse({"error": "the server failed; its log says how"}, 500)


def describe(predictor: Predictor, limits: Limits) -> dict[str, Any]:
    meta = predictor.preprocessor.meta
    return {
        "model": predictor.config["model"],
        "dataset": {"name": meta["name"], "protocol": meta["protocol"]},
        "fields": predictor.fields,
        "ancestry": [{**one, "run": Path(one["run"]).name} for one in (predictor.report or {}).get("ancestry", [])],
        "limits": asdict(limits),
        "eulernet": eulernet.__version__,
    }
