"""A trained run applied to raw rows: what they were in training is what they are here."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
import yaml
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file

from eulernet.data.dataset import field_sizes
from eulernet.data.frames import Rows, frame_of
from eulernet.data.preprocessor import Preprocessor
from eulernet.errors import UserError, choose, require
from eulernet.features import FieldSize
from eulernet.manifest import check_manifest
from eulernet.metrics import sigmoid
from eulernet.models import MODELS
from eulernet.models.base import CTRModel

BATCH = 8192  # rows that are encoded and scored at a time
LONGEST = 1 << 20  # bytes of a configuration


@dataclass(frozen=True)
class Predictor:
    """Probabilities of raw rows by the best weights of a run. Nothing of it changes, so threads may share it."""

    model: CTRModel
    preprocessor: Preprocessor
    config: Mapping[str, Any]

    @classmethod
    def load(cls, path: str | Path, device: str | torch.device = "cpu") -> "Predictor":
        """The predictor in ``path``: the folder of a finished run, or what ``push`` wrote, folder or archive.

        Nothing in it is executed: weights are safetensors, the rest is JSON, YAML without tags and Parquet, and the
        model is one of ``MODELS``. UserError for what is damaged, changed, of another format, or no run at all.
        """
        folder = Path(path).expanduser()
        require(folder.is_dir(), f"{folder}: no such folder; give the folder of a run")
        check_manifest(folder)
        config = read_config(folder)
        preprocessor = Preprocessor.open(folder / "preprocessor")
        model = load_model(folder / "model.safetensors", config["model"], field_sizes(preprocessor.meta))
        return cls(model.to(device), preprocessor, config)

    @property
    def fields(self) -> list[dict[str, Any]]:
        """The raw columns of a row: name, type, whether each row must have it, and the fields that it feeds."""
        return self.preprocessor.describe()

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device

    def encode(self, rows: Rows) -> np.ndarray:
        """int32 ids [rows, C], as in the store of training; see ``Preprocessor.encode``."""
        return self.preprocessor.encode(self.frame(rows))

    def predict(self, rows: Rows) -> np.ndarray:
        """The click probability of every row, float64 [rows], in their order."""
        return sigmoid(self.logits(rows))

    def logits(self, rows: Rows) -> np.ndarray:
        """float64 [rows], whose sigmoids are the probabilities."""
        frame = self.frame(rows)
        parts = [self.score(self.preprocessor.encode(part)) for part in frame.iter_slices(BATCH)]
        return np.concatenate(parts) if parts else np.empty(0)

    def frame(self, rows: Rows) -> pl.DataFrame:
        """The columns of ``rows`` that fields come from, where they are there."""
        return frame_of(rows, self.preprocessor.columns, self.preprocessor.required)

    @torch.inference_mode()
    def score(self, ids: np.ndarray) -> np.ndarray:
        """Logits, float64 [rows], of ids [rows, C]."""
        batches = torch.from_numpy(ids).split(BATCH)
        logits = [self.model(batch.to(self.device)).double().cpu().numpy() for batch in batches if len(batch)]
        return np.concatenate(logits) if logits else np.empty(0)


def read_config(folder: Path) -> dict[str, Any]:
    """The configuration of a run: config.json where it was pushed, else config.yaml."""
    file = folder / "config.json"
    if not file.is_file():
        file = folder / "config.yaml"
    try:
        require(file.stat().st_size <= LONGEST, f"{file} is too long for a configuration")
        text = file.read_text()
        config = json.loads(text) if file.suffix == ".json" else yaml.safe_load(text)
    except (OSError, ValueError, yaml.YAMLError, RecursionError) as error:
        raise UserError(f"{file} cannot be read ({' '.join(str(error).split())[:200]})") from None
    known = isinstance(config, dict) and isinstance(config.get("model"), dict)
    require(known, f"{file} says nothing of a model")
    return config


def load_model(weights: Path, settings: Mapping[str, Any], sizes: Sequence[FieldSize]) -> CTRModel:
    """The model that ``settings`` describe, in evaluation mode. UserError if ``weights`` are not of it.

    Shapes are compared before any memory is taken for them.
    """
    hyperparameters = dict(settings)
    make = choose(MODELS, str(hyperparameters.pop("name", None)), "model")
    try:
        with safe_open(weights, "pt") as file:
            given = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
        with torch.random.fork_rng(devices=[]):  # starting weights, which are thrown away, draw from it
            with torch.device("meta"):
                wanted = {
                    name: tuple(value.shape) for name, value in make(sizes, **hyperparameters).state_dict().items()
                }
            require(given == wanted, f"{weights} does not fit the model that the configuration describes")
            model = make(sizes, **hyperparameters)
        model.load_state_dict(load_file(weights))
    except (OSError, SafetensorError) as error:
        raise UserError(f"{weights} cannot be read ({error})") from None
    except (TypeError, AttributeError, RuntimeError, OverflowError) as error:
        raise UserError(f"the configuration does not describe a model ({str(error).splitlines()[0]})") from None
    return model.eval().requires_grad_(False)
