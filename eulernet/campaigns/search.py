"""Run a study: hand out its trials to processes, hear of every epoch, end what is not promising, lose nothing."""

import fcntl
import logging
import os
import selectors
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import optuna
import torch
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, TrialState
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from eulernet.campaigns import worker
from eulernet.campaigns.space import apply, as_overrides, drawn
from eulernet.campaigns.study import BEAT, Watch, counted, make_sampler, repeated, requeue, sampler_seed
from eulernet.campaigns.worker import Worker
from eulernet.errors import UserError, require
from eulernet.training.checkpoint import LAST, WEIGHTS

log = logging.getLogger(__name__)

TRIALS = "trials"
HOPELESS = 3  # trials that fail before any succeeds: something is wrong with all of them


@dataclass(frozen=True)
class Plan:
    """How to search: ``trials`` in all and ``workers`` at a time, for at most ``timeout`` seconds."""

    trials: int
    workers: int
    timeout: float | None
    startup: int  # trials drawn at random, and trials that must come to their end before any is stopped early
    owner: str  # this folder on this machine, where the study is shared; "" where it is not
    device: Callable[[int], str]  # of the worker's number


@contextmanager
def holding(folder: Path, patience: float = 15.0) -> Iterator[int]:
    """An open file that holds ``folder`` for this search, and for the trials that inherit it.

    UserError when another search, or what is left of its trials, holds it for longer than ``patience`` seconds.
    """
    descriptor, until = os.open(folder, os.O_RDONLY), time.monotonic() + patience
    try:
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                require(time.monotonic() < until, f"{folder}: another process searches here; workers= for more at once")
            time.sleep(0.1)
        yield descriptor
    finally:
        os.close(descriptor)


@dataclass
class Search:
    """The trials at work in one folder, and the loop that starts, hears and ends them."""

    study: optuna.Study
    space: Mapping[str, BaseDistribution]
    cfg: dict[str, Any]
    overrides: list[str]
    folder: Path
    lock: int
    plan: Plan
    workers: list[Worker] = field(default_factory=list)

    def run(self) -> None:
        """Until all trials of the plan are ended, by whichever machine, or the time is up.

        UserError when every trial fails. Whatever else ends it, running trials go back into the queue.
        """
        self.began, self.watch = time.monotonic(), Watch()
        with selectors.DefaultSelector() as self.pipes, self.bar() as self.shown, logging_redirect_tqdm():
            try:
                requeued = requeue(self.study, [trial for trial in self.trials(TrialState.RUNNING) if self.ours(trial)])
                if requeued:
                    log.info("%d trials that were being trained when the search was stopped go on", requeued)
                self.tidy()
                while self.step():
                    pass
            finally:
                self.give_back()

    def step(self) -> bool:
        """Start what can be started, hear what is said within a second; False when the search is over."""
        foreign = [trial for trial in self.trials(TrialState.RUNNING) if not self.mine(trial)]
        requeue(self.study, self.watch.dead(foreign))
        while not self.late() and len(self.workers) < self.plan.workers and self.start_one():
            pass
        if self.late() or not (self.workers or foreign or self.to_start() > 0):
            return False
        for key, _ in self.pipes.select(timeout=1.0):
            self.listen(key.data)
        for at_work in self.workers:
            if self.plan.owner and time.monotonic() - at_work.beaten > BEAT:
                at_work.beaten = time.monotonic()
                at_work.trial.set_user_attr("beat", int(at_work.beaten - at_work.began) + 1)
        self.show()
        return True

    def trials(self, *states: TrialState) -> list[FrozenTrial]:
        return self.study.get_trials(deepcopy=False, states=states or None)

    def ours(self, trial: FrozenTrial) -> bool:
        """Whether a process that held this folder's lock took the trial on."""
        return not self.plan.owner or trial.user_attrs.get("owner") == self.plan.owner

    def mine(self, trial: FrozenTrial) -> bool:
        return trial.number in {at_work.trial.number for at_work in self.workers}

    def late(self) -> bool:
        return self.plan.timeout is not None and time.monotonic() - self.began > self.plan.timeout

    def to_start(self) -> int:
        """How many trials the plan has beyond those that are running or ended."""
        return self.plan.trials - sum(trial.state != TrialState.WAITING for trial in counted(self.trials()))

    def start_one(self) -> bool:
        """Take the next trial on: one that waits, else a new one. False when there is none."""
        left = self.to_start()
        if left <= 0:
            return False
        seed = sampler_seed(self.cfg["seed"], self.plan.trials - left, self.plan.owner)
        self.study.sampler = make_sampler(seed, self.plan.startup)
        trial = self.study.ask(dict(self.space))
        attrs = trial.user_attrs
        kept = attrs.get("folder") if attrs.get("owner") == self.plan.owner else None
        where = kept or f"{TRIALS}/{trial.number}"
        about = {"owner": self.plan.owner, "folder": where, "seed": self.cfg["seed"], "sampler_seed": seed}
        for key, value in about.items():
            trial.set_user_attr(key, value)
        if repeated(self.study, trial):
            return True
        slot = min(set(range(self.plan.workers)) - {at_work.slot for at_work in self.workers})
        cfg = {**apply(drawn(trial), self.cfg), "device": self.plan.device(slot)}
        overrides = [*self.overrides, *as_overrides(drawn(trial))]
        threads = max(1, torch.get_num_threads() // self.plan.workers)
        at_work = worker.start(trial, slot, self.folder / where, cfg, overrides, threads, self.lock)
        self.workers.append(at_work)
        assert at_work.process.stdout is not None
        self.pipes.register(at_work.process.stdout, selectors.EVENT_READ, at_work)
        return True

    def listen(self, at_work: Worker) -> None:
        """Take in what a trial says, and end it when it is over or not promising."""
        said, trial = at_work.hear(), at_work.trial
        if said is None:
            code = at_work.process.wait()
            if code in (-signal.SIGTERM, -signal.SIGINT):  # a shutdown, which the setting is not to blame for
                self.leave(at_work)
                requeue(self.study, [t for t in self.trials(TrialState.RUNNING) if t.number == trial.number])
                return
            killed = f"killed by signal {-code}; was it out of memory?" if code < 0 else f"ended with code {code}"
            self.end(at_work, TrialState.FAIL, error=f"{killed} (see {at_work.run / worker.LOG})")
        elif "epoch" in said:
            at_work.epochs.append(said["epoch"])
            with suppress(RuntimeError):  # another machine took us for dead: what we find still counts for its trial
                trial.report(said["epoch"]["valid_auc"], said["epoch"]["epoch"])
                if trial.should_prune():
                    self.end(at_work, TrialState.PRUNED)
        elif "done" in said:
            self.end(at_work, TrialState.COMPLETE)
        elif "diverged" in said:  # as bad as can be, and the sampler should know: it leaves out trials that failed
            self.end(at_work, TrialState.PRUNED, diverged=said["diverged"])
        else:
            self.end(at_work, TrialState.FAIL, error=said["failed"])

    def end(self, at_work: Worker, state: TrialState, **why: str) -> None:
        """Put down how a trial ended."""
        trial, best = at_work.trial, at_work.best
        self.leave(at_work)
        figures: dict[str, Any] = {"epochs": len(at_work.epochs), "seconds": round(time.monotonic() - at_work.began, 1)}
        if best is not None:
            figures |= {"best_epoch": best["epoch"], "valid_auc": best["valid_auc"]}
            figures |= {"valid_logloss": best["valid_logloss"]}
        value = best["valid_auc"] if best is not None and state == TrialState.COMPLETE else None
        try:
            for key, content in {**figures, **why}.items():
                trial.set_user_attr(key, content)
            self.study.tell(trial, value, state)
        except (ValueError, RuntimeError):
            log.info("trial %d was taken over by another machine, which counts it", trial.number)
            return
        self.tidy()
        self.say(at_work, state, why)
        failed = [t for t in self.trials(TrialState.FAIL) if "error" in t.user_attrs]
        if len(failed) >= HOPELESS and not self.trials(TrialState.COMPLETE, TrialState.PRUNED):
            raise UserError(f"the first {len(failed)} trials all failed; the last: {failed[-1].user_attrs['error']}")

    def leave(self, at_work: Worker) -> None:
        self.pipes.unregister(at_work.process.stdout)  # type: ignore[arg-type]
        at_work.stop()
        self.workers.remove(at_work)

    def give_back(self) -> None:
        """Stop what is running and put it back into the queue, to go on from its last epoch."""
        numbers = {at_work.trial.number for at_work in self.workers}
        for at_work in list(self.workers):
            self.leave(at_work)
        requeue(self.study, [trial for trial in self.trials(TrialState.RUNNING) if trial.number in numbers])

    def tidy(self) -> None:
        """Of the trials that ended keep logs and figures, and of the best one also weights and checkpoint."""
        best = best_trial(self.study)
        for trial in counted(self.trials()):
            kept = best is not None and trial.number == best.number
            if trial.state.is_finished() and self.ours(trial) and not kept and "folder" in trial.user_attrs:
                run = self.folder / trial.user_attrs["folder"]
                for file in (run / WEIGHTS, run / LAST, *run.glob(".*")):
                    file.unlink(missing_ok=True)

    def say(self, at_work: Worker, state: TrialState, why: Mapping[str, str]) -> None:
        best = at_work.best
        figure = f"valid auc={best['valid_auc']:.6f} at epoch {best['epoch']}" if best else "no epoch"
        how = {"COMPLETE": "", "PRUNED": f", stopped at epoch {len(at_work.epochs)}", "FAIL": ", failed"}[state.name]
        reason = "".join(f": {text}" for text in why.values())
        setting = " ".join(as_overrides(drawn(at_work.trial)))
        log.info("trial %3d  %s%s%s  (%s)", at_work.trial.number, figure, how, reason, setting)
        log.info("           %s", self.summary())

    def summary(self) -> str:
        """How many trials are done, the best so far, and the time left if the next take as long as the last ones."""
        done = [trial for trial in counted(self.trials()) if trial.state.is_finished()]
        states = [("complete", TrialState.COMPLETE), ("stopped early", TrialState.PRUNED), ("failed", TrialState.FAIL)]
        counts = [(name, sum(trial.state == state for trial in done)) for name, state in states]
        parts = [f"{len(done)}/{self.plan.trials} trials", ", ".join(f"{n} {name}" for name, n in counts if n)]
        best = best_trial(self.study)
        if best is not None:
            parts.append(f"best {best.value:.6f} (trial {best.number})")
        seconds = [trial.user_attrs["seconds"] for trial in done if "seconds" in trial.user_attrs]
        left = [sum(seconds) / len(seconds) * (self.plan.trials - len(done)) / self.plan.workers] if seconds else []
        if self.plan.timeout is not None:
            left.append(self.plan.timeout - (time.monotonic() - self.began))
        if left and len(done) < self.plan.trials:
            parts.append(f"about {duration(min(left))} left")
        return ", ".join(part for part in parts if part)

    def bar(self) -> "tqdm[Any]":
        """One line about all of it, on a terminal only."""
        return tqdm(total=self.plan.trials, bar_format="{desc}", leave=False, disable=None, dynamic_ncols=True)

    def show(self) -> None:
        if not self.shown.disable:
            epochs = (f"{w.trial.number}: epoch {len(w.epochs)}" for w in self.workers)
            self.shown.set_description_str(f"{self.summary()} | now {', '.join(epochs)}")


def best_trial(study: optuna.Study) -> FrozenTrial | None:
    """The first trial with the highest validation AUC, or None while none came to its end."""
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    return max(complete, key=lambda trial: (trial.value or 0.0, -trial.number), default=None)


def duration(seconds: float) -> str:
    minutes = max(seconds, 0) / 60
    return (
        f"{minutes / 60:.1f} h" if minutes >= 90 else f"{minutes:.0f} min" if minutes >= 2 else f"{minutes * 60:.0f} s"
    )


def require_whole(value: Any, key: str) -> None:
    whole = isinstance(value, int) and not isinstance(value, bool) and value >= 1
    require(whole, f"{key}={value}: should be a whole number, 1 or more")
