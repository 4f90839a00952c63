"""Measures and their intervals: against scikit-learn, brute force, and what a bootstrap must do."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, brier_score_loss, log_loss, roc_auc_score

from eulernet.measures import metrics
from eulernet.measures.evaluation import evaluation
from eulernet.measures.table import Rows, Weighted, measure

rows = st.lists(
    st.tuples(st.integers(0, 1), st.integers(-4, 4), st.integers(0, 3), st.integers(0, 3)), min_size=2, max_size=40
).filter(lambda rows: 0 < sum(label for label, *_ in rows) < len(rows))


def columns(rows):
    labels, scores, groups, weights = (np.array(column) for column in zip(*rows, strict=True))
    return labels, scores.astype(np.float64), groups, weights


def drawn(n, seed=0):
    """Labels and the logits that drew them, and groups."""
    draw = np.random.default_rng(seed)
    logits = draw.normal(-1, 1.5, n)
    return (draw.random(n) < metrics.sigmoid(logits)).astype(np.uint8), logits, draw.integers(n // 20, size=n)


@given(rows)
def test_a_weight_counts_a_row_as_often_as_repeating_it(rows):
    labels, scores, groups, weights = columns(rows)
    repeated = [np.repeat(column, weights) for column in (labels, scores, groups)]
    if len(repeated[0]) == 0:
        return
    if len(set(repeated[0])) == 2:
        assert metrics.auc(labels, scores, weights) == pytest.approx(roc_auc_score(*repeated[:2]))
    else:
        assert np.isnan(metrics.auc(labels, scores, weights))
    if repeated[0].any():
        assert metrics.pr_auc(labels, scores, weights) == pytest.approx(average_precision_score(*repeated[:2]))
    again = measure(Weighted(Rows(*repeated), None))
    for name, value in measure(Weighted(Rows(labels, scores, groups), weights.astype(float))).items():
        if name != "expected_calibration_error":  # whose bins are those of the sample
            assert value == pytest.approx(again[name], nan_ok=True), name


@given(rows)
def test_the_measures_are_the_plain_functions(rows):
    labels, scores, groups, _ = columns(rows)
    p = metrics.sigmoid(scores)
    assert measure(Weighted(Rows(labels, scores, groups), None)) == pytest.approx(
        {
            "auc": metrics.auc(labels, scores),
            "logloss": metrics.logloss(labels, scores),
            "pr_auc": metrics.pr_auc(labels, scores),
            "normalised_entropy": metrics.normalised_entropy(labels, scores),
            "expected_calibration_error": metrics.expected_calibration_error(labels, p),
            "grouped_auc": metrics.grouped_auc(labels, scores, groups),
            "brier": metrics.brier(labels, p),
        },
        nan_ok=True,
    )


@given(rows)
def test_grouped_auc_equals_scikit_learn_group_by_group(rows):
    labels, scores, groups, _ = columns(rows)
    total, count = 0.0, 0
    for group in set(groups):
        inside = groups == group
        if len(set(labels[inside])) == 2:
            total += inside.sum() * roc_auc_score(labels[inside], scores[inside])
            count += inside.sum()
    want = total / count if count else float("nan")
    assert metrics.grouped_auc(labels, scores, groups) == pytest.approx(want, nan_ok=True)
    names = np.array(["a", "b", "c", "d"])[groups]
    assert metrics.grouped_auc(labels, scores, names) == pytest.approx(want, nan_ok=True)


def test_logloss_and_its_normalisation_equal_scikit_learn():
    labels, logits, _ = drawn(1000)
    loss = log_loss(labels, metrics.sigmoid(logits))
    assert metrics.logloss(labels, logits) == pytest.approx(loss, rel=1e-12)
    constant = log_loss(labels, np.full(1000, labels.mean()))
    assert metrics.normalised_entropy(labels, logits) == pytest.approx(loss / constant, rel=1e-12)
    assert np.isnan(metrics.normalised_entropy(np.ones(3), np.ones(3)))


def test_brier_equals_scikit_learn():
    labels, logits, _ = drawn(1000)
    p = metrics.sigmoid(logits)
    assert metrics.brier(labels, p) == pytest.approx(brier_score_loss(labels, p), rel=1e-12)
    assert metrics.brier(np.array([0, 1]), np.array([0.5, 0.5])) == 0.25


def test_sigmoid_keeps_its_digits_at_both_ends():
    assert metrics.sigmoid(np.array([-40.0, 0.0, 800.0, -800.0])).tolist() == [
        pytest.approx(np.exp(-40.0), rel=1e-12), 0.5, 1.0, 0.0,
    ]  # fmt: skip


@given(rows, st.integers(1, 6))
def test_calibration_by_brute_force(rows, bins):
    labels, scores, _, _ = columns(rows)
    p, n = metrics.sigmoid(scores), len(labels)
    ordered = sorted(p)
    cuts = sorted({ordered[i * n // bins] for i in range(1, bins)})
    numbers = [sum(value >= cut for cut in cuts) for value in p]  # equal probabilities share a bin
    want = 0.0
    for b in set(numbers):
        inside = [i for i in range(n) if numbers[i] == b]
        want += abs(sum(p[i] - labels[i] for i in inside)) / n
    assert metrics.expected_calibration_error(labels, p, bins=bins) == pytest.approx(want)

    table = metrics.calibration_table(labels, p, bins=bins)
    assert sum(line["rows"] for line in table) == n
    assert sum(line["clicks"] for line in table) == labels.sum()
    assert sum(line["rows"] / n * abs(line["predicted"] - line["actual"]) for line in table) == pytest.approx(want)
    assert all(line["low"] <= line["actual"] <= line["high"] for line in table)
    assert all(a["highest"] < b["lowest"] for a, b in pairwise(table))


def test_bins_are_equally_full_where_nothing_ties():
    counts = np.bincount(metrics.bin_numbers(np.random.default_rng(0).random(1003), 10))
    assert len(counts) == 10
    assert counts.max() - counts.min() <= 1


def test_the_interval_of_a_rate_is_wilson_s():
    from scipy.stats import binomtest

    for clicks, count in ((0, 5), (3, 10), (50, 100), (7, 7)):
        want = binomtest(clicks, count).proportion_ci(method="wilson")
        assert metrics.wilson(clicks, count) == pytest.approx((want.low, want.high), abs=1e-12)


def test_a_bootstrap_of_the_mean_has_the_width_that_theory_says():
    values = np.random.default_rng(1).normal(size=1000)
    (low, high) = metrics.bootstrap(lambda w: {"mean": float(w @ values / w.sum())}, len(values), count=1000, seed=3)[
        "mean"
    ]
    half = 1.96 * values.std() / np.sqrt(1000)
    assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.15 * half)


def test_intervals_of_auc_cover_the_true_one_about_as_often_as_they_say():
    truth = metrics.auc(*drawn(200_000, seed=99)[:2])
    inside = 0
    for seed in range(30):
        labels, logits, _ = drawn(400, seed)
        found = evaluation(labels, logits, resamples=100, seed=0)["metrics"]["auc"]
        inside += found["low"] <= truth <= found["high"]
    assert 24 <= inside <= 30


@pytest.mark.parametrize(("rows", "shift"), [(60, 0.0), (60, 1.0), (400, 0.0), (400, 0.3)])
def test_the_interval_of_a_calibration_error_holds_its_value_and_the_true_one(rows, shift):
    """Percentiles of resamples hold the error of a calibrated model, 0, in none of these draws."""
    inside = 0
    for seed in range(20):
        draw = np.random.default_rng(seed)
        logits = draw.normal(-1, 1, rows)
        rates, p = metrics.sigmoid(logits), metrics.sigmoid(logits + shift)
        labels = (draw.random(rows) < rates).astype(np.uint8)
        truth = np.abs(np.bincount(metrics.bin_numbers(p, metrics.BINS), p - rates)).sum() / rows
        found = evaluation(labels, logits + shift, resamples=60, seed=0)["metrics"]["expected_calibration_error"]
        assert found["low"] <= found["value"] <= found["high"]
        inside += found["low"] <= truth <= found["high"]
    assert inside >= 18


def test_a_bin_of_one_row_says_nothing_of_chance():
    found = evaluation(np.arange(8) % 2, np.arange(8.0), resamples=10, seed=0)["metrics"]["expected_calibration_error"]
    assert found["value"] is not None
    assert (found["low"], found["high"]) == (None, None)


def test_an_evaluation_is_reproducible_and_its_intervals_hold_its_values():
    labels, logits, groups = drawn(2000)
    first = evaluation(labels, logits, groups, resamples=100, seed=1)
    assert first == evaluation(labels, logits, groups, resamples=100, seed=1)
    assert first != evaluation(labels, logits, groups, resamples=100, seed=2)
    for name, found in first["metrics"].items():
        assert found["low"] < found["value"] < found["high"], name
    without = evaluation(labels, logits, groups, resamples=0, seed=1)
    assert {name: found["value"] for name, found in first["metrics"].items()} == {
        name: found["value"] for name, found in without["metrics"].items()
    }
    assert all(set(found) == {"value"} for found in without["metrics"].values())


def test_what_is_not_defined_is_none_and_what_cannot_be_is_an_error():
    found = evaluation(np.ones(5), np.arange(5.0), resamples=10, seed=0)["metrics"]
    assert found["auc"] == {"value": None, "low": None, "high": None}
    assert found["logloss"]["value"] is not None
    with pytest.raises(ValueError, match="NaN"):
        metrics.auc(np.array([0, 1]), np.array([np.nan, 1]))
    with pytest.raises(ValueError, match="no rows"):
        metrics.auc(np.array([]), np.array([]))
    assert metrics.auc(np.array([0, 1, 1]), np.array([-np.inf, -np.inf, np.inf])) == 0.75
