"""How well logits rank clicks and how well their probabilities are calibrated: exact, over a whole split, in float64.

Arrays have one entry a row. ``labels`` are 0 or 1, ``logits`` any numbers, ``probabilities`` lie in [0, 1], ``scores``
are either: only their order counts. ``weights`` say how often each row counts, once where there are none; a measure is
NaN where it is not defined, which is where every row that counts is a click, or none is.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

BINS = 20


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(-z)) in float64: exact to the last digits at both ends."""
    with np.errstate(over="ignore"):  # exp(-z) may be infinite: a probability of 0
        return 1 / (1 + np.exp(-np.asarray(logits, dtype=np.float64)))


def auc(labels: np.ndarray, scores: np.ndarray, weights: np.ndarray | None = None) -> float:
    """Share of (click, no click) pairs that the scores order rightly, ties one half. NaN scores raise ValueError."""
    return Ranked(labels, scores).auc_and_precision(weights)[0]


def pr_auc(labels: np.ndarray, scores: np.ndarray, weights: np.ndarray | None = None) -> float:
    """Average precision: the precision at every distinct score, weighted by the recall that it adds."""
    return Ranked(labels, scores).auc_and_precision(weights)[1]


def grouped_auc(labels: np.ndarray, scores: np.ndarray, groups: np.ndarray, weights: np.ndarray | None = None) -> float:
    """gAUC (Zhou et al., KDD 2018): the AUC within each group, averaged by rows, over groups with both labels."""
    return RankedInGroups(labels, scores, groups).auc(weights)


def brier(labels: np.ndarray, probabilities: np.ndarray, weights: np.ndarray | None = None) -> float:
    """Mean squared distance of the probability from the label (Brier, 1950): 0 is perfect, a constant 1/2 gives 1/4."""
    return float(np.average((np.asarray(probabilities, dtype=np.float64) - np.asarray(labels)) ** 2, weights=weights))


def logloss(labels: np.ndarray, logits: np.ndarray, weights: np.ndarray | None = None) -> float:
    """Mean of log(1 + exp(z)) - y z, which is the cross entropy of sigmoid(z) without an epsilon."""
    z = np.asarray(logits, dtype=np.float64)
    return float(np.average(np.logaddexp(0.0, z) - np.asarray(labels) * z, weights=weights))


def normalised_entropy(labels: np.ndarray, logits: np.ndarray, weights: np.ndarray | None = None) -> float:
    """Logloss divided by that of predicting the click rate for every row (He et al., ADKDD 2014): below 1 is useful."""
    rate = float(np.average(labels, weights=weights))
    return ratio(logloss(labels, logits, weights), entropy(rate))


def entropy(rate: float) -> float:
    """The logloss of predicting ``rate`` for rows of which this share are clicks."""
    return float(-rate * np.log(rate) - (1 - rate) * np.log1p(-rate)) if 0 < rate < 1 else 0.0


def expected_calibration_error(
    labels: np.ndarray, probabilities: np.ndarray, weights: np.ndarray | None = None, *, bins: int = BINS
) -> float:
    """Mean distance of predicted and actual click rate over the rows, in ``bins`` of about equally many of them.

    Rows of one probability share a bin; equally many are rows of equal weight.
    """
    return calibration_error(np.asarray(probabilities) - labels, bin_numbers(probabilities, bins, weights), weights)


def calibration_error(gaps: np.ndarray, bin_of: np.ndarray, weights: np.ndarray | None = None) -> float:
    """The same from the ``gaps`` between probabilities and labels, and the number of each row's bin."""
    weight = np.ones(len(gaps)) if weights is None else weights
    return float(np.abs(np.bincount(bin_of, weight * gaps)).sum() / weight.sum())


def calibration_strays(
    gaps: np.ndarray, bin_of: np.ndarray, weights: np.ndarray, of_sample: np.ndarray | None = None
) -> float:
    """How far the mean gaps of a resample's bins are from the sample's, all together: half of an interval.

    A calibration error is a sum of absolute values, which chance alone makes larger, and a resample larger again: the
    percentiles of resamples lie above the truth. But two sums of absolute values differ at most by the sum of the
    differences (the triangle inequality), whose distribution a bootstrap does give. With few rows in a bin its variance
    is too small by their number over one less (Efron and Tibshirani, 1993, 5.3). NaN where a bin has one row.
    ``weights`` are those of the resample, ``of_sample`` those of the sample, None alike.
    """
    own = np.ones(len(gaps)) if of_sample is None else of_sample
    strays = np.bincount(bin_of, weights * gaps) / weights.sum() - np.bincount(bin_of, own * gaps) / own.sum()
    rows = equal_rows(own) / (bin_of.max() + 1)
    return float(np.abs(strays).sum() * np.sqrt(rows / (rows - 1))) if rows > 1 else float("nan")


def calibration_table(
    labels: np.ndarray, probabilities: np.ndarray, weights: np.ndarray | None = None, *, bins: int = BINS
) -> list[dict[str, Any]]:
    """A line a bin, from the lowest probabilities up: ``rows``, ``clicks``, ``lowest`` and ``highest`` probability,
    ``predicted`` (their mean) and ``actual`` click rate, with its 95 % Wilson interval ``low`` to ``high``.

    Rates are weighted, ``rows`` and ``clicks`` counted; the interval is that of ``equal_rows``, and weight 0 is none.
    """
    w = np.ones(len(labels)) if weights is None else np.asarray(weights, dtype=np.float64)
    y, p, w = (np.asarray(values, dtype=np.float64)[w > 0] for values in (labels, probabilities, w))
    bin_of, table = bin_numbers(p, bins, None if weights is None else w), []
    for b in range(bin_of.max() + 1):
        inside = bin_of == b
        rate = float(np.average(y[inside], weights=w[inside]))
        alike = equal_rows(w[inside])
        low, high = wilson(rate * alike, alike)
        table.append(
            {
                "rows": int(inside.sum()),
                "clicks": int(y[inside].sum()),
                "lowest": float(p[inside].min()),
                "highest": float(p[inside].max()),
                "predicted": float(np.average(p[inside], weights=w[inside])),
                "actual": rate,
                "low": low,
                "high": high,
            }
        )
    return table


def equal_rows(weights: np.ndarray) -> float:
    """Of how many rows of one weight a mean has the variance of this weighted one: (sum w)^2 / sum w^2 (Kish, 1965)."""
    return float(weights.sum() ** 2 / (weights**2).sum())


def bin_numbers(values: np.ndarray, bins: int, weights: np.ndarray | None = None) -> np.ndarray:
    """The number of each value's bin, 0, 1, ..., where sorted ``values`` are cut into ``bins`` parts of equal weight.

    Equal values share a bin, so that there may be fewer bins.
    """
    if weights is None:
        ordered, first = np.sort(values), np.arange(1, bins) * len(values) // bins
    else:
        order = np.argsort(values, kind="stable")
        ordered, below = values[order], np.cumsum(np.asarray(weights, dtype=np.float64)[order])
        first = np.searchsorted(below, np.arange(1, bins) * below[-1] / bins, side="right")
    edges = np.unique(ordered[first])
    return np.searchsorted(edges[edges > ordered[0]], values, side="right")


def wilson(clicks: float, rows: float, z: float = 1.959963984540054) -> tuple[float, float]:
    """The score interval of a rate (Wilson, 1927), by default at 95 %."""
    rate, shrink = clicks / rows, 1 + z**2 / rows
    centre = (rate + z**2 / (2 * rows)) / shrink
    half = z * np.sqrt(rate * (1 - rate) / rows + z**2 / (4 * rows**2)) / shrink
    return float(centre - half) if clicks else 0.0, float(centre + half) if clicks < rows else 1.0


def resamples(rows: int, count: int, seed: int) -> Iterator[np.ndarray]:
    """How often each row is drawn in ``count`` draws of ``rows`` rows with replacement."""
    draw = np.random.default_rng(seed)
    for _ in range(count):
        yield np.bincount(draw.integers(rows, size=rows, dtype=np.int64), minlength=rows).astype(np.float64)


def bootstrap(
    measure: Callable[[np.ndarray], dict[str, float]], rows: int, *, count: int, seed: int, level: float = 0.95
) -> dict[str, tuple[float, float]]:
    """Percentile intervals (Efron, 1979) of what ``measure(weights)`` returns, over ``count`` resamples of the rows.

    ``Ranked`` and ``RankedInGroups`` sort once for all of them. One that leaves a measure undefined does not count.
    """
    found: dict[str, list[float]] = {}
    for weights in resamples(rows, count, seed):
        for name, value in measure(weights).items():
            found.setdefault(name, []).append(value)
    shares = ((1 - level) / 2, (1 + level) / 2)
    intervals = {}
    for name, values in found.items():
        defined = np.array(values)[np.isfinite(values)]
        low, high = np.quantile(defined, shares) if len(defined) else (np.nan, np.nan)
        intervals[name] = (float(low), float(high))
    return intervals


class Ranked:
    """Rows sorted by their scores once, to be measured with any weights."""

    def __init__(self, labels: np.ndarray, scores: np.ndarray) -> None:
        _check(scores)
        self.order = np.argsort(scores, kind="stable")[::-1]
        score = np.asarray(scores)[self.order]
        self.label = np.asarray(labels)[self.order] != 0
        self.last = np.flatnonzero(np.append(score[1:] != score[:-1], True))  # of each distinct score

    def auc_and_precision(self, weights: np.ndarray | None = None) -> tuple[float, float]:
        """AUC and average precision, from how many clicks and others score at least as high as each distinct score."""
        clicks, others = self.counts(weights)
        right, precision = self.sums(clicks, others, others[-1])
        return ratio(right, clicks[-1] * others[-1]), ratio(precision, clicks[-1])

    def counts(self, weights: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """The clicks and the others that score at least as high as each distinct score, from the highest down."""
        weight = _ordered(weights, self.order)
        clicks = np.cumsum(weight * self.label)[self.last]
        return clicks, np.cumsum(weight)[self.last] - clicks

    @staticmethod
    def sums(
        clicks: np.ndarray, others: np.ndarray, all_others: float, above: tuple[float, float] = (0.0, 0.0)
    ) -> tuple[float, float]:
        """The pairs that are in order, and the precision summed over clicks, of distinct scores with such ``counts``.

        Of so many others in all. The clicks and the others that score higher than all these are ``above``.
        """
        new_clicks, new_others = np.diff(clicks, prepend=0), np.diff(others, prepend=0)
        clicks, others = clicks + above[0], others + above[1]
        right = inner(new_clicks, all_others - others + new_others / 2)
        precision = inner(new_clicks, clicks / np.maximum(clicks + others, 1e-300))
        return float(right), float(precision)


class RankedInGroups:
    """Rows sorted by their group and then by their scores once, to be measured with any weights."""

    def __init__(self, labels: np.ndarray, scores: np.ndarray, groups: np.ndarray) -> None:
        _check(scores)
        group = np.unique(groups, return_inverse=True)[1]
        self.order = np.lexsort((scores, group))
        score, group = np.asarray(scores)[self.order], group[self.order]
        self.label = np.asarray(labels)[self.order] != 0
        new_group = np.append(True, group[1:] != group[:-1])
        # Where the rows of one group and one score begin; and which of these begin a group.
        self.tie = np.flatnonzero(new_group | np.append(True, score[1:] != score[:-1]))
        self.first = np.flatnonzero(new_group[self.tie])
        self.ties = np.diff(self.first, append=len(self.tie))

    def auc(self, weights: np.ndarray | None = None) -> float:
        aucs, rows = self.each(weights)
        both = np.isfinite(aucs)
        return ratio(inner(rows[both], aucs[both]), rows[both].sum())

    def each(self, weights: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """The AUC of each group, NaN without both labels, and how many rows it counts; groups in ascending order."""
        weight = _ordered(weights, self.order)
        clicks = np.add.reduceat(weight * self.label, self.tie)
        others = np.add.reduceat(weight, self.tie) - clicks
        before = np.cumsum(others) - others
        before -= np.repeat(before[self.first], self.ties)
        right = np.add.reduceat(clicks * (before + others / 2), self.first)
        clicks, others = np.add.reduceat(clicks, self.first), np.add.reduceat(others, self.first)
        pairs = clicks * others
        return np.divide(right, pairs, out=np.full(len(pairs), np.nan), where=pairs > 0), clicks + others


def _ordered(weights: np.ndarray | None, order: np.ndarray) -> np.ndarray:
    return np.ones(len(order)) if weights is None else np.asarray(weights, dtype=np.float64)[order]


def _check(scores: np.ndarray) -> None:
    if len(scores) == 0:
        raise ValueError("there are no rows to measure")
    if np.isnan(scores).any():
        raise ValueError("scores are not to be NaN")


def inner(a: np.ndarray, b: np.ndarray) -> np.float64:
    """The sum of the products of two vectors, in one order whatever the processor and its threads.

    Not ``a @ b``: of long vectors that wakes the threads of BLAS, which then wait busily for some 25 ms.
    """
    return np.float64(np.einsum("i,i->", a, b))


def ratio(part: float, whole: float) -> float:
    """``part`` of ``whole``; NaN of nothing."""
    return float(part / whole) if whole > 0 else float("nan")
