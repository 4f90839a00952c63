"""Systems measured in turn, each in a process of its own that stays: for bench_peers.py train and bench_models.py."""

import contextlib
import importlib.metadata
import json
import math
import os
import platform
import re
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[1]
DRIVERS = Path(__file__).parent / "peers"
THREADS = ("OMP", "MKL", "OPENBLAS", "NUMEXPR", "RAYON")
# glibc then keeps what is freed, as eulernet makes it do by itself.
TUNED_ALLOCATOR = {
    "MALLOC_MMAP_THRESHOLD_": str(1 << 30),
    "MALLOC_TRIM_THRESHOLD_": str((1 << 31) - 1),
    "MALLOC_TOP_PAD_": str(64 << 20),
}

# Criteo: what is kept of a file of the full size that make_criteo.py draws, the four largest fields enlarged to the
# paper's 1,327,180 ids. MovieLens-1M: the paper's 13,480 ids. Each field has an id 0 beside them.
SIZES = {
    "criteo": [39, 90, 125, 37, 214, 137, 80, 58, 86, 6, 26, 30, 57, 1460, 583, 238303, 167803, 305, 24, 12517, 633, 3,
               50064, 5683, 240355, 3194, 27, 13250, 227457, 10, 4096, 2083, 4, 239332, 18, 15, 65692, 98, 53187],
    "movielens": [6040, 7, 2, 21, 3439, 3890, 81],
}  # fmt: skip


class WorkerError(Exception):
    """What a system's process ended with, in one line."""


@dataclass
class Worker:
    """A driver's process after its first training step, and what it has done since."""

    name: str
    process: subprocess.Popen[str]
    log: Path
    first_step_seconds: float
    steps: dict[str, int] = field(default_factory=dict)  # a turn takes so many
    rates: dict[str, list[float]] = field(default_factory=lambda: {"train": [], "evaluate": []})
    cpu_rates: dict[str, list[float]] = field(default_factory=lambda: {"train": [], "evaluate": []})

    def run(self, work: str, steps: int) -> dict[str, float]:
        """What ``steps`` took. Between its turns the process is stopped: threads of some libraries wait busily."""
        self.process.send_signal(signal.SIGCONT)
        try:
            return ask(self.process, {"work": work, "steps": steps}, self.name, self.log)
        finally:
            self.process.send_signal(signal.SIGSTOP)

    def warm_up(self, work: str, seconds: float) -> None:
        """A step, then one that tells how many fill ``seconds``."""
        self.run(work, 1)
        self.steps[work] = math.ceil(seconds / self.run(work, 1)["seconds"])

    def turn(self, work: str) -> None:
        done = self.run(work, self.steps[work])
        self.rates[work].append(done["rows"] / done["seconds"])
        self.cpu_rates[work].append(done["rows"] / done["cpu_seconds"])

    def peak_mib(self) -> float:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        found = re.search(r"VmHWM:\s+(\d+) kB", status)
        return int(found[1]) / 1024 if found else math.nan

    def figures(self) -> dict[str, Any]:
        return {
            "train_samples_per_second": spread(self.rates["train"]),
            "train_samples_per_cpu_second": spread(self.cpu_rates["train"]),
            "evaluate_samples_per_second": spread(self.rates["evaluate"]),
            "evaluate_samples_per_cpu_second": spread(self.cpu_rates["evaluate"]),
            "steps_in_a_turn": self.steps,
            "peak_mib": self.peak_mib(),
        }


@dataclass(frozen=True)
class Contestant:
    """How to start a system: an interpreter that has it, its driver, its job, and its environment variables."""

    name: str
    python: Path
    driver: str
    job: Mapping[str, Any]
    env: Mapping[str, str]


@contextlib.contextmanager
def started(each: Contestant, folder: Path) -> Iterator[Worker]:
    """A worker for as long as the context lasts. WorkerError if it does not get as far as a first step."""
    threads = {f"{name}_NUM_THREADS": str(each.job["threads"]) for name in THREADS}
    folder.mkdir(exist_ok=True)  # where it stands: some write logs
    file = folder / "log.txt"
    with file.open("w") as log:
        start = time.perf_counter()
        process = subprocess.Popen(
            [each.python, DRIVERS / each.driver], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True,
            cwd=folder, env=os.environ | threads | dict(each.env),
        )  # fmt: skip
        try:
            ask(process, dict(each.job), each.name, file)
            yield Worker(each.name, process, file, time.perf_counter() - start)
        finally:
            process.kill()
            process.wait()


def ask(process: subprocess.Popen[str], what: dict[str, Any], name: str, log: Path) -> dict[str, Any]:
    """Its answer. WorkerError, with the last line of ``log``, if it has none."""
    assert process.stdin is not None
    assert process.stdout is not None
    with contextlib.suppress(BrokenPipeError):
        process.stdin.write(json.dumps(what) + "\n")
        process.stdin.flush()
    if answer := process.stdout.readline():
        return json.loads(answer)
    lines = log.read_text().strip().splitlines()
    raise WorkerError(f"{name}: {lines[-1] if lines else f'ended with {process.wait()}'}")


def contest(workers: Sequence[Worker], rounds: int, seconds: float) -> None:
    """A turn of every worker, then the next round: all meet the same noise. Training first, then evaluation."""
    for work in ("train", "evaluate"):
        for worker in workers:
            worker.warm_up(work, seconds)
        for _ in range(rounds):
            for worker in workers:
                worker.turn(work)


def make_store(setting: str, rows: int, data_dir: Path, ids: int | None = None) -> tuple[Path, list[str]]:
    """A store of eulernet with ``rows`` drawn rows of a setting's fields, and the overrides that name it.

    Ids are skewed: Criteo's follow the shares that make_criteo.py has from real rows, MovieLens' fall as 1/rank^0.6.
    Labels are those of dataset=synthetic, whatever. With ``ids`` the fields share so many in the same proportions, and
    what is rarer is id 0.
    """
    sizes = SIZES[setting]
    if ids is not None:
        sizes = [max(2, round(size * ids / sum(sizes))) for size in sizes]
    overrides = [
        "dataset=synthetic", f"dataset.field_sizes={sizes}", f"dataset.rows={rows}", f"data_dir={data_dir}",
    ]  # fmt: skip
    subprocess.run(
        [sys.executable, "-m", "eulernet.prepare", *overrides], check=True, stdout=subprocess.DEVNULL, cwd=ROOT
    )
    (store,) = (meta.parent for meta in data_dir.glob("synthetic/*/meta.json"))
    draw = np.random.default_rng(1)
    x = np.load(store / "x.npy", mmap_mode="r+")
    for f, size in enumerate(sizes):
        x[:, f] = criteo_ids(f, size, rows, draw) if setting == "criteo" else zipf_ids(size, rows, draw)
    x.flush()
    return store, overrides


def criteo_ids(f: int, size: int, rows: int, draw: np.random.Generator) -> np.ndarray:
    """Ids 1, 2, ... by falling popularity; 0 for what is rarer than the ``size``-th."""
    sys.path.insert(0, str(ROOT / "scripts"))
    from make_criteo import columns

    rank = list(columns("criteo").values())[f].rank(draw.integers(2**32, size=rows, dtype=np.uint32)).astype(np.int64)
    return np.where(rank < size, rank + 1, 0)


def zipf_ids(size: int, rows: int, draw: np.random.Generator) -> np.ndarray:
    share = np.arange(1, size + 1) ** -0.6
    return draw.choice(size, rows, p=share / share.sum()) + 1


def split_of(store: Path) -> list[list[int]]:
    """The rows of the training and of the validation split."""
    split = json.loads((store / "meta.json").read_text())["split"]
    return [split["train"], split["valid"]]


def machine() -> dict[str, Any]:
    model = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return {
        "cpu": model[1] if model else platform.machine(),
        "cores": os.cpu_count(),
        "memory_gib": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30,
        "torch": importlib.metadata.version("torch"),
    }


def spread(values: list[float]) -> dict[str, float]:
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def markdown(rows: list[list[str]]) -> str:
    """A table: the first column to the left, figures to the right."""
    head, *body = rows
    lines = [head, ["---", *["--:"] * (len(head) - 1)], *body]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
