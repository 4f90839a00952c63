"""The runs that a table of conf/table needs, and which of them are there."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from eulernet.errors import UserError, choose, require
from eulernet.files import holders
from eulernet.runs.groups import identity
from eulernet.runs.reading import REPORT
from eulernet.runs.run import Run

PASSED_ON = ("data_dir", "accept_terms", "memory")  # to every run, as they are
SHOWS = "conf/table/layers.yaml shows one"
Identity = tuple[str, int, int]


@dataclass(frozen=True)
class Conf:
    """What a plan takes from the configuration files."""

    compose: Callable[[Sequence[str], Sequence[int]], list[dict[str, Any]]]
    """The configuration of ``eulernet.train`` with these overrides, for each of the seeds."""
    files: Callable[[str], Mapping[str, Path]]
    """The files of a group, by name."""
    space: Callable[[str], Mapping[str, Any]] = field(default=lambda _: {})
    """The content of a file of ``conf/sweep``, by name."""


@dataclass(frozen=True)
class PlannedRun:
    """A run that a table needs: what to type for it, its configuration and identity, and where it goes."""

    dataset: str
    setting: str
    seed: int
    overrides: tuple[str, ...]
    identity: Identity
    folder: Path
    config: dict[str, Any] = field(compare=False, repr=False)

    def __str__(self) -> str:
        return f"{self.setting} on {self.dataset}, seed {self.seed}"


def finished(folders: Iterable[Path]) -> dict[Identity, Run]:
    """The finished runs anywhere below ``folders``, by identity; of several with one identity the first counts.

    UserError for a damaged report.
    """
    runs: dict[Identity, Run] = {}
    for folder in folders:
        for place in holders(folder, REPORT):
            run = Run.open(place)
            runs.setdefault(identity(run.report["config"]), run)
    return runs


def check_table(table: Mapping[str, Any]) -> None:
    lacks = {"datasets", "seeds", "first_seed", "common", "settings"} - table.keys()
    require(not lacks, f"the table lacks {', '.join(sorted(lacks))}; {SHOWS}")
    require(type(table["first_seed"]) is int, f"first_seed={table['first_seed']}: give a whole number; {SHOWS}")
    settings = table["settings"]
    require(isinstance(settings, dict) and bool(settings), f"the table's settings name none; {SHOWS}")
    for place, overrides in {"common": table["common"], **settings}.items():
        require(
            all(isinstance(one, str) for one in as_list(overrides)),
            f"{place}: {overrides} of the table is no list of overrides as one would type them, [model=lr]; {SHOWS}",
        )


def as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def names(value: Any) -> list[str]:
    """One name or a list of them, each once; null is none."""
    return list(dict.fromkeys(map(str, as_list(value)))) if value is not None else []


def raw_of(cfg: Mapping[str, Any], dataset: str) -> Any:
    return cfg["raw"].get(dataset) if isinstance(cfg["raw"], dict) else cfg["raw"]


def seeds(cfg: Mapping[str, Any]) -> list[int]:
    given = cfg["seeds"]
    if isinstance(given, list):
        require(bool(given) and all(type(seed) is int for seed in given), f"seeds={given}: give whole numbers")
        return list(dict.fromkeys(given))
    require(type(given) is int and given >= 1, f"seeds={given}: how many, 1 or more, or a list of them")
    return [cfg["table"]["first_seed"] + i for i in range(given)]


def plan(cfg: Mapping[str, Any], dataset: str, conf: Conf) -> list[PlannedRun]:
    """The runs that the table of ``cfg`` needs of ``dataset``."""
    choose(conf.files("dataset"), dataset, "datasets")
    table, chosen = cfg["table"], names(cfg["models"])
    for setting in chosen:
        choose(table["settings"], setting, "models")
    runs = []
    for setting in chosen or table["settings"]:
        line = line_of(cfg, dataset, setting, conf)
        if line is None:
            continue
        runs += [planned_run(cfg["out"], dataset, setting, line, one) for one in conf.compose(line, seeds(cfg))]
    return runs


def planned_run(out: str, dataset: str, setting: str, line: Sequence[str], config: dict[str, Any]) -> PlannedRun:
    """The run of ``config``, which ``line`` and its seed say, in the folder ``out``."""
    key, seed = identity(config), config["seed"]
    folder = Path(out) / dataset / f"{setting}.{key[0]}" / run_name(key)
    return PlannedRun(dataset, setting, seed, latest([*line, f"seed={seed}"]), key, folder, config)


def line_of(cfg: Mapping[str, Any], dataset: str, setting: str, conf: Conf) -> tuple[str, ...] | None:
    """The overrides of ``setting`` on ``dataset``, but for the seed; None where the table is to leave it out."""
    table, raw = cfg["table"], raw_of(cfg, dataset)
    given = [f"raw={quoted(raw)}"] * (raw is not None) + [f"{key}={quoted(cfg[key])}" for key in PASSED_ON]
    of_table = [*as_list(table["common"]), *as_list(table["settings"][setting])]
    overrides = [f"dataset={dataset}", *given, *(fill(one, dataset, table) for one in of_table)]
    if table.get("only_tuned") and not names(cfg["models"]) and not tuned_cell(latest(overrides), conf)[1]:
        return None
    line = latest([*overrides, *map(str, as_list(cfg["overrides"]))])
    for key, _, choice in (one.partition("=") for one in line):
        if key in ("dataset", "model", "train"):  # Hydra also takes a path or a suffix, which finds no tuned cell
            choose(conf.files(key), choice, key)
    cell, there = tuned_cell(line, conf)
    asked = any(one.startswith("tuned=") for one in line)
    hint = "; try table.recipe=eulernet" if "recipe" in table else ""
    require(there or not asked, f"{setting} on {dataset}: there is no conf/tuned/{cell}.yaml{hint}")
    if any("{width}" in one for one in line):
        width = first_width([one for one in line if "{width}" not in one], conf)
        line = tuple(one.replace("{width}", str(width)) for one in line)
    return line


def run_name(key: Identity) -> str:
    """The seed, and that of the row order where it is another."""
    return str(key[1]) if key[1] == key[2] else f"{key[1]}.{key[2]}"


def quoted(value: Any) -> str:
    return f"'{value}'" if isinstance(value, str) else str(value)


def latest(overrides: Sequence[str]) -> tuple[str, ...]:
    """One override a key, the last: Hydra takes a group only once, and none that is left out."""
    return tuple({one.removeprefix("~").partition("=")[0]: one for one in overrides}.values())


def fill(override: str, dataset: str, table: Mapping[str, Any]) -> str:
    """``override`` with the dataset and the recipe in their places; {width} waits for what they give."""
    try:
        return override.format(dataset=dataset, recipe=table.get("recipe"), width="{width}")
    except (KeyError, ValueError, IndexError):
        places = "{dataset}, {recipe} and {width}"
        raise UserError(f"{override!r} of the table: only {places} are replaced; write {{{{ }}}} for braces") from None


def tuned_cell(overrides: Sequence[str], conf: Conf) -> tuple[str, bool]:
    """The tuned cell that ``overrides`` ask for, by name or as dataset and model, and whether it is there."""
    given = dict(one.split("=", 1) for one in overrides if "=" in one)
    require("model" in given, f"the table names no model= beside {', '.join(overrides)}")
    cell = given.get("tuned", f"{given['dataset']}/{given['model']}")
    return cell, cell in conf.files("tuned")


def first_width(overrides: Sequence[str], conf: Conf) -> int:
    (config,) = conf.compose(overrides, [0])
    orders = config["model"].get("orders")
    require(bool(orders), "{width} of a table needs a tuned setting with model.orders")
    return int(orders[0])
