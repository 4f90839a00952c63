"""The JSON files of a run, which may come from anywhere: bounded in size, and checked before anything uses them."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from eulernet.errors import UserError, require
from eulernet.runs.parts import check_file

REPORT, EVALUATION = "report.json", "evaluation.json"


def read_json(file: Path) -> dict[str, Any]:
    """What ``file``, which stands in the folder of a run, says: names and values. UserError if it is damaged."""
    check_file(file.parent, file.name)
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{file} cannot be read ({' '.join(str(error).split())[:200]}); get it again") from None
    require(isinstance(found, dict), f"{file} is damaged: it should hold names and values")
    return found


def _is_count(value: Any) -> bool:
    return type(value) is int and value >= 0


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


def _is_name(value: Any) -> bool:
    """Text that can be the name of a folder."""
    return isinstance(value, str) and value not in ("", ".", "..") and not set(value) & {"/", "\\", "\0"}


def _is_words(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(word, str) for word in value)


def _are(fits: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, dict) and all(fits(each) for each in value.values())


def _is_mapping(value: Any) -> bool:
    return isinstance(value, dict)


def _is_ancestor(value: Any) -> bool:
    words = all(isinstance(value.get(key), str) for key in ("run", "weights", "store")) if _is_mapping(value) else False
    return words and _is_count(value.get("rows"))


# What a report must have to be shown; what stands under OPTIONAL is not in the reports of older versions.
NEEDED: dict[str, Callable[[Any], bool]] = {
    "dataset": _is_mapping, "dataset.name": _is_name, "dataset.digest": _is_name, "dataset.rows": _are(_is_count),
    "dataset.rows.train": _is_count, "dataset.rows.test": _is_count,
    "model": _is_name, "seed": _is_count, "parameters": _is_count, "best_epoch": _is_count, "epochs": _is_count,
    "valid.auc": _is_number, "valid.logloss": _is_number, "valid": _is_mapping,
    "test.auc": _is_number, "test.logloss": _is_number, "test": _are(_is_number), "seconds": _is_number,
    "config": _is_mapping, "config.model": _is_mapping, "config.train": _is_mapping,
}  # fmt: skip
OPTIONAL: dict[str, Callable[[Any], bool]] = {
    "dataset.field_sizes": _are(_is_count), "dataset.protocol": lambda value: isinstance(value, str | None),
    "samples_per_second": _is_number, "peak_memory_bytes": lambda value: value is None or _is_count(value),
    "auto": _is_mapping, "reference": _is_mapping,
    "ancestry": lambda value: isinstance(value, list) and all(map(_is_ancestor, value)), "grown": _is_mapping,
    "versions": _is_mapping, "overrides": _is_words, "device": lambda value: isinstance(value, str),
}  # fmt: skip
ABSENT = object()


def check_evaluations(found: dict[str, Any], file: Path) -> dict[str, Any]:
    """``found`` as it is. UserError unless it is what ``eulernet.evaluate`` writes."""

    def is_measured(value: Any) -> bool:
        return isinstance(value, dict) and "value" in value and _are(lambda one: one is None or _is_number(one))(value)

    for what, one in found.items():
        fits = isinstance(one, dict) and _are(is_measured)(one.get("metrics"))
        require(fits, f"{file} is damaged: {what[:80]!r}; remove it, and evaluate again")
    return found


def _at(report: Any, key: str) -> Any:
    """What ``report`` has at a dotted ``key``, or ABSENT."""
    for name in key.split("."):
        report = report.get(name, ABSENT) if isinstance(report, dict) else ABSENT
    return report


def check_report(report: dict[str, Any], file: Path, *, packed: bool = False) -> dict[str, Any]:
    """``report`` as it is. UserError that names the first value in it that ``eulernet.train`` does not write.

    That of a ``packed`` run has no configuration.
    """
    needed = {key: fits for key, fits in NEEDED.items() if not packed or key.partition(".")[0] != "config"}
    missing = [key for key in needed if "." not in key and key not in report]
    require(not missing, f"{file} lacks {', '.join(missing)}: not a report of eulernet.train")
    if report["test"] == {} and _at(report, "dataset.rows.test") == 0:  # there was no test split
        needed = {key: fits for key, fits in needed.items() if not key.startswith("test.")}
    for key, fits in {**needed, **OPTIONAL}.items():
        value = _at(report, key)
        require(value is not ABSENT or key in OPTIONAL, f"{file} lacks {key}; train that run again")
        if value is not ABSENT and not fits(value):
            raise UserError(f"{file} is damaged: {key} is {str(value)[:80]!r}; train that run again")
    best, epochs = report["best_epoch"], report["epochs"]
    require(1 <= best <= epochs, f"{file} is damaged: best_epoch {best} of {epochs} epochs; train that run again")
    return report
