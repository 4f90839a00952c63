"""A finished run as Python has it: scores, figures, the folder."""

import shutil
import weakref
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from eulernet.data.dataset import places_in
from eulernet.data.frames import frame_of
from eulernet.errors import UserError, require, require_known, require_there
from eulernet.files import replacing
from eulernet.measures.evaluation import evaluation
from eulernet.measures.metrics import sigmoid
from eulernet.models.base import CTRModel
from eulernet.python.frames import is_frame, to_polars
from eulernet.runs.evaluate import of_files
from eulernet.runs.importance import importance
from eulernet.runs.predictor import BATCH, Predictor
from eulernet.runs.run import Run as FinishedRun
from eulernet.training.checkpoint import CHECKPOINTS, LAST
from eulernet.training.device import pick_device

if TYPE_CHECKING:
    import pandas as pd

STYLE = """
.eulernet dl { display: flex; flex-wrap: wrap; gap: 8px; margin: 4px 0; }
.eulernet dl > div { border: 1px solid rgba(128, 128, 128, .35); border-radius: 8px; padding: 8px 14px; }
.eulernet dt, .eulernet small { font-size: 12px; font-weight: 400; opacity: .75; }
.eulernet dd { margin: 0 !important; font-size: 20px; font-weight: 600; font-variant-numeric: tabular-nums; }
.eulernet small { display: block; }
"""


class Run:
    """A finished run: what ``eulernet.fit`` and ``eulernet.load`` return, with its folder.

    Each file is read when it is first asked for. The folder of a run that was given none is temporary: it goes when
    nobody holds the run any more. ``save`` keeps it.
    """

    def __init__(self, folder: str | Path, *, device: str = "cpu", temporary: bool = False) -> None:
        require(isinstance(folder, str | Path), f"give the folder of a finished run, got {folder!r}")
        self._run, self._device = FinishedRun.open(folder), pick_device(str(device))
        self.folder, self._temporary = self._run.folder, temporary
        if temporary:
            weakref.finalize(self, shutil.rmtree, self.folder, ignore_errors=True)

    @property
    def report(self) -> dict[str, Any]:
        """What training and its test found: ``report["test"]["auc"]``, rows, seed, versions, the configuration."""
        return self._run.report

    @property
    def config(self) -> dict[str, Any]:
        """The whole configuration."""
        return self._run.config

    @cached_property
    def history(self) -> "pd.DataFrame":
        """A pandas frame, one row an epoch: train_loss, valid_auc, valid_logloss, lr, seconds, samples_per_second."""
        import pandas as pd

        assert self._run.history  # checks the file
        return pd.read_csv(self.folder / "metrics.csv").set_index("epoch")

    @cached_property
    def predictor(self) -> Predictor:
        """Scores raw rows; it needs the folder no more."""
        return Predictor.load(self.folder, self._device)

    @property
    def model(self) -> CTRModel:
        """The model with the best weights, in evaluation mode: its logits before any correction and calibration."""
        return self.predictor.model

    def predict_proba(self, rows: Any) -> np.ndarray:
        """The probabilities of no click and of a click, float64 [rows, 2], in the order of ``rows``.

        Those are a pandas or polars frame, a list of dictionaries, or a path, as ``fit`` takes them; columns that no
        field comes from are ignored. UserError for a missing column or a value that cannot be.
        """
        clicks = sigmoid(self.predictor.logits(to_polars(rows) if is_frame(rows) else rows))
        return np.stack([1 - clicks, clicks], axis=1)

    def evaluate(self, rows: Any, group: str | None = None) -> dict[str, float | None]:
        """Every measure of labelled rows by its name; None where it is not defined, as AUC of clicks alone.

        ``group`` names a column, as the user, for the AUC within its values. ``eulernet.evaluate`` has intervals, too.
        A row counts as its weight says, if the run has a column of weights; ``negatives_kept`` of the run's own log is
        not applied, so give rows of a whole log.
        """
        if is_frame(rows):
            given = to_polars(rows)
            labels, counts, groups, weights = self._labelled(given, group)
            logits = self.predictor.logits(given)[counts]
        else:
            require(isinstance(rows, str | Path), f"rows are given as {type(rows).__name__}; give a frame or a path")
            found = of_files(self.predictor, [Path(rows).expanduser()], group, BATCH)
            labels, logits, groups, weights = found.labels, found.logits, found.groups, found.weights
        metrics = evaluation(labels, logits, groups, weights, resamples=0, seed=0)["metrics"]
        return {name: value["value"] for name, value in metrics.items()}

    def importance(
        self, rows: Any, groups: Mapping[str, Sequence[str]] | None = None, *, permutations: int = 3, seed: int = 0
    ) -> "pd.DataFrame":
        """What each field is worth on labelled rows: how AUC and logloss change when its values are shuffled.

        A pandas frame, a line a field and one for each of ``groups``, as {"user": ["user_id", "age"]}, whose fields are
        shuffled together: auc, logloss and their 95 % intervals over rows and permutations; for EulerNet the mean
        absolute order of the field beside it. The field whose loss costs most AUC comes first.

        >>> run.importance(test_rows).head(3)
        """
        import pandas as pd

        require(is_frame(rows), f"rows are given as {type(rows).__name__}; give a frame")
        given = to_polars(rows)
        labels, counts, _, weights = self._labelled(given, None)
        meta = self.predictor.preprocessor.meta
        columns = self.predictor.encode(given)[counts], labels, weights, places_in(meta)
        found = importance(self._run, self.predictor.score, *columns, groups, repeats=permutations, seed=seed)
        lines = {
            name: {
                f"{measure}{end}": one[measure][key]
                for measure in ("auc", "logloss")
                for key, end in (("value", ""), ("low", "_low"), ("high", "_high"))
            }
            | {key: one[key] for key in ("order",) if key in one}
            for name, one in found["fields"].items()
        }
        return pd.DataFrame.from_dict(lines, orient="index").sort_values("auc", kind="stable")

    def _labelled(self, rows: pl.DataFrame, group: str | None) -> tuple[np.ndarray, np.ndarray, Any, Any]:
        """Labels of the rows that count, which rows these are, their groups or None, their weights or None."""
        prepare = self.predictor.preprocessor
        require(len(rows) > 0, "the frame has no rows")
        require_there(prepare.marks, rows.columns, "rows")
        if group is not None:
            require_known(group, rows.columns, f"rows: no column {group!r}")
        marks = frame_of(rows, prepare.marks, ())
        labels, counts = prepare.labels(marks)
        weights = prepare.weights(marks)
        groups = None if group is None else rows[group].rank("dense").fill_null(0).to_numpy()[counts]
        weights = None if weights is None else weights[counts]
        require(weights is None or bool(weights.any()), "rows: every row has the weight 0")
        return labels[counts], counts, groups, weights

    def save(self, path: str | Path) -> Path:
        """Copy the run to the new folder ``path``, which ``load``, ``Predictor.load`` and every command opens.

        All but the checkpoints is copied: training does not go on from there.
        """
        require(isinstance(path, str | Path), f"give a new folder for the run, got {path!r}")
        target = Path(path).expanduser()
        require(not target.exists(), f"{target} is there already; give a new folder")
        inside = target.absolute().is_relative_to(self.folder.absolute())
        require(not inside, f"{target} lies in the folder of the run itself; give another folder")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with replacing(target.absolute(), place="path") as new:
                shutil.copytree(self.folder, new, ignore=shutil.ignore_patterns(CHECKPOINTS, LAST, ".lock"))
        except OSError as error:
            raise UserError(f"{target} cannot be written ({error.strerror}); give another folder") from None
        return target

    def plot(self) -> Any:
        """Draw validation AUC and losses by epoch with matplotlib, and return the two axes."""
        try:
            import matplotlib.pyplot as plt
        except ImportError:
            raise UserError("plot takes a package more: pip install matplotlib") from None
        history, best = self.history, self.report["best_epoch"]
        _, axes = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
        for axis, columns in zip(axes, (["valid_auc"], ["train_loss", "valid_logloss"]), strict=True):
            for column in columns:
                axis.plot(history.index, history[column], marker="o", markersize=3, label=column.replace("_", " "))
            axis.axvline(best, color="gray", linestyle="--", linewidth=1, label=f"best epoch, {best}")
            axis.set_xlabel("epoch")
            axis.xaxis.get_major_locator().set_params(integer=True)
            axis.legend()
        return axes

    def __repr__(self) -> str:
        parts = {part: self.report[part] for part in ("valid", "test") if self.report[part]}
        figures = ", ".join(f"{part} auc {found['auc']:.5f}" for part, found in parts.items())
        where = "temporary folder" if self._temporary else self.folder
        return f"Run({self._run.name} on {self._run.dataset}, seed {self._run.seed}, {figures}, {where})"

    def _repr_html_(self) -> str:
        """What a notebook shows: the tiles of the HTML report."""
        from eulernet.reporting.html import Html, tag
        from eulernet.reporting.page import tiles
        from eulernet.reporting.single import outcome

        title = (
            f"{self._run.name} on {self._run.dataset} · seed {self._run.seed} · best of {self.report['epochs']} epochs"
        )
        return tag(
            "div", tag("style", Html(STYLE)), tag("strong", title), tiles(*outcome(self._run, None)), class_="eulernet"
        )
