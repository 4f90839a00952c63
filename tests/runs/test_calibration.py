"""A calibrator says what scikit-learn's says, stays with the run, and is applied wherever the run predicts."""

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.calibration import CalibratedClassifierCV
from sklearn.frozen import FrozenEstimator
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

from eulernet import Predictor
from eulernet.errors import UserError
from eulernet.measures import calibration
from eulernet.measures.calibration import calibrated
from eulernet.measures.metrics import auc, sigmoid
from eulernet.runs.calibrate import calibrate, read_calibration
from eulernet.runs.evaluate import evaluate, of_files, of_split
from eulernet.runs.run import Run

CPU = ("cpu", 8192)


def scored(seed, rows=3000):
    """Labels, and logits that are too sure of themselves; some tie."""
    draw = np.random.default_rng(seed)
    logits = draw.normal(-1, 3, rows).astype(np.float32).round(2).astype(np.float64)
    return (draw.random(rows) < sigmoid(logits / 2)).astype(int), logits


@pytest.mark.parametrize("seed", range(3))
def test_stored_numbers_are_scikit_learns_isotonic_calibrator(seed):
    labels, logits = scored(seed)
    stored = calibration.check(json.loads(json.dumps(calibration.fit("isotonic", labels, logits))))
    theirs = IsotonicRegression(out_of_bounds="clip").fit(logits, labels)
    asked = np.concatenate([np.linspace(-40, 40, 5001), logits])
    np.testing.assert_allclose(sigmoid(calibrated(asked, stored)), theirs.predict(asked), rtol=0, atol=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_stored_numbers_are_scikit_learns_sigmoid_calibrator(seed):
    """Of a classifier whose decision function is known: a regression on one feature."""
    labels, logits = scored(seed)
    x = logits[:, None]
    model = LogisticRegression().fit(x, labels)
    theirs = CalibratedClassifierCV(FrozenEstimator(model), method="sigmoid", ensemble=False).fit(x, labels)
    z = model.decision_function(x)
    stored = json.loads(json.dumps(calibration.fit("sigmoid", labels, z)))
    found = sigmoid(calibrated(z, stored))
    np.testing.assert_allclose(found, theirs.predict_proba(x)[:, 1], rtol=0, atol=1e-12)
    assert auc(labels, calibrated(z, stored)) == auc(labels, z)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from(["isotonic", "sigmoid"]))
def test_calibration_never_turns_two_rows_round_and_stays_finite(seed, method):
    labels, logits = scored(seed, 200)
    after = calibrated(logits, calibration.fit(method, labels, logits))
    assert np.isfinite(after).all()
    assert (np.diff(after[np.argsort(logits, kind="stable")]) >= -1e-12).all()
    assert abs(sigmoid(after).mean() - labels.mean()) < (1e-9 if method == "isotonic" else 0.02)


def test_what_cannot_be_calibrated_is_refused():
    labels, logits = scored(0)
    with pytest.raises(UserError, match="all clicks, or none"):
        calibration.fit("sigmoid", np.zeros(10), np.arange(10.0))
    with pytest.raises(UserError, match="higher score means fewer clicks"):
        calibration.fit("sigmoid", labels, -logits)
    with pytest.raises(UserError, match="isotonic"):
        calibration.fit("isotonik", labels, logits)


@pytest.mark.parametrize("method", ["isotonic", "sigmoid"])
def test_the_run_predicts_calibrated_probabilities_until_it_is_removed(trained, copy_of_run, tmp_path, method):
    rows, _ = trained.test()
    before, files = Predictor.load(copy_of_run).predict(rows), {f.name: f.read_bytes() for f in copy_of_run.glob("*")
                                                               if f.is_file()}  # fmt: skip
    said = calibrate(Run(copy_of_run), method, None, *CPU)
    assert f"calibration  {method}" in said
    assert ("tie" in said) == (method == "isotonic")
    valid = Run(copy_of_run).scores("valid")
    numbers = read_calibration(copy_of_run)
    theirs = calibration.fit(method, valid.labels, valid.logits)
    np.testing.assert_array_equal(calibrated(valid.logits, numbers), calibrated(valid.logits, theirs))

    predictor = Predictor.load(copy_of_run)
    wanted = sigmoid(calibrated(np.log(before) - np.log1p(-before), numbers))
    np.testing.assert_allclose(predictor.predict(rows), wanted, rtol=0, atol=1e-9)
    predictor.push(tmp_path / "packed.tar.gz")
    np.testing.assert_array_equal(Predictor.load(tmp_path / "packed.tar.gz").predict(rows), predictor.predict(rows))

    again = calibrate(Run(copy_of_run), method, None, *CPU)  # of the model's scores, not of calibrated ones
    assert again == said
    assert calibrate(Run(copy_of_run), "none", None, *CPU) == "calibration removed"
    assert {f.name: f.read_bytes() for f in copy_of_run.glob("*") if f.is_file()} == files
    np.testing.assert_array_equal(Predictor.load(copy_of_run).predict(rows), before)


def test_an_evaluation_measures_what_is_predicted_and_says_what_it_was(trained, copy_of_run):
    asked = {"group": None, "resamples": 0, "seed": 0, "predictions": None}
    calibrate(Run(copy_of_run), "sigmoid", None, *CPU)
    split = of_split(Run(copy_of_run), "test", None, None, *CPU)
    said = evaluate(split, Run(copy_of_run), "test", **asked)
    assert "test before  auc=" in said
    assert "test after   auc=" in said
    assert Run(copy_of_run).evaluations["test"]["calibrated"] == "sigmoid"
    rows, _ = trained.test()
    rows.write_csv(copy_of_run / "rows.csv")
    files = of_files(Predictor.load(copy_of_run), [copy_of_run / "rows.csv"], None, 8192)
    assert files.calibrated == "sigmoid"
    np.testing.assert_allclose(np.sort(files.logits), np.sort(split.logits), atol=1e-5)


def test_a_changed_calibration_is_refused_and_fitted_anew(copy_of_run):
    calibrate(Run(copy_of_run), "sigmoid", None, *CPU)
    file = copy_of_run / "calibration.json"
    good = file.read_text()
    file.write_text(good.replace('"a": -', '"a": -1'))
    with pytest.raises(UserError, match=r"calibration\.json has changed"):
        Predictor.load(copy_of_run)
    calibrate(Run(copy_of_run), "sigmoid", None, *CPU)
    assert file.read_text() == good


@pytest.mark.parametrize(
    "found",
    [
        {}, {"method": "platt"}, {"method": "sigmoid", "a": -1}, {"method": "sigmoid", "a": 1.0, "b": 0.0},
        {"method": "sigmoid", "a": -math.inf, "b": 0.0}, {"method": "isotonic", "x": [], "y": []},
        {"method": "isotonic", "x": [0, 1], "y": [0.5]}, {"method": "isotonic", "x": [1, 0], "y": [0, 1]},
        {"method": "isotonic", "x": [0, 1], "y": [0.5, 0.4]}, {"method": "isotonic", "x": [0, 1], "y": [0, 2]},
        {"method": ["isotonic"], "x": [True], "y": ["0"]},
    ],
)  # fmt: skip
def test_damaged_numbers_are_one_line(tmp_path, found):
    (tmp_path / "calibration.json").write_text(json.dumps(found))
    with pytest.raises(UserError, match="damaged"):
        read_calibration(tmp_path)
