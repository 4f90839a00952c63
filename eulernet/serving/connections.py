"""The connections of one process: how many, of whom, and for how long one may be slow."""

from asyncio import TimerHandle, Transport
from collections import Counter
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from eulernet.serving.guard import BUSY

HEADER_SECONDS = 10.0  # from the first byte of a request, or from the connection, to the end of its headers
WRITE_SECONDS = 10.0  # that a client may take nothing of an answer
HEADER_BYTES = 1 << 16
READ = 1 << 16  # bytes that are read of one connection before the next has its turn
PIPELINE = 4  # requests that a client may send before it reads the answer to the first
SPARE = 64  # connections above the limits, which are asked for their health alone


class Connections:
    """Those that are open. When all are taken, the one that has been silent longest makes room.

    A client, which is an address, has its own limit, so that one cannot take them all.
    """

    def __init__(self, most: int, most_of_client: int) -> None:
        self.most = most
        self.most_of_client = most_of_client
        self.of_client = Counter[str]()
        self.silent = dict[Protocol, None]()  # without a request under way, the longest first
        self.spare = set[Protocol]()

    def enter(self, protocol: "Protocol") -> None:
        """Count a connection; where all are taken and none is silent, it is a spare one."""
        whose = protocol.whose
        one_too_many = self.of_client[whose] >= self.most_of_client
        if one_too_many or self.of_client.total() >= self.most:
            among = (other for other in self.silent if not one_too_many or other.whose == whose)
            if (longest := next(among, None)) is not None:
                longest.hang_up()
            else:
                self.spare.add(protocol)
        self.of_client[whose] += 1
        self.silent[protocol] = None
        if len(self.spare) > SPARE:
            protocol.hang_up()

    def leave(self, protocol: "Protocol") -> None:
        self.silent.pop(protocol, None)
        self.spare.discard(protocol)
        if protocol.counted:
            protocol.counted = False
            self.of_client[protocol.whose] -= 1
            if not self.of_client[protocol.whose]:
                del self.of_client[protocol.whose]


class Protocol(HttpToolsProtocol):
    """HTTP/1.1 by uvicorn and httptools, which hangs up on clients that are too slow or send too much ahead."""

    def __init__(self, open_ones: Connections, **given: Any) -> None:
        super().__init__(**given)
        self.open_ones = open_ones
        self.whose = ""
        self.counted = True
        self.stopping = False
        self.header_bytes = 0
        self.patience: TimerHandle | None = None  # with the client's headers
        self.writing: TimerHandle | None = None  # patience with a client that does not read

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        transport.set_write_buffer_limits(high=0)  # so that pause_writing says when a client does not read
        transport.max_size = READ  # type: ignore[attr-defined]  # asyncio's, at its own 256 KiB others wait longer
        self.whose = self.client[0] if self.client else ""
        self.patience = self.loop.call_later(HEADER_SECONDS, self.hang_up)
        self.open_ones.enter(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self.open_ones.leave(self)
        self.forgive()
        self.resume_writing()
        super().connection_lost(exc)

    def hang_up(self) -> None:
        """End the connection at once, with whatever was not sent yet."""
        self.open_ones.leave(self)
        self.transport.abort()

    def shutdown(self) -> None:
        """Answer what is being answered, and nothing more on this connection."""
        self.stopping = True
        self.pipeline.clear()
        super().shutdown()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.patience is not None:
            self.header_bytes += len(data)
            if self.header_bytes > HEADER_BYTES:
                self.hang_up()

    def on_message_begin(self) -> None:
        if len(self.pipeline) >= PIPELINE:
            self.hang_up()
            raise OverflowError  # which makes the parser stop: what else was sent ahead costs nothing
        super().on_message_begin()
        self.forgive()
        self.patience = self.loop.call_later(HEADER_SECONDS, self.hang_up)

    def on_headers_complete(self) -> None:
        self.forgive()
        self.open_ones.silent.pop(self, None)
        self.scope["state"][BUSY] = self in self.open_ones.spare
        super().on_headers_complete()

    def on_response_complete(self) -> None:
        if self.stopping:
            self.pipeline.clear()
        super().on_response_complete()
        if self.stopping:
            self.transport.close()
        elif self.counted and not self.pipeline:
            self.open_ones.silent[self] = None

    def forgive(self) -> None:
        self.header_bytes = 0
        if self.patience is not None:
            self.patience.cancel()
            self.patience = None

    def pause_writing(self) -> None:
        super().pause_writing()
        if self.writing is None:
            self.writing = self.loop.call_later(WRITE_SECONDS, self.hang_up)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self.writing is not None:
            self.writing.cancel()
            self.writing = None
