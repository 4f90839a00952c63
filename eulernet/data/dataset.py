"""A store opened for training: three splits of rows, in batches that are ready before they are asked for."""

import mmap
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from eulernet import memory
from eulernet.data import store
from eulernet.data.sampling import KEEP, KEPT, correction, measured
from eulernet.data.shuffling import BLOCK, BLOCKS, Blocks, Order, batches_of
from eulernet.data.threads import in_order
from eulernet.errors import UserError
from eulernet.features import Bag, FieldSize, History, Number, Pretrained
from eulernet.files import unwritten

SMALL = 1 << 30  # bytes of a store that is simply read into memory
READERS = 8  # threads that gather batches from a file: on a cold disk each waits for its own pages
AHEAD = 16  # batches gathered before they are needed


@dataclass(frozen=True)
class Split:
    """Rows of a store: x [rows, C], labels y [rows], 1 = click, and ``order``: which rows, in which order.

    ``order`` None is all of x and y. ``mapped`` says that x is a file: batches are then gathered in other threads.
    ``correction`` is what is added to the logits of a model that was trained on this data.
    """

    x: Int[Tensor, "rows C"]
    y: UInt8[Tensor, " rows"]
    order: Int[Tensor, " n"] | None = None
    mapped: bool = False
    weight: Float[Tensor, " rows"] | None = None  # how much each row counts; batches then end with it
    correction: float = 0.0
    negatives_kept: float = 1.0  # the share of all that there were: in a measure one stands for several

    def __len__(self) -> int:
        return len(self.y if self.order is None else self.order)

    @property
    def counts(self) -> np.ndarray | None:
        """How much each row counts in a measure, float64 [n]; None where all count alike."""
        given = self.weight if self.weight is None or self.order is None else self.weight[self.order]
        return self.counts_of(self.labels, given)

    def counts_of(self, labels: Tensor, weight: Tensor | None) -> np.ndarray | None:
        """The same of some rows, with such labels and weights."""
        weights = None if weight is None else weight.double().cpu().numpy()
        return measured(labels.cpu().numpy(), weights, self.negatives_kept)

    @property
    def total(self) -> float:
        """The sum of the weights, which is the number of rows where there are none."""
        if self.weight is None:
            return float(len(self))
        return (self.weight if self.order is None else self.weight[self.order]).double().sum().item()

    @property
    def labels(self) -> UInt8[Tensor, " n"]:
        return self.y if self.order is None else self.y[self.order]

    def batches(
        self,
        size: int,
        generator: torch.Generator | None = None,
        *,
        first: int = 0,
        share: Callable[[int], slice] = slice,
        blocks: Blocks | None = None,
    ) -> Iterator[tuple[Tensor, ...]]:
        """Batches of at most ``size`` rows, in stored order, or in a fresh random order drawn from ``generator``.

        The batches before number ``first`` are left out. Of each only a share is read: of one with n rows,
        ``share(n)``, which may be none; slice(n) is all of them.
        The random order is a permutation of all rows; it is in memory (8 bytes a row), the rows need not be. With
        ``blocks`` the rows are shuffled in windows, and the order of one window is in memory.
        """
        if generator is None and self.order is None and not self.mapped and self.weight is None:
            for x, y in zip(self.x.split(size)[first:], self.y.split(size)[first:], strict=True):
                part = share(len(y))
                yield x[part], y[part].float()
            return
        batches: Iterable[Tensor]
        if blocks is not None and generator is not None:
            batches = self._in_blocks(size, generator, first, share, blocks)
        else:
            batches = self._in_order(size, generator, first, share)
        if self.mapped:  # gathered in threads, so that the model finds the next one ready
            yield from in_order(self.gather, batches, threads=READERS, ahead=AHEAD)
        else:
            yield from map(self.gather, batches)

    def _in_order(
        self, size: int, generator: torch.Generator | None, first: int, share: Callable[[int], slice]
    ) -> list[Int[Tensor, " b"]]:
        """The rows of each batch in stored order, or in that of one permutation."""
        if generator is None:
            order = torch.arange(len(self), device=self.y.device) if self.order is None else self.order
        else:
            order = torch.randperm(len(self), generator=generator).to(self.y.device)
            order = order if self.order is None else self.order[order]
        return [batch[share(len(batch))] for batch in order.split(size)[first:]]

    def _in_blocks(
        self, size: int, generator: torch.Generator, first: int, share: Callable[[int], slice], blocks: Blocks
    ) -> Iterator[Int[Tensor, " b"]]:
        """The rows of each batch, shuffled in windows."""
        block = max(1, min(BLOCK // (self.x.shape[1] * self.x.itemsize), blocks.window // BLOCKS))
        order = Order(len(self), block, generator)
        for rows in batches_of(len(self), size, order, blocks, share, first, self._read_ahead):
            yield rows.to(self.y.device) if self.order is None else self.order[rows.to(self.y.device)]

    def _read_ahead(self, pieces: list[slice]) -> None:
        """Have the system read these rows of a file, unless ``order`` scatters them."""
        for piece in pieces if self.mapped else ():
            first, last = piece.start, piece.stop - 1
            if self.order is not None:
                first, last = int(self.order[first]), int(self.order[last])
            if 0 <= last - first < 4 * (piece.stop - piece.start):
                memory.read_ahead(self.x[first : last + 1])

    def gather(self, rows: Int[Tensor, " B"]) -> tuple[Tensor, ...]:
        found = self.x.index_select(0, rows), self.y.index_select(0, rows).float()  # faster than x[rows]
        return found if self.weight is None else (*found, self.weight.index_select(0, rows))


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
        x = store.open_array(folder, "x.npy", (meta["rows"], columns_of(meta)), np.int32)
        y = torch.from_numpy(store.open_array(folder, "y.npy", (meta["rows"],), np.uint8))
        # Rows are read in random order: turn read-ahead off.
        x._mmap.madvise(mmap.MADV_RANDOM)  # type: ignore[attr-defined]
        rows: dict[str, Sequence[int] | Tensor] = {}
        for part, where in meta["split"].items():
            if isinstance(where, str):
                numbers = store.open_array(folder, where, (meta["rows_in"][part],), np.int32, np.int64)
                rows[part] = torch.from_numpy(numbers)
            else:
                rows[part] = where
        weighted = "weight" in meta
        weight = store.open_array(folder, "weight.npy", (meta["rows"],), np.float32) if weighted else None
        columns = torch.from_numpy(x), y, None if weight is None else torch.from_numpy(weight)
        return cls(folder, meta, splits_of(meta, rows, *columns, mapped=True))

    @property
    def name(self) -> str:
        return self.meta["name"]

    @property
    def digest(self) -> str:
        """Names the exact rows and ids: it covers the recipe and the raw files."""
        return self.folder.name

    @property
    def fields(self) -> list[str]:
        return [field["name"] for field in self.meta["fields"]]

    @property
    def field_sizes(self) -> list[FieldSize]:
        """What a model needs to know of each field, with the vectors that some have before training."""
        return field_sizes(self.meta, self.vectors)

    def vectors(self, field: str, shape: tuple[int, int]) -> Float[Tensor, "ids K"]:
        """The vectors of a field that has some, NaN for an id without one."""
        return torch.from_numpy(
            store.open_array(self.folder, store.vectors_file(field), shape, np.float32, mapped=False)
        )

    @property
    def bytes(self) -> int:
        """Of the rows of all splits."""
        return sum((self.folder / name).stat().st_size for name in ("x.npy", "y.npy", *self._weights))

    @property
    def _weights(self) -> list[str]:
        return ["weight.npy"] if "weight" in self.meta else []

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
        """The same data where batches for ``device`` are made fastest, given the memory that is free.

        On a GPU all of it, if it takes at most half of what is free there. On a CPU a small store is read into memory;
        a large one stays a file whose pages other runs share, and the system is asked to read it ahead if half of
        the free memory holds it. Otherwise each batch is read from disk, ahead of its use.
        """
        cuda = device.type == "cuda"
        fits = self.bytes <= (torch.cuda.mem_get_info(device)[0] if cuda else memory.available()) / 2
        if not fits:
            return self
        if not cuda and self.bytes > SMALL:
            Thread(target=read_through, args=(self.folder / "x.npy",), daemon=True).start()
            return self
        shape, dtypes = (self.meta["rows"], columns_of(self.meta)), {"x.npy": np.int32, "y.npy": np.uint8}
        x, y, *weight = (
            torch.from_numpy(
                store.open_array(self.folder, file, shape[: 1 + (file == "x.npy")], dtype, mapped=False)
            ).to(device)
            for file, dtype in {**dtypes, **dict.fromkeys(self._weights, np.float32)}.items()
        )
        rows: dict[str, Sequence[int] | Tensor] = {
            part: self.meta["split"][part] if split.order is None else split.order.to(device)
            for part, split in self.splits.items()
        }
        return replace(self, splits=splits_of(self.meta, rows, x, y, *weight))

    def without_test(self) -> "Dataset":
        """The same data with the validation split in place of the test split, which nothing can then read."""
        split = {**self.meta["split"], "test": self.meta["split"]["valid"]}
        return replace(self, meta={**self.meta, "split": split}, splits={**self.splits, "test": self.valid})

    def copy_preprocessor(self, folder: Path) -> None:
        """Put what turns raw rows into ids into ``folder``: the vocabularies and meta.json."""
        try:
            shutil.copytree(self.folder / "vocab", folder / "vocab", dirs_exist_ok=True)
            shutil.copy(self.folder / "meta.json", folder / "meta.json")
        except shutil.Error as error:  # a list of what failed
            raise unwritten(folder, error.args[0][0][2], error) from None
        except FileNotFoundError as error:
            raise UserError(f"store {self.folder}: {error.filename} is missing; prepare it again") from None


def splits_of(
    meta: Mapping[str, Any],
    rows: Mapping[str, Sequence[int] | Int[Tensor, " _"]],
    x: Int[Tensor, "rows C"],
    y: UInt8[Tensor, " rows"],
    weight: Float[Tensor, " rows"] | None = None,
    *,
    mapped: bool = False,
) -> dict[str, Split]:
    """The splits of a dataset: ``rows`` are the first and the end of each, or the numbers of its rows."""
    splits, constant = {}, correction(meta)
    for part, where in rows.items():
        kept = meta.get(KEPT, 1.0) * (meta.get(KEEP, 1.0) if part == "train" else 1.0)
        about = constant, kept
        if isinstance(where, Tensor):
            splits[part] = Split(x, y, where, mapped, weight, *about)
        else:
            inside = slice(*where)
            splits[part] = Split(x[inside], y[inside], None, mapped, None if weight is None else weight[inside], *about)
    return splits


def columns_of(meta: Mapping[str, Any]) -> int:
    """How many columns x has: one for each field, for a bag as many as it keeps members."""
    return sum(field.get("length", 1) for field in meta["fields"])


def places_in(meta: Mapping[str, Any]) -> dict[str, slice]:
    """Which columns of x each field has, by its name."""
    lengths = {field["name"]: field.get("length", 1) for field in meta["fields"]}
    ends = np.cumsum(list(lengths.values())).tolist()
    return {name: slice(end - n, end) for (name, n), end in zip(lengths.items(), ends, strict=True)}


def field_sizes(
    meta: Mapping[str, Any], vectors: Callable[[str, tuple[int, int]], Tensor] | None = None
) -> list[FieldSize]:
    """What a model needs to know of each field: the number of its ids, or that it is a number, a bag or a history.

    ``vectors`` brings those that a field has before training, of that shape.
    """
    sizes: list[FieldSize] = []
    names = [field["name"] for field in meta["fields"]]
    for field in meta["fields"]:
        if field["kind"] == "number":
            sizes.append(Number())
        elif field["kind"] == "bag":
            sizes.append(Bag(field["size"], field["length"], field["pooling"]))
        elif field["kind"] == "history":
            same_as = field.get("same_as")
            same_as = None if same_as is None else names.index(same_as)
            sizes.append(History(field["size"], field["length"], field["pooling"], same_as))
        elif "vectors" in field:
            width, frozen = field["vectors"]["width"], field["vectors"]["frozen"]
            given = vectors if field["vectors"]["stored"] else None
            matrix = None if given is None else given(field["name"], (field["size"], width))
            sizes.append(Pretrained(field["size"], width, frozen, matrix))
        else:
            sizes.append(field["size"])
    return sizes


def read_through(file: Path) -> None:
    """Bring a file into the system's page cache in order: far faster than page by page as random rows are asked for."""
    buffer = bytearray(1 << 23)
    with file.open("rb", buffering=0) as stream:
        while stream.readinto(buffer):
            pass
