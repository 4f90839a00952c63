"""The third pass of preparing: typed rows to rows of ids, in the store."""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from math import prod
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import polars as pl

from eulernet.data import disk, histories, kinds
from eulernet.data.histories import Histories
from eulernet.data.kinds import CategoryCoder, Coder, HashedCoder, History
from eulernet.data.reading import Part, Typed
from eulernet.data.recipe import Recipe
from eulernet.data.splits import CHUNK, LABEL, WEIGHT, Cut
from eulernet.data.workers import Workers
from eulernet.errors import require

IDS_AT_ONCE = 1 << 24  # of rows that a thread encodes


def require_later(recipe: Recipe, typed: pl.LazyFrame, cut: Cut) -> None:
    """UserError where a history of clicks would tell a training row the label of a validation or test row."""
    for field in recipe.fields:
        if isinstance(field, History) and field.log is not None and field.log.clicked:
            times = typed.select(f"order {field.name}").collect(engine="streaming").to_series()
            late = {part: times[slice(*rows) if isinstance(rows, tuple) else rows] for part, rows in cut.items()}
            last, order = late.pop("train").max(), field.log.order
            after = any(last is not None and (first := one.min()) is not None and first < last for one in late.values())  # type: ignore[operator]
            why = f"training rows come after others in {order} and would know their labels"
            how = f"give dataset.split=time dataset.split_column={order}"
            require(not after, f"dataset.fields.{field.name}.clicked=true: {why}; {how}")


def compute(recipe: Recipe, fitted: Sequence[Coder], typed: Typed, new: Path, memory: int) -> dict[str, Histories]:
    """The lists of the histories that are computed, by field; their files are in ``new``."""
    made: dict[str, Histories] = {}
    for coder in fitted:
        if coder.name in recipe.logs:
            parts = (some.read() for some in Some.of(typed.parts, typed.rows))
            logs = (log_of(recipe, fitted, coder.name, rows, first) for first, rows in parts)
            folder = new / f"history {len(made)}"
            made[coder.name] = histories.out_of_core(logs, typed.rows, coder.columns, folder, memory // 4)
    return made


def log_of(recipe: Recipe, fitted: Sequence[Coder], name: str, typed: pl.DataFrame, first: int) -> np.ndarray:
    """What the history ``name`` takes from typed rows, the first of which is row ``first``."""
    place = {field.name: i for i, field in enumerate(recipe.fields)}
    field = recipe.fields[place[name]]
    assert isinstance(field, History)
    assert field.log is not None
    of = place[field.log.of]
    ids, values = fitted[of].encode(typed[f"f{of}"]), typed[f"f{of}"]
    listed = values.is_not_null() & (typed[LABEL] == 1) if field.log.clicked else values.is_not_null()
    return histories.rows_of(typed, name, np.where(listed.to_numpy(), ids, -1), first)


@dataclass(frozen=True)
class Some:
    """``rows`` typed rows of a part, from its row ``start`` on: a history may make a row far larger than its text."""

    part: Part
    start: int
    rows: int

    @classmethod
    def of(cls, parts: Sequence[Part], most: int) -> "Iterator[Some]":
        """All rows of ``parts``, at most so many at once."""
        for part in parts:
            for start in range(0, part.rows, most):
                yield cls(part, start, min(most, part.rows - start))

    def read(self) -> tuple[int, pl.DataFrame]:
        """The number of the first row, and the rows."""
        typed = pl.scan_ipc(self.part.file, glob=False).slice(self.start, self.rows)
        return self.part.first + self.start, typed.collect()


@dataclass(frozen=True)
class Stored:
    """Coders that are in a store too: another process that is sent them reads them there."""

    coders: Sequence[Coder]
    folder: Path

    def __reduce__(self) -> Any:
        return read_stored, (json.dumps([kinds.describe(coder) for coder in self.coders]), self.folder)


def read_stored(described: str, folder: Path) -> Stored:
    with _READING:  # several threads want the same
        return _read_stored(described, folder)


_READING = Lock()


@lru_cache(maxsize=1)  # of the vocabularies of all fields a process keeps one
def _read_stored(described: str, folder: Path) -> Stored:
    return Stored([kinds.read(field, folder) for field in json.loads(described)], folder)


forget = _read_stored.cache_clear


@dataclass(frozen=True)
class RowFile:
    """A file of the store with a row of ``dtype`` numbers for each row of the log, written in any order."""

    file: Path
    start: int  # bytes before the first row
    width: int  # bytes of a row

    @classmethod
    def make(cls, file: Path, dtype: type, shape: tuple[int, ...]) -> "RowFile":
        """A new file, all zeros."""
        header = {"descr": np.lib.format.dtype_to_descr(np.dtype(dtype)), "fortran_order": False, "shape": shape}
        with file.open("wb") as stream:
            np.lib.format.write_array_header_1_0(stream, header)
            start, width = stream.tell(), np.dtype(dtype).itemsize * prod(shape[1:])
            stream.truncate(start + width * shape[0])
        return cls(file, start, width)

    def write(self, first: int, rows: np.ndarray) -> None:
        # Not opened for reading: two machines may write into one page, and must not write what they read there.
        with os.fdopen(os.open(self.file, os.O_WRONLY), "wb") as stream:
            stream.seek(self.start + first * self.width)
            stream.write(np.ascontiguousarray(rows).data)


@dataclass(frozen=True)
class Encoder:
    """Writes ids, labels and weights of typed rows into the store."""

    stored: Stored
    made: Mapping[str, Histories]
    values: Sequence[str]  # the columns that coders take
    files: Mapping[str, RowFile]  # by column; that of the ids is called x

    def encode_rows(self, some: Some) -> tuple[int, list[int]]:
        """How many rows that are, and in how many each field has id 0."""
        first, typed = some.read()
        fillers = histories.fillers(self.made, first)
        ids, zeros = kinds.encode(self.stored.coders, typed.select(self.values), fillers)
        for name, rows in self.files.items():
            rows.write(first, ids if name == "x" else typed[name].to_numpy())
        return len(typed), zeros


def encode(
    stored: Stored, made: Mapping[str, Histories], typed: Typed, workers: Workers, *, weighted: bool = False
) -> np.ndarray:
    """The third pass: x.npy, y.npy and, where rows have weights, weight.npy, in the order of the files.

    Returns how many rows have id 0, field by field.
    """
    columns, new, rows = sum(coder.columns for coder in stored.coders), stored.folder, typed.rows
    disk.require_space(new, rows * (4 * columns + 1 + 4 * weighted))
    files = {
        "x": RowFile.make(new / "x.npy", np.int32, (rows, columns)),
        LABEL: RowFile.make(new / "y.npy", np.uint8, (rows,)),
    }
    if weighted:
        files[WEIGHT] = RowFile.make(new / "weight.npy", np.float32, (rows,))
    values = [f"f{i}" for i, coder in enumerate(stored.coders) if coder.name not in made]
    zeros, written = np.zeros(len(stored.coders), dtype=np.int64), 0
    some = Some.of(typed.parts, max(IDS_AT_ONCE // columns, 1))
    with disk.progress("encoding", " rows", rows) as bar:
        for count, id_0 in workers.map(Encoder(stored, made, values, files).encode_rows, some):
            zeros += id_0
            written += count
            bar.update(count)
    assert written == rows
    return zeros


def hashes_of(coder: Coder) -> HashedCoder | None:
    """What hashes the values of a field, or those without an id of their own."""
    if isinstance(coder, CategoryCoder):
        return coder.hashes if coder.tail else None
    return coder if isinstance(coder, HashedCoder) else None


def collisions(stored: Stored, typed: Typed, workers: Workers) -> dict[str, dict[str, int]]:
    """Of fields whose values are hashed, maybe the rare ones only: how many values share how many buckets."""
    starts = np.cumsum([0, *(coder.columns for coder in stored.coders)]).tolist()
    hashed = {coder.name: (i, starts[i]) for i, coder in enumerate(stored.coders) if hashes_of(coder) is not None}
    each = map if workers.here else workers.map  # one after the other: each holds all values of a field
    return dict(zip(hashed, each(partial(collisions_of, stored, typed.parts), hashed.values()), strict=True))


def collisions_of(stored: Stored, parts: Sequence[Part], place: tuple[int, int]) -> dict[str, int]:
    """Of the field number i, whose ids are column c, where ``place`` is (i, c)."""
    coder = stored.coders[place[0]]
    hashed = hashes_of(coder)
    assert hashed is not None
    typed = pl.scan_ipc([part.file for part in parts], glob=False).select(
        pl.col(f"f{place[0]}").drop_nulls().n_unique()
    )
    values = typed.collect(engine="streaming").item() - (0 if coder.vocabulary is None else len(coder.vocabulary))
    x, seen = np.load(stored.folder / "x.npy", mmap_mode="r")[:, place[1]], np.zeros(hashed.buckets + 1, dtype=bool)
    for start in range(0, len(x), CHUNK):
        ids = x[start : start + CHUNK]
        seen[ids[ids <= hashed.buckets]] = True
    used = int(np.count_nonzero(seen[1:]))
    return {"values": max(values, used), "buckets": hashed.buckets, "used": used}
