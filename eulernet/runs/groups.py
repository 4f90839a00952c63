"""Runs gathered into settings, those that differ in their seed alone; and the identity of what a run trains."""

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from eulernet.measures.table import MEASURES, Measure
from eulernet.runs.run import Run
from eulernet.settings import machine_keys

ABSENT = object()  # a key that a configuration lacks
# Settings that do not make it another experiment.
INCIDENTAL = (
    *machine_keys(), "seed", "resume", "train.shuffle_seed", "logger", "train.keep_checkpoints", "train.rank_timeout",
    "reference",
)  # fmt: skip
# Settings that older runs lack, and what these did.
YOUNGER = {
    "train.monitor": "auc", "start_from": None, "dataset.retire_after": None, "dataset.retire_by": None,
    "dataset.rescale": False, "dataset.history": None, "dataset.weight": None, "dataset.keep_negatives": None,
    "dataset.negatives_kept": None, "model.history": "mean", "model.attention_units": [36],
    "model.attention_activation": "dice", "train.shuffle": "full", "train.shuffle_window": 0.05,
    "dataset.buckets": 1024, "dataset.unseen": None,
}  # fmt: skip


@dataclass(frozen=True)
class Setting:
    """Runs that differ in their seed alone, under the shortest name that tells them from the others."""

    name: str
    runs: list[Run]

    def values(self, split: str, measure: str) -> list[float]:
        """That of each run. Of what older versions did not measure there may be fewer, or none."""
        return [run.report[split][measure] for run in self.runs if measure in run.report[split]]


def measured(found: Iterable[Setting]) -> list[Measure]:
    """The measures of the test rows that every run of these settings has: reports of older versions have two."""
    runs = [run for setting in found for run in setting.runs]
    return [measure for measure in MEASURES if all(measure.name in run.report["test"] for run in runs)]


def settings(runs: Sequence[Run]) -> list[Setting]:
    """The runs by setting, the best mean test AUC first."""
    groups: dict[str, list[Run]] = defaultdict(list)
    for run in runs:
        groups[json.dumps([run.store, essence(run.report["config"])], sort_keys=True)].append(run)
    names = name_settings([group[0] for group in groups.values()])
    found = [
        Setting(name, sorted(group, key=lambda run: run.seed))
        for name, group in zip(names, groups.values(), strict=True)
    ]
    return sorted(found, key=lambda setting: -sum(setting.values("test", "auc")) / len(setting.runs))


def distinct(runs: Iterable[Run]) -> list[Run]:
    """Each run once. A published copy, or the same seed trained again, is no other seed; the one with weights stays."""
    found: dict[tuple[str, tuple[str, int, int]], Run] = {}
    for run in runs:
        key = run.store, identity(run.report["config"])
        if key not in found or (run.has_weights and not found[key].has_weights):
            found[key] = run
    return list(found.values())


def essence(config: dict[str, Any]) -> dict[str, Any]:
    """The flat configuration without what may differ between seeds."""
    return {
        key: value
        for key, value in flatten(config).items()
        if key not in INCIDENTAL and YOUNGER.get(key, ABSENT) != value
    }


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
    """The model of each as it was asked for, with the settings in which it differs from most of the same model.

    No two are equal.
    """
    models: dict[str, set[str]] = defaultdict(set)
    for run in runs:
        models[base_name(run)].add(run.name)
    bases = [f"{run.report['model']} " * (len(models[base_name(run)]) > 1) + base_name(run) for run in runs]
    names: list[str] = []
    for run, base in zip(runs, bases, strict=True):
        rivals = [essence(other.report["config"]) for other, name in zip(runs, bases, strict=True) if name == base]
        mine = essence(run.report["config"])
        telling = [key for key in mine if any(rival.get(key, ABSENT) != mine[key] for rival in rivals)]
        own = [f"{key.rpartition('.')[2]}={mine[key]}" for key in telling if mine[key] != usual(rivals, key)]
        names.append(" ".join([base, *own]))
    return [f"{name} ({names[:i].count(name) + 1})" if name in names[:i] else name for i, name in enumerate(names)]


def usual(configs: Sequence[dict[str, Any]], key: str) -> Any:
    """The value that more than half of them have, which goes without saying; else ABSENT."""
    values = [json.dumps(config[key], sort_keys=True) for config in configs if key in config]
    most = max(values, key=values.count)
    return json.loads(most) if 2 * values.count(most) > len(configs) else ABSENT


def base_name(run: Run) -> str:
    """The file that the model came from, as in model=... or tuned=..., if the command line named one."""
    asked = dict(word.split("=", 1) for word in run.report.get("overrides", []) if "=" in word)
    tuned = str(asked.get("tuned", "")).rpartition("/")[2]
    return tuned or asked.get("model", run.name)
