"""``reproduce`` of a table with a section ``search``: every row is searched, then tested, then published."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from eulernet.campaigns.block import Block
from eulernet.campaigns.equal import Table
from eulernet.campaigns.equal_table import Result, formats, read_trials
from eulernet.campaigns.missing import train_missing
from eulernet.campaigns.planned import Conf, PlannedRun, finished, names, seeds
from eulernet.campaigns.publish import publish_runs
from eulernet.campaigns.rows import SEARCH, Row, protocol_of, rows_of
from eulernet.data.prepare import prepare_quietly
from eulernet.errors import require
from eulernet.runs.groups import Setting

SHIPPED = "_shipped"  # after the name of a row: its final runs in the shipped setting


class Campaign:
    """The whole table: ``failures`` is what went wrong with a row or a run, by its name."""

    def __init__(self, cfg: Mapping[str, Any], conf: Conf) -> None:
        self.cfg, self.conf, self.failures = cfg, conf, dict[str, str]()
        self.protocol = protocol_of(cfg)
        self.rows = rows_of(cfg, conf, self.protocol)
        require(bool(self.rows), "the table has no row")
        self.planned: dict[str, list[PlannedRun]] = {}
        self.folders = [Path(cfg["out"]), *map(Path, names(cfg["reuse"]))]

    def take_over(self) -> None:
        """Rows that were searched elsewhere, in the folders of ``reuse=``, are not searched again."""
        for row in self.rows:
            row.check(self.protocol)
            row.take_over(self.folders[1:], self.protocol)

    def train(self) -> None:
        """Search every row and train its final runs, then those of the shipped settings."""
        table = Table(self.rows, self.protocol, self.cfg["jobs"], len(seeds(self.cfg)))
        for row, error in table.choose_all():
            if error is None:
                self.train_finals(self.tuned(row))
            else:
                self.failures[str(row)] = str(error)
        for row in self.rows:
            self.train_finals(self.shipped(row))

    def tuned(self, row: Row) -> list[PlannedRun]:
        """The final runs of the setting that was written down; none before that."""
        chosen = row.chosen()
        return [] if chosen is None else self.finals(row, row.name, chosen["overrides"])

    def shipped(self, row: Row) -> list[PlannedRun]:
        return [] if row.chosen() is None else self.finals(row, row.name + SHIPPED, row.default)

    def finals(self, row: Row, name: str, overrides: Sequence[str]) -> list[PlannedRun]:
        """Planned once: it takes a while, and what is written down stays."""
        place = f"{row.dataset}/{name}"
        if place not in self.planned:
            self.planned[place] = row.finals(name, overrides, self.cfg, self.conf)
        return self.planned[place]

    def train_finals(self, runs: Sequence[PlannedRun]) -> None:
        known = finished(self.folders)
        for run in runs:
            if run.identity not in known:
                prepare_quietly(run.config)  # the store of its split, before many workers would make it at once
        failed = train_missing(runs, known, self.cfg["jobs"], self.cfg["device"])
        self.failures |= {str(run): said for run, said in failed.items()}

    def results(self) -> dict[str, list[Result]]:
        """What there is of each row whose setting is chosen, by dataset."""
        known, found = finished(self.folders), dict[str, list[Result]]()
        for row in self.rows:
            chosen = row.chosen()
            if chosen is not None:
                tuned, shipped = (
                    Setting(name, [known[run.identity] for run in runs if run.identity in known])
                    for name, runs in ((row.name, self.tuned(row)), (row.name + SHIPPED, self.shipped(row)))
                )
                trials = read_trials(row.folder / SEARCH / "trials.csv")
                found.setdefault(row.dataset, []).append(Result(row.name, chosen, trials, tuned, shipped))
        return found

    def formats(self, results: Mapping[str, Sequence[Result]]) -> dict[str, str]:
        """The table by suffix."""
        return formats(results)

    def progress(self, results: Mapping[str, Sequence[Result]]) -> str:
        """How much of the table is there."""
        found = [one for of in results.values() for one in of]
        runs, wanted = sum(len(one.tuned.runs) for one in found), len(self.rows) * len(seeds(self.cfg))
        return f"{len(found)} of {len(self.rows)} rows, {runs} of {wanted} final runs"

    def publish(self, results: Mapping[str, Sequence[Result]], folder: Path) -> None:
        """Copy the trials and the chosen setting of every row, and the report of every final run, to ``folder``."""
        for row in self.rows:
            if row.chosen() is not None:
                row.publish(folder)
        settings = {name: [of for one in found for of in (one.tuned, one.shipped) if of.runs]
                    for name, found in results.items()}  # fmt: skip
        publish_runs([Block(name, of, []) for name, of in settings.items()], folder)
