"""A server under load and under attack: does it answer, how fast, and does its memory return?

    python benchmarks/load_test.py outputs/...

starts ``python -m eulernet.serve`` for that run on a free port of 127.0.0.1 (more settings may follow: ``workers=2``),
asks it with 50, 200 and 500 clients, then plays every row of ``ATTACKS`` while another process asks for ``/health``
five times a second. Prints a line for each with latencies or the worst answer of ``/health``, and the resident memory
of the server and its workers before, at most, and some seconds after. Exits with 1 if ``/health`` once took longer than
a second, a request was answered wrongly, memory did not return, or SIGTERM did not end the server in time.
"""

import argparse
import asyncio
import contextlib
import http.client
import json
import multiprocessing
import random
import re
import resource
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SLOWEST = 1.0  # seconds that /health may take
KEPT = 100.0  # MiB that an attack may leave behind
REST = 3.0  # seconds after an attack, in which memory may return
STOP = 35.0  # seconds in which SIGTERM ends the server: its shutdown_seconds and some more
JSON_HEADERS = b"Host: localhost\r\nContent-Type: application/json\r\n"
MIB = 1 << 20


@dataclass
class Target:
    """The server, as clients see it."""

    port: int
    rows: list[dict[str, Any]]
    seconds: float  # of an attack
    statuses: Counter[str] = field(default_factory=Counter)

    def body(self, rows: int = 1) -> bytes:
        return json.dumps(random.choices(self.rows, k=rows)).encode()

    def with_value(self, value: str) -> bytes:
        """One row, whose first value is this JSON text."""
        row = self.rows[0]
        texts = {name: value if i == 0 else json.dumps(known) for i, (name, known) in enumerate(row.items())}
        return ("[{" + ", ".join(f"{json.dumps(name)}: {text}" for name, text in texts.items()) + "}]").encode()

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.port)


def post(body: bytes, headers: bytes = JSON_HEADERS, length: int | None = None) -> bytes:
    return b"POST /predict HTTP/1.1\r\n%sContent-Length: %d\r\n\r\n" % (headers, length or len(body)) + body


async def answer(reader: asyncio.StreamReader) -> str:
    """The status of the next answer, which is read whole."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = re.search(rb"content-length: (\d+)", head.lower())
    await reader.readexactly(int(length[1]) if length else 0)
    return head.split(maxsplit=2)[1].decode()


async def ask(target: Target, request: bytes, end: float, took: list[float] | None = None) -> None:
    """One client that asks again as soon as it is answered, and connects again when it is cut off."""
    while time.perf_counter() < end:
        writer = None
        try:
            reader, writer = await target.connect()
            while time.perf_counter() < end:
                began = time.perf_counter()
                writer.write(request)
                status = await answer(reader)
                target.statuses[status] += 1
                if took is not None:
                    took.append(time.perf_counter() - began)
            return
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            if writer is not None:
                writer.transport.abort()
        target.statuses["cut"] += 1
        await asyncio.sleep(0.05)


async def many(target: Target, request: bytes, clients: int) -> None:
    end = time.perf_counter() + target.seconds
    await asyncio.gather(*(ask(target, request, end) for _ in range(clients)))


async def hold(target: Target, sent: bytes, clients: int) -> None:
    """Connections that send this, read nothing, and stay."""

    async def one() -> None:
        with contextlib.suppress(OSError):
            _, writer = await target.connect()
            writer.transport.pause_reading()
            writers.append(writer)
            writer.write(sent)

    writers: list[asyncio.StreamWriter] = []
    await asyncio.gather(*(one() for _ in range(clients)))
    await asyncio.sleep(target.seconds)
    for writer in writers:
        writer.transport.abort()


async def dribble(target: Target, head: bytes, clients: int) -> None:
    """Connections that send a byte now and then."""

    async def one() -> None:
        with contextlib.suppress(OSError):
            _, writer = await target.connect()
            writer.write(head)
            while time.perf_counter() < end:
                await asyncio.sleep(0.5)
                writer.write(b"x")
                await writer.drain()
            writer.close()

    end = time.perf_counter() + target.seconds
    await asyncio.gather(*(one() for _ in range(clients)))


Attack = Callable[[Target], Awaitable[None]]
NAMES = b"Host: evil.example\r\nOrigin: http://evil.example\r\nContent-Type: application/json\r\n"
ATTACKS: dict[str, tuple[Attack, str]] = {  # what is done, and the statuses that its answers must have
    "values of 900 nested lists": (lambda t: many(t, post(t.with_value("[" * 900 + "]" * 900)), 4), "422"),
    "100,000 nested lists": (lambda t: many(t, post(b"[" * 100_000), 4), "400"),
    "numbers of 20 digits": (lambda t: many(t, post(t.with_value("9" * 20)), 4), "422"),
    "numbers of 39 digits": (lambda t: many(t, post(t.with_value("9" * 39)), 4), "422"),
    "numbers of 5,000 digits": (lambda t: many(t, post(t.with_value("9" * 5_000)), 4), "400"),
    "infinite numbers": (lambda t: many(t, post(t.with_value("1e999")), 4), "422"),
    "a name of 3 MiB": (lambda t: many(t, post(b'[{"%s": 1}]' % (b"x" * 3 * MIB)), 4), "422"),
    "100,000 fields": (lambda t: many(t, post(json.dumps([{f"f{i}": i for i in range(100_000)}]).encode()), 4), "422"),
    "5,000 rows a request": (lambda t: many(t, post(t.body(5_000)), 16), "200 413"),
    "bodies of 50 MiB": (lambda t: many(t, post(b" " * 50 * MIB), 8), "413 cut"),
    "20,000 requests ahead": (lambda t: hold(t, b"GET /metadata HTTP/1.1\r\nHost: localhost\r\n\r\n" * 20_000, 50), ""),
    "answers that nobody reads": (lambda t: hold(t, post(t.body(1_000)) * 100, 50), ""),
    "1,000 silent connections": (lambda t: hold(t, b"", 1_000), ""),
    "bodies but for a byte": (lambda t: hold(t, post(b" " * 3 * MIB, length=3 * MIB + 1), 200), ""),
    "endless headers": (lambda t: hold(t, b"GET /health HTTP/1.1\r\nX: " + b"x" * 20 * MIB, 20), ""),
    "headers byte by byte": (lambda t: dribble(t, b"GET /health HTTP/1.1\r\nX: ", 500), ""),
    "bodies byte by byte": (lambda t: dribble(t, post(b"", length=1000), 500), ""),
    "foreign Host and Origin": (lambda t: many(t, post(t.body(), NAMES), 4), "403"),
    "text/plain": (lambda t: many(t, post(t.body(), b"Host: localhost\r\nContent-Type: text/plain\r\n"), 4), "415 cut"),
}


def probe(port: int, pid: int, stop: Any, found: Any) -> None:
    """Ask for /health until told to stop; the seconds of each answer, inf where there was none, and the memory."""
    took, memory = [], []
    while not stop.is_set():
        memory.append(resident(pid))
        began = time.perf_counter()
        try:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
            connection.request("GET", "/health")
            ok = connection.getresponse().status == 200
            connection.close()
        except (OSError, http.client.HTTPException):
            ok = False
        took.append(time.perf_counter() - began if ok else float("inf"))
        stop.wait(0.2)
    found.put((took, memory))


def resident(pid: int) -> float:
    """MiB of ``pid`` and its children."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        own = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    except OSError:
        return 0.0
    return (int(own[1]) / 1024 if own else 0.0) + sum(resident(int(child)) for child in children)


@contextlib.asynccontextmanager
async def probed(port: int, pid: int, line: dict[str, Any]) -> AsyncIterator[None]:
    """Fill ``line`` with how /health was answered within, and the memory before, at most, and after."""
    line["before"] = resident(pid)
    stop, found = multiprocessing.Event(), multiprocessing.Queue()
    prober = multiprocessing.Process(target=probe, args=(port, pid, stop, found))
    prober.start()
    began = time.perf_counter()
    yield
    line["seconds"] = time.perf_counter() - began
    stop.set()
    took, memory = await asyncio.to_thread(found.get)
    prober.join()
    await asyncio.sleep(REST)
    line |= {"health": max(took), "most": max(memory), "after": resident(pid)}


@contextlib.contextmanager
def serving(run: str, settings: list[str]) -> Iterator[tuple[subprocess.Popen[str], int]]:
    command = [sys.executable, "-m", "eulernet.serve", f"run={run}", "port=0", *settings]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        said = re.search(r":(\d+): POST /predict", process.stdout.readline())
        assert said is not None, "the server did not start"
        yield process, int(said[1])
    finally:
        process.kill()
        process.wait()


def rows_for(port: int) -> list[dict[str, Any]]:
    """Rows of values that fit the columns which the server says it has."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    connection.request("GET", "/metadata")
    columns = json.loads(connection.getresponse().read())["fields"]
    draw = random.Random(1)
    values = {"text": lambda: f"{draw.getrandbits(32):08x}", "a number": draw.random}
    whole = lambda: draw.randrange(100)  # noqa: E731
    return [{column["name"]: values.get(column["type"], whole)() for column in columns} for _ in range(1000)]


async def load(target: Target, clients: int, seconds: float) -> str:
    """One row a request, from many clients; the latencies."""
    took: list[float] = []
    end = time.perf_counter() + seconds
    await asyncio.gather(*(ask(target, post(target.body()), end, took) for _ in range(clients)))
    took.sort()
    at = {share: took[int(share * len(took))] * 1e3 for share in (0.5, 0.99)}
    return f"{len(took) / seconds:6,.0f} requests/s, p50 {at[0.5]:5.0f} ms, p99 {at[0.99]:5.0f} ms"


async def main(options: argparse.Namespace) -> int:
    wrong = 0
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    with serving(options.run, options.settings) as (process, port):
        target = Target(port, await asyncio.to_thread(rows_for, port), options.seconds)
        attacks = {name: attack for name, attack in ATTACKS.items() if re.search(options.only, name)}
        loads = [name for name in ("50 clients", "200 clients", "500 clients") if re.search(options.only, name)]
        for name in [*loads, *attacks]:
            line: dict[str, Any] = {}
            target.statuses.clear()
            async with probed(port, process.pid, line):
                if name in attacks:
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(attacks[name][0](target), 3 * options.seconds)
                    found, expected = "", attacks[name][1].split()
                else:
                    found = await load(target, int(name.split()[0]), options.load_seconds)
                    expected = ["200"]
            ok = set(target.statuses) <= set(expected) and line["health"] <= SLOWEST
            ok = ok and line["after"] <= line["before"] + KEPT
            wrong += not ok
            memory = f"MiB {line['before']:5.0f} {line['most']:5.0f} {line['after']:5.0f}"
            said = f"{name:27}  /health at worst {line['health']:6.2f} s  {memory}  {found}"
            print("ok   " if ok else "WRONG", said, dict(target.statuses) or "", flush=True)
        began = time.perf_counter()
        process.terminate()
        try:
            await asyncio.to_thread(process.wait, STOP)
        except subprocess.TimeoutExpired:
            wrong += 1
        print(f"SIGTERM: {time.perf_counter() - began:.1f} s, exit code {process.returncode}")
    return int(wrong > 0)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", help="folder of a finished run")
    parser.add_argument("settings", nargs="*", help="of eulernet.serve")
    parser.add_argument("--seconds", type=float, default=5, help="of an attack; three times as long at most")
    parser.add_argument("--load-seconds", type=float, default=10, help="of each number of clients")
    parser.add_argument("--only", default="", help="loads and attacks whose name this regular expression is in")
    sys.exit(asyncio.run(main(parser.parse_args())))
