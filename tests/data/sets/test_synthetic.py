"""Planted clicks: the truth that is planted is the truth that is reported."""

import numpy as np
import pytest

from eulernet.data.dataset import Dataset
from eulernet.data.sets import synthetic
from eulernet.errors import UserError
from eulernet.measures.metrics import auc, logloss

SETTINGS = dict(
    rows=40_000,
    field_sizes=[20, 30, 10],
    interactions=[{"f0": 1.0, "f1": -0.5}, {"f2": 1.5}],
    signal=2.0,
    spread=0.5,
    bias=-0.5,
    data_seed=3,
)


def make(folder, **changes):
    return synthetic.Synthetic(**{**SETTINGS, **changes})([], folder, 2.0)


def test_same_seed_same_rows_and_any_change_another_store(tmp_path):
    one, two = make(tmp_path / "a"), make(tmp_path / "b")
    assert (one / "x.npy").read_bytes() == (two / "x.npy").read_bytes()
    assert (one / "y.npy").read_bytes() == (two / "y.npy").read_bytes()
    assert make(tmp_path / "a", data_seed=4) != one


def test_more_rows_begin_with_the_same_rows(tmp_path, monkeypatch):
    monkeypatch.setattr(synthetic, "CHUNK", 5_000)
    short, long = make(tmp_path, rows=10_000), make(tmp_path, rows=20_000)
    for file in ("x.npy", "y.npy"):
        assert np.array_equal(np.load(short / file), np.load(long / file)[:10_000])


def test_the_planted_terms_explain_the_clicks_as_well_as_bayes_says(tmp_path):
    """Logistic regression on the K true terms, K + 1 numbers to fit, comes within noise of the reported optimum."""
    from sklearn.linear_model import LogisticRegression

    data = Dataset.open(make(tmp_path))
    hidden = np.random.default_rng(np.random.SeedSequence(3).spawn(1)[0])
    z = [np.exp(0.5 * hidden.standard_normal(size)) for size in SETTINGS["field_sizes"]]

    def terms(split):
        v = [z[f][split.x[:, f].numpy() - 1] for f in range(3)]
        return np.stack([v[0] * v[1] ** -0.5, v[2] ** 1.5], axis=1)

    fitted = LogisticRegression(C=1e6).fit(terms(data.train), data.train.y.numpy())
    logits = fitted.decision_function(terms(data.test))
    bayes = data.meta["bayes"]["test"]
    assert auc(data.test.y.numpy(), logits) == pytest.approx(bayes["auc"], abs=0.002)
    assert logloss(data.test.y.numpy(), logits) == pytest.approx(bayes["logloss"], abs=0.002)
    assert 0.75 < bayes["auc"] < 0.95


def test_no_signal_is_bayes_auc_one_half(tmp_path):
    data = Dataset.open(make(tmp_path, signal=0.0))
    assert data.meta["bayes"]["test"]["auc"] == 0.5
    assert data.train.y.double().mean().item() == pytest.approx(1 / (1 + np.exp(0.5)), abs=0.01)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(rows=10), "rows must be at least 100"),
        (dict(field_sizes=[5, 1, 5]), "at least 2 each"),
        (dict(interactions=[{"f7": 1.0}]), "no field 'f7'; did you mean"),
        (dict(interactions=[]), "plant at least one"),
        (dict(interactions=[{"f0": 0.0}]), "without a nonzero order"),
        (dict(spread=1000.0), "the products overflow"),
        (dict(data_seed=-1), "data_seed must not be negative"),
    ],
)
def test_impossible_settings(tmp_path, changes, message):
    with pytest.raises(UserError, match=message):
        make(tmp_path / "data", **changes)
    assert not (tmp_path / "data").exists()
