"""What a command and all that it starts use: seconds, CPU seconds, memory. For bench_peers.py."""

import contextlib
import ctypes
import os
import re
import resource
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SAMPLE_SECONDS = 0.05


class PeerError(Exception):
    """What a peer, or pip for it, ended with, in one line."""


@dataclass(frozen=True)
class Usage:
    seconds: float
    cpu_seconds: float  # of the processes that could be waited for
    peak_mib: float  # Pss
    peak_rss_mib: float  # the sum of resident sets: what is shared or mapped twice counts twice
    processes: int  # at most, at one time


def measure(command: list[Any], *, cwd: Path, env: dict[str, str]) -> tuple[Usage, str]:
    """Run ``command`` to its end: what it used, and what it printed. PeerError if it fails."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with tempfile.TemporaryFile() as output, watched() as peak:
        start = time.perf_counter()
        process = subprocess.Popen(command, cwd=cwd, env=os.environ | env, stdout=output, stderr=output)
        status = os.waitpid(process.pid, 0)[1]
        seconds = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)  # or Popen would wait for it again
        output.seek(0)
        printed = output.read().decode(errors="replace")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if process.returncode < 0:
        raise PeerError(f"killed by {signal.Signals(-process.returncode).name} at {peak['pss'] / 2**20:,.0f} MiB")
    if process.returncode:
        raise PeerError(last_error(printed))
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Usage(seconds, cpu, peak["pss"] / 2**20, peak["rss"] / 2**20, peak["processes"]), printed


@contextlib.contextmanager
def watched() -> Iterator[dict[str, int]]:
    """Keep the peak memory and number of our descendants up to date in a thread; end those that are left at the end."""
    peak, done = {"pss": 0, "rss": 0, "processes": 0}, threading.Event()

    def watch() -> None:
        pause = SAMPLE_SECONDS
        while not done.wait(pause):
            pids = descendants()
            peak["processes"] = max(peak["processes"], len(pids))
            resident = sum(map(resident_bytes, pids))
            peak["rss"] = max(peak["rss"], resident)
            start = time.perf_counter()
            if resident > peak["pss"]:  # Pss is never above, and slow to read
                peak["pss"] = max(peak["pss"], sum(map(proportional_bytes, pids)))
            pause = max(SAMPLE_SECONDS, 10 * (time.perf_counter() - start))  # take at most a tenth of a core

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield peak
    finally:
        done.set()
        thread.join()
        for sign in (signal.SIGTERM, signal.SIGKILL):
            end_descendants(sign, patience=5)


def adopt_orphans() -> None:
    """Make this process the parent of descendants whose own parent ends, as Ray's are, so that none goes uncounted."""
    ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER


def descendants() -> list[int]:
    """Ids of the living processes below this one."""
    children: dict[int, list[int]] = {}
    for pid in map(int, filter(str.isdecimal, os.listdir("/proc"))):  # noqa: PTH208 (20 times a second)
        with contextlib.suppress(OSError):
            state, parent = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[:2]
            if state != "Z":
                children.setdefault(int(parent), []).append(pid)
    found = list(children.get(os.getpid(), []))
    for pid in found:
        found += children.get(pid, [])
    return found


def resident_bytes(pid: int) -> int:
    with contextlib.suppress(OSError, IndexError):
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * resource.getpagesize()
    return 0


def proportional_bytes(pid: int) -> int:
    """The resident set, with each page divided by the number of times it is mapped, by any process."""
    with contextlib.suppress(OSError):
        if found := re.search(r"^Pss:\s+(\d+) kB", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.MULTILINE):
            return int(found[1]) * 1024
    return 0


def end_descendants(sign: signal.Signals, patience: float) -> None:
    """Send ``sign`` to whatever is left below this process, and collect it, for at most ``patience`` seconds."""
    deadline = time.monotonic() + patience
    for pid in descendants():
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, sign)
    with contextlib.suppress(ChildProcessError):
        while time.monotonic() < deadline:
            if os.waitpid(-1, os.WNOHANG)[0] == 0:
                time.sleep(0.02)


def last_error(printed: str) -> str:
    """The line of a program's output that says why it failed."""
    lines = [line.strip() for line in printed.splitlines() if line.strip()] or ["failed without a word"]
    named = [line for line in lines if re.match(r"(error|ERROR|[\w.]*(Error|Exception|Interrupt))\b", line)]
    return (named or lines)[-1]
