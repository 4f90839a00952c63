"""Prepare on a Dask cluster of this machine, beside threads: the same bytes, how long, how much memory; and kills.

    python benchmarks/cluster.py dataset=criteo raw=criteo.txt [--workers 1,2,4]
    python benchmarks/cluster.py dataset=criteo raw=criteo.txt --kill type_piece,counts_of,encode_rows
    python benchmarks/cluster.py dataset=criteo raw=criteo.txt --kill scheduler,client,both

Everything but the options goes to eulernet.prepare. Without --kill: for each number of workers, processes of one thread
and their scheduler are started, and the store is made by them and by threads; a line each says whether all bytes
are equal, the seconds, and the peak memory of the largest process. With --kill the last number of workers works,
and a worker is killed (SIGKILL) in the middle of a task of that name; or the scheduler is, or the client; or there
are two clients at once. Ends with exit code 1 if anything is amiss.
"""

import argparse
import hashlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from distributed import Client

PORT = 8797
PYTHON = [sys.executable, "-m"]
ALONE = {**os.environ, "POLARS_MAX_THREADS": "1"}
QUIET = dict(stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
ADDRESS = f"tcp://127.0.0.1:{PORT}"


@contextmanager
def cluster(workers: int) -> Iterator["subprocess.Popen[bytes]"]:
    """A scheduler, whose process it is, with so many workers of one thread."""
    own = ["--host", "127.0.0.1", "--port", str(PORT), "--no-dashboard", "--no-show"]
    scheduler = subprocess.Popen([*PYTHON, "distributed.cli.dask_scheduler", *own], **QUIET)
    serving = ["--nworkers", str(workers), "--nthreads", "1", "--memory-limit", "0", "--no-dashboard"]
    crew = subprocess.Popen([*PYTHON, "distributed.cli.dask_worker", ADDRESS, *serving], env=ALONE, **QUIET)
    try:
        with Client(ADDRESS, timeout=120, set_as_default=False) as client:
            client.wait_for_workers(workers, timeout=120)
        yield scheduler
    finally:
        for process in (crew, scheduler):
            process.terminate()
            process.wait()


def start(args: Sequence[str], data_dir: Path) -> "subprocess.Popen[str]":
    command = [*PYTHON, "eulernet.prepare", f"data_dir={data_dir}", *args]
    return subprocess.Popen(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def content(data_dir: Path) -> dict[str, str]:
    """The checksum of each file of the one store there, but for what making it took."""
    (store,) = [file.parent for file in data_dir.glob("[!.]*/[!.]*/meta.json")]
    files = [file for file in sorted(store.rglob("*")) if file.is_file() and file.name != "summary.json"]
    return {str(file.relative_to(data_dir)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def took(data_dir: Path) -> str:
    """What the summary of the one store there says."""
    (file,) = data_dir.glob("*/*/summary.json")
    summary = json.loads(file.read_text())
    phases = ", ".join(f"{phase} {seconds:.1f}" for phase, seconds in summary["seconds"].items())
    return f"{sum(summary['seconds'].values()):.1f} s ({phases}), {summary['peak_memory_bytes'] / 2**30:.2f} GiB"


def hidden(data_dir: Path) -> list[str]:
    return [str(path) for path in data_dir.rglob(".*")]


def when_busy(name: str, process: "subprocess.Popen[str]") -> int | None:
    """Wait until a worker does a task called ``name``; its process, or None if preparing ended before."""
    with Client(ADDRESS, timeout=60, set_as_default=False) as client:
        pids = client.run(os.getpid)
        while process.poll() is None:
            for worker, keys in client.processing().items():
                if worker in pids and any(str(key).startswith(name) for key in keys):
                    return int(pids[worker])
            time.sleep(0.01)
    return None


def kill_worker(name: str, args: Sequence[str], data_dir: Path, wanted: dict[str, str]) -> bool:
    process = start(args, data_dir)
    victim = when_busy(name, process)
    if victim is not None:
        os.kill(victim, signal.SIGKILL)
    said = process.communicate()[0]
    same = process.returncode == 0 and content(data_dir) == wanted and not hidden(data_dir)
    print(f"killed a worker in {name}: {victim is not None}, same bytes: {same}", "" if same else said, flush=True)
    return same and victim is not None


def kill_other(what: str, scheduler: "subprocess.Popen[bytes]", args: Sequence[str], data_dir: Path) -> bool:
    """Kill the scheduler, or the client: no store is there, and the client said a line."""
    process = start(args, data_dir)
    when_busy("encode_rows" if what == "client" else "type_piece", process)
    (process if what == "client" else scheduler).kill()
    said, begun = process.communicate()[0], time.monotonic()
    stores = list(data_dir.glob("[!.]*/[!.]*/meta.json"))
    print(f"killed the {what}: exit {process.returncode}, stores: {len(stores)}, {said.strip().splitlines()[-1:]}")
    print(f"  after {time.monotonic() - begun:.1f} s", flush=True)
    return process.returncode != 0 and not stores and "Traceback" not in said


def both(args: Sequence[str], data_dir: Path, wanted: dict[str, str]) -> bool:
    """Two clients at once make one store."""
    processes = [start(args, data_dir) for _ in range(2)]
    said = [process.communicate()[0] for process in processes]
    codes = [process.returncode for process in processes]
    same = codes == [0, 0] and content(data_dir) == wanted and not hidden(data_dir)
    print(f"two clients at once: exits {codes}, same bytes: {same}", "" if same else said, flush=True)
    return same


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", default="1,2,4")
    parser.add_argument("--kill", default="")
    options, args = parser.parse_known_args()
    numbers, kills = [int(n) for n in options.workers.split(",")], options.kill.split(",") if options.kill else []
    afar, good = [*args, "engine=dask", f"scheduler={ADDRESS}"], True
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR")) as place:
        here, there = Path(place) / "threads", Path(place) / "dask"
        process = start(args, here)
        said = process.communicate()[0]
        if process.returncode:
            sys.exit(said)
        print(f"threads: {took(here)}", flush=True)
        wanted = content(here)
        for number in numbers if not kills else ():
            with cluster(number):
                process = start(afar, there)
                said = process.communicate()[0]
                same = process.returncode == 0 and content(there) == wanted
                print(f"{number} workers: same bytes: {same}, {took(there) if same else said}", flush=True)
            good &= same
            subprocess.run(["rm", "-rf", str(there)], check=True)
        for what in kills:
            with cluster(numbers[-1]) as scheduler:
                if what in ("scheduler", "client"):
                    good &= kill_other(what, scheduler, afar, there)
                elif what == "both":
                    good &= both(afar, there, wanted)
                else:
                    good &= kill_worker(what, afar, there, wanted)
            subprocess.run(["rm", "-rf", str(there)], check=True)
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
