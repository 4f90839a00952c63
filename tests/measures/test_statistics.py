"""Tests of one model against another: as brute force, scipy and R have them, and on models that are equally good."""

import numpy as np
import pytest
import reference
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, norm, ttest_rel

from eulernet.errors import UserError
from eulernet.measures import statistics
from eulernet.measures.metrics import auc, logloss

LABELS = np.array([1] * 6 + [0] * 8)
A = np.array([9, 8, 8, 6, 5, 3, 7, 5, 4, 4, 3, 2, 1, 1.0])
B = np.array([7, 9, 4, 8, 2, 5, 6, 5, 3, 7, 2, 4, 1, 8.0])

scored = st.lists(st.tuples(st.integers(0, 1), st.integers(-4, 4), st.integers(-4, 4)), min_size=4, max_size=30).filter(
    lambda rows: 2 <= sum(label for label, _, _ in rows) <= len(rows) - 2
)


def near_its_level(rejected, repetitions, level=0.05):
    """Within what chance allows a test that rejects at ``level``, in all but one of 10,000 runs of this suite."""
    low, high = binom.ppf([0.00005, 0.99995], repetitions, level)
    return low <= rejected <= high


@settings(max_examples=50)
@given(scored)
def test_delong_equals_brute_force_with_ties(rows):
    labels, a, b = (np.array(column, dtype=float) for column in zip(*rows, strict=True))
    got = statistics.delong(labels, a, b)
    assert got.difference == pytest.approx(auc(labels, a) - auc(labels, b), abs=1e-12)
    spread = (got.high - got.low) / 2 / norm.ppf(0.975)
    if spread < 1e-12:
        assert got.p == (got.difference == 0)
        return
    z, variance = reference.delong(list(labels), list(a), list(b))
    assert spread**2 == pytest.approx(variance, rel=1e-9)
    assert got.p == pytest.approx(2 * norm.sf(abs(z)), rel=1e-9)


def test_delong_equals_r():
    """pROC 1.18.0: ``roc.test(roc(labels, a), roc(labels, b), method = "delong")`` and ``ci.auc(roc(labels, a))``."""
    got = statistics.delong(LABELS, A, B)
    assert got.p == pytest.approx(0.225959276473058, rel=1e-12)
    assert (got.low, got.high) == pytest.approx((-0.122449083924132, 0.518282417257465), rel=1e-12)
    assert statistics.auc_interval(LABELS, A) == pytest.approx((0.64266897702, 1), rel=1e-10)
    assert statistics.auc_interval(LABELS, B) == pytest.approx((0.34546985648, 0.96703014352), rel=1e-10)


def test_delong_by_hand():
    """Two clicks, two others. a orders all 4 pairs rightly, b 3 of 4.

    Placements of a are all 1, of b (1, 1/2) for the clicks and (1, 1/2) for the others: the differences (0, 1/2) have
    variance 1/8 in either class, so var = 1/8 / 2 + 1/8 / 2 = 1/8 and z = (1/4) / sqrt(1/8) = 1 / sqrt(2).
    """
    got = statistics.delong(np.array([1, 1, 0, 0]), np.array([4.0, 3, 2, 1]), np.array([4.0, 2, 1, 3]))
    assert got.difference == 0.25
    assert got.p == pytest.approx(2 * norm.sf(0.5**0.5))


def test_models_that_order_alike_do_not_differ():
    for compare in (statistics.delong, statistics.bootstrap_auc):
        got = compare(LABELS, A, np.exp(A))
        assert (got.difference, got.low, got.high, got.p) == (0, 0, 0, 1)


def test_the_t_test_is_scipys():
    a, b = [0.9012, 0.9018, 0.9009, 0.9021], [0.9003, 0.9011, 0.9007, 0.9006]
    got, want = statistics.paired_t_test(a, b), ttest_rel(a, b)
    assert got.p == pytest.approx(want.pvalue)
    assert (got.low, got.high) == pytest.approx(tuple(want.confidence_interval()))
    assert got.difference == pytest.approx(np.mean(a) - np.mean(b))
    assert statistics.paired_t_test([0.5, 0.75], [0.25, 0.5]).p == 0
    assert statistics.paired_t_test(a, a).p == 1


def two_models(generator, rows, noise=0.7):
    """Scores of two equally good models: what they share, and what each adds of its own."""
    labels = (generator.random(rows) < 0.4).astype(int)
    shared = labels + generator.normal(size=rows)
    return labels, *(shared + noise * generator.normal(size=(2, rows)))


def test_the_bootstrap_agrees_with_delong_and_with_the_metrics():
    labels, a, b = two_models(np.random.default_rng(1), 2000)
    a += 0.1 * labels
    exact, drawn = statistics.delong(labels, a, b), statistics.bootstrap_auc(labels, a, b)
    assert drawn.difference == pytest.approx(exact.difference, abs=1e-12)
    assert (drawn.low, drawn.high) == pytest.approx((exact.low, exact.high), abs=0.1 * (exact.high - exact.low))
    of_loss = statistics.bootstrap_logloss(labels, a, b)
    assert of_loss.difference == pytest.approx(logloss(labels, a) - logloss(labels, b), abs=1e-12)
    assert statistics.bootstrap_logloss(labels, a, b) == of_loss
    assert statistics.bootstrap_logloss(labels, a, b, seed=1) != of_loss


def test_whole_users_are_drawn():
    """Rows copied four times under one user tell nothing new: the interval stays, but for the rows alone it halves."""
    labels, a, b = two_models(np.random.default_rng(2), 400)
    once = statistics.bootstrap_auc(labels, a, b)
    copied = [np.tile(values, 4) for values in (labels, a, b)]
    users = np.tile(np.arange(400), 4)
    assert statistics.bootstrap_auc(*copied, groups=users) == once
    rows = statistics.bootstrap_auc(*copied)
    assert rows.high - rows.low == pytest.approx((once.high - once.low) / 2, rel=0.15)


def test_delong_does_not_cry_wolf():
    generator, repetitions = np.random.default_rng(3), 1000
    rejected = sum(statistics.delong(*two_models(generator, 300)).p < 0.05 for _ in range(repetitions))
    assert near_its_level(rejected, repetitions)


@pytest.mark.parametrize("compare", [statistics.bootstrap_auc, statistics.bootstrap_logloss])
def test_the_bootstrap_does_not_cry_wolf(compare):
    generator, repetitions = np.random.default_rng(4), 100
    rejected = sum(compare(*two_models(generator, 300), resamples=200).p < 0.05 for _ in range(repetitions))
    assert near_its_level(rejected, repetitions)


def test_the_t_test_does_not_cry_wolf():
    generator, repetitions = np.random.default_rng(5), 1000
    aucs = 0.9 + 0.001 * generator.normal(size=(repetitions, 2, 3))
    rejected = sum(statistics.paired_t_test(*pair).p < 0.05 for pair in aucs)
    assert near_its_level(rejected, repetitions)


def seeds_of_one_model(generator, rows, seeds):
    """Linear models whose 20 weights differ from seed to seed, on the same rows: labels, and scores [S, rows]."""
    x = generator.normal(size=(rows, 20))
    weights = 0.3 + 0.3 * generator.normal(size=(seeds, 20))
    labels = (generator.random(rows) < 1 / (1 + np.exp(-x.sum(1) * 0.3))).astype(int)
    return labels, weights @ x.T


def test_seeds_of_one_model_differ_by_delong_but_not_over_seeds():
    """Two seeds are different weights, and DeLong's test is right to say so; the models they are seeds of are one."""
    generator, repetitions, one, over = np.random.default_rng(6), 300, 0, 0
    for _ in range(repetitions):
        labels, scores = seeds_of_one_model(generator, 500, 6)
        one += statistics.delong(labels, scores[0], scores[1]).p < 0.05
        over += statistics.delong_over_seeds(labels, scores[:3], scores[3:]).p < 0.05
    assert near_its_level(over, repetitions)
    assert one > 2 * over


def test_over_seeds_a_better_model_is_found():
    labels, scores = seeds_of_one_model(np.random.default_rng(7), 3000, 6)
    scores[:3] += labels
    got = statistics.delong_over_seeds(labels, scores[:3], scores[3:])
    assert 0 < got.low < got.difference < got.high
    assert got.p < 0.05
    mean = np.mean([auc(labels, row) for row in scores[:3]]) - np.mean([auc(labels, row) for row in scores[3:]])
    assert got.difference == pytest.approx(mean, abs=1e-12)


def test_over_seeds_that_agree_is_delong():
    """Seeds with the same scores leave the rows alone to vary: the normal distribution, and DeLong's variance."""
    got, want = (
        statistics.delong_over_seeds(LABELS, np.tile(A, (3, 1)), np.tile(B, (3, 1))),
        statistics.delong(LABELS, A, B),
    )
    assert (got.difference, got.low, got.high, got.p) == pytest.approx((want.difference, want.low, want.high, want.p))


def test_holm_by_hand():
    """4 x .005, 3 x .01, 2 x .03; .04 would be less than the one before it."""
    assert statistics.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert statistics.holm([0.6, 0.7]) == [1, 1]
    assert statistics.holm([]) == []


def test_refusals():
    with pytest.raises(UserError, match="must pair up, got 14 and 13 and 14 values"):
        statistics.delong(LABELS, A, B[1:])
    with pytest.raises(UserError, match="2 rows of each class: 0 clicks, 14 others"):
        statistics.delong(np.zeros(14), A, B)
    with pytest.raises(UserError, match="rows of both classes"):
        statistics.bootstrap_auc(np.zeros(14), A, B)
    with pytest.raises(UserError, match="finite scores"):
        statistics.delong(LABELS, A, np.full(14, np.nan))
    with pytest.raises(UserError, match="at least two seeds"):
        statistics.paired_t_test([0.9], [0.8])
    with pytest.raises(UserError, match="at least two seeds"):
        statistics.delong_over_seeds(LABELS, A, B)
    with pytest.raises(UserError, match="same seeds and rows"):
        statistics.delong_over_seeds(LABELS, np.tile(A, (3, 1)), np.tile(B, (2, 1)))
