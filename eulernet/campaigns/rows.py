"""The rows of a table of equal effort: what each trains, what is searched around it, and what was chosen."""

import json
import logging
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.pruners import NopPruner
from optuna.trial import FrozenTrial, Trial

from eulernet.campaigns.planned import PASSED_ON, Conf, PlannedRun, latest, line_of, names, planned_run, seeds
from eulernet.campaigns.space import apply, as_overrides, drawn, including, read_space
from eulernet.campaigns.study import DATABASE, make_pruner, open_study
from eulernet.errors import choose, require
from eulernet.files import holders, write_atomically
from eulernet.runs.reading import read_json
from eulernet.settings import construct
from eulernet.training.auto import AUTO

log = logging.getLogger(__name__)

SETTINGS, SEARCH, REPEATS = "settings.json", "search", "repeats"  # in the folder of a row: the choice, and its studies
# What is published of a row, by its name there, the choice last: with it the row is done.
PUBLISHED = {"trials.csv": f"{SEARCH}/trials.csv", "repeats.csv": f"{REPEATS}/trials.csv", SETTINGS: SETTINGS}
MACHINE = ("raw", *PASSED_ON)


@dataclass(frozen=True)
class Protocol:
    """The section ``search`` of a table: what every row gets."""

    trials: int | None  # of each row, the shipped default first
    budget: float | None  # core-seconds of each row's search; None is as many as the trials take
    random: int  # trials drawn at random after the default; the sampler draws the rest
    seed: int  # of every trial
    keep: float  # go on with a trial while its best epoch is among this share of the completed ones at that epoch
    warmup: int  # epochs that every trial gets
    top: int  # trials that are repeated ...
    repeats: Sequence[int]  # ... with these seeds
    fixed: Sequence[str]  # overrides of all trials but the default
    pairs: Mapping[str, Sequence[str]]  # overrides of the final run with this seed: its split

    def __post_init__(self) -> None:
        bounded = self.trials is not None or self.budget is not None
        require(bounded, "a search without an end: give trials= or budget=")
        require(self.trials is None or self.trials >= 1, f"trials={self.trials}: give a whole number, 1 or more")
        require(self.budget is None or self.budget > 0, f"budget={self.budget}: give core-seconds")
        require(self.random >= 1 and self.top >= 1, "table.search.random and table.search.top: 1 or more")
        require(self.seed not in self.repeats, f"table.search.repeats has {self.seed}, the seed of the search itself")


def protocol_of(cfg: Mapping[str, Any]) -> Protocol:
    """The section ``search`` of the table, with ``trials=`` and ``budget=`` where they are given."""
    given = {key: cfg[key] for key in ("trials", "budget") if cfg[key] is not None}
    protocol = construct(Protocol, {**cfg["table"]["search"], **given}, "table.search")
    for seed in map(str, seeds(cfg)):
        known = ", ".join(protocol.pairs)
        require(seed in protocol.pairs, f"table.search.pairs has no seed {seed}; seeds= may be of {known}")
    return protocol


@dataclass(frozen=True)
class Row:
    """A model of the table on one dataset: its shipped setting, and what the search varies."""

    name: str
    dataset: str
    out: Path
    machine: tuple[str, ...]  # overrides that say where files are
    default: tuple[str, ...]  # what one types for the shipped setting ...
    fixed: tuple[str, ...]  # ... and for what all trials share
    default_config: dict[str, Any] = field(repr=False, compare=False)
    config: dict[str, Any] = field(repr=False, compare=False)
    space: dict[str, BaseDistribution] = field(repr=False, compare=False)

    def __str__(self) -> str:
        return f"{self.name} on {self.dataset}"

    @property
    def folder(self) -> Path:
        return self.out / self.dataset / self.name

    def setting(self, trial: Trial | FrozenTrial) -> tuple[dict[str, Any], list[str]]:
        """The configuration of a trial, and what one types for it."""
        if trial.user_attrs.get("default"):
            return self.default_config, list(self.default)
        return apply(drawn(trial), self.config), list(latest([*self.fixed, *as_overrides(drawn(trial))]))

    def open_study(self, name: str, digest: str, protocol: Protocol) -> optuna.Study:
        pruner = make_pruner(protocol.keep, protocol.random + 1, protocol.warmup) if name == SEARCH else NopPruner()
        (self.folder / name).mkdir(parents=True, exist_ok=True)
        return open_study(self.folder / name, None, name, digest, pruner)

    def chosen(self) -> dict[str, Any] | None:
        """What was written down of the row's search; None before that."""
        file = self.folder / SETTINGS
        return read_json(file) if file.is_file() else None

    def write_settings(self, chosen: Mapping[str, Any]) -> None:
        text = json.dumps(chosen, indent=2) + "\n"
        write_atomically(self.folder / SETTINGS, lambda file: file.write_text(text))

    def question(self, protocol: Protocol) -> dict[str, Any]:
        """What its search is asked, as settings.json has it beside the answer."""
        space = {key: str(of) for key, of in self.space.items()}
        return {"space": space, "default": list(self.default), "protocol": json.loads(json.dumps(asdict(protocol)))}

    def differs(self, chosen: Mapping[str, Any], protocol: Protocol) -> list[str]:
        """In what ``chosen`` answers another question; the splits of the final runs, ``pairs``, are not part of it."""
        mine, other = self.question(protocol), chosen.get("protocol", {})
        keys = [key for key, value in mine["protocol"].items() if key != "pairs" and other.get(key) != value]
        return [*(key for key in ("default", "space") if chosen.get(key) != mine[key]), *keys]

    def check(self, protocol: Protocol) -> None:
        """UserError where the choice that is written down answers another question."""
        other = self.differs(chosen, protocol) if (chosen := self.chosen()) is not None else []
        require(not other, f"{self.folder / SETTINGS} was chosen with other {', '.join(other)}; give another out=")

    def take_over(self, folders: Iterable[Path], protocol: Protocol) -> None:
        """Copy what a search of the same question anywhere below ``folders`` chose. One that was begun here goes on."""
        if self.chosen() is not None or (self.folder / SEARCH / DATABASE).is_file():
            return
        for place in (one for folder in folders for one in holders(folder, SETTINGS)):
            if place.parts[-2:] != (self.dataset, self.name):
                continue
            if other := self.differs(read_json(place / SETTINGS), protocol):
                log.info("%s: %s was chosen with other %s, not taken", self, place / SETTINGS, ", ".join(other))
                continue
            sources = {own: place / own if (place / own).is_file() else place / name for name, own in PUBLISHED.items()}
            for source in sources.values():
                require(source.is_file(), f"reuse=: there is no {source}, which belongs to {place / SETTINGS}")
            for own, source in sources.items():
                (self.folder / own).parent.mkdir(parents=True, exist_ok=True)
                write_atomically(self.folder / own, partial(shutil.copyfile, source))
            log.info("%s: its setting is that of %s", self, place)
            return

    def publish(self, folder: Path) -> None:
        """Copy the choice and the trials to ``folder``/dataset/row."""
        into = folder / self.dataset / self.name
        into.mkdir(parents=True, exist_ok=True)
        for name, own in PUBLISHED.items():
            write_atomically(into / name, partial(shutil.copyfile, self.folder / own))

    def finals(self, name: str, overrides: Sequence[str], cfg: Mapping[str, Any], conf: Conf) -> list[PlannedRun]:
        """The runs of a setting called ``name`` that are tested: each seed with its own split."""
        pairs: dict[str, list[str]] = {str(seed): of for seed, of in cfg["table"]["search"]["pairs"].items()}
        runs = []
        for seed in seeds(cfg):
            line = latest([*self.machine, *overrides, *pairs[str(seed)]])
            (config,) = conf.compose(line, [seed])
            runs.append(planned_run(cfg["out"], self.dataset, name, line, config))
        return runs


def rows_of(cfg: Mapping[str, Any], conf: Conf, protocol: Protocol) -> list[Row]:
    """The rows of the table, in its order."""
    rows = []
    for dataset in names(cfg["datasets"]):
        choose(conf.files("dataset"), dataset, "datasets")
        for name in names(cfg["models"]) or cfg["table"]["settings"]:
            choose(cfg["table"]["settings"], name, "models")
            line = line_of(cfg, dataset, name, conf)
            if line is not None:
                rows.append(row_of(cfg, dataset, name, conf, protocol, line))
    return rows


def row_of(
    cfg: Mapping[str, Any], dataset: str, name: str, conf: Conf, protocol: Protocol, line: tuple[str, ...]
) -> Row:
    machine = tuple(one for one in line if one.partition("=")[0] in MACHINE)
    default = tuple(one for one in line if one not in machine)
    fixed = latest([*default, *protocol.fixed])
    shipped, config = (
        {**conf.compose([*machine, *overrides], [protocol.seed])[0], "device": cfg["device"]}
        for overrides in (default, fixed)
    )
    model = dict(one.split("=", 1) for one in default if "=" in one)["model"]
    tree = conf.space(f"equal/{model}" if f"equal/{model}" in conf.files("sweep") else "equal/common")
    space = {key: of if (value := at(shipped, key)) == AUTO else including(of, value, key)
             for key, of in read_space(tree, config).items()}  # fmt: skip
    return Row(name, dataset, Path(cfg["out"]), machine, default, fixed, shipped, config, space)


def at(cfg: Mapping[str, Any], key: str) -> Any:
    """What a configuration has for a key of the space, as ``train.lr``."""
    section, _, name = key.partition(".")
    return cfg[section][name]
