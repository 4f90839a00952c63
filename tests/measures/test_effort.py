"""Groups of ties and the expected best of n trials, against brute force."""

from itertools import combinations, permutations, product
from statistics import fmean, pvariance

import numpy as np
import pytest

from eulernet.errors import UserError
from eulernet.measures.effort import Figures, against, expected_best, search_variance, tie_groups
from eulernet.measures.statistics import holm, paired_t_test


def test_the_expected_best_is_the_mean_over_every_choice_and_every_order():
    values = [0.61, 0.5, 0.74, 0.74, 0.9, 0.68]
    for n in range(1, 7):
        assert expected_best(values, n) == pytest.approx(fmean(max(some) for some in combinations(values, n)))
    first_two = fmean(max(order[:2]) for order in permutations(values))
    assert expected_best(values, 2) == pytest.approx(first_two)
    assert expected_best(values, 6) == max(values)
    with pytest.raises(UserError, match="the best of 7 trials: there are 6"):
        expected_best(values, 7)


def row(values, trials=()):
    return Figures(dict(enumerate(values, start=1)), trials)


def test_the_variance_of_a_search_is_that_of_the_best_of_all_draws_with_replacement():
    values = [0.61, 0.74, 0.5, 0.7]
    best = [max(draw) for draw in product(values, repeat=4)]
    assert search_variance(values) == pytest.approx(pvariance(best))
    assert search_variance([0.7]) == search_variance([0.7, 0.7, 0.7]) == 0


def test_rows_are_grouped_by_paired_differences_to_the_best_with_holm():
    noise = np.random.default_rng(0).normal(0, 0.01, 5)  # of the splits, which all rows share
    rows = {
        "low": row(0.70 + noise + [0.001, 0, -0.001, 0.001, 0]),
        "best": row(0.90 + noise),
        "close": row(0.899 + noise + [0.003, -0.002, 0.002, -0.003, 0.001]),
        "lower": row(0.69 + noise + [0.009, -0.011, 0.011, -0.012, 0.014]),
    }
    places = tie_groups(rows)
    assert {name: place.group for name, place in places.items()} == {"best": 1, "close": 1, "low": 2, "lower": 2}
    tests = {name: against(rows["best"], rows[name]) for name in ("low", "close", "lower")}
    adjusted = dict(zip(tests, holm([test.p for test in tests.values()]), strict=True))
    assert places["close"].test == tests["close"]
    assert places["close"].p == adjusted["close"] > 0.05
    assert adjusted["low"] < 0.05 > adjusted["lower"]
    assert places["best"].test is places["low"].test is None
    assert places["lower"].p == against(rows["low"], rows["lower"]).p  # alone in its round: nothing to adjust


def test_without_trials_it_is_the_paired_t_test_and_with_them_no_more_certain():
    a, b = [0.81, 0.80, 0.83, 0.82], [0.80, 0.80, 0.81, 0.81]
    alone, plain = against(row(a), row(b)), paired_t_test(a, b)
    assert [alone.difference, alone.low, alone.high, alone.p] == pytest.approx(
        [plain.difference, plain.low, plain.high, plain.p]
    )
    searched = against(row(a, [0.8, 0.79, 0.82]), row(b, [0.8, 0.8, 0.8]))
    assert searched.difference == alone.difference
    assert searched.high - searched.low > alone.high - alone.low


def test_the_same_figures_are_one_group_and_too_few_tell_nothing_apart():
    same = tie_groups({"a": row([0.8, 0.81, 0.8]), "b": row([0.8, 0.81, 0.8])})
    assert {name: place.group for name, place in same.items()} == {"a": 1, "b": 1}
    assert same["b"].p == 1
    few = tie_groups({"a": row([0.9, 0.9]), "b": row([0.5]), "c": Figures({2: 0.1, 3: 0.1})})
    assert {place.group for place in few.values()} == {1}
    assert few["b"].test is few["b"].p is None


def searched_twice(draw, trials):
    """One model, searched twice as table=equal_effort does: settings of some worth, seen through the noise of seeds."""
    splits, found = draw.normal(0, 0.0015, 5), {}
    for name in "ab":
        worth = 0.9 - np.abs(draw.normal(0, 0.003, trials))  # many settings come near the best that there is
        valid = worth + draw.normal(0, 0.0005, trials)
        top = np.argsort(-valid)[:3]
        means = [np.mean([valid[i], *(worth[i] + draw.normal(0, 0.0005, 2))]) for i in top]
        tested = worth[top[int(np.argmax(means))]] + splits + draw.normal(0, 0.0005, 5)
        found[name] = row(tested, valid.tolist())
    return found


def test_one_model_searched_twice_is_one_group_because_the_searches_vary_too():
    draw = np.random.default_rng(1)
    tables = [searched_twice(draw, 16) for _ in range(400)]

    def split(rows):
        return max(place.group for place in tie_groups(rows).values()) > 1

    whole = sum(map(split, tables)) / len(tables)
    alone = sum(split({name: Figures(one.by_seed) for name, one in rows.items()}) for rows in tables) / len(tables)
    assert whole < 0.08
    assert alone > 0.1  # what five seeds alone would tell apart
