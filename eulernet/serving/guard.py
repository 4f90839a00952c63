"""What is refused before anything of a request is read: foreign names, and too many at a time."""

import ipaddress
from collections.abc import Sequence
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

OPEN = ("/health", "/ready")  # say nothing that anybody should not know, and are asked by probes of any kind
BUSY = "busy"  # in the state of a request that came when all connections were taken


class Guard:
    """Answers 403 to a Host or Origin that is not this server's, and 503 to all but ``OPEN`` when it is busy.

    A page in a browser could else ask a server on this machine, through a name that leads here (DNS rebinding). A
    server's names are those of loopback, the address that the connection came to, and ``hosts`` ("*": any).
    """

    def __init__(self, app: ASGIApp, hosts: Sequence[str]) -> None:
        self.app = app
        self.hosts = {host.lower().strip("[]") for host in hosts}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] not in OPEN and (refusal := self.refusal(scope)):
            await refusal(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    def refusal(self, scope: Scope) -> JSONResponse | None:
        if scope.get("state", {}).get(BUSY):
            later = {"connection": "close", "retry-after": "1"}
            return JSONResponse({"error": "too many connections; try again"}, 503, headers=later)
        headers = Headers(scope=scope)
        hosts, origin = headers.getlist("host"), headers.get("origin")
        named = [host_of(f"//{host}") for host in hosts] + ([host_of(origin)] if origin is not None else [])
        if len(hosts) > 1 or not all(self.own(name, scope) for name in named):
            return JSONResponse({"error": "this name is not the server's; hosts= lists what it answers to"}, 403)
        return None

    def own(self, name: str | None, scope: Scope) -> bool:
        if "*" in self.hosts:
            return True
        server = scope.get("server")
        return name is not None and (name in self.hosts or is_loopback(name) or bool(server and name == server[0]))


def host_of(url: str) -> str | None:
    """The host's name in a URL, without its port."""
    try:
        return urlsplit(url).hostname
    except ValueError:
        return None


def is_loopback(host: str) -> bool:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host == "localhost"
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback
