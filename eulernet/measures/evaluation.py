"""Everything that is measured of scored rows, with bootstrap intervals: what ``evaluate`` writes and reports show."""

from collections.abc import Callable
from typing import Any

import numpy as np

from eulernet.measures import metrics
from eulernet.measures.metrics import Ranked, RankedInGroups


def measures(
    labels: np.ndarray, logits: np.ndarray, groups: np.ndarray | None = None
) -> Callable[[np.ndarray | None], dict[str, float]]:
    """A function of weights [rows] (None: each row once) to every measure of these rows, which are sorted but once.

    They are ``auc``, ``logloss``, ``pr_auc``, ``normalised_entropy`` and ``expected_calibration_error`` as in
    ``metrics``, and with ``groups``, one of any type a row, ``grouped_auc``.
    """
    ranked = Ranked(labels, logits)
    in_groups = None if groups is None else RankedInGroups(labels, logits, groups)
    y = np.asarray(labels, dtype=np.float64)
    z, p = np.asarray(logits, dtype=np.float64), metrics.sigmoid(logits)
    losses, gaps, bin_of = np.logaddexp(0.0, z) - y * z, p - y, metrics.bin_numbers(p, metrics.BINS)

    def measure(weights: np.ndarray | None) -> dict[str, float]:
        w = np.ones(len(y)) if weights is None else weights
        total = w.sum()
        loss, base = float(w @ losses / total), metrics.entropy(float(w @ y / total))
        auc, precision = ranked.auc_and_precision(weights)
        found = {
            "auc": auc,
            "logloss": loss,
            "pr_auc": precision,
            "normalised_entropy": loss / base if base > 0 else float("nan"),
            "expected_calibration_error": metrics.calibration_error(gaps, bin_of, weights),
        }
        return found if in_groups is None else {**found, "grouped_auc": in_groups.auc(weights)}

    return measure


def evaluation(
    labels: np.ndarray,
    logits: np.ndarray,
    groups: np.ndarray | None = None,
    *,
    resamples: int,
    seed: int,
    after: Callable[[], object] = lambda: None,
) -> dict[str, Any]:
    """What is measured of these rows: ``metrics``, name to value and 95 % interval, the calibration table, and counts.

    A value that is not defined is None. ``resamples`` 0 leaves the intervals out; ``after`` is called after each.
    """
    measure = measures(labels, logits, groups)

    def counted(weights: np.ndarray) -> dict[str, float]:
        found = measure(weights)
        after()
        return found

    values = measure(None)
    intervals = metrics.bootstrap(counted, len(labels), count=resamples, seed=seed) if resamples else {}
    return {
        "rows": len(labels),
        "clicks": int(np.count_nonzero(labels)),
        "metrics": {
            name: {"value": _number(value), **_interval(intervals.get(name))} for name, value in values.items()
        },
        "bootstrap": {"resamples": resamples, "seed": seed, "level": 0.95},
        "calibration": metrics.calibration_table(labels, metrics.sigmoid(logits)),
    }


def _interval(interval: tuple[float, float] | None) -> dict[str, float | None]:
    return {} if interval is None else {"low": _number(interval[0]), "high": _number(interval[1])}


def _number(value: float) -> float | None:
    """JSON has no NaN."""
    return value if np.isfinite(value) else None
