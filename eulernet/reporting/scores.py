"""The test split of a run's store, scored by the run's weights; and the orders that an EulerNet learned."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import polars as pl
import torch

from eulernet.data.dataset import Dataset
from eulernet.data.store import vocabulary_file
from eulernet.errors import UserError, choose, require
from eulernet.models import MODELS
from eulernet.reporting.runs import Run
from eulernet.training.checkpoint import WEIGHTS, load_weights
from eulernet.training.loop import score


@dataclass(frozen=True)
class Scored:
    """The test rows of a store, and a run's logits for them, in the order of the store."""

    data: Dataset
    labels: np.ndarray
    logits: np.ndarray

    @cached_property
    def x(self) -> np.ndarray:
        """[rows, C], read from the store when first asked for."""
        return np.concatenate([x.numpy() for x, _ in self.data.test.batches(8192)])

    def column(self, field: str) -> np.ndarray:
        """What x holds for a field: [rows, 1], for a bag [rows, length]."""
        lengths = [entry.get("length", 1) for entry in self.data.meta["fields"]]
        place = self.data.fields.index(field)
        start = sum(lengths[:place])
        return self.x[:, start : start + lengths[place]]


def score_run(run: Run, data_dir: Path | None, device: torch.device) -> Scored:
    """UserError, with what is missing or does not fit, where the store or the weights are not there as they were."""
    config, file = run.report["config"], weights_of(run)
    store = (Path(config["data_dir"]) if data_dir is None else data_dir).expanduser() / run.store
    require((store / "meta.json").is_file(), f"there is no store {store}; prepare it again, or give data_dir=")
    data = Dataset.open(store)
    hyperparameters = dict(config["model"])
    make = choose(MODELS, hyperparameters.pop("name"), "model")
    try:
        model = make(field_sizes=data.field_sizes, **hyperparameters)
    except TypeError as error:
        raise UserError(f"{run.report['model']} has other settings in this version ({error})") from None
    load_weights(model, run.folder)
    train, what = config["train"], f"scoring {run.folder.name}"
    logits = score(model.to(device), data.test, train["eval_batch_size"], train.get("precision", "fp32"), what)
    scored = Scored(data, data.test.labels.numpy().astype(np.int64), logits.double().cpu().numpy())
    require(bool(np.isfinite(scored.logits).all()), f"{file} gives scores that are not finite")
    return scored


def weights_of(run: Run) -> Path:
    file = run.folder / WEIGHTS
    require(file.is_file(), f"there is no {file}")
    return file


def learned_orders(run: Run) -> list[np.ndarray]:
    """The order vectors [N, M] of each layer in the run's best weights; none where there are no such layers."""
    from safetensors import SafetensorError, safe_open

    file = weights_of(run)
    try:
        with safe_open(file, framework="np") as weights:
            names = sorted(name for name in weights.keys() if name.endswith(".orders"))  # noqa: SIM118
            return [weights.get_tensor(name) for name in sorted(names, key=len)]
    except (OSError, SafetensorError) as error:
        raise UserError(f"{file} cannot be read ({error})") from None


def value_names(data: Dataset, field: str, ids: list[int]) -> list[str]:
    """What the ids of a field stand for: values of the vocabulary, or the classes between the edges of a number."""
    entry = next(entry for entry in data.meta["fields"] if entry["name"] == field)
    if "edges" in entry:
        edges = [f"{edge:g}" for edge in entry["edges"]]
        classes = ["missing", *(f"{low} to {high}" for low, high in zip(["-∞", *edges], [*edges, "∞"], strict=True))]
        return [classes[i] for i in ids]
    vocabulary = pl.scan_parquet(data.folder / vocabulary_file(field))
    known = dict(vocabulary.filter(pl.col("id").is_in(ids)).select("id", "value").collect().iter_rows())
    return [str(known.get(i, "rare or missing")) for i in ids]
