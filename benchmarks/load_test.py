"""Load on a running server: many clients at once, each asking again as soon as it is answered.

    python -m eulernet.serve run=outputs/... port=8000 &
    python benchmarks/load_test.py --port 8000 --rows rows.json --clients 200 --seconds 60 --pid $!

``rows.json`` is a list of rows; every request sends ``--size`` of them. Prints answers by status, requests and rows a
second, latency percentiles, and with ``--pid`` the resident memory of the server and its workers every ten seconds.
Exits with 1 if anything but 200 was answered.
"""

import argparse
import asyncio
import json
import random
import sys
import time
from collections import Counter
from pathlib import Path


async def client(
    options: argparse.Namespace, bodies: list[bytes], end: float, seen: Counter, took: list[float]
) -> None:
    reader, writer = await asyncio.open_connection(options.host, options.port)
    while time.perf_counter() < end:
        body = random.choice(bodies)
        began = time.perf_counter()
        writer.write(b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        await reader.readexactly(int(length.split(b":")[1]))
        took.append(time.perf_counter() - began)
        seen[head.split(maxsplit=2)[1].decode()] += 1
    writer.close()


async def guarded(
    options: argparse.Namespace, bodies: list[bytes], end: float, seen: Counter, took: list[float]
) -> None:
    """A client that connects again when it loses its connection, which counts as an answer of its own."""
    while time.perf_counter() < end:
        try:
            await client(options, bodies, end, seen, took)
        except (OSError, asyncio.IncompleteReadError) as error:
            seen[type(error).__name__] += 1


def resident(pid: int) -> float:
    """MiB of ``pid`` and its children."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    own = int(next(line for line in lines if line.startswith("VmRSS:")).split()[1]) / 1024
    return own + sum(resident(int(child)) for child in children)


async def load(options: argparse.Namespace) -> Counter:
    rows = json.loads(Path(options.rows).read_text())
    draw = random.Random(1)
    bodies = [json.dumps(draw.choices(rows, k=options.size)).encode() for _ in range(1000)]
    seen, took, memory = Counter(), [], []
    began = time.perf_counter()
    end = began + options.seconds
    clients = [asyncio.create_task(guarded(options, bodies, end, seen, took)) for _ in range(options.clients)]
    while options.pid and time.perf_counter() < end:
        memory.append(resident(options.pid))
        await asyncio.sleep(min(10, max(end - time.perf_counter(), 0)))
    await asyncio.gather(*clients)
    seconds = time.perf_counter() - began
    took.sort()
    at = {share: took[min(int(share * len(took)), len(took) - 1)] * 1e3 for share in (0.5, 0.9, 0.99, 0.999, 1)}
    print(f"{options.clients} clients, {seconds:.1f} s, {options.size} rows a request; answers: {dict(seen)}")
    print(f"{len(took) / seconds:,.0f} requests/s, {len(took) * options.size / seconds:,.0f} rows/s")
    print("latency " + "  ".join(f"p{share:.1%} {ms:.1f} ms" for share, ms in at.items()))
    if memory:
        print("resident MiB, every 10 s: " + " ".join(f"{mib:.0f}" for mib in [*memory, resident(options.pid)]))
    return seen


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--rows", required=True, help="JSON file with a list of rows")
    parser.add_argument("--size", type=int, default=1, help="rows a request")
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--pid", type=int, help="of the server, for its memory")
    sys.exit(set(asyncio.run(load(parser.parse_args()))) != {"200"})
