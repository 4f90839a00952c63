"""The processes and connections: one or several workers on one socket, and clients that take their time."""

import json
import os
import socket
from asyncio import TimerHandle, Transport
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import uvicorn
from starlette.applications import Starlette
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.supervisors import Multiprocess

from eulernet.errors import UserError, require
from eulernet.runs.predictor import Predictor
from eulernet.serving.app import Limits, make_app

HEADER_SECONDS = 10.0
SETTINGS = "EULERNET_SERVE"  # what the workers, which are processes of their own, are told


@dataclass(frozen=True)
class Serving:
    """How to serve. UserError for impossible values."""

    host: str
    port: int  # 0 takes any that is free
    workers: int
    max_connections: int
    shutdown_seconds: int

    def __post_init__(self) -> None:
        require(bool(self.host), "host=: give the address to listen on, such as 127.0.0.1")
        require(0 <= self.port < 65536, f"port={self.port}: should lie between 0 and 65535")
        for name in ("workers", "max_connections", "shutdown_seconds"):
            require(getattr(self, name) >= 1, f"{name} must be at least 1, got {getattr(self, name)}")


def bind(serving: Serving) -> socket.socket:
    """The socket to listen on. UserError where there is none to be had."""
    family = socket.AF_INET6 if ":" in serving.host else socket.AF_INET
    try:
        return socket.create_server((serving.host, serving.port), family=family, backlog=2048)
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno and error.errno > 0 else str(error)  # of names it is negative
        raise UserError(
            f"cannot listen on {serving.host}:{serving.port} ({reason}); give another host= or port="
        ) from None


def run(predictor: Predictor, folder: Path, listening: socket.socket, serving: Serving, limits: Limits) -> None:
    """Serve until SIGINT or SIGTERM; requests that are being answered then are answered.

    With several workers each loads ``folder`` for itself; one that dies is started anew. A second signal ends a single
    worker at once.
    """
    settings: dict[str, Any] = {
        "http": Protocol,
        "ws": "none",
        "log_config": None,
        "log_level": "warning",
        "access_log": False,
        "server_header": False,
        "limit_concurrency": serving.max_connections + 1,  # uvicorn counts the one that asks, and refuses from there on
        "timeout_graceful_shutdown": serving.shutdown_seconds,
    }
    if serving.workers == 1:
        uvicorn.Server(uvicorn.Config(make_app(predictor, limits), **settings)).run([listening])
        return
    threads = max((os.cpu_count() or 1) // serving.workers, 1)
    os.environ.setdefault("POLARS_MAX_THREADS", str(threads))
    told = {"folder": str(folder.absolute()), "threads": threads, "limits": asdict(limits)}
    os.environ[SETTINGS] = json.dumps(told)
    factory = f"{__name__}:app_of_worker"
    Multiprocess(uvicorn.Config(factory, factory=True, workers=serving.workers, **settings), [listening]).run()


def app_of_worker() -> Starlette:
    """What a worker process answers with."""
    told = json.loads(os.environ[SETTINGS])
    torch.set_num_threads(told["threads"])
    return make_app(Predictor.load(told["folder"]), Limits(**told["limits"]))


class Protocol(HttpToolsProtocol):
    """Hangs up on a client whose request line and headers are not there after ``HEADER_SECONDS``."""

    patience: TimerHandle | None = None

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.patience = self.loop.call_later(HEADER_SECONDS, transport.close)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.forgive()
        self.patience = self.loop.call_later(HEADER_SECONDS, self.transport.close)

    def on_headers_complete(self) -> None:
        self.forgive()
        super().on_headers_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        self.forgive()
        super().connection_lost(exc)

    def forgive(self) -> None:
        if self.patience is not None:
            self.patience.cancel()
