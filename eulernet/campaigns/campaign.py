"""The runs of a table: which of them are there, and the processes that train the others.

Every run is its own ``python -m eulernet.train``. Its folder is locked while anybody trains in it, and the lock is the
run's as much as ours: when a campaign is killed and started again, it waits for what the first one left at work.
"""

import csv
import fcntl
import logging
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from eulernet.reporting.runs import REPORT, Run, identity, read_run
from eulernet.training.checkpoint import LAST

log = logging.getLogger(__name__)

LOOK = 0.5  # seconds between looks at what is at work


@dataclass(frozen=True)
class Job:
    """A run that a table needs: what to type for it, the identity of its configuration, and where it goes."""

    dataset: str
    setting: str
    seed: int
    overrides: tuple[str, ...]
    identity: tuple[str, int, int]
    folder: Path

    def __str__(self) -> str:
        return f"{self.setting} on {self.dataset}, seed {self.seed}"


def finished(folders: Iterable[Path]) -> dict[tuple[str, int, int], Run]:
    """The finished runs anywhere below ``folders``, by identity; of several with one identity the first counts.

    UserError for a damaged report.
    """
    runs: dict[tuple[str, int, int], Run] = {}
    for folder in folders:
        for file in sorted(folder.rglob(REPORT)):
            run = read_run(file.parent)
            runs.setdefault(identity(run.report["config"]), run)
    return runs


@dataclass
class Worker:
    """The process that trains ``job``, the slot it works in, and the open folder that holds the lock."""

    job: Job
    process: "subprocess.Popen[bytes]"
    lock: int
    said: IO[bytes]
    began: float = field(default_factory=time.monotonic)

    @property
    def elapsed(self) -> float:
        return time.monotonic() - self.began

    def state(self) -> str:
        """Where it is, as its metrics.csv says."""
        with suppress(OSError, ValueError, KeyError):  # not there yet, or being written
            with (self.job.folder / "metrics.csv").open(newline="") as file:
                lines = list(csv.DictReader(file))
            if lines:
                best = max(float(line["valid_auc"]) for line in lines)
                return f"{self.job.setting} {self.job.seed} (epoch {len(lines)}, {best:.4f})"
        return f"{self.job.setting} {self.job.seed}"


def run_missing(
    jobs: Sequence[Job],
    done: Mapping[Job, Run],
    slots: int,
    device: Callable[[int], str],
    options: Sequence[str],
) -> dict[Job, str]:
    """Train ``jobs``, ``slots`` at a time, each on ``device(slot)``; what the failed ones said last.

    ``done`` are the table's finished runs, ``options`` what every run is started with. What is at work when this is
    interrupted is stopped, and goes on from its last epoch next time.
    """
    waiting, working, failures = list(jobs), dict[int, Worker](), dict[Job, str]()
    total, pace = len(jobs) + len(done), Pace()
    for job, run in done.items():
        pace.learn(job, run.report["seconds"])
    form = "{n_fmt}/{total_fmt} runs |{bar:20}| {elapsed} gone{postfix}"
    with (
        tqdm(total=total, initial=len(done), bar_format=form, leave=False, disable=None, dynamic_ncols=True)
        as bar, logging_redirect_tqdm(),
    ):  # fmt: skip
        try:
            while waiting or working:
                for slot in range(slots):
                    if slot not in working and (worker := next_worker(waiting, device(slot), slots, options)):
                        working[slot] = worker
                time.sleep(LOOK)
                for slot, worker in list(working.items()):
                    if worker.process.poll() is not None:
                        del working[slot]
                        said = conclude(worker)
                        if said is None:
                            pace.learn(worker.job, worker.elapsed)
                        else:
                            failures[worker.job] = said
                        log.info("%s: %s", worker.job, "failed: " + said if said else result(worker.job))
                bar.n = total - len(waiting) - len(working)
                at_work = ", ".join(worker.state() for worker in working.values()) or "waiting for another process"
                bar.set_postfix_str(f"about {pace.left(waiting, working.values(), slots)} left; at work: {at_work}")
        finally:
            for worker in working.values():
                worker.process.terminate()
            for worker in working.values():
                conclude(worker, stopped=True)
    return failures


def next_worker(waiting: list[Job], device: str, slots: int, options: Sequence[str]) -> Worker | None:
    """Start the first of ``waiting`` that nobody else has at work, and take it off the list; None if there is none."""
    for job in list(waiting):
        lock = claim(job.folder)
        if lock is None:
            continue
        waiting.remove(job)
        if not (job.folder / REPORT).exists():  # else another process was faster
            return start(job, lock, device, slots, options)
        os.close(lock)
    return None


def claim(folder: Path) -> int | None:
    """An open file that holds ``folder``, made if needed, until it is closed; None while another process holds it."""
    folder.mkdir(parents=True, exist_ok=True)
    lock = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return None
    return lock


def start(job: Job, lock: int, device: str, slots: int, options: Sequence[str]) -> Worker:
    """Begin to train ``job``, or go on from its checkpoint, with a share of the CPU's threads."""
    if (job.folder / LAST).exists():
        for half in job.folder.glob(".*"):  # written when the run was killed
            half.unlink()
        args = [f"resume='{job.folder}'", f"device={device}"]
    else:
        for rest in job.folder.iterdir():  # of a run that was killed before its first epoch was over
            shutil.rmtree(rest) if rest.is_dir() else rest.unlink()
        args = [*job.overrides, f"device={device}", f"hydra.run.dir='{job.folder}'"]
    threads = str(max(1, (os.cpu_count() or 1) // slots))
    said = tempfile.TemporaryFile()  # noqa: SIM115 (conclude closes it)
    process = subprocess.Popen(
        [sys.executable, "-m", "eulernet.train", *options, *args],
        stdin=subprocess.DEVNULL,
        stdout=said,
        stderr=said,
        env={"OMP_NUM_THREADS": threads, **os.environ},
        pass_fds=(lock,),
        start_new_session=True,  # a Ctrl-C is for the campaign, which ends its runs
    )
    return Worker(job, process, lock, said)


def conclude(worker: Worker, stopped: bool = False) -> str | None:
    """Wait for the end of the process and free the run; None if it came to its end, else what it said last.

    All that it said is then in ``failed.log`` in its folder, unless it was ``stopped`` by us.
    """
    code = worker.process.wait()
    worker.said.seek(0)
    with worker.said:
        said = worker.said.read()
    file = worker.job.folder / "failed.log"
    if code == 0:
        file.unlink(missing_ok=True)  # of an earlier attempt
    elif not stopped:
        file.write_bytes(said)
    os.close(worker.lock)
    if code == 0:
        return None
    lines = said.decode(errors="replace").strip().splitlines()
    errors = [line for line in lines if line.startswith("error: ")] or lines[-1:]
    last = errors[0].removeprefix("error: ") if errors else f"signal {-code}" if code < 0 else f"exit code {code}"
    return f"{last} (all that it said: {file})"


def result(job: Job) -> str:
    report = read_run(job.folder).report
    return f"valid auc={report['valid']['auc']:.5f} in {report['epochs']} epochs, {report['seconds']:.0f} s"


class Pace:
    """Seconds that runs take: those of a setting its own finished runs took, else what the median of all did."""

    def __init__(self) -> None:
        self.seconds: dict[tuple[str, str], list[float]] = {}

    def learn(self, job: Job, seconds: float) -> None:
        self.seconds.setdefault((job.dataset, job.setting), []).append(seconds)

    def of(self, job: Job) -> float | None:
        every = [one for each in self.seconds.values() for one in each]
        return statistics.median(self.seconds.get((job.dataset, job.setting), every)) if every else None

    def left(self, waiting: Iterable[Job], working: Iterable[Worker], slots: int) -> str:
        """The time that the rest should take, as h:mm:ss; "?" before there is any run to go by."""
        if not self.seconds:
            return "?"
        later = sum(self.of(job) or 0 for job in waiting)
        now = sum(max((self.of(worker.job) or 0) - worker.elapsed, 0) for worker in working)
        seconds = int((later + now) / slots)
        return f"{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02}"
