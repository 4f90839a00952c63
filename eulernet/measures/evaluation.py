"""Everything that is measured of scored rows, with bootstrap intervals: what ``evaluate`` writes and reports show."""

from collections.abc import Callable
from typing import Any

import numpy as np

from eulernet.measures import metrics
from eulernet.measures.table import MEASURES, Rows, Weighted, measure


def evaluation(
    labels: np.ndarray,
    logits: np.ndarray,
    groups: np.ndarray | None = None,
    weights: np.ndarray | None = None,
    *,
    resamples: int,
    seed: int,
    after: Callable[[], object] = lambda: None,
) -> dict[str, Any]:
    """What is measured of these rows: ``metrics``, name to value and 95 % interval, the calibration table, and counts.

    A row counts as much as ``weights`` say, None once. A value that is not defined is None. ``resamples`` 0 leaves the
    intervals out; ``after`` is called after each.
    """
    rows, strays = Rows(labels, logits, groups, weights), {each.name: each.strays for each in MEASURES if each.strays}

    def counted(draws: np.ndarray) -> dict[str, float]:
        drawn = Weighted(rows, draws)
        found = {**measure(drawn), **{name: strays_of(drawn) for name, strays_of in strays.items()}}
        after()
        return found

    values = measure(Weighted(rows))
    intervals = metrics.bootstrap(counted, len(labels), count=resamples, seed=seed) if resamples else {}
    for name in strays.keys() & intervals.keys():
        intervals[name] = max(values[name] - intervals[name][1], 0.0), values[name] + intervals[name][1]
    return {
        "rows": len(labels),
        "clicks": int(np.count_nonzero(labels)),
        "metrics": {
            name: {"value": _number(value), **_interval(intervals.get(name))} for name, value in values.items()
        },
        "bootstrap": {"resamples": resamples, "seed": seed, "level": 0.95},
        "calibration": metrics.calibration_table(labels, metrics.sigmoid(logits), weights),
    }


def _interval(interval: tuple[float, float] | None) -> dict[str, float | None]:
    return {} if interval is None else {"low": _number(interval[0]), "high": _number(interval[1])}


def _number(value: float) -> float | None:
    """JSON has no NaN."""
    return value if np.isfinite(value) else None
