"""A finished run: ``Run.open(folder)`` is the one door to what its folder holds."""

import csv
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch

from eulernet.data.dataset import Dataset, field_sizes, places_in
from eulernet.data.preprocessor import Preprocessor
from eulernet.data.store import read_meta
from eulernet.errors import UserError, choose, require, require_known
from eulernet.features import FieldSize
from eulernet.files import holders
from eulernet.models.base import CTRModel
from eulernet.runs.parts import check_columns, check_file, check_vocabularies
from eulernet.runs.reading import EVALUATION, REPORT, check_evaluations, check_report, read_json
from eulernet.runs.weights import load_model
from eulernet.settings import read_config
from eulernet.training.checkpoint import LAST
from eulernet.training.loop import score
from eulernet.training.precision import PRECISIONS
from eulernet.training.weights import WEIGHTS, weight_files

T = TypeVar("T")
STORES = "store"  # in the folder of a run on a frame: its store
COLUMNS = ("epoch", "train_loss", "valid_auc", "valid_logloss")  # of metrics.csv, which has more


class Run:
    """A finished run in ``folder``. Each file is read, and checked, when it is first asked for.

    ``report`` and ``history`` may be given by who has them already.
    """

    def __init__(
        self, folder: Path, report: dict[str, Any] | None = None, history: dict[str, list[float]] | None = None
    ) -> None:
        self.folder = folder
        if report is not None:
            self.report = report
        if history is not None:
            self.history = history

    @classmethod
    def open(cls, folder: str | Path) -> "Run":
        """UserError unless ``folder`` has a report.json that says what ``eulernet.train`` writes."""
        run = cls(Path(folder).expanduser())
        require(run.folder.is_dir(), f"run={run.folder}: no such folder; give that of a finished run")
        file, resume = run.folder / REPORT, f"python -m eulernet.train resume={run.folder}"
        unfinished = not file.is_file() and (run.folder / LAST).is_file()
        require(not unfinished, f"run={run.folder}: the run in {run.folder} has not finished; {resume}")
        require(file.is_file(), f"run={run.folder}: no {REPORT} there; give the folder of a run that has ended")
        assert run.report
        return run

    @cached_property
    def report(self) -> dict[str, Any]:
        """report.json. UserError if it is damaged, or made by something else."""
        return check_report(read_json(self.folder / REPORT), self.folder / REPORT)

    @cached_property
    def evaluations(self) -> dict[str, Any]:
        """evaluation.json: what ``eulernet.evaluate`` found, by the split or the file that it measured."""
        file = self.folder / EVALUATION
        return check_evaluations(read_json(file), file) if file.exists() else {}

    @cached_property
    def history(self) -> dict[str, list[float]]:
        """The columns of metrics.csv, one entry an epoch."""
        file = check_file(self.folder, "metrics.csv")
        try:
            with file.open(newline="") as stream:
                lines = list(csv.DictReader(stream))
            require(bool(lines), "no line in it")
            history = {column: [float(line[column]) for line in lines] for column in COLUMNS}
            require(bool(np.isfinite(list(history.values())).all()), "not all of its numbers are finite")
        except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
            what = f"no column {error}" if isinstance(error, KeyError) else error
            raise UserError(f"{file} cannot be read ({what}); restore it, or leave that run out") from None
        best = self.report["best_epoch"]
        require(len(lines) >= best, f"{file} lacks epoch {best}, the best one; restore it, or leave that run out")
        return history

    @cached_property
    def config(self) -> dict[str, Any]:
        """The configuration: config.json in a packed run, else config.yaml, else what report.json says of it."""
        file = check_file(self.folder, "config.json")
        if file.exists():
            config = read_json(file)
        elif (file := check_file(self.folder, "config.yaml")).exists():
            config = read_config(file)
        else:
            file, config = self.folder / REPORT, self.report["config"]
        require(isinstance(config.get("model"), dict), f"{file} says nothing of a model")
        return config

    @property
    def name(self) -> str:
        return self.report["model"]

    @property
    def seed(self) -> int:
        return self.report["seed"]

    @property
    def dataset(self) -> str:
        return self.report["dataset"]["name"]

    @property
    def store(self) -> str:
        """``dataset/digest``: names the exact rows and ids that were trained on and tested with."""
        return f"{self.dataset}/{self.report['dataset']['digest']}"

    @property
    def has_weights(self) -> bool:
        return bool(weight_files(self.folder))

    @cached_property
    def preprocessor(self) -> Preprocessor:
        """What turns raw rows into ids. UserError if it is damaged, or of another format."""
        return self._from_preprocessor(Preprocessor.open)

    @cached_property
    def field_sizes(self) -> list[FieldSize]:
        """What the model knows of each field."""
        return self._from_preprocessor(lambda folder: check_columns(field_sizes(self._meta(folder)), folder))

    @staticmethod
    def _meta(folder: Path) -> dict[str, Any]:
        return read_meta(folder, "train again with this version")

    def _from_preprocessor(self, read: Callable[[Path], T]) -> T:
        """What ``read`` finds there. Its files may come from anywhere, so they may hold anything."""
        folder = self.folder / "preprocessor"
        try:
            check_file(self.folder, "preprocessor/meta.json")
            check_vocabularies(self.folder)
            return read(folder)
        except UserError:
            raise
        except (OSError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError) as error:
            raise UserError(f"{folder} is damaged ({' '.join(str(error).split())[:200]}); get it again") from None

    def model(self, device: str | torch.device = "cpu") -> CTRModel:
        """The model with the best weights, in evaluation mode. Its logits lack ``Preprocessor.correction``."""
        return load_model(self.folder / WEIGHTS, self.config["model"], self.field_sizes).to(device)

    def open_store(self, data_dir: str | Path | None = None) -> Dataset:
        """The store that it was trained on; ``data_dir`` None looks in its folder, and where that was.

        UserError if it is not there.
        """
        own = self.folder / STORES / self.store
        where = data_dir or (own.parents[1] if own.is_dir() else self.config.get("data_dir"))
        require(where is not None, f"run={self.folder} does not say where its store is; give data_dir=")
        folder = Path(str(where)).expanduser() / self.store
        prepare = f"prepare it again (python -m eulernet.prepare dataset={self.dataset} ...)"
        require((folder / "meta.json").is_file(), f"there is no store {folder}; give data_dir=, or {prepare}")
        return Dataset.open(folder)

    def scores(
        self,
        split: str = "test",
        data_dir: str | Path | None = None,
        device: str | torch.device = "cpu",
        batch_size: int | None = None,
    ) -> "Scores":
        """The rows of a split of its store, scored by its best weights, as training scored them."""
        require(self.has_weights, f"there is no {self.folder / WEIGHTS}")
        data = self.open_store(data_dir)
        require_known(split, data.splits, f"unknown split {split!r}")
        if (self.folder / "preprocessor").is_dir():
            meta = self._from_preprocessor(self._meta)
            require(data.meta == meta, f"the store {data.folder} is not the one that {self.folder} was trained on")
        model = load_model(self.folder / WEIGHTS, self.config["model"], data.field_sizes).to(device)
        train, rows = self.config.get("train", {}), data.splits[split]
        precision = str(train.get("precision", "fp32"))
        choose(PRECISIONS, precision, "precision")
        size = batch_size or train.get("eval_batch_size", 8192)
        logits = score(model, rows, size, precision, f"{split} of {self.folder.name}").double().cpu().numpy()
        require(bool(np.isfinite(logits).all()), f"{self.folder / WEIGHTS} gives scores that are not finite")
        return Scores(data, split, rows.labels.numpy().astype(np.int64), logits, rows.counts, model)


@dataclass(frozen=True)
class Scores:
    """The rows of a split of a store, in its order, and a run's corrected logits for them.

    ``weights`` say how much each counts in a measure, None all alike.
    """

    data: Dataset
    split: str
    labels: np.ndarray
    logits: np.ndarray
    weights: np.ndarray | None = None
    model: CTRModel | None = None

    @torch.inference_mode()
    def score(self, x: np.ndarray, batch_size: int = 8192) -> np.ndarray:
        """The corrected logits, float64 [rows], of other ids [rows, C], by the model that gave these."""
        assert self.model is not None
        device = next(self.model.parameters()).device
        with self.model.scoring(batch_size) as score:
            parts = [score(part.to(device)).double().cpu().numpy() for part in torch.from_numpy(x).split(batch_size)]
        return np.concatenate(parts) + self.data.splits[self.split].correction

    @property
    def rows(self) -> np.ndarray:
        """Which row of the store each is."""
        order = self.data.splits[self.split].order
        if order is not None:
            return order.numpy().astype(np.int64)
        first = self.data.meta["split"][self.split][0]
        return np.arange(first, first + len(self.labels))

    @cached_property
    def x(self) -> np.ndarray:
        """[rows, C], read from the store when first asked for."""
        return np.concatenate([x.numpy() for x, *_ in self.data.splits[self.split].batches(8192)])

    @cached_property
    def places(self) -> dict[str, slice]:
        """Which columns of x a field has, by its name."""
        return places_in(self.data.meta)

    def column(self, field: str) -> np.ndarray:
        """What x holds for a field: [rows, 1], for a bag [rows, length]."""
        return self.x[:, self.places[field]]


def find_runs(folder: Path) -> tuple[list[Run], list[Path]]:
    """The run in ``folder``, or those anywhere below it; and the folders of runs that have not finished.

    UserError where there is none, for one that has not finished if it is the one asked for, and for a damaged report.
    """
    require(folder.is_dir(), f"run={folder}: no such folder; give that of a run, or one with runs in it")
    started = {place for place in holders(folder, LAST) if "checkpoints" not in place.relative_to(folder).parts}
    finished = [folder] if (folder / REPORT).is_file() else holders(folder, REPORT)
    unfinished = sorted(started.difference(finished))
    if not finished and unfinished:
        first = unfinished[0]
        raise UserError(f"run={folder}: the run in {first} has not finished; python -m eulernet.train resume={first}")
    require(bool(finished), f"run={folder}: no report.json there or below; give the folder of a run that has ended")
    return [Run.open(path) for path in finished], unfinished
