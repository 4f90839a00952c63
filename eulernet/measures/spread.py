"""The measures of rows that are spread over ranks, exact, while no rank ever holds the scores of all.

As in a sample sort: edges cut the range of the scores into as many buckets as there are ranks, equal scores in one
bucket, and each rank gets the rows of one. It sorts these, and learns from sums alone how many clicks and others
there are above its bucket and how many rows below. Every part of a measure then adds up over the ranks.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from eulernet.measures import metrics
from eulernet.measures.metrics import Ranked
from eulernet.measures.table import Metrics

SAMPLE = 256  # scores that each rank offers as edges


@dataclass(frozen=True)
class Ranks:
    """This rank's ``number``, and how all exchange: each calls the same one at the same time.

    ``gather`` returns the values of all, in order of rank. ``exchange`` takes rows for each rank, arrays [n, K], and
    returns the rows that all sent to this one.
    """

    number: int
    gather: Callable[[Any], list[Any]]
    exchange: Callable[[list[np.ndarray]], np.ndarray]


def measure_spread(labels: np.ndarray, logits: np.ndarray, weights: np.ndarray | None, ranks: Ranks) -> Metrics:
    """What ``Metrics.of`` gives for the rows of all ``ranks``, of which these are this rank's: maybe none.

    The same bits on every rank. ValueError if there are no rows at all.
    """
    weighted = any(ranks.gather(weights is not None))
    weight = np.ones(len(labels)) if weights is None else weights
    rows = np.column_stack([logits, labels, weight]).astype(np.float64)
    y, z, w = ranks.exchange(buckets(rows, ranks)).T
    p = metrics.sigmoid(z)
    rate, logloss, brier = means(y, z, p, w, ranks)
    auc, precision = ranking(y, z, w, ranks)
    error = calibration(y, p, w, weighted, ranks)
    base = metrics.entropy(rate)
    found = {
        "pr_auc": precision,
        "expected_calibration_error": error,
        "normalised_entropy": logloss / base if base > 0 else float("nan"),
        "brier": brier,
    }
    return Metrics(auc, logloss, found)


def buckets(rows: np.ndarray, ranks: Ranks) -> list[np.ndarray]:
    """``rows`` [n, 3], logit, label, weight, by the rank whose bucket they are in; as label, logit, weight."""
    places = np.linspace(0, len(rows) - 1, min(SAMPLE, len(rows))).astype(int)
    offered = np.sort(np.concatenate(ranks.gather(np.sort(rows[:, 0])[places])))
    if not len(offered):
        raise ValueError("there are no rows to measure")
    count = len(ranks.gather(None))
    edges = offered[np.arange(1, count) * len(offered) // count]
    of_row = np.searchsorted(edges, rows[:, 0], side="right")
    return [rows[of_row == bucket][:, [1, 0, 2]] for bucket in range(count)]


def means(y: np.ndarray, z: np.ndarray, p: np.ndarray, w: np.ndarray, ranks: Ranks) -> tuple[float, float, float]:
    """Click rate, logloss and Brier score."""
    losses = np.logaddexp(0.0, z) - y * z
    parts = [w.sum(), w @ y, w @ losses, w @ (p - y) ** 2]
    total, *sums = np.sum(ranks.gather(parts), axis=0).tolist()
    rate, logloss, brier = (value / total for value in sums)
    return rate, logloss, brier


def ranking(y: np.ndarray, z: np.ndarray, w: np.ndarray, ranks: Ranks) -> tuple[float, float]:
    """AUC and average precision."""
    above_or_at = Ranked(y, z).counts(w) if len(y) else (np.zeros(0), np.zeros(0))
    counts = np.array(ranks.gather([sums[-1] if len(sums) else 0.0 for sums in above_or_at]))  # of each bucket
    clicks, others = counts.sum(0)
    above = counts[ranks.number + 1 :].sum(0)
    parts = Ranked.sums(above_or_at[0], above_or_at[1], others, (above[0], above[1]))
    right, precision = np.sum(ranks.gather(parts), axis=0)
    return metrics.ratio(right, clicks * others), metrics.ratio(precision, clicks)


def calibration(y: np.ndarray, p: np.ndarray, w: np.ndarray, weighted: bool, ranks: Ranks) -> float:
    """The expected calibration error: its bins end at probabilities whose places are known in all rows."""
    order = np.argsort(p, kind="stable")
    ordered = p[order]
    parts = ranks.gather((len(p), w.sum(), ordered[0] if len(p) else np.inf))
    sizes = np.array([[part[0], part[1]] for part in parts])
    before, total = sizes[: ranks.number].sum(0), sizes.sum(0)
    if weighted:
        ends = np.arange(1, metrics.BINS) * total[1] / metrics.BINS - before[1]
        place = np.searchsorted(np.cumsum(w[order]), ends, side="right")
        mine = ordered[place[(ends >= 0) & (place < len(p))]]
    else:
        place = np.arange(1, metrics.BINS) * int(total[0]) // metrics.BINS - int(before[0])
        mine = ordered[place[(place >= 0) & (place < len(p))]]
    edges = np.unique(np.concatenate(ranks.gather(mine)))
    lowest = min(part[2] for part in parts)
    bin_of = np.searchsorted(edges[edges > lowest], p, side="right")
    gaps = np.sum(ranks.gather(np.bincount(bin_of, w * (p - y), minlength=metrics.BINS)), axis=0)
    return float(np.abs(gaps).sum() / total[1])
