"""Train the runs that a table lacks, with what is known of the time that they take."""

import logging
import statistics
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from eulernet.campaigns.planned import Identity, PlannedRun
from eulernet.campaigns.pool import Pool, Worker
from eulernet.errors import DiskFull
from eulernet.files import locked
from eulernet.runs.reading import REPORT
from eulernet.runs.run import Run

log = logging.getLogger(__name__)

LOOK = 0.5  # seconds between looks at the runs of other campaigns


def train_missing(
    wanted: Sequence[PlannedRun], known: Mapping[Identity, Run], slots: int, device: str
) -> dict[PlannedRun, str]:
    """Train those of ``wanted`` that are not ``known``, ``slots`` at a time; what the failed ones said.

    What is at work when this is interrupted goes on from its last epoch next time. Another campaign may train runs of
    the same folder meanwhile: a run that it has at work is waited for.
    """
    missing = list({run.identity: run for run in reversed(wanted) if run.identity not in known}.values())[::-1]
    if not missing:
        return {}
    done = [run for run in wanted if run.identity in known]
    log.info("%d runs are there, %d to train", len(done), len(missing))
    total, waiting, failures, pace = len(done) + len(missing), list(missing), dict[PlannedRun, str](), Pace()
    for run in done:
        pace.learn(run, known[run.identity].report["seconds"])
    form = "{n_fmt}/{total_fmt} runs |{bar:20}| {elapsed}{postfix}"
    with (
        Pool[PlannedRun](slots) as pool, logging_redirect_tqdm(),
        tqdm(total=total, initial=len(done), bar_format=form, leave=False, disable=None, dynamic_ncols=True) as bar,
    ):  # fmt: skip
        try:
            while waiting or pool.workers:
                while pool.free and (mine := next_of(waiting)):
                    pool.start(mine, "run", mine.folder, {**mine.config, "device": device}, list(mine.overrides))
                for worker, kind, content in pool.hear(LOOK):
                    take_in(worker, kind, content, waiting, failures, pace)
                bar.n = total - len(waiting) - len(pool.workers)
                at_work = ", ".join(map(state, pool.workers)) or "waiting for another process"
                bar.set_postfix_str(f"about {pace.left(waiting, pool.workers, slots)} left; at work: {at_work}")
        except KeyboardInterrupt:
            log.info("stopped; the same command goes on")
            raise
    return failures


def next_of(waiting: list[PlannedRun]) -> PlannedRun | None:
    """Take the first run that nobody trains off the list; None if there is none. Those that were trained go, too."""
    for run in list(waiting):
        run.folder.mkdir(parents=True, exist_ok=True)
        with suppress(BlockingIOError), locked(run.folder, wait=False):
            waiting.remove(run)
            if not (run.folder / REPORT).exists():  # else another campaign was faster
                return run
    return None


def take_in(
    worker: Worker[PlannedRun], kind: str, content: Any,
    waiting: list[PlannedRun], failures: dict[PlannedRun, str], pace: "Pace",
) -> None:  # fmt: skip
    """Record how a run ended. A run that another campaign started between our look and our start waits again."""
    run = worker.task
    if kind == "busy":
        waiting.append(run)
    elif kind == "done":
        pace.learn(run, worker.seconds)
        report = Run.open(run.folder).report
        found = report["valid"]["auc"], report["epochs"], report["seconds"]
        log.info("%s: valid auc=%.5f in %d epochs, %.0f s", run, *found)
    elif kind == "full":
        raise DiskFull(content)
    elif kind != "epoch":
        failures[run] = str(content)
        log.info("%s: failed: %s", run, content)


def state(worker: Worker[PlannedRun]) -> str:
    at = f" (epoch {len(worker.epochs)}, {worker.best['valid_auc']:.4f})" if worker.best else ""
    return f"{worker.task.setting} {worker.task.seed}{at}"


class Pace:
    """Seconds that runs take: those of a setting its own finished runs took, else what the median of all did."""

    def __init__(self) -> None:
        self.seconds: dict[tuple[str, str], list[float]] = {}

    def learn(self, run: PlannedRun, seconds: float) -> None:
        self.seconds.setdefault((run.dataset, run.setting), []).append(seconds)

    def of(self, run: PlannedRun) -> float:
        every = [one for each in self.seconds.values() for one in each]
        return statistics.median(self.seconds.get((run.dataset, run.setting), every))

    def left(self, waiting: Iterable[PlannedRun], workers: Iterable[Worker[PlannedRun]], slots: int) -> str:
        """The time that the rest should take, as h:mm:ss; "?" before there is any run to go by."""
        if not self.seconds:
            return "?"
        later = sum(map(self.of, waiting))
        now = sum(max(self.of(worker.task) - worker.seconds, 0) for worker in workers)
        seconds = int((later + now) / slots)
        return f"{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02}"
