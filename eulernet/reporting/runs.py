"""Finished runs read from their folders, and gathered into settings: the runs that differ in their seed alone."""

import csv
import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eulernet.errors import UserError, require
from eulernet.training.checkpoint import LAST, WEIGHTS

REPORT = "report.json"
# What a report must have to be shown; older versions may lack the rest.
NEEDED = ("dataset", "model", "seed", "parameters", "best_epoch", "epochs", "valid", "test", "seconds", "config")
PARTS = (
    ("valid", "auc"), ("valid", "logloss"), ("test", "auc"), ("test", "logloss"),
    ("dataset", "name"), ("dataset", "digest"), ("dataset", "rows"),
)  # fmt: skip
COLUMNS = ("epoch", "train_loss", "valid_auc", "valid_logloss")
ABSENT = object()  # a key that a configuration lacks
# Settings that do not make it another experiment.
INCIDENTAL = (
    "seed", "device", "raw", "data_dir", "accept_terms", "memory", "resume", "train.shuffle_seed", "logger",
    "train.keep_checkpoints", "train.rank_timeout",
)  # fmt: skip


@dataclass(frozen=True)
class Run:
    """A finished run: its folder, report.json, and the columns of metrics.csv, one entry an epoch."""

    folder: Path
    report: dict[str, Any]
    history: dict[str, list[float]]

    @property
    def dataset(self) -> str:
        return self.report["dataset"]["name"]

    @property
    def store(self) -> str:
        """Names the exact rows and ids that were trained on and tested with."""
        return f"{self.dataset}/{self.report['dataset']['digest']}"

    @property
    def has_weights(self) -> bool:
        return (self.folder / WEIGHTS).is_file()


@dataclass(frozen=True)
class Setting:
    """Runs that differ in their seed alone, under the shortest name that tells them from the others."""

    name: str
    runs: list[Run]

    def values(self, split: str, metric: str) -> list[float]:
        return [run.report[split][metric] for run in self.runs]


def find_runs(folder: Path) -> tuple[list[Run], list[Path]]:
    """The run in ``folder``, or those anywhere below it; and the folders of runs that have not finished.

    UserError where there is none, for one that has not finished if it is the one asked for, and for a damaged file.
    """
    require(folder.is_dir(), f"run={folder}: no such folder; give that of a run, or one with runs in it")
    reports = [folder / REPORT] if (folder / REPORT).is_file() else sorted(folder.rglob(REPORT))
    finished = [file.parent for file in reports]
    unfinished = sorted(file.parent for file in folder.rglob(LAST) if file.parent not in finished)
    if not finished and unfinished:
        first = unfinished[0]
        raise UserError(f"run={folder}: the run in {first} has not finished; python -m eulernet.train resume={first}")
    require(bool(finished), f"run={folder}: no report.json there or below; give the folder of a run that has ended")
    return [read_run(path) for path in finished], unfinished


def read_run(folder: Path) -> Run:
    """UserError if report.json or metrics.csv is damaged, or made by something else."""
    return Run(folder, read_report(folder), read_history(folder / "metrics.csv"))


def read_report(folder: Path) -> dict[str, Any]:
    """UserError if report.json is damaged, or made by something else."""
    file = folder / REPORT
    try:
        report: dict[str, Any] = json.loads(file.read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"{file} cannot be read ({error}); delete it, and train that run again") from None
    missing = [key for key in NEEDED if not isinstance(report, dict) or key not in report]
    require(not missing, f"{file} lacks {', '.join(missing)}: not a report of eulernet.train")
    for part, key in PARTS:
        require(
            isinstance(report[part], dict) and key in report[part], f"{file} lacks {part}.{key}; train that run again"
        )
    return report


def read_history(file: Path) -> dict[str, list[float]]:
    try:
        with file.open(newline="") as stream:
            lines = list(csv.DictReader(stream))
        require(bool(lines), "no line in it")
        return {column: [float(line[column]) for line in lines] for column in COLUMNS}
    except (OSError, ValueError, KeyError, TypeError) as error:
        what = f"no column {error}" if isinstance(error, KeyError) else error
        raise UserError(f"{file} cannot be read ({what}); restore it, or leave that run out") from None


def settings(runs: Sequence[Run]) -> list[Setting]:
    """The runs by setting, the best mean test AUC first."""
    groups: dict[str, list[Run]] = defaultdict(list)
    for run in runs:
        groups[json.dumps([run.store, essence(run.report["config"])], sort_keys=True)].append(run)
    names = name_settings([group[0] for group in groups.values()])
    found = [Setting(name, sorted(group, key=seed_of)) for name, group in zip(names, groups.values(), strict=True)]
    return sorted(found, key=lambda setting: -sum(setting.values("test", "auc")) / len(setting.runs))


def distinct(runs: Iterable[Run]) -> list[Run]:
    """Each run once. A published copy, or the same seed trained again, is no other seed; the one with weights stays."""
    found: dict[tuple[str, tuple[str, int, int]], Run] = {}
    for run in runs:
        key = run.store, identity(run.report["config"])
        if key not in found or (run.has_weights and not found[key].has_weights):
            found[key] = run
    return list(found.values())


def seed_of(run: Run) -> int:
    return run.report["seed"]


def essence(config: dict[str, Any]) -> dict[str, Any]:
    """The flat configuration without what may differ between seeds."""
    return {key: value for key, value in flatten(config).items() if key not in INCIDENTAL}


def identity(config: dict[str, Any]) -> tuple[str, int, int]:
    """Names the run that a configuration describes, wherever and on whatever device it is made.

    A digest of the experiment, then the seed, and that of the row order.
    """
    digest = hashlib.sha256(json.dumps(essence(config), sort_keys=True).encode()).hexdigest()[:8]
    return digest, config["seed"], config["train"].get("shuffle_seed", config["seed"])  # older reports lack it


def flatten(config: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, dict) and value:
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat


def name_settings(runs: Sequence[Run]) -> list[str]:
    """The model of each as it was asked for, with the settings that tell apart those of one model; no two are equal."""
    models: dict[str, set[str]] = defaultdict(set)
    for run in runs:
        models[base_name(run)].add(run.report["model"])
    bases = [f"{run.report['model']} " * (len(models[base_name(run)]) > 1) + base_name(run) for run in runs]
    names: list[str] = []
    for run, base in zip(runs, bases, strict=True):
        rivals = [essence(other.report["config"]) for other, name in zip(runs, bases, strict=True) if name == base]
        mine = essence(run.report["config"])
        telling = [key for key in mine if any(rival.get(key, ABSENT) != mine[key] for rival in rivals)]
        own = [f"{key.rpartition('.')[2]}={mine[key]}" for key in telling]
        names.append(" ".join([base, *own]))
    return [f"{name} ({names[:i].count(name) + 1})" if name in names[:i] else name for i, name in enumerate(names)]


def base_name(run: Run) -> str:
    """The file that the model came from, as in model=... or tuned=..., if the command line named one."""
    asked = dict(word.split("=", 1) for word in run.report.get("overrides", []) if "=" in word)
    tuned = str(asked.get("tuned", "")).rpartition("/")[2]
    return tuned or asked.get("model", run.report["model"])
