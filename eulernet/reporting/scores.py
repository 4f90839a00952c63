"""The test split of a run's store, scored by the run's weights; and the orders that an EulerNet learned."""

from dataclasses import dataclass
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
from eulernet.training.loop import progress


@dataclass(frozen=True)
class Scored:
    """The test rows x [rows, C] of a store, their labels, and a run's logits for them."""

    data: Dataset
    x: np.ndarray
    labels: np.ndarray
    logits: np.ndarray

    def column(self, field: str) -> np.ndarray:
        """What x holds for a field: [rows, 1], a bag [rows, length]."""
        start = 0
        for entry in self.data.meta["fields"]:
            stop = start + entry.get("length", 1)
            if entry["name"] == field:
                return self.x[:, start:stop]
            start = stop
        raise UserError(f"no field {field!r} in {self.data.name}")


def score(run: Run, data_dir: Path | None, device: torch.device) -> Scored:
    """UserError, with what is missing or does not fit, where the store or the weights are not there as they were."""
    config = run.report["config"]
    file = weights_of(run)
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
    model.to(device).eval()
    logits, rows = [], []
    with torch.inference_mode(), progress(len(data.test), f"scoring {run.folder.name}") as bar:
        for x, _ in data.test.batches(config["train"]["eval_batch_size"]):
            logits.append(model(x.to(device)).double().cpu().numpy())
            rows.append(x.numpy())
            bar.update(len(x))
    labels = data.test.labels.numpy().astype(np.int64)
    scored = Scored(data, np.concatenate(rows), labels, np.concatenate(logits))
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
