"""What a comparison of tuned models may say: which rows its runs can tell apart, and what n trials would have found."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import comb
from statistics import fmean, variance

from eulernet.errors import require
from eulernet.measures.statistics import LEVEL, Comparison, holm, t_test


def expected_best(values: Sequence[float], n: int) -> float:
    """The best of ``n`` of these ``values`` on average: the mean of the largest over all choices of n.

    ``values`` are of all trials of a search. sum_{i=n}^{N} C(i - 1, n - 1) / C(N, n) v_(i), v_(i) the i-th smallest:
    the unbiased estimator of Tang et al. (arXiv 2004.13705) for the expected validation performance of Dodge et al.
    (arXiv 1909.03004). UserError unless 1 <= n <= N.

    >>> expected_best([0.70, 0.80, 0.90], 2)  # of {.7, .8} {.7, .9} {.8, .9}: (.8 + .9 + .9) / 3
    0.8666666666666667
    """
    total = len(values)
    require(1 <= n <= total, f"the best of {n} trials: there are {total}")
    weighted = (comb(i - 1, n - 1) * value for i, value in enumerate(sorted(values), start=1))
    return sum(weighted) / comb(total, n)


def search_variance(values: Sequence[float]) -> float:
    """How much the best of a search varies from search to search, by its trials: the variance of the best of as many.

    ``values`` of N trials, drawn again N times with replacement: the best is at most the i-th smallest with probability
    (i / N)^N (Dodge et al., arXiv 1909.03004). It is too small where the
    trials' values have a long upper tail: the best of the next search may lie above all of these.

    >>> search_variance([0.8])
    0.0
    """
    total, ordered = len(values), sorted(values)
    weights = [(i / total) ** total - ((i - 1) / total) ** total for i in range(1, total + 1)]
    mean = sum(weight * value for weight, value in zip(weights, ordered, strict=True))
    return sum(weight * (value - mean) ** 2 for weight, value in zip(weights, ordered, strict=True))


@dataclass(frozen=True)
class Figures:
    """A row of a table: its final runs' figure by seed, higher is better, and the values of its search's trials."""

    by_seed: Mapping[int, float]
    trials: Sequence[float] = ()

    @property
    def mean(self) -> float:
        return fmean(self.by_seed.values())


@dataclass(frozen=True)
class Place:
    """Where a row of a table stands: its group, from 1, and its test against the best row of that group.

    ``test`` is of that row's figures minus this one's, ``p`` its p-value after Holm; None for the best row itself.
    """

    group: int
    test: Comparison | None
    p: float | None


def tie_groups(rows: Mapping[str, Figures]) -> dict[str, Place]:
    """Rows in groups of what cannot be told apart.

    The row with the best mean leads. Every other is tested against it (``against``), with Holm's adjustment over all of
    them: those with p >= .05 are in its group. The next group is made in the same way of the rest. A row without two
    seeds in common with the leader cannot be told apart from it.
    """
    left, places, group = dict(rows), dict[str, Place](), 0
    while left:
        group += 1
        best = max(left, key=lambda name: left[name].mean)
        tests = {name: against(left[best], row) for name, row in left.items() if name != best}
        done = {name: test for name, test in tests.items() if test is not None}
        p_values = dict(zip(done, holm([test.p for test in done.values()]), strict=True))
        places[best] = Place(group, None, None)
        for name, test in tests.items():
            p = p_values.get(name)
            if p is None or p >= LEVEL:
                places[name] = Place(group, test, p)
        left = {name: row for name, row in left.items() if name not in places}
    return places


def against(a: Figures, b: Figures) -> Comparison | None:
    """Test of a minus b by paired differences over the seeds of both; None where they share fewer than two.

    Seeds alone would say whether two settings differ. Another search would have found other settings, so the variance
    of each search is added (``search_variance``): without it one model, searched twice, is told from itself.
    """
    seeds = sorted(a.by_seed.keys() & b.by_seed.keys())
    if len(seeds) < 2:
        return None
    differences = [a.by_seed[seed] - b.by_seed[seed] for seed in seeds]
    searched = [(search_variance(row.trials), len(row.trials) - 1) for row in (a, b) if len(row.trials) > 1]
    return t_test(fmean(differences), [(variance(differences) / len(seeds), len(seeds) - 1), *searched])
