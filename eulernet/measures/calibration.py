"""Calibrators: fitted by scikit-learn on validation scores, kept as plain numbers, applied with numpy alone.

``sigmoid`` is Platt's (1999), a straight line through the logits; ``isotonic`` (Zadrozny and Elkan, 2002) is the best
rising function, straight between a few points.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from eulernet.errors import UserError, choose, require
from eulernet.measures import metrics

Numbers = Mapping[str, Any]  # what is stored: ``method``, and ``a`` and ``b``, or ``x`` and ``y``


def calibrated(logits: np.ndarray, numbers: Mapping[str, Any]) -> np.ndarray:
    """The logits, float64 [rows], of the calibrated probabilities.

    It is copied into every exported folder. Probabilities of 0 and 1 are kept 2.2e-16 away from them, as scikit-learn's
    log_loss does: logits stay finite.
    """
    z = np.asarray(logits, dtype=np.float64)
    if numbers["method"] == "sigmoid":
        return -(numbers["a"] * z + numbers["b"])
    eps = np.finfo(np.float64).eps
    p = np.clip(np.interp(z, numbers["x"], numbers["y"]), eps, 1 - eps)
    return np.log(p) - np.log1p(-p)


def fit_sigmoid(labels: np.ndarray, logits: np.ndarray, weights: np.ndarray | None) -> dict[str, Any]:
    """``a`` and ``b`` of 1 / (1 + exp(a z + b)), by scikit-learn. UserError where the scores would change order."""
    from sklearn.base import BaseEstimator, ClassifierMixin
    from sklearn.calibration import CalibratedClassifierCV

    class Scored(ClassifierMixin, BaseEstimator):
        """Its one feature is the logit already."""

        classes_ = np.array([0, 1])

        def fit(self, z: np.ndarray, y: np.ndarray, sample_weight: np.ndarray | None = None) -> "Scored":
            return self

        def predict(self, z: np.ndarray) -> np.ndarray:
            return (z[:, 0] > 0).astype(int)

        def decision_function(self, z: np.ndarray) -> np.ndarray:
            return z[:, 0]

    everyone = np.arange(len(labels))
    wrapped = CalibratedClassifierCV(Scored(), method="sigmoid", cv=[(everyone, everyone)], ensemble=False)
    wrapped.fit(logits[:, None], labels, sample_weight=weights)
    fitted = wrapped.calibrated_classifiers_[0].calibrators[0]
    a, b = float(fitted.a_), float(fitted.b_)
    require(a < 0, f"calibrate=sigmoid: on the validation rows a higher score means fewer clicks (a={a:.3g}); train on")
    return {"a": a, "b": b}


def fit_isotonic(labels: np.ndarray, logits: np.ndarray, weights: np.ndarray | None) -> dict[str, Any]:
    """The points ``x``, ``y`` of a rising function of the logit, by scikit-learn; flat beyond them."""
    from sklearn.isotonic import IsotonicRegression

    fitted = IsotonicRegression(y_min=0.0, y_max=1.0, out_of_bounds="clip").fit(logits, labels, weights)
    x, y = (np.asarray(points, dtype=np.float64).tolist() for points in (fitted.X_thresholds_, fitted.y_thresholds_))
    return {"x": x, "y": y}


METHODS: dict[str, Callable[[np.ndarray, np.ndarray, np.ndarray | None], dict[str, Any]]] = {
    "isotonic": fit_isotonic,
    "sigmoid": fit_sigmoid,
}


def fit(method: str, labels: np.ndarray, logits: np.ndarray, weights: np.ndarray | None = None) -> dict[str, Any]:
    """The calibrator ``method`` of 0/1 ``labels`` [rows] and ``logits`` [rows], as numbers that JSON holds.

    Each row counts as much as ``weights`` [rows] say, None once.

    UserError for an unknown method, without scikit-learn, and where all rows have one label.

        >>> fit("isotonic", np.array([0, 1]), np.array([-1.0, 2.0]))
        {'method': 'isotonic', 'x': [-1.0, 2.0], 'y': [0.0, 1.0]}
    """
    fitter = choose(METHODS, method, "calibrate")
    require(
        0 < int(np.count_nonzero(labels)) < len(labels), "calibrate: the validation rows are all clicks, or none is one"
    )
    try:
        return {"method": method, **fitter(np.asarray(labels), np.asarray(logits, dtype=np.float64), weights)}
    except ImportError as missing:
        raise UserError(f"calibrate={method} needs scikit-learn ({missing}); pip install -U scikit-learn") from None


def check(found: Mapping[str, Any]) -> dict[str, Any]:
    """What a file says of a calibrator, points as arrays. ValueError unless ``fit`` could have written it."""

    def is_number(value: Any) -> bool:
        return type(value) in (int, float) and math.isfinite(value)

    method = found.get("method")
    if method == "sigmoid" and is_number(found.get("a")) and is_number(found.get("b")) and found["a"] < 0:
        return {key: found[key] for key in ("method", "a", "b")}
    lists = [found.get(key) for key in ("x", "y")]
    if method != "isotonic" or not all(isinstance(one, list) and one and all(map(is_number, one)) for one in lists):
        raise ValueError("no calibrator that this version knows")
    x, y = (np.array(one, dtype=np.float64) for one in lists)
    rising = len(x) == len(y) and (np.diff(x) > 0).all() and (np.diff(y) >= 0).all()
    if not rising or y[0] < 0 or y[-1] > 1:
        raise ValueError("its points should rise, from 0 to 1 at most")
    return {"method": method, "x": x, "y": y}


def plain(numbers: Numbers) -> dict[str, Any]:
    """As JSON holds it: lists in place of arrays."""
    return {key: value.tolist() if isinstance(value, np.ndarray) else value for key, value in numbers.items()}


def before_and_after(
    labels: np.ndarray, logits: np.ndarray, after: np.ndarray, weights: np.ndarray | None = None
) -> dict[str, dict[str, float]]:
    """AUC, logloss and calibration error of the logits before and after calibration."""
    return {
        name: {
            "auc": metrics.auc(labels, z, weights),
            "logloss": metrics.logloss(labels, z, weights),
            "expected_calibration_error": metrics.expected_calibration_error(labels, metrics.sigmoid(z), weights),
        }
        for name, z in (("before", logits), ("after", after))
    }
