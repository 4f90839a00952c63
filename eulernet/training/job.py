"""A plain configuration, checked and built: the model, its data, how to train it, and where."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from eulernet import memory
from eulernet.data.dataset import Dataset
from eulernet.data.growth import Growth
from eulernet.data.prepare import prepare
from eulernet.data.shuffling import window_rows
from eulernet.distributed import launch
from eulernet.errors import require
from eulernet.features import GivenVectors, Pretrained
from eulernet.layers.pooling import AttentiveEmbedding
from eulernet.models import make_model
from eulernet.models.base import CTRModel
from eulernet.settings import construct
from eulernet.training.auto import resolved
from eulernet.training.config import TrainConfig
from eulernet.training.device import pick_device
from eulernet.training.tables import holding_own_rows


@dataclass(frozen=True)
class Job:
    """Everything that ``fit`` takes."""

    model: CTRModel
    data: Dataset
    config: TrainConfig
    device: torch.device
    identity: dict[str, str]  # by which a checkpoint is known to be of this model and this data

    def unused(self, settings: Mapping[str, Any]) -> list[str]:
        """A line for what the data or the model's ``settings`` ask for and the model does without."""
        sizes, parts, name = self.data.field_sizes, list(self.model.modules()), settings["name"]
        said = []
        if any(isinstance(s, Pretrained) for s in sizes) and not any(isinstance(p, GivenVectors) for p in parts):
            said.append(f"model={name} has no embeddings: the vectors of the fields are not used")
        attends = name == "din" or settings.get("history") == "attention"
        if attends and not any(isinstance(part, AttentiveEmbedding) for part in parts):
            said.append(f"model={name}: no field is a history of another, so nothing is attended to")
        return said


def set_up(
    cfg: dict[str, Any],
    given: Dataset | Path | None = None,
    growth: Growth | None = None,
    *,
    whole_tables: bool = False,
) -> Job:
    """Check the plain configuration ``cfg`` and build what it describes.

    The data is ``given``, or is read from that folder if it exists; otherwise its store is found, or made, of rows
    that come after those of a run whose ids are in ``growth``. Of sharded tables this rank gets its own rows alone,
    unless ``whole_tables``.
    """
    seed = cfg["seed"]
    whole = isinstance(seed, int) and not isinstance(seed, bool) and 0 <= seed < 2**63
    require(whole, f"seed={seed}: should be a whole number, 0 or more and below 2^63")
    device = pick_device(launch.device_of_rank(str(cfg["device"])))
    config = construct(TrainConfig, resolved(cfg["train"], rows=1 << 20), "train")  # what is wrong is said at once
    ranks = launch.env_world_size()
    require(
        config.batch_size >= ranks,
        f"train.batch_size={config.batch_size} leaves some of {ranks} processes without a row",
    )
    there = isinstance(given, Dataset) or (given is not None and given.is_dir())
    found = given if given is not None and there else prepare(cfg, growth)
    data = found if isinstance(found, Dataset) else Dataset.open(found)
    config = construct(TrainConfig, resolved(cfg["train"], len(data.train)), "train")
    config = replace(config, shuffle=shuffle_of(config, data))
    torch.manual_seed(seed)
    layout = "replicated" if whole_tables else config.embedding
    with holding_own_rows(layout, launch.env_rank(), ranks):
        model = make_model(cfg["model"], data.field_sizes)
    identity = {"model_name": str(cfg["model"]["name"]), "dataset": f"{data.name}/{data.digest}"}
    return Job(model, data, config, device, identity)


def shuffle_of(config: TrainConfig, data: Dataset) -> str:
    """``train.shuffle`` without auto: full where half of this machine's memory holds all rows and their permutation.

    UserError where it does not hold the two windows of blocks.
    """
    half, rows = memory.whole() / 2, len(data.train)
    if config.shuffle == "auto":
        each = 8 * rows * launch.env_local_world_size()
        return "full" if data.bytes + each <= half else "blocks"
    if config.shuffle == "blocks":
        window = window_rows(config.shuffle_window, rows)
        two = 2 * window * data.bytes // max(1, data.meta["rows"])
        gib = f"{two / 2**30:.3g} GiB in memory, and half of this machine's is {half / 2**30:.3g}"
        require(two <= half, f"train.shuffle_window={config.shuffle_window}: two windows take {gib}")
    return config.shuffle
