"""python -m eulernet.evaluate: what is measured of a finished run, with intervals, on a split or on labelled rows."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from omegaconf import DictConfig

from eulernet.cli import command, to_plain
from eulernet.data import disk
from eulernet.data.dataset import Dataset
from eulernet.data.find import find
from eulernet.data.output import writer
from eulernet.data.splits import PARTS
from eulernet.errors import choose, require, require_known
from eulernet.measures.evaluation import evaluation
from eulernet.measures.metrics import sigmoid
from eulernet.runs.predictor import EVALUATION, Predictor, read_json
from eulernet.training.device import pick_device
from eulernet.training.files import write_atomically
from eulernet.training.loop import score
from eulernet.training.precision import PRECISIONS

SHORT = {
    "auc": "auc",
    "logloss": "logloss",
    "grouped_auc": "gauc",
    "pr_auc": "pr_auc",
    "expected_calibration_error": "ece",
    "normalised_entropy": "ne",
}


@dataclass(frozen=True)
class Scores:
    """What is measured: labels, logits, groups [rows], and which row of the store or of the input each is."""

    labels: np.ndarray
    logits: np.ndarray
    groups: np.ndarray | None
    rows: np.ndarray


@command("evaluate")
def main(cfg: DictConfig) -> None:
    """Measure a run on a split of its store or on labelled raw rows; evaluation.json keeps what was found."""
    evaluate(to_plain(cfg))


def evaluate(cfg: dict[str, Any]) -> None:
    require(bool(cfg["run"]), "run=: give the folder of a finished run")
    for key, least in {"resamples": 0, "seed": 0, "batch_size": 1}.items():
        require(type(cfg[key]) is int and cfg[key] >= least, f"{key}={cfg[key]}: should be a whole number from {least}")
    run = Path(str(cfg["run"])).expanduser()
    predictor = Predictor.load(run, pick_device(str(cfg["device"])))
    require(run.is_dir(), f"run={run}: what is found is written into the folder of the run; unpack it first")
    group = None if cfg["group"] is None else str(cfg["group"])
    if cfg["input"] is None:
        what = str(cfg["split"])
        require_known(what, PARTS, f"unknown split {what!r}")
        scores = of_split(predictor, run, what, group, cfg["data_dir"], cfg["batch_size"])
    else:
        given = cfg["input"] if isinstance(cfg["input"], list) else [cfg["input"]]
        what = ", ".join(map(str, given))
        scores = of_files(predictor, [Path(str(path)).expanduser() for path in given], group, cfg["batch_size"])
    if cfg["predictions"] is not None:
        with writer(Path(str(cfg["predictions"])).expanduser()) as write:
            write(pl.DataFrame({"row": scores.rows, "label": scores.labels, "probability": sigmoid(scores.logits)}))
    with disk.progress("bootstrap", " resamples", cfg["resamples"]) as bar:
        found = evaluation(
            scores.labels, scores.logits, scores.groups, resamples=cfg["resamples"], seed=cfg["seed"], after=bar.update
        )
    known = read_json(run / EVALUATION) or {}
    text = json.dumps({**known, what: {"group": group, **found}}, indent=2) + "\n"
    write_atomically(run / EVALUATION, lambda file: file.write_text(text))
    print(table(found["calibration"]))
    print(f"{what}  {line(found['metrics'])}  ({found['rows']:,} rows, {run / EVALUATION})")


def of_split(
    predictor: Predictor, run: Path, split: str, group: str | None, data_dir: str | None, batch_size: int
) -> Scores:
    """The rows of a split of the store that ``run`` was trained on; a group is then the id of a field."""
    data = store_of(predictor, run, data_dir)
    part, groups = data.splits[split], None
    if group is not None:
        require_known(group, data.fields, f"group={group}: no such field")
        before = data.meta["fields"][: data.fields.index(group)]
        column = sum(field.get("length", 1) for field in before)
        groups = np.concatenate([x[:, column].numpy() for x, _ in part.batches(batch_size)])
    precision = str(predictor.config.get("train", {}).get("precision", "fp32"))
    choose(PRECISIONS, precision, "precision")
    logits = score(predictor.model, part, batch_size, precision, split).double().cpu().numpy()
    first = 0 if part.order is not None else data.meta["split"][split][0]
    rows = np.arange(first, first + len(part)) if part.order is None else part.order.numpy().astype(np.int64)
    return Scores(part.labels.numpy(), logits, groups, rows)


def store_of(predictor: Predictor, run: Path, data_dir: str | None) -> Dataset:
    """The store that ``run`` was trained on."""
    report = predictor.report or {}
    about = report.get("dataset", {})
    where = data_dir or predictor.config.get("data_dir")
    known = where is not None and {"name", "digest"} <= about.keys()
    require(known, f"run={run} does not say where its store is; give data_dir=, or labelled raw rows, input=")
    folder = Path(str(where)).expanduser() / str(about["name"]) / str(about["digest"])
    require(
        folder.is_dir(),
        f"the store of this run, {folder}, is not there: give data_dir=, prepare it again "
        f"(python -m eulernet.prepare dataset={about['name']} ...), or give labelled raw rows, input=",
    )
    data = Dataset.open(folder)
    require(data.meta == predictor.preprocessor.meta, f"the store {folder} is not the one that {run} was trained on")
    return data


def of_files(predictor: Predictor, given: Sequence[Path], group: str | None, batch_size: int) -> Scores:
    """The rows of labelled files; a group is then what a column says."""
    files = find(given, "a CSV, TSV or Parquet file, or a folder of them", key="input").files
    keep = [] if group is None else [group]
    labels, logits, groups, rows = [], [], [], 0
    with disk.progress("scoring", " rows") as bar:
        for scored in predictor.stream(files, keep=keep, labelled=True, batch_size=batch_size):
            assert scored.labels is not None
            labels.append(scored.labels)
            logits.append(scored.logits)
            groups.append(scored.rows.cast(pl.String))  # files may differ in the type of a column
            rows += len(scored.labels)
            bar.total = int(rows / scored.done)
            bar.update(len(scored.labels))
    require(rows > 0, f"input={given[0]}: no rows")
    groups_of = None
    if group is not None:
        words = pl.concat(groups)[group].replace(["", *predictor.preprocessor.form.missing], None)
        groups_of = words.rank("dense").fill_null(0).to_numpy()
    return Scores(np.concatenate(labels), np.concatenate(logits), groups_of, np.arange(rows))


def table(calibration: Sequence[dict[str, Any]]) -> str:
    """The calibration table, a line a bin."""
    lines = [f"{'predicted':>10} {'clicked':>10} {'95 % interval':>20} {'rows':>12}"]
    for one in calibration:
        interval = f"{one['low']:.5f} to {one['high']:.5f}"
        lines.append(f"{one['predicted']:10.5f} {one['actual']:10.5f} {interval:>20} {one['rows']:12,}")
    return "\n".join(lines)


def line(metrics: dict[str, dict[str, float | None]]) -> str:
    """auc=0.901234 [0.89, 0.91]  logloss=..."""
    parts = []
    for name, short in SHORT.items():
        found = metrics.get(name)
        if found is None:
            continue
        value = found["value"]
        shown = f"{short}={value:.6f}" if value is not None else f"{short} undefined"
        if found.get("low") is not None:
            shown += f" [{found['low']:.6f}, {found['high']:.6f}]"
        parts.append(shown)
    return "  ".join(parts)


if __name__ == "__main__":
    main()
