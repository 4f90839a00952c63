"""A store opened for training: three splits of ids and labels, cut into batches by slicing."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from eulernet.data import store
from eulernet.errors import UserError


@dataclass(frozen=True)
class Split:
    """Rows of a store: ids x [rows, F] and labels y [rows], 1 = click."""

    x: Int[Tensor, "rows F"]
    y: UInt8[Tensor, " rows"]

    def __len__(self) -> int:
        return len(self.y)

    def to(self, device: torch.device) -> "Split":
        return Split(self.x.to(device), self.y.to(device))

    def batches(
        self, size: int, generator: torch.Generator | None = None
    ) -> Iterator[tuple[Int[Tensor, "B F"], Float[Tensor, " B"]]]:
        """Batches of at most ``size`` rows, in stored order, or in a fresh random order drawn from ``generator``."""
        if generator is None:
            for x, y in zip(self.x.split(size), self.y.split(size), strict=True):
                yield x, y.float()
        else:
            for rows in torch.randperm(len(self), generator=generator).to(self.x.device).split(size):
                yield self.x[rows], self.y[rows].float()


@dataclass(frozen=True)
class Dataset:
    """What training needs to know of the data: the splits, and the store's ``meta.json``."""

    folder: Path
    meta: dict[str, Any]
    splits: dict[str, Split]

    @classmethod
    def open(cls, folder: Path) -> "Dataset":
        """Memory-map the store in ``folder``. Raises UserError if it is damaged or of another format."""
        meta = store.read_meta(folder)
        x = torch.from_numpy(store.open_array(folder, "x.npy", (meta["rows"], len(meta["fields"])), np.int32))
        y = torch.from_numpy(store.open_array(folder, "y.npy", (meta["rows"],), np.uint8))
        splits = {part: Split(x[start:stop], y[start:stop]) for part, (start, stop) in meta["split"].items()}
        return cls(folder, meta, splits)

    @property
    def name(self) -> str:
        return self.meta["name"]

    @property
    def digest(self) -> str:
        """Names the exact rows and ids: it covers the recipe and the raw files."""
        return self.folder.name

    @property
    def field_sizes(self) -> list[int]:
        """Ids of field f lie in 0 .. field_sizes[f] - 1."""
        return self.meta["field_sizes"]

    @property
    def train(self) -> Split:
        return self.splits["train"]

    @property
    def valid(self) -> Split:
        return self.splits["valid"]

    @property
    def test(self) -> Split:
        return self.splits["test"]

    def to(self, device: torch.device) -> "Dataset":
        """The same data, in the memory of ``device``."""
        return replace(self, splits={part: split.to(device) for part, split in self.splits.items()})

    def copy_preprocessor(self, folder: Path) -> None:
        """Put what turns raw rows into ids into ``folder``: the vocabularies and meta.json."""
        try:
            shutil.copytree(self.folder / "vocab", folder / "vocab", dirs_exist_ok=True)
            shutil.copy(self.folder / "meta.json", folder / "meta.json")
        except shutil.Error as error:  # a list of what failed
            raise UserError(f"{folder} cannot be written ({error.args[0][0][2]}); is the disk full?") from None
