"""A table of equal effort: the same search for every row, its choice written down, then the runs that are tested.

The protocol is that of docs/benchmarks.md. A row is searched, its best trials are repeated with fresh seeds, the chosen
setting goes into settings.json, and only then are its final runs trained, each tested once; the next row follows.
"""

import json
import logging
import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import optuna
from optuna.distributions import CategoricalDistribution
from optuna.trial import FrozenTrial, TrialState

from eulernet.campaigns.findings import write_table
from eulernet.campaigns.rows import REPEATS, SEARCH, Protocol, Row, at
from eulernet.campaigns.search import Plan, Search, core_seconds, duration
from eulernet.campaigns.space import as_overrides, as_param, drawn
from eulernet.campaigns.study import counted
from eulernet.errors import DiskFull, UserError, require
from eulernet.files import locked
from eulernet.training.auto import AUTO
from eulernet.training.job import set_up
from eulernet.training.report import commit

log = logging.getLogger(__name__)

COIN = 0.5  # the validation AUC of what gave none
ENDLESS = 10**6  # trials of a search that only its budget ends
LOOK = 5.0  # seconds between looks at a row that another campaign has at work


class RowSearch(Search):
    """The trials of one row: the first is the shipped default, whatever the others share."""

    row: Row
    table: "Table"
    before: int  # runs of the row that came before this study

    def setting(self, trial: optuna.Trial) -> tuple[dict[str, Any], list[str]]:
        return self.row.setting(trial)

    def summary(self) -> str:
        return f"{super().summary()}; the table: about {self.table.left(self)} left"


class Repeats(RowSearch):
    """The best trials of a search once more, with fresh seeds."""

    best: Mapping[int, FrozenTrial]

    def setting(self, trial: optuna.Trial) -> tuple[dict[str, Any], list[str]]:
        cfg, overrides = self.row.setting(self.best[trial.params["of"]])
        seed, train = trial.params["seed"], cfg["train"]
        shuffle_seed = seed if train["shuffle_seed"] == cfg["seed"] else train["shuffle_seed"]
        return {**cfg, "seed": seed, "train": {**train, "shuffle_seed": shuffle_seed}}, [*overrides, f"seed={seed}"]


@dataclass
class Table:
    """The searches of a table, one row after the other, ``jobs`` runs at a time."""

    rows: Sequence[Row]
    protocol: Protocol
    jobs: int
    finals: int  # runs of a row after its setting is chosen

    def __post_init__(self) -> None:
        self.pace: dict[Row, list[float]] = {}  # seconds of the runs that ended

    def choose_all(self) -> Iterator[tuple[Row, UserError | None]]:
        """Each row once its setting is written down, or with what its search failed of.

        The row is locked meanwhile: what another campaign in the same folder has at work is passed over, and looked
        at again.
        """
        waiting = list(self.rows)
        while waiting:
            free = None
            for row in list(waiting):
                row.folder.mkdir(parents=True, exist_ok=True)
                with ExitStack() as lock:
                    try:
                        lock.enter_context(locked(row.folder, wait=False))
                    except BlockingIOError:
                        continue
                    free = waiting.pop(waiting.index(row))
                    try:
                        self.choose(row)
                    except KeyboardInterrupt:
                        log.info("stopped; the same command goes on")
                        raise
                    except DiskFull:
                        raise
                    except UserError as error:
                        log.info("%s: failed: %s", row, error)
                        yield row, error
                    else:
                        yield row, None
            if free is None:
                time.sleep(LOOK)

    def choose(self, row: Row) -> None:
        """Search, repeat the best, and write the chosen setting down. What is written down stays."""
        if row.chosen() is not None:
            return
        log.info("%s: searching %s", row, ", ".join(row.space))
        digest = digest_of(row, self.protocol)  # finds what is wrong with the setting; makes the store once
        search = self.search(row, row.open_study(SEARCH, digest, self.protocol))
        try:
            search.run()
        finally:
            write_table(search.study, row.folder / SEARCH)
        complete = search.trials(TrialState.COMPLETE)
        require(bool(complete), f"no trial came to its end ({Search.summary(search)})")
        best = sorted(complete, key=lambda trial: (-value_of(trial), trial.number))[: self.protocol.top]
        repeats = self.repeats(row, best, row.open_study(REPEATS, digest, self.protocol), len(search.trials()))
        repeats.run()
        write_table(repeats.study, row.folder / REPEATS)
        row.write_settings(decision(row, search.study, best, repeats.study, self.protocol))

    def search(self, row: Row, study: optuna.Study) -> RowSearch:
        """The search of ``row``, the shipped default first in its queue."""
        if not study.get_trials(deepcopy=False):
            shipped = {key: as_param(value) for key in row.space if (value := at(row.default_config, key)) != AUTO}
            study.enqueue_trial(shipped, user_attrs={"default": True})  # an auto is no value that a range could hold
        plan = Plan(
            self.protocol.trials or ENDLESS, self.jobs, None, self.protocol.random + 1, owner="",
            salt=f"{row.dataset}/{row.name}", budget=self.protocol.budget,
        )  # fmt: skip
        search = RowSearch(study, row.space, row.config, list(row.fixed), row.folder / SEARCH, plan)
        search.row, search.table, search.before = row, self, 0
        return search

    def repeats(self, row: Row, best: Sequence[FrozenTrial], study: optuna.Study, before: int) -> Repeats:
        """Runs of ``best`` with fresh seeds, in a queue that may be filled in part already."""
        seeds = self.protocol.repeats
        wanted = [{"of": trial.number, "seed": seed} for trial in best for seed in seeds]
        there = [trial for trial in study.get_trials(deepcopy=False) if "retry_of" not in trial.user_attrs]
        for params in wanted[len(there) :]:
            study.enqueue_trial(params)
        space = {key: CategoricalDistribution(list({params[key]: 0 for params in wanted})) for key in wanted[0]}
        plan = Plan(len(wanted), self.jobs, None, 1, owner="")
        repeats = Repeats(study, space, row.config, [], row.folder / REPEATS, plan)
        repeats.row, repeats.table, repeats.before = row, self, before
        repeats.best = {trial.number: trial for trial in best}
        return repeats

    def left(self, search: RowSearch) -> str:
        """The time that the searches and final runs of all rows should take from now on, by the runs so far."""
        done = [t for t in counted(search.trials()) if "seconds" in t.user_attrs]
        earlier = self.pace.get(search.row, [])[: search.before]
        self.pace[search.row] = [*earlier, *(trial.user_attrs["seconds"] for trial in done)]
        known = [fmean(seconds) for seconds in self.pace.values() if seconds]
        if not known:
            return "?"
        total = 0.0
        for row in self.rows:
            if row == search.row or row.chosen() is None:
                ended, each = self.pace.get(row, []), fmean(self.pace.get(row) or known)
                trials = self.protocol.trials or self.protocol.budget / each  # type: ignore[operator]
                runs = trials + self.protocol.top * len(self.protocol.repeats) + self.finals
                total += max(runs - len(ended), 0) * each
        return duration(total / self.jobs)


def digest_of(row: Row, protocol: Protocol) -> str:
    """Of everything that the validation AUC of the row's trials depends on, and of the space."""
    data = set_up(row.config).data
    set_up(row.default_config)
    configs = [{key: cfg[key] for key in ("dataset", "model", "train", "seed")}
               for cfg in (row.config, row.default_config)]  # fmt: skip
    space = {key: repr(of) for key, of in row.space.items()}
    parts = [configs, space, data.digest, protocol.keep, protocol.warmup, protocol.random]
    return f"{zlib.crc32(json.dumps(parts, sort_keys=True).encode()):08x}"


def value_of(trial: FrozenTrial) -> float:
    """The validation AUC of a trial; what failed is as good as a coin."""
    return float(trial.user_attrs.get("valid_auc", COIN)) if trial.state != TrialState.FAIL else COIN


def decision(
    row: Row, search: optuna.Study, best: Sequence[FrozenTrial], repeats: optuna.Study, protocol: Protocol
) -> dict[str, Any]:
    """What settings.json says: the setting with the best mean over the search's seed and the fresh ones."""
    tried: list[dict[str, Any]] = []
    for trial in best:
        again = [one for one in counted(repeats.get_trials(deepcopy=False)) if one.params["of"] == trial.number]
        of_seeds = {one.params["seed"]: value_of(one) for one in again}
        values = [value_of(trial), *(of_seeds.get(seed, COIN) for seed in protocol.repeats)]
        setting = "the shipped default" if trial.user_attrs.get("default") else " ".join(as_overrides(drawn(trial)))
        tried.append({"trial": trial.number, "setting": setting, "valid_auc": values, "mean": fmean(values)})
    means = [fmean(one["valid_auc"]) for one in tried]
    first = means.index(max(means))
    ended = [*counted(search.get_trials(deepcopy=False)), *counted(repeats.get_trials(deepcopy=False))]
    return {
        "row": row.name,
        "dataset": row.dataset,
        "trial": best[first].number,
        "overrides": row.setting(best[first])[1],
        "repeated": tried,
        "core_seconds": round(core_seconds(ended), 1),
        "seconds_a_run": fmean(trial.user_attrs["seconds"] for trial in ended if "seconds" in trial.user_attrs),
        **row.question(protocol),
        "commit": commit(),
    }
