"""Is one model better than another? Tests on the figures of seeds and on the predictions of test rows.

Each answers another question, and its p-value holds for no other:

* ``paired_t_test``, over seeds: would other seeds, on these test rows, order the two models the same way?
* ``delong``, ``bootstrap_auc``, ``bootstrap_logloss``, over rows: would other rows, for these two sets of weights? Two
  seeds of one model are two sets of weights, which on enough rows differ significantly.
* ``delong_over_seeds``, over both: would other seeds on other rows?

A p-value is for one comparison, chosen before looking. Of 20 comparisons of equally good models one has p < .05 by
chance: when a model is compared with several others, ``holm`` adjusts the p-values of them all.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from eulernet.errors import require
from eulernet.measures import metrics
from eulernet.measures.metrics import Ranked

LEVEL = 0.05  # intervals hold the true difference with probability 1 - LEVEL


@dataclass(frozen=True)
class Comparison:
    """Model a against model b: metric of a minus metric of b, its 95 % interval, and the two-sided p-value."""

    difference: float
    low: float
    high: float
    p: float


def paired_t_test(a: Sequence[float], b: Sequence[float]) -> Comparison:
    """Student's t-test on the differences of figures that share a seed: a[i] and b[i] are of seed i.

    UserError for fewer than two seeds.
    """
    _require_pairs(a, b)
    require(len(a) >= 2, "a t-test over seeds needs at least two seeds of each model")
    differences = np.subtract(a, b, dtype=np.float64)
    return _by_student(float(differences.mean()), float(differences.std(ddof=1)) / len(a) ** 0.5, len(a) - 1)


def t_test(difference: float, variances: Sequence[tuple[float, float]]) -> Comparison:
    """Of a difference whose variance is the sum of parts, each given with its degrees of freedom.

    The degrees of freedom of the sum are Welch's and Satterthwaite's.
    """
    total = sum(variance for variance, _ in variances)
    parts = sum(variance**2 / freedom for variance, freedom in variances if variance)
    return _by_student(difference, total**0.5, total**2 / parts if parts else np.inf)


def shares(labels: np.ndarray, weights: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """What each click counts among the clicks, and each other row among the others: two arrays that sum to 1.

    UserError unless two rows of each class count.
    """
    clicked = np.asarray(labels) == 1
    weight = np.ones(len(clicked)) if weights is None else np.asarray(weights, dtype=np.float64)
    clicks, others = (int(np.count_nonzero(weight[side])) for side in (clicked, ~clicked))
    require(clicks >= 2 and others >= 2, f"comparing AUCs takes 2 rows of each class: {clicks} clicks, {others} others")
    of_clicks, of_others = weight[clicked], weight[~clicked]
    return of_clicks / of_clicks.sum(), of_others / of_others.sum()


def placements(
    labels: np.ndarray, scores: np.ndarray, weights: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """DeLong's components of an AUC: the share of others that each click is above, of clicks that each other is below.

    Ties count one half; the mean of either, by ``shares``, is the AUC. In O(n log n), as by Sun and Xu, "Fast
    Implementation of DeLong's Algorithm", IEEE Signal Processing Letters 2014. UserError unless two rows of each class
    count.
    """
    clicked, (click, other) = np.asarray(labels) == 1, shares(labels, weights)
    require(bool(np.isfinite(scores).all()), "comparing AUCs takes finite scores")
    of_clicks = _share_below(scores[clicked], scores[~clicked], other)
    return of_clicks, 1 - _share_below(scores[~clicked], scores[clicked], click)


def _share_below(values: np.ndarray, scores: np.ndarray, share: np.ndarray) -> np.ndarray:
    """The ``share`` of those ``scores`` that are below each of ``values``, and half of those that equal it."""
    order = np.argsort(scores, kind="stable")
    ordered, below = scores[order], np.append(0.0, np.cumsum(share[order]))
    return (below[np.searchsorted(ordered, values)] + below[np.searchsorted(ordered, values, side="right")]) / 2


def auc_interval(labels: np.ndarray, scores: np.ndarray, weights: np.ndarray | None = None) -> tuple[float, float]:
    """The 95 % interval of one AUC over other test rows, by DeLong's variance, kept within 0 and 1."""
    interval = _by_student(*auc_and_error(placements(labels, scores, weights), shares(labels, weights)), np.inf)
    return max(0.0, interval.low), min(1.0, interval.high)


def auc_and_error(placed: Sequence[np.ndarray], share: Sequence[np.ndarray]) -> tuple[float, float]:
    """An AUC, or a difference of AUCs, from its placements, and its standard error over rows."""
    variance = sum(float(covariances(*pair)[0, 0]) for pair in zip(placed, share, strict=True))
    return float(placed[0] @ share[0]), variance**0.5


def covariances(values: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Those, [S, S], of the means over rows of ``values`` [S, rows], a row counting by its ``share`` of them all."""
    values, rows = np.atleast_2d(values), int(np.count_nonzero(share))
    centred = (values - (values @ share)[:, None]) * share
    return centred @ centred.T * (rows / (rows - 1))


def delong(labels: np.ndarray, a: np.ndarray, b: np.ndarray, weights: np.ndarray | None = None) -> Comparison:
    """Test of equal AUCs of two sets of scores for the same rows (DeLong, DeLong and Clarke-Pearson, Biometrics 1988).

    The variance of the difference comes from the differences of the two sets' placements, so that what the sets have in
    common cancels. Scores may be logits or probabilities: only their order counts. Rows count by ``weights``.
    """
    _require_pairs(a, b, labels)
    pairs = zip(placements(labels, a, weights), placements(labels, b, weights), strict=True)
    return _by_student(*auc_and_error([x - y for x, y in pairs], shares(labels, weights)), np.inf)


def delong_over_seeds(
    labels: np.ndarray, a: np.ndarray, b: np.ndarray, weights: np.ndarray | None = None
) -> Comparison:
    """Test of equal mean AUCs of two models over other seeds and other rows; a and b [S, rows], a row each seed.

    The variance of the mean difference d of S pairs of seeds is s^2 / S + max(c, 0): s^2 the variance of d over the
    pairs, c the covariance over rows of the d of two pairs, by DeLong. The degrees of freedom are S - 1, more where
    the rows dominate. Obuchowski and Rockette (1995) with Hillis' degrees of freedom (2007), who compare imaging
    methods by several readers of the same cases. UserError for fewer than two seeds.
    """
    a, b = np.atleast_2d(a), np.atleast_2d(b)
    require(a.shape == b.shape and a.shape[1] == len(labels), "the two models need scores of the same seeds and rows")
    seeds = len(a)
    require(seeds >= 2, "a test over seeds needs at least two seeds of each model")
    parts = [[x - y for x, y in zip(placements(labels, of, weights), placements(labels, other, weights), strict=True)]
             for of, other in zip(a, b, strict=True)]  # fmt: skip
    of_clicks, of_others = (np.array(part) for part in zip(*parts, strict=True))
    click, other = shares(labels, weights)
    over_rows = covariances(of_clicks, click) + covariances(of_others, other)
    common = max(float(over_rows.sum() - np.trace(over_rows)) / (seeds * (seeds - 1)), 0.0)
    differences = of_clicks @ click
    mean, within = float(differences.mean()), float(differences.var(ddof=1))
    freedom = (seeds - 1) * ((within + seeds * common) / within) ** 2 if within else np.inf
    return _by_student(mean, (within / seeds + common) ** 0.5, freedom)


def bootstrap_auc(
    labels: np.ndarray,
    a: np.ndarray,
    b: np.ndarray,
    *,
    groups: np.ndarray | None = None,
    resamples: int = 2000,
    seed: int = 0,
) -> Comparison:
    """The difference of the AUCs of two sets of scores, over rows drawn with replacement, the same rows for both.

    With ``groups``, the user of each row for example, whole groups are drawn: rows of one user are not independent.
    """
    _require_pairs(a, b, labels)
    of_a, of_b = Ranked(labels, a), Ranked(labels, b)

    def difference(counts: np.ndarray) -> float:
        return of_a.auc_and_precision(counts)[0] - of_b.auc_and_precision(counts)[0]

    return _bootstrap(difference, labels, groups, resamples, seed)


def bootstrap_logloss(
    labels: np.ndarray,
    a: np.ndarray,
    b: np.ndarray,
    *,
    groups: np.ndarray | None = None,
    resamples: int = 2000,
    seed: int = 0,
) -> Comparison:
    """The same for the logloss of two sets of logits. A negative difference speaks for a."""
    _require_pairs(a, b, labels)
    a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    losses = np.logaddexp(0, a) - np.logaddexp(0, b) - np.asarray(labels) * (a - b)
    return _bootstrap(lambda counts: float(counts @ losses) / float(counts.sum()), labels, groups, resamples, seed)


def _bootstrap(
    statistic: Callable[[np.ndarray], float],
    labels: np.ndarray,
    groups: np.ndarray | None,
    resamples: int,
    seed: int,
) -> Comparison:
    """Percentile interval and p-value of ``statistic(counts)``, counts [rows] being how often each row was drawn.

    p is twice the share of resamples on the far side of 0, the observed one counted in; a draw without clicks, or
    with nothing else, has no AUC and does not count.
    """
    labels = np.asarray(labels)
    require(0 < int(np.count_nonzero(labels)) < len(labels), "comparing predictions takes rows of both classes")
    require(resamples >= 100, f"a bootstrap takes at least 100 resamples, got {resamples}")
    group = np.arange(len(labels)) if groups is None else np.unique(groups, return_inverse=True)[1]
    draws = metrics.resamples(int(group.max()) + 1, resamples, seed)
    differences = np.array([statistic(drawn[group]) for drawn in draws])
    differences = differences[np.isfinite(differences)]
    tail = int(min(np.count_nonzero(differences <= 0), np.count_nonzero(differences >= 0)))
    low, high = np.quantile(differences, [LEVEL / 2, 1 - LEVEL / 2])
    p = min(1.0, 2 * (tail + 1) / (len(differences) + 1))
    return Comparison(statistic(np.ones(len(labels))), float(low), float(high), p)


def holm(p_values: Sequence[float]) -> list[float]:
    """The p-values of several comparisons, adjusted so that the chance of any false alarm among them stays below .05.

    The smallest of K is multiplied by K, the next by K - 1, ...; none falls below the one before it (Holm 1979).
    """
    adjusted, largest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(np.argsort(p_values, kind="stable")):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = largest
    return adjusted


def _by_student(difference: float, spread: float, freedom: float) -> Comparison:
    """What a normal ``difference`` with an estimated standard error says; ``freedom`` infinite where it is known well.

    No spread leaves nothing to test against: p is 0, or 1 where there is no difference either.
    """
    from scipy.stats import t

    if spread == 0:
        return Comparison(difference, difference, difference, float(difference == 0))
    reach = float(t.ppf(1 - LEVEL / 2, freedom)) * spread
    return Comparison(
        difference, difference - reach, difference + reach, float(2 * t.sf(abs(difference) / spread, freedom))
    )


def _require_pairs(a: Sequence[float] | np.ndarray, b: Sequence[float] | np.ndarray, *labels: np.ndarray) -> None:
    lengths = [len(values) for values in (a, b, *labels)]
    require(len(set(lengths)) == 1, f"what is compared must pair up, got {' and '.join(map(str, lengths))} values")
