"""Settings of training that say ``auto``: values that follow from the number of training rows."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from eulernet.errors import require
from eulernet.settings import construct

AUTO = "auto"
ELSEWHERE = ("shuffle", "compile")  # follow from the store, and from a clock


@dataclass(frozen=True)
class Rule:
    """``train.auto`` of a configuration; ``conf/train/table.yaml`` says what each number is for."""

    steps: int
    least: int
    most: int
    decay: float
    epochs: float

    def __post_init__(self) -> None:
        require(1 <= self.least <= self.most, f"train.auto: least {self.least} and most {self.most} hold no batch size")
        for name in ("steps", "decay", "epochs"):
            require(getattr(self, name) > 0, f"train.auto.{name} must be positive, got {getattr(self, name)}")

    def batch_size(self, rows: int) -> int:
        """The power of two next to ``rows / steps``, on a log scale."""
        near = 2 ** round(math.log2(max(rows / self.steps, 1)))
        return int(min(max(near, self.least), self.most))

    def weight_decay(self, rows: int) -> float:
        """One prior for the weights, whatever the number of rows: the loss is a mean over them."""
        return float(f"{self.decay / rows:.3g}")

    def ema(self, rows: int, batch_size: int) -> float:
        """Weights averaged over the last ``epochs`` epochs; not at all where that is a step or less."""
        steps = self.epochs * rows / batch_size
        return round(1 - float(f"{1 / steps:.3g}"), 9) if steps > 1 else 0.0


def resolved(settings: Mapping[str, Any], rows: int) -> dict[str, Any]:
    """The ``train`` section of a configuration with a value for each ``auto``, and without the rule.

    UserError for an ``auto`` that there is no rule for.

    >>> rule = dict(steps=100, least=64, most=4096, decay=10.0, epochs=1.0)
    >>> resolved(dict(batch_size="auto", weight_decay="auto", ema="auto", auto=rule), rows=50_000)
    {'batch_size': 512, 'weight_decay': 0.0002, 'ema': 0.9898}
    """
    found = {key: value for key, value in settings.items() if key != AUTO}
    asked = [key for key, value in found.items() if value == AUTO and key not in ELSEWHERE]
    if not asked:
        return found
    given = settings.get(AUTO)
    require(isinstance(given, Mapping), f"train.{asked[0]}=auto: there is no rule for it; give train=table too")
    rule = construct(Rule, dict(given or {}), "train.auto")
    if found.get("batch_size") == AUTO:
        found["batch_size"] = rule.batch_size(rows)
    if found.get("weight_decay") == AUTO:
        found["weight_decay"] = rule.weight_decay(rows)
    if found.get("ema") == AUTO:
        size = found["batch_size"]
        require(type(size) is int and size >= 1, f"train.batch_size={size}: should be a whole number from 1")
        found["ema"] = rule.ema(rows, size)
    left = next((key for key in asked if found[key] == AUTO), None)
    require(left is None, f"train.{left}=auto: only batch_size, weight_decay and ema can be")
    return found


def chosen(settings: Mapping[str, Any], rows: int) -> dict[str, Any]:
    """What each ``auto`` of the section became."""
    found = resolved(settings, rows)
    return {key: found[key] for key, value in settings.items() if value == AUTO and key not in ELSEWHERE}
