"""A scikit-learn classifier: rows stay in memory, nothing is written."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import check_array, check_random_state
from sklearn.utils.multiclass import check_classification_targets, type_of_target
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, column_or_1d, validate_data

from eulernet.data.growth import Growth, kept_of
from eulernet.data.in_memory import InMemory, table_in_memory
from eulernet.data.preprocessor import Preprocessor
from eulernet.data.sets.table import Table
from eulernet.errors import require
from eulernet.measures.metrics import sigmoid
from eulernet.python.fit import own_random_numbers, showing, with_categories
from eulernet.python.frames import categories, is_frame, to_polars
from eulernet.python.settings import Settings, configuration
from eulernet.runs.predictor import Predictor
from eulernet.settings import construct
from eulernet.training.growth import grow_weights
from eulernet.training.job import set_up
from eulernet.training.loop import fit

MEMORY = Path("memory")  # where a store would lie; there is none
LABEL, WEIGHT = "the label", "the weight"  # columns beside those of X
Part = tuple[pl.DataFrame, np.ndarray, np.ndarray | None]  # rows, labels, weights


class CTRClassifier(ClassifierMixin, BaseEstimator):
    """A click model as a scikit-learn classifier of two classes.

    ``X`` is a pandas or polars frame, or an array; text, categories, numbers and missing values go in as they are. The
    kind of a field follows from the type of its column, or is said in ``fields``, as {"price": "number"}.

    ``model`` is one of ``eulernet.list_models()``, or {"name": "deepfm", "dropout": 0.2}; ``lr``, ``max_epochs`` and
    ``batch_size`` are settings of training, ``train={"weight_decay": 1e-6}`` and ``overrides`` any others. None leaves
    what ``conf/train/table.yaml`` says. A stratified share ``validation_fraction`` of the rows chooses the best epoch,
    unless ``fit`` is given an ``eval_set``; a class with a single row is validated on the rows of training.
    ``warm_start=True`` goes on from the weights and the ids of the call of ``fit`` before; new values get new ids.

    >>> cross_val_score(CTRClassifier("deepfm"), frame.drop(columns="click"), frame["click"], scoring="roc_auc")
    """

    predictor_: Predictor
    classes_: np.ndarray

    def __init__(
        self,
        model: Settings = "eulernet",
        *,
        fields: Mapping[str, Any] | None = None,
        lr: float | None = None,
        max_epochs: int | None = None,
        batch_size: int | None = None,
        train: Mapping[str, Any] | None = None,
        overrides: Sequence[str] = (),
        validation_fraction: float = 0.1,
        device: str | None = None,
        random_state: Any = None,
        warm_start: bool = False,
        verbose: bool = False,
    ) -> None:
        self.model = model
        self.fields = fields
        self.lr = lr
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.train = train
        self.overrides = overrides
        self.validation_fraction = validation_fraction
        self.device = device
        self.random_state = random_state
        self.warm_start = warm_start
        self.verbose = verbose

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_class = False
        tags.input_tags.allow_nan = tags.input_tags.string = tags.input_tags.categorical = True
        tags.non_deterministic = False
        return tags

    def fit(self, X: Any, y: Any, sample_weight: Any = None, eval_set: Any = None) -> "CTRClassifier":
        """Train on rows ``X`` with labels ``y`` of two values.

        A row with ``sample_weight`` 2 counts as two copies do, in the loss and where the best epoch is chosen.
        ``eval_set`` is (X, y) or (X, y, sample_weight), or a list with one such, to choose the best epoch by. A call
        that fails or is interrupted leaves what was fitted before.
        """
        before = dict(self.__dict__)
        try:
            return self._fit(X, y, sample_weight, eval_set)
        except BaseException:
            self.__dict__.clear()
            self.__dict__.update(before)
            raise

    def _fit(self, X: Any, y: Any, sample_weight: Any, eval_set: Any) -> "CTRClassifier":
        first = not (self.warm_start and hasattr(self, "predictor_"))
        rows, labels = self._rows(X, reset=first), self._labels(y, reset=first)
        require(len(rows) == len(labels), f"X has {len(rows)} rows, y has {len(labels)} labels")
        weight = weights_of(sample_weight, labels)
        if weight is not None:  # a row that counts nothing is none, in the validation rows either
            rows, labels, weight = rows.filter(weight > 0), labels[weight > 0], weight[weight > 0]
        require(len(np.unique(labels)) == 2, "y has rows of one class only; training takes two classes")
        random = check_random_state(self.random_state)
        valid = None if eval_set is None else self._eval_set(eval_set)
        seed = int(random.randint(2**31 - 1))
        weighted = weight is not None or (valid is not None and valid[2] is not None)
        cfg = self._configuration(categories(X), seed, weighted=weighted)
        order = None if valid is not None else self._held_out(labels, random)
        data = self._data(
            cfg, rows, labels, weight, valid, order, None if first else Growth(self.predictor_.preprocessor, "memory")
        )
        with own_random_numbers(), showing(self.verbose):
            job = set_up(cfg, data)
            if not first:
                kept = kept_of(self.predictor_.preprocessor.coders, data.coders)
                grow_weights(self.predictor_.model, job.model, kept)
            history, _ = fit(job.model, job.data, job.config, job.device, None, identity={})
        self.n_iter_, self.history_ = len(history), [vars(epoch) for epoch in history]
        # In float64 the score of a row does not depend on the rows beside it.
        model = job.model.cpu().double().eval().requires_grad_(False)
        self.predictor_ = Predictor(model, Preprocessor.of(data.meta, data.coders), {"model": cfg["model"]})
        return self

    def _rows(self, X: Any, *, reset: bool) -> pl.DataFrame:
        framed = is_frame(X) and not isinstance(X, list)
        if not framed:
            X = validate_data(self, X, dtype=None, ensure_all_finite="allow-nan", reset=reset)
            if X.dtype.kind in "fc" and np.isinf(X).any():
                raise ValueError("X holds infinity, which is not a number to learn from")
            columns = X.T.tolist() if X.dtype == object else list(X.T)
            rows = to_polars_columns(columns)
        else:
            validate_data(self, X, reset=reset, skip_check_array=True)
            require(len(X) > 0, "Found array with 0 sample(s) while a minimum of 1 is required.")
            rows = to_polars(X)
        if reset:
            self._columns = rows.columns
        elif framed != hasattr(self, "feature_names_in_") and set(rows.columns) != set(self._columns):
            # scikit-learn has warned: an array after a frame, or a frame after an array, goes by the place of columns
            rows.columns = self._columns
        return rows

    def _labels(self, y: Any, *, reset: bool) -> np.ndarray:
        require(y is not None, "CTRClassifier requires y to be passed, but the target y is None")
        y = column_or_1d(check_array(y, ensure_2d=False, dtype=None, input_name="y"), warn=True)
        check_classification_targets(y)
        kind = type_of_target(y, input_name="y")
        require(
            kind == "binary" or len(np.unique(y)) < 3,
            f"Only binary classification is supported. The type of the target is {kind}.",
        )
        if reset:
            self.classes_ = np.unique(y)
            require(len(self.classes_) == 2, "y has one class only; training takes two classes")
        require(bool(np.isin(y, self.classes_).all()), f"y has other labels than the classes {self.classes_.tolist()}")
        return (y == self.classes_[1]).astype(np.float64)

    def _eval_set(self, given: Any) -> Part:
        part = given[0] if isinstance(given, list) and len(given) == 1 else given
        right = isinstance(part, tuple) and len(part) in (2, 3)
        require(right, "eval_set: give (X, y) or (X, y, sample_weight), or a list with one such")
        rows, labels = self._rows(part[0], reset=False), self._labels(part[1], reset=False)
        require(len(rows) == len(labels), f"eval_set: X has {len(rows)} rows, y has {len(labels)} labels")
        return rows, labels, weights_of(part[2] if len(part) == 3 else None, labels)

    def _configuration(self, named: Sequence[str], seed: int, *, weighted: bool) -> dict[str, Any]:
        train = {"lr": self.lr, "max_epochs": self.max_epochs, "batch_size": self.batch_size}
        train = {key: value for key, value in train.items() if value is not None} | dict(self.train or {})
        sections: dict[str, Any] = {"dataset": "table", "model": self.model, "train": train}
        values = {"seed": seed, "device": self.device, "dataset.fields": self.fields}
        cfg = configuration(sections, values, list(self.overrides))[0]
        require(cfg["dataset"]["name"] == "table", "overrides: a classifier takes dataset=table alone")
        for key, instead in {"label": "fit(X, y)", "weight": "fit(X, y, sample_weight)"}.items():
            require(cfg["dataset"][key] is None, f"overrides: leave out dataset.{key}; {instead} has it")
        require(cfg["start_from"] is None, "overrides: leave out start_from; warm_start=True goes on")
        own = {"label": LABEL, "weight": WEIGHT if weighted else None}
        cfg["dataset"] = with_categories({**cfg["dataset"], **own}, named)
        return cfg

    def _held_out(self, labels: np.ndarray, random: Any) -> np.ndarray:
        """Which rows validate: a share of each class; all, which then train too, where a class has one row."""
        share = self.validation_fraction
        require(isinstance(share, float | int) and 0 < share < 1, f"validation_fraction={share}: give a share below 1")
        chosen = np.zeros(len(labels), dtype=bool)
        for label in (0, 1):
            rows = np.flatnonzero(labels == label)
            if len(rows) < 2:
                return np.ones(len(labels), dtype=bool)
            chosen[random.permutation(rows)[: min(max(1, round(share * len(rows))), len(rows) - 1)]] = True
        return chosen

    def _data(
        self, cfg: dict[str, Any], rows: pl.DataFrame, labels: np.ndarray, weight: np.ndarray | None,
        valid: Part | None, held_out: np.ndarray | None, growth: Growth | None,
    ) -> InMemory:  # fmt: skip
        def of(which: np.ndarray) -> Part:
            return rows.filter(which), labels[which], None if weight is None else weight[which]

        train = np.ones(len(labels), dtype=bool)
        if held_out is not None:
            valid = of(held_out)
            train = ~held_out if not held_out.all() else train
        assert valid is not None
        for name in (LABEL, WEIGHT):
            require(name not in rows.columns, f"X has a column {name!r}: give it another name")
        table = construct(Table, {key: value for key, value in cfg["dataset"].items() if key != "name"}, "dataset")
        why = "X has the same columns in fit and in predict: give the lists in a column (same_as)"
        require(not table.computed, f"fields: a history from the log is no column of X; {why}")
        weighted = table.weight is not None
        parts = {
            part: framed(*given, weighted=weighted) for part, given in {"train": of(train), "valid": valid}.items()
        }
        return table_in_memory(table, parts, MEMORY, growth)

    def decision_function(self, X: Any) -> np.ndarray:
        """Logits, float64 [rows]: above 0 the second of ``classes_`` is likelier."""
        check_is_fitted(self)
        return self.predictor_.logits(self._rows(X, reset=False))

    def predict_proba(self, X: Any) -> np.ndarray:
        """The probability of each of ``classes_``, float64 [rows, 2]."""
        clicks = sigmoid(self.decision_function(X))
        return np.stack([1 - clicks, clicks], axis=1)

    def predict(self, X: Any) -> np.ndarray:
        """The likelier class of each row."""
        check_is_fitted(self)
        return self.classes_[(self.decision_function(X) > 0).astype(int)]


def weights_of(given: Any, labels: np.ndarray) -> np.ndarray | None:
    """``sample_weight`` as float64 [rows]. ValueError where one is negative or no number, or all are 0."""
    return None if given is None else _check_sample_weight(given, labels, ensure_non_negative=True)


def framed(rows: pl.DataFrame, labels: np.ndarray, weight: np.ndarray | None, *, weighted: bool) -> pl.DataFrame:
    """``rows`` with their labels, and where rows of training have weights with those, which are 1 unless given."""
    columns = [pl.Series(LABEL, labels)]
    if weighted:
        columns.append(pl.Series(WEIGHT, np.ones(len(labels)) if weight is None else weight))
    return rows.with_columns(columns)


def to_polars_columns(columns: list[Any]) -> pl.DataFrame:
    """The columns x0, x1, ... of an array."""
    from eulernet.data.frames import series

    made = [
        series(f"x{i}", c) if isinstance(c, list) else pl.Series(f"x{i}", np.ascontiguousarray(c))
        for i, c in enumerate(columns)
    ]
    return pl.DataFrame(made)
