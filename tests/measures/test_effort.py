"""Groups of ties and the expected best of n trials, against brute force."""

from itertools import combinations, permutations
from statistics import fmean

import numpy as np
import pytest

from eulernet.errors import UserError
from eulernet.measures.effort import expected_best, paired, tie_groups
from eulernet.measures.statistics import holm


def test_the_expected_best_is_the_mean_over_every_choice_and_every_order():
    values = [0.61, 0.5, 0.74, 0.74, 0.9, 0.68]
    for n in range(1, 7):
        assert expected_best(values, n) == pytest.approx(fmean(max(some) for some in combinations(values, n)))
    first_two = fmean(max(order[:2]) for order in permutations(values))
    assert expected_best(values, 2) == pytest.approx(first_two)
    assert expected_best(values, 6) == max(values)
    with pytest.raises(UserError, match="the best of 7 trials: there are 6"):
        expected_best(values, 7)


def by_seed(values):
    return dict(enumerate(values, start=1))


def test_rows_are_grouped_by_paired_differences_to_the_best_with_holm():
    noise = np.random.default_rng(0).normal(0, 0.01, 5)  # of the splits, which all rows share
    figures = {
        "low": by_seed(0.70 + noise + [0.001, 0, -0.001, 0.001, 0]),
        "best": by_seed(0.90 + noise),
        "close": by_seed(0.899 + noise + [0.003, -0.002, 0.002, -0.003, 0.001]),
        "lower": by_seed(0.69 + noise + [0.009, -0.011, 0.011, -0.012, 0.014]),
    }
    places = tie_groups(figures)
    assert {name: place.group for name, place in places.items()} == {"best": 1, "close": 1, "low": 2, "lower": 2}
    tests = {name: paired(figures["best"], figures[name]) for name in ("low", "close", "lower")}
    adjusted = dict(zip(tests, holm([test.p for test in tests.values()]), strict=True))
    assert places["close"].test == tests["close"]
    assert places["close"].p == adjusted["close"] > 0.05
    assert adjusted["low"] < 0.05 > adjusted["lower"]
    assert places["best"].test is places["low"].test is None
    assert places["lower"].p == paired(figures["low"], figures["lower"]).p  # alone in its round: nothing to adjust


def test_the_same_figures_are_one_group_and_too_few_tell_nothing_apart():
    same = tie_groups({"a": by_seed([0.8, 0.81, 0.8]), "b": by_seed([0.8, 0.81, 0.8])})
    assert {name: place.group for name, place in same.items()} == {"a": 1, "b": 1}
    assert same["b"].p == 1
    few = tie_groups({"a": {1: 0.9, 2: 0.9}, "b": {1: 0.5}, "c": {2: 0.1, 3: 0.1}})
    assert {place.group for place in few.values()} == {1}
    assert few["b"].test is few["b"].p is None


def test_rows_of_one_distribution_share_a_group_as_often_as_holm_says():
    """Under the null the best of four is told from another in few tables, though it is the best that is tested."""
    draw = np.random.default_rng(1)
    tables = [{str(row): by_seed(draw.normal(0.9, 0.001, 5)) for row in range(4)} for _ in range(300)]
    split = sum(max(place.group for place in tie_groups(table).values()) > 1 for table in tables)
    assert split / len(tables) < 0.1
