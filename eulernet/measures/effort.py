"""What a comparison of tuned models may say: which rows its runs can tell apart, and what n trials would have found."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import comb
from statistics import fmean

from eulernet.errors import require
from eulernet.measures.statistics import LEVEL, Comparison, holm, paired_t_test


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


@dataclass(frozen=True)
class Place:
    """Where a row of a table stands: its group, from 1, and its test against the best row of that group.

    ``test`` is of that row's figures minus this one's, ``p`` its p-value after Holm; None for the best row itself.
    """

    group: int
    test: Comparison | None
    p: float | None


def tie_groups(figures: Mapping[str, Mapping[int, float]]) -> dict[str, Place]:
    """Rows in groups of what cannot be told apart; ``figures`` has each row's figure by seed, higher is better.

    The row with the best mean leads. Every other is tested against it by paired differences over the seeds of both,
    with Holm's adjustment over all of them: those with p >= .05 are in its group. The next group is made in the same
    way of the rest. A row without two seeds in common with the leader cannot be told apart from it.
    """
    left, places, group = dict(figures), dict[str, Place](), 0
    while left:
        group += 1
        best = max(left, key=lambda name: fmean(left[name].values()))
        tests = {name: paired(left[best], of) for name, of in left.items() if name != best}
        done = {name: test for name, test in tests.items() if test is not None}
        p_values = dict(zip(done, holm([test.p for test in done.values()]), strict=True))
        places[best] = Place(group, None, None)
        for name, test in tests.items():
            p = p_values.get(name)
            if p is None or p >= LEVEL:
                places[name] = Place(group, test, p)
        left = {name: of for name, of in left.items() if name not in places}
    return places


def paired(a: Mapping[int, float], b: Mapping[int, float]) -> Comparison | None:
    """The paired t-test of a minus b over the seeds of both; None where they share fewer than two."""
    seeds = sorted(a.keys() & b.keys())
    return paired_t_test([a[seed] for seed in seeds], [b[seed] for seed in seeds]) if len(seeds) > 1 else None
