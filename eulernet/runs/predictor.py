"""A trained run applied to raw rows: what they were in training is what they are here."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import torch

from eulernet.data.find import find
from eulernet.data.frames import frame_of
from eulernet.data.lines import KEPT
from eulernet.data.preprocessor import Preprocessor, row_number
from eulernet.data.raw import Piece
from eulernet.data.threads import in_order
from eulernet.measures.calibration import calibrated, plain
from eulernet.measures.metrics import sigmoid
from eulernet.models.base import CTRModel
from eulernet.runs.calibrate import read_calibration
from eulernet.runs.card import card
from eulernet.runs.manifest import CALIBRATION, check_manifest, write_manifest
from eulernet.runs.portable import packing, unpacked
from eulernet.runs.reading import REPORT, check_report, read_json
from eulernet.runs.run import Run
from eulernet.training.weights import save_weights

if TYPE_CHECKING:
    from eulernet.data.frames import Rows

BATCH = 8192  # rows that are encoded and scored at a time
MEMORY = 1 << 28  # bytes that pieces of files may take
THREADS = 2  # that parse and encode beside the model


@dataclass(frozen=True, repr=False)
class Predictor:
    """Probabilities of raw rows by the best weights of a run. Nothing of it changes, so threads may share it."""

    model: CTRModel
    preprocessor: Preprocessor
    config: Mapping[str, Any]
    report: Mapping[str, Any] | None = None  # what training and evaluation found
    calibration: Mapping[str, Any] | None = None  # the calibrator that logits go through, where the run has one

    @classmethod
    def load(cls, path: str | Path, device: str | torch.device = "cpu") -> "Predictor":
        """The predictor in ``path``: the folder of a finished run, or what ``push`` wrote, folder or archive.

        Nothing in it is executed: weights are safetensors, the rest is JSON, YAML without tags and Parquet, and the
        model is one of ``MODELS``. UserError for what is damaged, changed, of another format, or no run at all.
        """
        with unpacked(Path(path).expanduser()) as folder:
            check_manifest(folder)
            run = Run(folder)
            model = run.model(device)  # first: a vocabulary may then be as large as its weights, and no larger
            report = None
            if (folder / REPORT).exists():
                report = check_report(read_json(folder / REPORT), folder / REPORT, packed=True)
                if run.evaluations:
                    report["evaluation"] = run.evaluations
            return cls(model, run.preprocessor, run.config, report, read_calibration(folder))

    def push(self, path: str | Path) -> None:
        """Write the portable form to ``path``, a new folder or an archive (.tar, .tar.gz): see ``portable``.

        It says nothing of where raw files and stores were on this machine.
        """
        config = {key: self.config[key] for key in ("model", "train", "seed") if key in self.config}
        config["dataset"] = {"name": self.preprocessor.meta["name"]}
        with packing(Path(path).expanduser()) as folder:
            self.preprocessor.write(folder / "preprocessor")
            (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
            save_weights(self.model.state_dict(), folder)
            if self.calibration is not None:
                (folder / CALIBRATION).write_text(json.dumps(plain(self.calibration), indent=1) + "\n")
            if self.report is not None:
                report = {key: value for key, value in self.report.items() if key not in ("config", "overrides")}
                if "ancestry" in report:
                    report["ancestry"] = [{**one, "run": Path(one["run"]).name} for one in report["ancestry"]]
                (folder / REPORT).write_text(json.dumps(report, indent=2) + "\n")
            (folder / "README.md").write_text(card(config, self.preprocessor.meta, self.report))
            write_manifest(folder)

    def __repr__(self) -> str:
        names = [field["name"] for field in self.preprocessor.meta["fields"]]
        model, shown = self.config["model"].get("name"), ", ".join(names[:4]) + ", ..." * (len(names) > 4)
        return f"Predictor({model} on {self.preprocessor.meta['name']}, {len(names)} fields: {shown})"

    @property
    def fields(self) -> list[dict[str, Any]]:
        """The raw columns of a row: name, type, whether each row must have it, and the fields that it feeds."""
        return self.preprocessor.describe()

    @property
    def device(self) -> torch.device:
        return next((weight.device for weight in self.model.parameters()), torch.device("cpu"))

    def encode(self, rows: "Rows") -> np.ndarray:
        """int32 ids [rows, C], as in the store of training; see ``Preprocessor.encode``."""
        return self.preprocessor.encode(self.frame(rows))

    def predict(self, rows: "Rows | str | Path") -> np.ndarray:
        """The click probability of every row, float64 [rows], in their order.

        ``rows`` are a pandas or polars frame, a list of dictionaries, or the path of a CSV, TSV or Parquet file, plain
        or packed, or of a folder of them: raw values as training had them, see ``fields``, ``Preprocessor.encode``.
        """
        return sigmoid(self.logits(rows))

    def logits(self, rows: "Rows | str | Path") -> np.ndarray:
        """float64 [rows], whose sigmoids are the probabilities: calibrated, where the run is."""
        if isinstance(rows, str | Path):
            files = find([Path(rows).expanduser()], "a CSV, TSV or Parquet file", key="rows").files
            parts = [scored.logits for scored in self.stream(files)]
            return np.concatenate(parts) if parts else np.empty(0)
        frame = self.frame(rows)
        logits = np.empty(len(frame))
        for first in range(0, len(frame), BATCH):
            ids = self.preprocessor.encode(frame[first : first + BATCH], partial(row_number, first))
            logits[first : first + BATCH] = self.score(ids)
        return logits

    def stream(
        self, files: Sequence[Path], *, keep: Sequence[str] = (), labelled: bool = False, batch_size: int = BATCH
    ) -> Iterator["ScoredPiece"]:
        """The rows of files of any size, scored piece by piece: text is parsed and encoded while the model works.

        With ``labelled`` rows have labels too, and those that training leaves out are left out.
        """
        prepare = self.preprocessor

        def encode(piece: Piece) -> tuple[np.ndarray, pl.DataFrame, float, np.ndarray | None, np.ndarray | None]:
            frame = piece.frame()
            ids = prepare.encode(frame, piece.where)
            kept = frame.select(pl.col(KEPT + name).alias(name) for name in keep)
            if not labelled:
                return ids, kept, piece.done, None, None
            labels, counts = prepare.labels(frame, piece.where)
            weights = prepare.weights(frame, piece.where)
            weights = None if weights is None else weights[counts]
            return ids[counts], kept.filter(counts) if keep else kept, piece.done, labels[counts], weights

        pieces = prepare.read(files, MEMORY, keep, label=labelled)
        for ids, kept, done, labels, weights in in_order(encode, pieces, threads=THREADS, ahead=THREADS):
            yield ScoredPiece(kept, self.score(ids, batch_size), done, labels, weights)

    def frame(self, rows: "Rows") -> pl.DataFrame:
        """The columns of ``rows`` that fields come from, where they are there."""
        return frame_of(rows, self.preprocessor.columns, self.preprocessor.required)

    @torch.inference_mode()
    def score(self, ids: np.ndarray, batch_size: int = BATCH) -> np.ndarray:
        """Logits, float64 [rows], of ids [rows, C]: corrected for negatives left out, calibrated where the run is."""
        batches = torch.from_numpy(ids).split(batch_size)
        with self.model.scoring(batch_size) as score:
            logits = [score(batch.to(self.device)).double().cpu().numpy() for batch in batches if len(batch)]
        found = np.concatenate(logits) + self.preprocessor.correction if logits else np.empty(0)
        return found if self.calibration is None else calibrated(found, self.calibration)


@dataclass(frozen=True)
class ScoredPiece:
    """Some rows of a file: the columns to keep, their logits; their labels and weights if these were asked for."""

    rows: pl.DataFrame
    logits: np.ndarray
    done: float  # share of all bytes that has been read
    labels: np.ndarray | None = None
    weights: np.ndarray | None = None

    @property
    def probabilities(self) -> np.ndarray:
        return sigmoid(self.logits)
