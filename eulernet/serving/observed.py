"""What is seen of each request: its id, the counts and times of /metrics, a line of the access log.

One process keeps its metrics in memory. Several share a folder, named by PROMETHEUS_MULTIPROC_DIR before
prometheus_client is imported, and whichever is asked for /metrics answers with the sums over all.
"""

import json
import os
import re
import secrets
import sys
from collections.abc import Collection
from datetime import UTC, datetime
from time import perf_counter
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.multiprocess import MultiProcessCollector
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

FOLDER = "PROMETHEUS_MULTIPROC_DIR"
ROWS = "eulernet.rows"  # in the scope of a request that was scored: how many
ID = b"x-request-id"
PLAIN = re.compile(rb"[\x21-\x7e]{1,128}")  # ids that are echoed; for any other a new one is made
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Metrics:
    """The counts of one server. A path that it does not serve counts as ``other``: labels stay few."""

    def __init__(self) -> None:
        self.shared = FOLDER in os.environ
        self.registry = CollectorRegistry()
        into: Any = {"registry": None if self.shared else self.registry}
        self.requests = Counter("eulernet_requests", "Requests that were answered", ["path", "status"], **into)
        self.rows = Counter("eulernet_rows", "Rows that were scored", **into)
        seconds = "From the headers of a request for /predict to the end of its answer"
        self.seconds = Histogram("eulernet_predict_seconds", seconds, buckets=SECONDS, **into)
        self.counters: dict[tuple[str, int], Any] = {}
        if self.shared:
            MultiProcessCollector(self.registry)  # type: ignore[no-untyped-call]
        else:
            ProcessCollector(registry=self.registry)

    def count(self, path: str, status: int) -> None:
        counter = self.counters.get((path, status))
        if counter is None:
            counter = self.counters[path, status] = self.requests.labels(path, str(status))
        counter.inc()

    async def answer(self, _: Request) -> Response:
        return Response(generate_latest(self.registry), headers={"content-type": CONTENT_TYPE_LATEST})


class Observed:
    """``app``, whose answers carry an id: that of the request's X-Request-ID, or one that is made."""

    def __init__(self, app: ASGIApp, metrics: Metrics, paths: Collection[str], access_log: bool) -> None:
        self.app = app
        self.metrics = metrics
        self.paths = frozenset(paths)
        self.access_log = access_log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        begin, status = perf_counter(), 500
        name = next((value for key, value in scope["headers"] if key == ID), b"")
        if not PLAIN.fullmatch(name):
            name = secrets.token_hex(8).encode()

        async def send_named(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"].append((ID, name))
            await send(message)

        try:
            await self.app(scope, receive, send_named)
        finally:
            seconds, path = perf_counter() - begin, scope["path"]
            known, rows = path if path in self.paths else "other", scope.get(ROWS, 0)
            self.metrics.count(known, status)
            if known == "/predict":
                self.metrics.seconds.observe(seconds)
                self.metrics.rows.inc(rows)
            if self.access_log:
                self.write(scope, name, status, rows, seconds)

    def write(self, scope: Scope, name: bytes, status: int, rows: int, seconds: float) -> None:
        """One line of JSON on standard output, in one piece. Where nobody reads it any more, no more is written."""
        client = scope.get("client")
        line = {
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "id": name.decode("ascii"),
            "client": client and client[0],
            "method": scope["method"],
            "path": scope["path"][:200],
            "status": status,
            "rows": rows,
            "ms": round(1000 * seconds, 3),
        }
        try:
            sys.stdout.write(json.dumps(line) + "\n")
            sys.stdout.flush()
        except (OSError, ValueError):
            self.access_log = False
