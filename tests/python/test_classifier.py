"""CTRClassifier is a scikit-learn classifier: its checks, its tools, and rows as they are."""

import pickle

import numpy as np
import pandas as pd
import polars as pl
import pytest
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer
from sklearn.exceptions import NotFittedError
from sklearn.inspection import permutation_importance
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import estimator_checks_generator, parametrize_with_checks
from trained import raw_rows

from eulernet import CTRClassifier
from eulernet.data.growth import kept_ids

ROWS = pd.DataFrame(raw_rows(600, 0).to_dicts())
X, Y = ROWS.drop(columns="click"), ROWS["click"]
QUICK = {"max_epochs": 2, "device": "cpu", "random_state": 0, "overrides": ["model.embedding_dim=4"]}
DRAWS = "held-out rows, batches and dropout are drawn row by row: of two copies each is drawn, of weight 2 one row"
EXPECTED = {"check_sample_weight_equivalence_on_dense_data": DRAWS}
FEW = (
    "check_estimators_unfitted",
    "check_methods_subset_invariance",
    "check_classifiers_one_label",
    "check_requires_y_none",
)


@pytest.mark.slow
@parametrize_with_checks(
    [CTRClassifier(model, device="cpu") for model in ("eulernet", "deepfm", "lr")],
    expected_failed_checks=lambda estimator: EXPECTED,
)
def test_scikit_learn_s_checks(estimator, check):
    check(estimator)


@pytest.mark.parametrize("name", FEW)
def test_a_few_of_scikit_learn_s_checks(name):
    checks = [check for _, check in estimator_checks_generator(CTRClassifier(device="cpu")) if name in str(check)]
    assert checks
    for check in checks:
        check(CTRClassifier(device="cpu", max_epochs=3))


def test_rows_as_they_are_and_the_same_seed_the_same_bits(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    one, two = (CTRClassifier(**QUICK).fit(X, Y) for _ in range(2))
    np.testing.assert_array_equal(one.predict_proba(X), two.predict_proba(X))
    assert list(one.feature_names_in_) == list(X.columns)
    assert list(one.classes_) == [0, 1]
    assert ((one.decision_function(X) > 0) == (one.predict(X) == 1)).all()
    unseen = X.assign(city="Rom", price=np.nan)
    assert np.isfinite(one.predict_proba(unseen)).all()
    again = pickle.loads(pickle.dumps(one))
    np.testing.assert_array_equal(again.predict_proba(X), one.predict_proba(X))
    assert clone(one).get_params() == one.get_params()
    assert list(tmp_path.iterdir()) == []  # nothing goes through the disk


def test_classes_in_words_and_rows_to_choose_the_epoch_by():
    words = np.where(Y == 1, "yes", "no")
    made = CTRClassifier(**QUICK).fit(X[:400], words[:400], eval_set=[(X[400:], words[400:])])
    assert set(made.predict(X)) <= {"no", "yes"}
    assert made.predictor_.preprocessor.meta["rows_in"] == {"train": 400, "valid": 200}


def test_a_fit_that_is_stopped_or_refused_leaves_what_was_fitted_before(monkeypatch):
    def stop(*_, **__):
        raise KeyboardInterrupt

    made = CTRClassifier(**QUICK).fit(X, Y)
    before = made.predict(X)
    with pytest.raises(ValueError, match="one class only"):
        made.fit(X.head(9), np.repeat("yes", 9))
    np.testing.assert_array_equal(made.predict(X), before)
    monkeypatch.setattr("eulernet.python.classifier.fit", stop)
    with pytest.raises(KeyboardInterrupt):
        made.fit(X, np.where(Y == 1, "0 no", "1 yes"))
    np.testing.assert_array_equal(made.predict(X), before)
    new = CTRClassifier(**QUICK)
    with pytest.raises(KeyboardInterrupt):
        new.fit(X, Y)
    with pytest.raises(NotFittedError):
        new.predict(X)


def test_a_frame_and_an_array_of_the_same_columns_score_alike():
    """As with scikit-learn's own classifiers: columns go by their place, with a warning."""
    numbers = X[["price", "user"]].assign(user=np.arange(len(X)) % 5)
    for fitted, other in ((numbers, numbers.to_numpy()), (numbers.to_numpy(), numbers)):
        made = CTRClassifier("lr", max_epochs=1, device="cpu", random_state=0).fit(fitted, Y)
        with pytest.warns(UserWarning, match="feature names"):
            scores = made.predict_proba(other)
        np.testing.assert_array_equal(scores, made.predict_proba(fitted))
    by_number = numbers.set_axis([7, 3], axis=1)  # names that scikit-learn does not keep are names still
    made = CTRClassifier("lr", max_epochs=1, device="cpu", random_state=0).fit(by_number, Y)
    np.testing.assert_array_equal(made.predict_proba(by_number[[3, 7]]), made.predict_proba(by_number))


def test_a_stratified_part_is_held_out():
    rows = CTRClassifier(**QUICK, validation_fraction=0.2).fit(X, Y).predictor_.preprocessor.meta
    clicks = int(Y.sum())
    assert rows["clicks"]["valid"] == round(0.2 * clicks)
    assert rows["rows_in"]["valid"] == round(0.2 * clicks) + round(0.2 * (len(Y) - clicks))
    assert rows["rows_in"]["train"] + rows["rows_in"]["valid"] == len(Y)


def test_warm_start_goes_on_from_weights_and_ids():
    made = CTRClassifier(**QUICK, warm_start=True).fit(X, Y)
    before = made.predictor_
    made.set_params(overrides=[*QUICK["overrides"], "train.lr=1e-12", "train.ema=0"]).fit(X[:300], Y[:300])
    for old, new in zip(before.preprocessor.coders, made.predictor_.preprocessor.coders, strict=True):
        assert kept_ids(old, new).all()
    rows = made._rows(X, reset=False)
    old, new = (one.preprocessor.encode(rows) for one in (before, made.predictor_))
    same = (old == new).all(axis=1)  # the others have a value that only the rows of the second call made known
    assert same.mean() > 0.9
    np.testing.assert_allclose(made.predictor_.logits(rows)[same], before.logits(rows)[same], atol=1e-5)


def test_warm_start_reads_values_as_it_did_whatever_the_new_rows_look_like():
    """Whole prices are prices still, and shops called by text are those that were numbers."""
    rows = pd.DataFrame({"shop": np.arange(200) % 7, "price": np.arange(200) % 9 + 0.5})
    made = CTRClassifier("lr", **{**QUICK, "overrides": []}, warm_start=True).fit(rows, Y[:200])
    before = made.predictor_
    other = pd.DataFrame({"shop": (np.arange(200) % 7).astype(str), "price": np.arange(200) % 9})
    after = made.fit(other, Y[:200]).predictor_.preprocessor
    assert (after.coders, after.columns) == (before.preprocessor.coders, before.preprocessor.columns)
    ids = [each.encode(pl.DataFrame(frame.to_dict("list")))[:, 0] for each, frame in ((after, other), (after, rows))]
    assert ids[0].tolist() == ids[1].tolist() == before.encode(rows)[:, 0].tolist()
    for changes, odd, words in (
        ({"model": "fm"}, rows, "the models differ in linear.bias"),
        ({"fields": {"price": "category"}}, rows, "price: it was a number in the earlier run, and stays so"),
        ({}, rows.assign(price="dear"), "row 1: price is 'dear', not a number"),
    ):
        with pytest.raises(ValueError, match=words):
            pickle.loads(pickle.dumps(made)).set_params(**changes).fit(odd, Y[:200])


def test_weights_reach_training():
    weight = np.where(Y == 1, 50.0, 1.0)
    plain, heavy = (
        CTRClassifier(**QUICK, lr=0.05).fit(X, Y, sample_weight=w).predict_proba(X)[:, 1] for w in (None, weight)
    )
    assert heavy.mean() > plain.mean() + 0.2
    for model in ("lightgbm", "sklearn_lr"):  # in training, and where the best epoch is chosen
        plain, heavy = (
            CTRClassifier(model, **{**QUICK, "overrides": []}).fit(X, Y, sample_weight=w).predict_proba(X)[:, 1].mean()
            for w in (None, weight)
        )
        assert heavy > plain + 0.2
    kept = Y.index % 3 > 0  # weight 0 is no row
    zero = CTRClassifier(**QUICK).fit(X, Y, sample_weight=kept.astype(float)).predict_proba(X)
    np.testing.assert_array_equal(
        zero, CTRClassifier(**QUICK).fit(X[kept], Y[kept], sample_weight=np.ones(kept.sum())).predict_proba(X)
    )


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: CTRClassifier().fit(X[:0], Y[:0]), "0 sample"),
        (lambda: CTRClassifier().fit(X, Y[:-1]), "X has 600 rows, y has 599 labels"),
        (lambda: CTRClassifier().fit(X, X["user"]), "Only binary classification is supported"),
        (lambda: CTRClassifier().fit(X, Y.where(Y.index > 3)), "NaN"),
        (lambda: CTRClassifier().fit(X, None), "the target y is None"),
        (lambda: CTRClassifier("eulernt").fit(X, Y), "did you mean 'eulernet'"),
        (lambda: CTRClassifier(train={"learning_rate": 1}).fit(X, Y), "train.learning_rate; did you mean 'lr'"),
        (lambda: CTRClassifier(fields={"prise": "number"}).fit(X, Y), "did you mean 'price'"),
        (lambda: CTRClassifier(validation_fraction=2).fit(X, Y), "validation_fraction=2"),
        (lambda: CTRClassifier().fit(X, Y, eval_set=X), "eval_set: give"),
        (lambda: CTRClassifier().fit(X.assign(**{"the label": 1}), Y), "X has a column 'the label'"),
        (lambda: CTRClassifier(overrides=["dataset=criteo"]).fit(X, Y), "takes dataset=table alone"),
        (lambda: CTRClassifier(overrides=["dataset.weight=age"]).fit(X, Y), "leave out dataset.weight; fit"),
        (lambda: CTRClassifier(overrides=["start_from=run"]).fit(X, Y), "leave out start_from; warm_start=True"),
        (lambda: CTRClassifier().fit(pd.concat([X, X[["city"]]], axis=1), Y), "city"),
        (lambda: CTRClassifier().fit(X, Y, sample_weight=np.zeros(len(Y))), "non-zero"),
        (lambda: CTRClassifier().fit(X, Y, sample_weight=np.full(len(Y), np.nan)), "NaN"),
        (lambda: CTRClassifier().fit(X, Y, sample_weight=-np.ones(len(Y))), "[Nn]egative"),
        (lambda: CTRClassifier().fit(X, Y, sample_weight=["much"] * len(Y)), "much"),
        (lambda: CTRClassifier(**QUICK).fit(X, Y).predict(X.drop(columns="user")), "user"),
    ],
)
def test_bad_input_is_one_clear_exception(call, words):
    with pytest.raises(ValueError, match=words):
        call()


@pytest.mark.slow
def test_tools_of_scikit_learn_on_movielens(ml_100k):
    names = ["user", "item", "rating", "time"]
    rows = pd.read_csv(ml_100k / "u.data", sep="\t", names=names)
    users = pd.read_csv(ml_100k / "u.user", sep="|", names=["user", "age", "sex", "job", "zip"])
    rows = rows.merge(users, on="user").sample(8000, random_state=0).astype({"age": float})
    x, y = rows[["user", "item", "age", "sex", "job"]], (rows.rating >= 4).astype(int)
    quick = CTRClassifier(max_epochs=4, device="cpu", random_state=0)
    assert cross_val_score(quick, x, y, cv=3, scoring="roc_auc").mean() > 0.6
    search = GridSearchCV(quick, {"model": ["eulernet", "deepfm"], "lr": [1e-3, 1e-2]}, cv=2, scoring="roc_auc").fit(
        x, y
    )
    assert search.best_score_ > 0.6
    calibrated = CalibratedClassifierCV(quick, cv=2).fit(x, y)
    assert calibrated.predict_proba(x).shape == (len(x), 2)
    importance = permutation_importance(search.best_estimator_, x, y, n_repeats=1, random_state=0, scoring="roc_auc")
    assert importance.importances_mean[:2].min() > importance.importances_mean[3]  # user and item against sex
    scale = ColumnTransformer([("age", StandardScaler(), ["age"])], remainder="passthrough").set_output(
        transform="pandas"
    )
    piped = make_pipeline(scale, quick)
    assert cross_val_score(piped, x, y, cv=2, scoring="roc_auc").mean() > 0.6
