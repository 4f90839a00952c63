"""The table of measures. What stands here is in every report, evaluation and table: a new measure is one entry.

auc                         Area under the ROC curve: how often a click scores above another row
logloss                     Cross entropy a row
grouped_auc                 AUC within each group, mostly a user, averaged by rows (gAUC)
pr_auc                      Average precision: the area under the precision-recall curve
expected_calibration_error  Mean distance of predicted and actual click rate, in bins
normalised_entropy          Logloss relative to that of predicting the click rate for every row
brier                       Mean squared distance of the probability from the label
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from eulernet.measures import metrics
from eulernet.measures.metrics import Ranked, RankedInGroups


class Rows:
    """Rows to measure, with what is computed once for all resamples: they are sorted only once.

    ``weights`` [rows] say how much each row counts, None all alike.
    """

    def __init__(
        self,
        labels: np.ndarray,
        logits: np.ndarray,
        groups: np.ndarray | None = None,
        weights: np.ndarray | None = None,
    ) -> None:
        self.weights = weights
        self.y, self.z = np.asarray(labels, dtype=np.float64), np.asarray(logits, dtype=np.float64)
        self.ranked = Ranked(labels, logits)
        self.in_groups = None if groups is None else RankedInGroups(labels, logits, groups)

    @cached_property
    def p(self) -> np.ndarray:
        return metrics.sigmoid(self.z)

    @cached_property
    def losses(self) -> np.ndarray:
        return np.logaddexp(0.0, self.z) - self.y * self.z

    @cached_property
    def bin_of(self) -> np.ndarray:
        return metrics.bin_numbers(self.p, metrics.BINS, self.weights)


class Weighted:
    """``rows`` of which each was drawn as often as ``draws`` [rows] say, None once: what a measure is a function of."""

    def __init__(self, rows: Rows, draws: np.ndarray | None = None) -> None:
        self.rows, self.weights = rows, draws if rows.weights is None else rows.weights
        if draws is not None and rows.weights is not None:
            self.weights = draws * rows.weights

    def mean(self, values: np.ndarray) -> float:
        if self.weights is None:
            return float(values.mean())
        return float(metrics.inner(self.weights, values) / self.weights.sum())

    @cached_property
    def auc_and_precision(self) -> tuple[float, float]:
        return self.rows.ranked.auc_and_precision(self.weights)

    @cached_property
    def logloss(self) -> float:
        return self.mean(self.rows.losses)

    @property
    def normalised_entropy(self) -> float:
        base = metrics.entropy(self.mean(self.rows.y))
        return self.logloss / base if base > 0 else float("nan")

    @property
    def calibration_error(self) -> float:
        return metrics.calibration_error(self.rows.p - self.rows.y, self.rows.bin_of, self.weights)

    @property
    def calibration_strays(self) -> float:
        assert self.weights is not None
        return metrics.calibration_strays(self.rows.p - self.rows.y, self.rows.bin_of, self.weights, self.rows.weights)

    @property
    def grouped_auc(self) -> float:
        assert self.rows.in_groups is not None
        return self.rows.in_groups.auc(self.weights)


@dataclass(frozen=True)
class Measure:
    """``name`` is its key in report.json and evaluation.json, ``short`` its name where there is little room.

    Its interval are the percentiles of resamples; or, where these would be biased, its value more or less what
    ``strays`` makes of them.
    """

    name: str
    title: str
    short: str
    of: Callable[[Weighted], float]
    digits: int = 4  # after the point, where people read it
    higher_is_better: bool = False
    needs_groups: bool = False
    strays: Callable[[Weighted], float] | None = None


MEASURES = (
    Measure("auc", "AUC", "auc", lambda rows: rows.auc_and_precision[0], digits=5, higher_is_better=True),
    Measure("logloss", "logloss", "logloss", lambda rows: rows.logloss, digits=5),
    Measure(
        "grouped_auc", "AUC within users", "gauc", lambda rows: rows.grouped_auc,
        higher_is_better=True, needs_groups=True,
    ),
    Measure("pr_auc", "Average precision", "pr_auc", lambda rows: rows.auc_and_precision[1], higher_is_better=True),
    Measure(
        "expected_calibration_error", "Calibration error", "ece", lambda rows: rows.calibration_error,
        strays=lambda rows: rows.calibration_strays,
    ),
    Measure("normalised_entropy", "Normalised entropy", "ne", lambda rows: rows.normalised_entropy),
    Measure("brier", "Brier score", "brier", lambda rows: rows.mean((rows.rows.p - rows.rows.y) ** 2), digits=5),
)  # fmt: skip
BY_NAME = {measure.name: measure for measure in MEASURES}


def measure(rows: Weighted) -> dict[str, float]:
    """Every measure of these rows by its name; NaN where it is not defined."""
    known = rows.rows.in_groups is not None
    return {each.name: each.of(rows) for each in MEASURES if known or not each.needs_groups}


@dataclass(frozen=True)
class Metrics:
    """How well logits [rows] rank and predict 0/1 labels [rows]: AUC, logloss and the ``others`` of the table."""

    auc: float
    logloss: float
    others: dict[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, labels: np.ndarray, logits: np.ndarray, weights: np.ndarray | None = None) -> "Metrics":
        found = measure(Weighted(Rows(labels, logits, weights=weights)))
        return cls(found.pop("auc"), found.pop("logloss"), found)

    def plain(self) -> dict[str, float]:
        """By name, as in report.json, which leaves out what is not defined."""
        found = {"auc": self.auc, "logloss": self.logloss, **self.others}
        return {name: value for name, value in found.items() if np.isfinite(value)}

    def __str__(self) -> str:
        return f"auc={self.auc:.6f}  logloss={self.logloss:.6f}"
