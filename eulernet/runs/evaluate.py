"""What is measured of a finished run, with intervals, on a split of its store or on labelled raw rows."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch

from eulernet.data import disk
from eulernet.data.dataset import places_in
from eulernet.data.find import find
from eulernet.data.output import writer
from eulernet.errors import require, require_known
from eulernet.measures.calibration import before_and_after, calibrated
from eulernet.measures.evaluation import evaluation
from eulernet.measures.metrics import sigmoid
from eulernet.measures.table import MEASURES
from eulernet.runs.calibrate import before_and_after_lines, read_calibration
from eulernet.runs.importance import columns_of, importance, importance_lines
from eulernet.runs.manifest import check_manifest
from eulernet.runs.predictor import Predictor
from eulernet.runs.reading import EVALUATION
from eulernet.runs.run import Run, Scores
from eulernet.training.files import write_atomically


@dataclass(frozen=True)
class Labelled:
    """Rows to measure: labels, logits, groups [rows], and which row of the store or of the input each is.

    The logits are those that ``predict`` uses: calibrated, where the run is. ``weights`` say how much each row counts.
    """

    labels: np.ndarray
    logits: np.ndarray
    groups: np.ndarray | None
    rows: np.ndarray
    calibrated: str | None = None  # the method, of a run that was calibrated
    raw: np.ndarray | None = None  # its logits before that, where they are known
    weights: np.ndarray | None = None
    scores: Scores | None = None  # of a split


def evaluate(
    rows: Labelled,
    run: Run,
    what: str,
    *,
    group: str | None,
    resamples: int,
    seed: int,
    predictions: Path | None,
    importance: Mapping[str, Any] | None = None,
) -> str:
    """Measure ``rows`` and keep what is found in the run's evaluation.json, under ``what``; the lines to print.

    ``predictions`` is the file to write each row's probability to, ``importance`` what each field is worth.
    """
    if predictions is not None:
        with writer(predictions, "predictions") as write:
            write(pl.DataFrame({"row": rows.rows, "label": rows.labels, "probability": sigmoid(rows.logits)}))
    with disk.progress("bootstrap", " resamples", resamples) as bar:
        asked: dict[str, Any] = {"resamples": resamples, "seed": seed, "after": bar.update}
        found = evaluation(rows.labels, rows.logits, rows.groups, rows.weights, **asked)
    file = run.folder / EVALUATION
    how: dict[str, Any] = {} if rows.calibrated is None else {"calibrated": rows.calibrated}
    how |= {} if importance is None else {"importance": importance}
    text = json.dumps({**run.evaluations, what: {"group": group, **how, **found}}, indent=2) + "\n"
    write_atomically(file, lambda new: new.write_text(text))
    summary = [f"{what}, {found['rows']:,} rows", *measures_lines(found["metrics"]), f"wrote {file}"]
    lines = [calibration_lines(found["calibration"])]
    if rows.raw is not None:
        lines += before_and_after_lines(before_and_after(rows.labels, rows.raw, rows.logits, rows.weights), what)
    lines += [] if importance is None else [importance_lines(importance)]
    return "\n".join([*lines, *summary])


def importance_of(
    rows: Labelled, run: Run, groups: Any, *, most: int | None, repeats: int, seed: int
) -> dict[str, Any]:
    """What each field is worth on the rows of a split, for the probabilities that ``predict`` gives."""
    scores, calibrator = rows.scores, read_calibration(run.folder)
    assert scores is not None

    def score(x: np.ndarray) -> np.ndarray:
        return scores.score(x) if calibrator is None else calibrated(scores.score(x), calibrator)

    columns = scores.x, scores.labels, scores.weights, scores.places
    return importance(run, score, *columns, groups, most=most, repeats=repeats, seed=seed)


def check_names(run: Run, split: str, data_dir: str | None, group: str | None, groups: Any) -> None:
    """UserError for a split, a field, or ``groups`` of fields, that the store of ``run`` does not have."""
    data = run.open_store(data_dir)
    require_known(split, data.splits, f"unknown split {split!r}")
    if group is not None:
        require_known(group, data.fields, f"group={group}: no such field")
    columns_of(places_in(data.meta), groups)


def of_split(
    run: Run, split: str, group: str | None, data_dir: str | None, device: torch.device, batch_size: int
) -> Labelled:
    """The rows of a split of the store that ``run`` was trained on; a group is then the id of a field."""
    check_manifest(run.folder)
    scores = run.scores(split, data_dir, device, batch_size)
    groups = None if group is None else scores.column(group)[:, 0]
    calibrator = read_calibration(run.folder)
    how: tuple[str | None, np.ndarray | None] = (None, None)
    logits = scores.logits
    if calibrator is not None:
        logits, how = calibrated(scores.logits, calibrator), (calibrator["method"], scores.logits)
    return Labelled(scores.labels, logits, groups, scores.rows, *how, scores.weights, scores)


def of_files(predictor: Predictor, given: Sequence[Path], group: str | None, batch_size: int) -> Labelled:
    """The rows of labelled files; a group is then what a column says."""
    files = find(given, "a CSV, TSV or Parquet file, or a folder of them", key="input").files
    keep = [] if group is None else [group]
    labels, logits, groups, weights, rows = [], [], [], [], 0
    with disk.progress("scoring", " rows") as bar:
        for piece in predictor.stream(files, keep=keep, labelled=True, batch_size=batch_size):
            assert piece.labels is not None
            labels.append(piece.labels)
            logits.append(piece.logits)
            groups.append(piece.rows.cast(pl.String))  # files may differ in the type of a column
            weights += [] if piece.weights is None else [piece.weights]
            rows += len(piece.labels)
            bar.total = int(rows / piece.done)
            bar.update(len(piece.labels))
    require(rows > 0, f"input={given[0]}: no rows")
    groups_of = None
    if group is not None:
        words = pl.concat(groups)[group].replace(["", *predictor.preprocessor.form.missing], None)
        groups_of = words.rank("dense").fill_null(0).to_numpy()
    method = None if predictor.calibration is None else predictor.calibration["method"]
    weights_of = np.concatenate(weights) if weights else None
    require(weights_of is None or bool(weights_of.any()), f"input={given[0]}: every row has the weight 0")
    columns = np.concatenate(labels), np.concatenate(logits), groups_of, np.arange(rows)
    return Labelled(*columns, method, weights=weights_of)


def calibration_lines(calibration: Sequence[dict[str, Any]]) -> str:
    """The calibration table, a line a bin."""
    lines = [f"{'predicted':>10} {'clicked':>10} {'95 % interval':>20} {'rows':>12}"]
    for one in calibration:
        interval = f"{one['low']:.5f} to {one['high']:.5f}"
        lines.append(f"{one['predicted']:10.5f} {one['actual']:10.5f} {interval:>20} {one['rows']:12,}")
    return "\n".join(lines)


def measures_lines(found: Mapping[str, Mapping[str, float | None]]) -> list[str]:
    """The table of measures, a line each: its short name, its value, its interval where there is one, its name."""
    lines = [f"{'':8} {'value':>10} {'95 % interval':>22}"]
    for measure in MEASURES:
        if measure.name in found:
            value, low, high = (found[measure.name].get(key) for key in ("value", "low", "high"))
            shown = "undefined" if value is None else f"{value:.6f}"
            interval = "" if low is None or high is None else f"{low:.6f} to {high:.6f}"
            lines.append(f"{measure.short:8} {shown:>10} {interval:>22}   {measure.title}")
    return lines
