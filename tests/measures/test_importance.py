"""Permutation importance against brute force: the same permutations in a loop, by the plain measures."""

import numpy as np
import pytest

from eulernet.measures import metrics
from eulernet.measures.importance import permutation_importance
from eulernet.measures.statistics import auc_interval, delong, delong_over_seeds, placements

DRAW = np.random.default_rng(3)
ROWS = 500
X = DRAW.integers(0, 20, (ROWS, 4)).astype(np.int32)
LABELS = (DRAW.random(ROWS) < metrics.sigmoid(0.2 * X[:, 0] - 0.1 * X[:, 1] - 1)).astype(int)
COLUMNS = {"a": [slice(0, 1)], "b": [slice(1, 3)], "unused": [slice(3, 4)], "a and b": [slice(0, 1), slice(1, 3)]}


def score(x):
    return 0.2 * x[:, 0] - 0.1 * x[:, 1] + 0.05 * x[:, 2] - 1


@pytest.mark.parametrize("weights", [None, DRAW.integers(0, 4, ROWS).astype(float)])
def test_changes_are_those_of_a_loop_over_permutations(weights):
    calls = []
    found = permutation_importance(score, X, LABELS, COLUMNS, weights, repeats=3, seed=9, after=lambda: calls.append(1))
    assert len(calls) == 1 + 3 * len(COLUMNS)
    draw = np.random.default_rng(9)
    orders = [draw.permutation(ROWS) for _ in range(3)]
    measures = {"auc": metrics.auc, "logloss": metrics.logloss}
    whole = {name: measure(LABELS, score(X), weights) for name, measure in measures.items()}
    for name, columns in {"a": [0], "b": [1, 2], "unused": [3], "a and b": [0, 1, 2]}.items():
        for measure, of in measures.items():
            changes = []
            for order in orders:
                mixed = X.copy()
                for row in range(ROWS):
                    for column in columns:
                        mixed[row, column] = X[order[row], column]
                changes.append(of(LABELS, score(mixed), weights) - whole[measure])
            one = found["fields"][name][measure]
            assert one["each"] == pytest.approx(changes, abs=1e-12)
            assert one["value"] == pytest.approx(np.mean(changes), abs=1e-12)
            assert one["low"] <= one["value"] <= one["high"]
    assert found["auc"] == pytest.approx(whole["auc"], abs=1e-12)
    unused = found["fields"]["unused"]["auc"]
    assert (unused["value"], unused["low"], unused["high"]) == (0, 0, 0)
    assert found["fields"]["a"]["auc"]["high"] < 0 < found["fields"]["a"]["logloss"]["low"]


def test_intervals_are_about_those_of_a_bootstrap():
    """Of the change by one permutation: other rows, the same permuted values."""
    one = permutation_importance(score, X, LABELS, {"a": [slice(0, 1)]}, repeats=1, seed=9)["fields"]["a"]
    mixed = X.copy()
    mixed[:, 0] = X[np.random.default_rng(9).permutation(ROWS), 0]

    def change(counts):
        return {
            name: of(LABELS, score(mixed), counts) - of(LABELS, score(X), counts)
            for name, of in (("auc", metrics.auc), ("logloss", metrics.logloss))
        }

    for name, (low, high) in metrics.bootstrap(change, ROWS, count=400, seed=1).items():
        assert one[name]["high"] - one[name]["low"] == pytest.approx(high - low, rel=0.15)
        assert one[name]["low"] == pytest.approx(low, abs=0.2 * (high - low))


def test_with_weights_tests_of_auc_are_those_of_copies_but_for_their_variance():
    """AUC and its differences are those of copies; only rows, not copies, are independent."""
    weights = DRAW.integers(1, 4, ROWS)
    copies = np.repeat(np.arange(ROWS), weights)
    a, b = score(X), X[:, 0] + 0.0
    of_clicks, of_others = placements(LABELS, a, weights)
    many_clicks, many_others = placements(LABELS[copies], a[copies])
    np.testing.assert_allclose(np.repeat(of_clicks, weights[LABELS == 1]), many_clicks, atol=1e-12)
    np.testing.assert_allclose(np.repeat(of_others, weights[LABELS == 0]), many_others, atol=1e-12)
    one, many = delong(LABELS, a, b, weights), delong(LABELS[copies], a[copies], b[copies])
    assert one.difference == pytest.approx(many.difference, abs=1e-12)
    assert one.high - one.low > many.high - many.low
    plain = delong(LABELS, a, b)
    assert vars(delong(LABELS, a, b, np.full(ROWS, 7.0))) == pytest.approx(vars(plain), abs=1e-12)
    seeds = [np.stack([z, z + DRAW.normal(size=ROWS) / 10]) for z in (a, b)]
    assert vars(delong_over_seeds(LABELS, *seeds, np.full(ROWS, 2.0))) == pytest.approx(
        vars(delong_over_seeds(LABELS, *seeds)), abs=1e-12
    )
    low, high = auc_interval(LABELS, a, weights)
    assert low < metrics.auc(LABELS, a, weights) < high
