"""Typed values to integers, field by field: a coder is fitted once on the values, then encodes any rows.

Each field takes one column of x, a bag as many as it keeps members. A category is its id, a number the bits of its
float32, a bag the ids of its members and then -1. A coder is fitted on a frame with one column, ``value``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import polars as pl

from eulernet.data.recipe import Bag, Category, Field, Number, Quantiles
from eulernet.data.store import vocabulary_file
from eulernet.errors import UserError, require

if TYPE_CHECKING:
    import pandas as pd

LONGEST = 256  # members of a bag whose length is not given: each takes a column of every row


@dataclass(frozen=True)
class Vocabulary:
    """The i-th of ``values``, whole numbers or text, has id i + 1, anything else id 0."""

    values: pl.Series

    def __len__(self) -> int:
        return len(self.values)

    @cached_property
    def index(self) -> "tuple[pd.Index[Any], int]":
        """pandas' hash table of whole numbers, made once, and the seed of those that text is hashed to.

        A join makes its own table at every call: that is what a single row would wait for.
        """
        import pandas as pd

        seed = 0
        while not (numbers := self._numbers(self.values, seed)).is_unique().all():
            seed += 1  # two texts of one hash
        index = pd.Index(numbers.to_numpy())
        index.get_indexer(index[:1])  # makes the table now, before threads ask for it
        return index, seed

    @staticmethod
    def _numbers(values: pl.Series, seed: int) -> pl.Series:
        return values if values.dtype.is_integer() else values.hash(seed)

    def ids(self, values: pl.Series) -> np.ndarray:
        """int32 ids of ``values``, which are of the same type; missing ones are 0."""
        import pandas as pd

        index, seed = self.index
        numbers = self._numbers(values, seed).fill_null(0)
        ids = index.get_indexer(pd.Index(numbers.to_numpy())).astype(np.int32) + 1
        right = values.is_not_null()
        if not values.dtype.is_integer():  # unknown text may have the hash of a known one
            right &= self.values.gather(np.maximum(ids - 1, 0)) == values
        if not right.all():
            ids[~right.fill_null(False).to_numpy()] = 0
        return ids


@dataclass(frozen=True)
class CategoryCoder:
    kind: ClassVar[str] = "category"
    columns: ClassVar[int] = 1
    name: str
    vocabulary: Vocabulary

    @classmethod
    def fit(cls, field: Category, typed: pl.LazyFrame) -> "CategoryCoder":
        return cls(field.name, vocabulary_of(typed, field.name, field.min_count))

    def encode(self, values: pl.Series) -> np.ndarray:
        return self.vocabulary.ids(values)

    def settings(self) -> dict[str, Any]:
        return {"size": len(self.vocabulary) + 1}


@dataclass(frozen=True)
class QuantileCoder:
    """The id of a number is 1 + how many of ``edges`` it reaches."""

    kind: ClassVar[str] = "category"
    columns: ClassVar[int] = 1
    name: str
    edges: list[float]

    @classmethod
    def fit(cls, field: Quantiles, typed: pl.LazyFrame) -> "QuantileCoder":
        counts = typed.group_by("value").agg(rows=pl.len()).drop_nulls().sort("value").collect(engine="streaming")
        require(len(counts) > 0, f"field {field.name} is missing in every row; leave it out")
        values, below = counts["value"].to_numpy(), counts["rows"].cum_sum().to_numpy()
        bounds = np.arange(1, field.classes) * below[-1] / field.classes
        edges = np.unique(values[np.searchsorted(below, bounds, side="right")])
        return cls(field.name, edges[edges > values[0]].tolist())

    def encode(self, values: pl.Series) -> np.ndarray:
        ids = np.searchsorted(self.edges, values.fill_null(0).to_numpy(), side="right") + 1
        return np.where(values.is_null().to_numpy(), 0, ids)

    def settings(self) -> dict[str, Any]:
        return {"size": len(self.edges) + 2, "edges": self.edges}


@dataclass(frozen=True)
class NumberCoder:
    """(value - mean) / scale, 0 where it is missing."""

    kind: ClassVar[str] = "number"
    columns: ClassVar[int] = 1
    name: str
    mean: float
    scale: float

    @classmethod
    def fit(cls, field: Number, typed: pl.LazyFrame) -> "NumberCoder":
        value = pl.col("value")
        mean, std = typed.select(mean=value.mean(), std=value.std(ddof=0)).collect(engine="streaming").row(0)
        require(mean is not None, f"field {field.name} is missing in every row; leave it out")
        if not field.standardise:
            return cls(field.name, 0.0, 1.0)
        # Their last digits depend on the order of the additions; and a constant is not to be blown up by them.
        return cls(field.name, float(f"{mean:.12g}"), float(f"{std:.12g}") if std > 1e-9 * abs(mean) else 1.0)

    def encode(self, values: pl.Series) -> np.ndarray:
        scaled = ((values - self.mean) / self.scale).fill_null(0)
        return scaled.to_numpy().astype(np.float32).view(np.int32)

    def settings(self) -> dict[str, Any]:
        return {"size": 1, "mean": self.mean, "scale": self.scale}


@dataclass(frozen=True)
class BagCoder:
    """Ids as for a category, of the first ``columns`` members, which are pooled by ``pooling``."""

    kind: ClassVar[str] = "bag"
    name: str
    vocabulary: Vocabulary
    columns: int
    pooling: str

    @classmethod
    def fit(cls, field: Bag, typed: pl.LazyFrame) -> "BagCoder":
        length = field.length
        if length is None:
            length = typed.select(pl.col("value").list.len().max()).collect(engine="streaming").item() or 1
            require(length <= LONGEST, f"field {field.name}: a row has {length} members; say how many to keep (length)")
        members = typed.select(pl.col("value").explode())
        return cls(field.name, vocabulary_of(members, field.name, field.min_count), length, field.pooling)

    def encode(self, values: pl.Series) -> np.ndarray:
        kept = values.list.head(self.columns)
        counts = kept.list.len().fill_null(0).to_numpy().astype(np.int64)
        row = np.repeat(np.arange(len(counts)), counts)
        place = np.arange(len(row)) - np.repeat(np.cumsum(counts) - counts, counts)
        ids = np.full((len(counts), self.columns), -1, dtype=np.int32)
        ids[row, place] = self.vocabulary.ids(kept.filter(pl.Series(counts > 0)).explode())
        return ids

    def settings(self) -> dict[str, Any]:
        return {"size": len(self.vocabulary) + 1, "length": self.columns, "pooling": self.pooling}


Coder = CategoryCoder | QuantileCoder | NumberCoder | BagCoder


def fit(field: Field, typed: pl.LazyFrame) -> Coder:
    """The coder of ``field``, from the rows of ``typed``. UserError when it would know no value."""
    match field:
        case Category():
            return CategoryCoder.fit(field, typed)
        case Quantiles():
            return QuantileCoder.fit(field, typed)
        case Number():
            return NumberCoder.fit(field, typed)
        case Bag():
            return BagCoder.fit(field, typed)


def encode(coders: Sequence[Coder], typed: pl.DataFrame) -> tuple[np.ndarray, list[int]]:
    """The columns of ``typed``, one a coder, encoded: int32 [rows, columns], and in how many rows each has id 0."""
    out, first, zeros = np.empty((len(typed), sum(coder.columns for coder in coders)), dtype=np.int32), 0, []
    for coder, values in zip(coders, typed, strict=True):
        codes = coder.encode(values)
        out[:, first : first + coder.columns] = codes.reshape(len(typed), coder.columns)
        if coder.kind != "number":  # one table for all fields: an id too large would read a neighbour's row
            assert codes.max(initial=0) < coder.settings()["size"]
        zero = codes == 0
        zeros.append(0 if coder.kind == "number" else int(zero.reshape(len(typed), -1).any(axis=1).sum()))
        first += coder.columns
    return out, zeros


def vocabulary_of(values: pl.LazyFrame, name: str, min_count: int) -> Vocabulary:
    """The values of a field seen at least ``min_count`` times, most frequent first, equal counts in order of value.

    So ids do not depend on threads, on the size of blocks or on hash seeds.
    """
    counts = values.group_by("value").agg(rows=pl.len()).drop_nulls()
    kept = counts.filter(pl.col("rows") >= min_count).collect(engine="streaming")
    none = (
        f"has no value that occurs {min_count} times; lower min_count or"
        if min_count > 1
        else "is missing in every row;"
    )
    require(len(kept) > 0, f"field {name} {none} leave it out")
    return Vocabulary(kept.sort("rows", "value", descending=[True, False])["value"])


def describe(coder: Coder) -> dict[str, Any]:
    """What meta.json says of a field."""
    return {"name": coder.name, "kind": coder.kind, **coder.settings()}


def write(coder: Coder, folder: Path) -> None:
    """Put the vocabulary of a field, if it has one, into the store in ``folder``: value, id."""
    (folder / "vocab").mkdir(exist_ok=True)
    if isinstance(coder, CategoryCoder | BagCoder):
        numbers = pl.int_range(1, len(coder.vocabulary) + 1, dtype=pl.Int32, eager=True)
        table = pl.DataFrame({"value": coder.vocabulary.values, "id": numbers})
        table.write_parquet(folder / vocabulary_file(coder.name))


def check(described: Mapping[str, Any]) -> None:
    """UserError for a field that nobody can have trained with: a run may come from anywhere."""
    name, kind = described["name"], described["kind"]
    right = isinstance(name, str) and kind in ("category", "number", "bag")
    if kind == "number":
        right &= all(isinstance(described[key], float | int) for key in ("mean", "scale"))
    elif "edges" in described:
        right &= all(isinstance(edge, float | int) for edge in described["edges"])
        right &= described["size"] == len(described["edges"]) + 2
    elif kind == "bag":
        right &= described["pooling"] in ("mean", "sum") and described["length"] in range(1, 1 << 16)
    require(right, f"field {name} is described wrongly")


def read(described: Mapping[str, Any], folder: Path) -> Coder:
    """The coder of a field from what meta.json says of it, and its vocabulary in ``folder``."""
    name, kind = described["name"], described["kind"]
    check(described)
    if kind == "number":
        return NumberCoder(name, described["mean"], described["scale"])
    if "edges" in described:
        return QuantileCoder(name, described["edges"])
    file = folder / vocabulary_file(name)
    try:
        scan = pl.scan_parquet(file, glob=False)
        rows = scan.select(pl.len()).collect().item()
        require(rows == described["size"] - 1, f"{file} has {rows} values, meta.json says {described['size'] - 1}")
        table = scan.collect()
        numbered = table["id"].equals(pl.int_range(1, rows + 1, dtype=pl.Int32, eager=True))
        require(numbered and table["value"].null_count() == 0, f"{file} does not number its values 1, 2, ...")
    except (OSError, pl.exceptions.PolarsError) as error:
        raise UserError(f"{file} cannot be read ({str(error).splitlines()[0]})") from None
    vocabulary = Vocabulary(table["value"])
    if kind == "bag":
        return BagCoder(name, vocabulary, described["length"], described["pooling"])
    return CategoryCoder(name, vocabulary)
