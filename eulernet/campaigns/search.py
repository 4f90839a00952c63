"""Run a study: give its trials to workers, hear of every epoch, stop trials that are not promising, lose nothing."""

import logging
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, TrialState
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from eulernet.campaigns.pool import Pool, Worker, remove, sweep
from eulernet.campaigns.space import apply, as_overrides, drawn
from eulernet.campaigns.study import BEAT, Watch, counted, make_sampler, repeated, requeue, sampler_seed, undisturbed
from eulernet.errors import DiskFull, UserError
from eulernet.training.checkpoint import CHECKPOINTS, LAST
from eulernet.training.weights import weight_files

log = logging.getLogger(__name__)

TRIALS = "trials"
HOPELESS = 3  # trials that fail before any succeeds: something is wrong with all of them


@dataclass(frozen=True)
class Plan:
    """How to search: ``trials`` in all and ``workers`` at a time, for at most ``timeout`` seconds."""

    trials: int
    workers: int
    timeout: float | None
    startup: int  # trials drawn at random
    owner: str  # this folder on this machine, where the study is shared; "" where it is not
    salt: str = ""  # searches that differ in it draw other settings
    budget: float | None = None  # core-seconds after which no new trial starts


@dataclass
class Search:
    """The trials at work in one folder, and the loop that starts, hears and ends them."""

    study: optuna.Study
    space: Mapping[str, BaseDistribution]
    cfg: dict[str, Any]
    overrides: list[str]
    folder: Path
    plan: Plan

    def run(self) -> None:
        """Search until all trials of the plan have ended, on whichever machine, or the time is up.

        UserError when every trial fails. Whatever ends the search, its running trials go back into the queue.
        """
        self.began = self.beaten = time.monotonic()
        self.watch, self.pool, self.asked = Watch(), Pool[optuna.Trial](self.plan.workers), set[int]()
        with self.pool, self.bar() as self.shown, logging_redirect_tqdm():
            try:
                with undisturbed():
                    left = [trial for trial in self.trials(TrialState.RUNNING) if self.ours(trial)]
                    if requeued := requeue(self.study, left):
                        log.info("%d trials that were being trained when the search was stopped go on", requeued)
                    self.tidy()
                while self.step():
                    pass
            finally:
                self.give_back(self.pool.workers, self.asked)

    def step(self) -> bool:
        """Start what can be started, hear what is said within a second; False when the search is over.

        A stop takes effect between its queries, and while it waits for workers.
        """
        with undisturbed():
            foreign = [trial for trial in self.trials(TrialState.RUNNING) if not self.mine(trial)]
            requeue(self.study, self.watch.dead(foreign))
        while not self.late() and self.pool.free and self.start_one():
            pass
        with undisturbed():
            if self.late() or not (self.pool.workers or foreign or self.to_start() > 0):
                return False
        for worker, kind, content in self.pool.hear(1.0):
            with undisturbed():
                self.take_in(worker, kind, content)
        with undisturbed():
            if self.plan.owner and time.monotonic() - self.beaten > BEAT:
                self.beaten = time.monotonic()
                for worker in self.pool.workers:
                    worker.task.set_user_attr("beat", int(worker.seconds) + 1)
            self.show()
        return True

    def trials(self, *states: TrialState) -> list[FrozenTrial]:
        return self.study.get_trials(deepcopy=False, states=states or None)

    def ours(self, trial: FrozenTrial) -> bool:
        """Whether a search in this folder, this one or an earlier one, started the trial."""
        return not self.plan.owner or trial.user_attrs.get("owner") == self.plan.owner

    def mine(self, trial: FrozenTrial) -> bool:
        return trial.number in {worker.task.number for worker in self.pool.workers}

    def late(self) -> bool:
        return self.plan.timeout is not None and time.monotonic() - self.began > self.plan.timeout

    def to_start(self) -> int:
        """How many trials the plan has beyond those that are running or ended."""
        there = counted(self.trials())
        waiting = sum(trial.state == TrialState.WAITING for trial in there)
        left = self.plan.trials - (len(there) - waiting)
        spent = self.plan.budget is not None and core_seconds(there) >= self.plan.budget
        return min(left, waiting) if spent else left  # what was begun within the budget is brought to its end

    def start_one(self) -> bool:
        """Start the next trial: one that waits in the queue, else a new one. False when there is none."""
        with undisturbed():
            if self.to_start() <= 0:
                return False
            started = sum(trial.state != TrialState.WAITING for trial in counted(self.trials()))
            seed = sampler_seed(self.cfg["seed"], started, self.plan.owner + self.plan.salt)
            self.study.sampler = make_sampler(seed, self.plan.startup)
            trial = self.study.ask(dict(self.space))
            self.asked.add(trial.number)
            attrs = trial.user_attrs
            kept = attrs.get("folder") if attrs.get("owner") == self.plan.owner else None
            where = kept or f"{TRIALS}/{trial.number}"
            cfg, overrides = self.setting(trial)
            about = {"owner": self.plan.owner, "folder": where, "seed": cfg["seed"], "sampler_seed": seed}
            about["spent"] = attrs.get("core_seconds", 0.0)  # by the trial that this one goes on with
            for key, value in about.items():
                trial.set_user_attr(key, value)
            if repeated(self.study, trial):
                return True
        self.pool.start(trial, "trial", self.folder / where, cfg, overrides)  # which may wait for a cluster
        return True

    def setting(self, trial: optuna.Trial) -> tuple[dict[str, Any], list[str]]:
        """The configuration that ``trial`` trains, and what one would type for it."""
        return apply(drawn(trial), self.cfg), [*self.overrides, *as_overrides(drawn(trial))]

    def take_in(self, worker: Worker[optuna.Trial], kind: str, content: Any) -> None:
        """Record what a worker says, and stop its trial when that is not promising."""
        trial = worker.task
        if kind == "epoch":
            with suppress(RuntimeError):  # another machine took this one for dead and has repeated the trial
                trial.set_user_attr("core_seconds", round(trial.user_attrs["spent"] + worker.core_seconds, 2))
                trial.report(content["valid_auc"], content["epoch"])
                if trial.should_prune():
                    self.pool.end(worker)
                    self.end(worker, TrialState.PRUNED)
        elif kind == "done":
            self.end(worker, TrialState.COMPLETE)
        elif kind == "diverged":  # as bad as can be, and the sampler should know: it leaves out trials that failed
            self.end(worker, TrialState.PRUNED, diverged=content)
        elif kind == "full":
            self.give_back([worker], {worker.task.number})
            raise DiskFull(content)
        elif kind == "failed":
            self.end(worker, TrialState.FAIL, error=content)
        else:  # stopped by a shutdown: the setting is not to blame
            self.give_back([worker], {worker.task.number})

    def end(self, worker: Worker[optuna.Trial], state: TrialState, **why: str) -> None:
        """Record how a trial ended."""
        trial, best = worker.task, worker.best
        figures: dict[str, Any] = {"epochs": len(worker.epochs), "seconds": round(worker.seconds, 1)}
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
        self.say(worker, state, why)
        failed = [t for t in self.trials(TrialState.FAIL) if "error" in t.user_attrs]
        if len(failed) >= HOPELESS and not self.trials(TrialState.COMPLETE, TrialState.PRUNED):
            raise UserError(f"the first {len(failed)} trials all failed; the last: {failed[-1].user_attrs['error']}")

    def give_back(self, workers: list[Worker[optuna.Trial]], numbers: set[int]) -> None:
        """End ``workers`` and put the running ones of the trials ``numbers`` back, to go on from their last epochs."""
        for worker in list(workers):
            self.pool.end(worker)
        with undisturbed():
            requeue(self.study, [trial for trial in self.trials(TrialState.RUNNING) if trial.number in numbers])

    def tidy(self) -> None:
        """Keep the logs and figures of the trials that ended; keep weights and checkpoints of the best one alone."""
        best = best_trial(self.study)
        for trial in counted(self.trials()):
            if trial.state.is_finished() and self.ours(trial) and "folder" in trial.user_attrs:
                run = self.folder / trial.user_attrs["folder"]
                sweep(run)
                if best is None or trial.number != best.number:
                    for name in (*weight_files(run), LAST, CHECKPOINTS):
                        remove(run / name)

    def say(self, worker: Worker[optuna.Trial], state: TrialState, why: Mapping[str, str]) -> None:
        best = worker.best
        figure = f"valid auc={best['valid_auc']:.6f} at epoch {best['epoch']}" if best else "no epoch"
        how = {"COMPLETE": "", "PRUNED": f", stopped at epoch {len(worker.epochs)}", "FAIL": ", failed"}[state.name]
        reason = "".join(f": {text}" for text in why.values())
        setting = " ".join(as_overrides(drawn(worker.task)))
        log.info("trial %3d  %s%s%s  (%s)", worker.task.number, figure, how, reason, setting)
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
        if self.plan.budget is not None:
            spent = core_seconds(self.trials())
            parts[0] = f"{len(done)} trials, {spent:,.0f} of {self.plan.budget:,.0f} core-seconds"
            left.append((self.plan.budget - spent) / self.plan.workers)
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
            epochs = (f"{w.task.number}: epoch {len(w.epochs)}" for w in self.pool.workers)
            self.shown.set_description_str(f"{self.summary()} | now {', '.join(epochs)}")


def best_trial(study: optuna.Study) -> FrozenTrial | None:
    """The first trial with the highest validation AUC, or None while none came to its end."""
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    return max(complete, key=lambda trial: (trial.value or 0.0, -trial.number), default=None)


def core_seconds(trials: Iterable[FrozenTrial]) -> float:
    """What the processes of these trials computed, each core's time by itself; of a killed one what it last told."""
    return sum(trial.user_attrs.get("core_seconds", 0.0) for trial in counted(trials))


def duration(seconds: float) -> str:
    minutes = max(seconds, 0) / 60
    return (
        f"{minutes / 60:.1f} h" if minutes >= 90 else f"{minutes:.0f} min" if minutes >= 2 else f"{minutes * 60:.0f} s"
    )
