"""The socket to listen on, and one process that answers on it."""

import asyncio
import contextlib
import os
import resource
import signal
import socket
import stat
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import uvicorn

from eulernet.errors import UserError, require
from eulernet.runs.predictor import Predictor
from eulernet.serving.app import Limits, Service
from eulernet.serving.connections import Connections, Protocol

FILES = 100  # that a process has open beside its connections
SWITCH = 5e-4  # seconds after which the thread that scores lets that of the connections go on; 5 ms are Python's own
LATE = 3.0  # seconds after shutdown_seconds at which a process that still runs is ended


@dataclass(frozen=True)
class Serving:
    """How to serve. UserError for impossible values."""

    host: str
    port: int  # 0 takes any that is free
    socket: str | None  # path of a Unix socket, in place of host and port
    hosts: list[str]
    access_log: bool
    workers: int
    device: str  # of the model
    backend: str  # one of backends.BACKENDS
    max_connections: int
    client_connections: int
    start_seconds: float
    shutdown_seconds: int
    reload_from: str | None

    def __post_init__(self) -> None:
        require(bool(self.host), "host=: give the address to listen on, such as 127.0.0.1")
        require(0 <= self.port < 65536, f"port={self.port}: should lie between 0 and 65535")
        for name in ("workers", "max_connections", "client_connections", "start_seconds", "shutdown_seconds"):
            require(getattr(self, name) >= 1, f"{name} must be at least 1, got {getattr(self, name)}")


@contextlib.contextmanager
def bind(serving: Serving) -> Iterator[tuple[socket.socket, str]]:
    """The socket to listen on, and where that is, as a user writes it. UserError where there is none to be had."""
    if serving.socket is not None:
        with bind_path(Path(serving.socket).expanduser()) as listening:
            yield listening, f"unix:{serving.socket}"
        return
    try:
        found = socket.getaddrinfo(serving.host.strip("[]"), serving.port, type=socket.SOCK_STREAM)
        family, *_, address = min(found, key=lambda info: info[0] != socket.AF_INET)
        listening = socket.create_server(address[:2], family=family, backlog=2048)
    except OSError as error:
        raise cannot_listen(f"{serving.host}:{serving.port}", error, "host= or port=") from None
    with listening:
        # Connections inherit this. asyncio sets it only where the socket names its protocol, which this one does not:
        # an answer, which is written in two parts, would wait 40 ms for the client's acknowledgement of the first.
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        host, port = listening.getsockname()[:2]
        yield listening, f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


@contextlib.contextmanager
def bind_path(path: Path) -> Iterator[socket.socket]:
    """A Unix socket at ``path``, which is taken away in the end, and where a killed server left one."""
    try:
        if stat.S_ISSOCK(path.stat().st_mode):
            with socket.socket(socket.AF_UNIX) as other:
                if other.connect_ex(str(path)) != 0:
                    path.unlink()
    except FileNotFoundError:
        pass
    except OSError as error:
        raise cannot_listen(str(path), error, "socket=") from None
    listening = socket.socket(socket.AF_UNIX)
    with listening:
        try:
            listening.bind(str(path))
            listening.listen(2048)
        except OSError as error:
            raise cannot_listen(str(path), error, "socket=") from None
        made = path.stat().st_ino
        try:
            yield listening
        finally:
            with contextlib.suppress(OSError):
                if path.stat().st_ino == made:
                    path.unlink()


def cannot_listen(place: str, error: OSError, keys: str) -> UserError:
    reason = os.strerror(error.errno) if error.errno and error.errno > 0 else str(error)  # of names it is negative
    return UserError(f"cannot listen on {place} ({reason}); give another {keys}")


class Reloads:
    """Loads the run that is served again, or another one below ``reload_from``; one reload at a time."""

    def __init__(self, path: Path, serving: Serving, load: Callable[[Path], Awaitable[None]]) -> None:
        self.path = path
        self.below = None if serving.reload_from is None else Path(serving.reload_from).expanduser()
        self.load = load
        self.terminal = os.isatty(0)
        self.under_way: asyncio.Task[None] | None = None

    async def __call__(self, name: str | None) -> str:
        """Load, and say what. UserError, and the old model stays, for what cannot be."""
        require(self.under_way is None or self.under_way.done(), "a reload is under way")
        path = self.path if name is None else self.find(name)
        self.under_way = asyncio.ensure_future(self.load(path))
        await asyncio.shield(self.under_way)
        self.path = path
        return str(path)

    def find(self, name: str) -> Path:
        if self.below is None:
            raise UserError("only the run that is served can be loaded again, for reload_from= names no folder")
        path = (self.below / name).resolve()
        require(path.is_relative_to(self.below.resolve()), f"{name!r} does not lie below the folder of reload_from=")
        return path

    def on_hangup(self, stop: Callable[[], object]) -> None:
        """Let SIGHUP reload; when the terminal itself is gone, ``stop``. Under nohup nothing changes."""
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
            asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self.hangup, stop)

    def hangup(self, stop: Callable[[], object]) -> None:
        if self.terminal and not os.isatty(0):
            stop()
        else:
            self.told = asyncio.ensure_future(self.tell())

    async def tell(self) -> None:
        try:
            print(f"reloaded {await self(None)}", flush=True)
        except Exception as error:
            print(f"error: the model stays as it was: {line_of(error)}", file=sys.stderr, flush=True)


def line_of(error: Exception) -> str:
    """What to say of an error that nobody may have written a line for."""
    lines = str(error).splitlines()
    return lines[0] if isinstance(error, UserError) and lines else ": ".join([type(error).__name__, *lines[:1]])


class Server(uvicorn.Server):
    """uvicorn's, which ends in time, whatever still runs."""

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        grace = (self.config.timeout_graceful_shutdown or 0) + LATE
        late = threading.Timer(grace, os._exit, [1])
        late.daemon = True
        late.start()
        await super().shutdown(sockets)

    def stop(self) -> None:
        self.should_exit = True


def make_server(service: Service, serving: Serving) -> Server:
    """The server of one process, with as many connections as the system lets it have."""
    sys.setswitchinterval(SWITCH)
    files, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files < serving.max_connections + FILES:
        files = serving.max_connections + FILES if most == resource.RLIM_INFINITY else most
        resource.setrlimit(resource.RLIMIT_NOFILE, (files, most))
    connections = Connections(min(serving.max_connections, max(files - FILES, 1)), serving.client_connections)
    settings: dict[str, Any] = {
        "http": partial(Protocol, connections),
        "ws": "none",
        "log_config": None,
        "log_level": "error",
        "access_log": False,
        "server_header": False,
        "timeout_graceful_shutdown": serving.shutdown_seconds,
    }
    return Server(uvicorn.Config(service.app(), **settings))


def run(predictor: Predictor, path: Path, listening: socket.socket, serving: Serving, limits: Limits) -> None:
    """Serve until SIGINT or SIGTERM, in this process; requests that are being answered then are answered."""

    async def main() -> None:
        service = Service(predictor, limits, serving.hosts, serving.access_log, serving.backend)
        reloads = service.reload = Reloads(path, serving, service.load)
        server = make_server(service, serving)
        reloads.on_hangup(server.stop)
        await server.serve([listening])

    asyncio.run(main())
