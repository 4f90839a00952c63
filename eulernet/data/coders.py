"""Typed values to integers, field by field: a coder is fitted once on the values, then encodes any rows.

Each field takes one column of x, a bag as many as it keeps members. A category is its id, a number the bits of its
float32, a bag the ids of its members and then -1.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import polars as pl

from eulernet.data.recipe import Bag, Category, Field, Number, Quantiles
from eulernet.errors import require

LONGEST = 256  # members of a bag whose length is not given: each takes a column of every row


@dataclass(frozen=True)
class CategoryCoder:
    """The i-th value of ``vocabulary`` has id i + 1."""

    kind: ClassVar[str] = "category"
    columns: ClassVar[int] = 1
    name: str
    vocabulary: pl.Series

    @classmethod
    def fit(cls, field: Category, typed: pl.LazyFrame) -> "CategoryCoder":
        return cls(field.name, vocabulary_of(typed.select(field.name), field.name, field.min_count))

    def code(self) -> pl.Expr:
        return ids(pl.col(self.name), self.vocabulary)

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
        counts = typed.group_by(field.name).len().drop_nulls().sort(field.name).collect(engine="streaming")
        require(len(counts) > 0, f"field {field.name} is missing in every row; leave it out")
        values, below = counts[field.name].to_numpy(), counts["len"].cum_sum().to_numpy()
        bounds = np.arange(1, field.classes) * below[-1] / field.classes
        edges = np.unique(values[np.searchsorted(below, bounds, side="right")])
        return cls(field.name, edges[edges > values[0]].tolist())

    def code(self) -> pl.Expr:
        edges = pl.lit(pl.Series(self.edges, dtype=pl.Float64))
        reached = edges.search_sorted(pl.col(self.name), side="right") + 1
        return pl.when(pl.col(self.name).is_not_null()).then(reached).otherwise(0).cast(pl.Int32).alias(self.name)

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
        column = pl.col(field.name)
        mean, std = typed.select(mean=column.mean(), std=column.std(ddof=0)).collect(engine="streaming").row(0)
        require(mean is not None, f"field {field.name} is missing in every row; leave it out")
        require(
            bool(np.isfinite([mean, std]).all()), f"field {field.name} holds infinite numbers; mend or leave it out"
        )
        return cls(field.name, mean, std or 1.0) if field.standardise else cls(field.name, 0.0, 1.0)

    def code(self) -> pl.Expr:
        return ((pl.col(self.name) - self.mean) / self.scale).fill_null(0).cast(pl.Float32)

    def settings(self) -> dict[str, Any]:
        return {"size": 1, "mean": self.mean, "scale": self.scale}


@dataclass(frozen=True)
class BagCoder:
    """Ids as for a category, of the first ``columns`` members, which are pooled by ``pooling``."""

    kind: ClassVar[str] = "bag"
    name: str
    vocabulary: pl.Series
    columns: int
    pooling: str

    @classmethod
    def fit(cls, field: Bag, typed: pl.LazyFrame) -> "BagCoder":
        length = field.length
        if length is None:
            length = typed.select(pl.col(field.name).list.len().max()).collect(engine="streaming").item() or 1
            require(length <= LONGEST, f"field {field.name}: a row has {length} members; say how many to keep (length)")
        members = typed.select(pl.col(field.name).explode())
        return cls(field.name, vocabulary_of(members, field.name, field.min_count), length, field.pooling)

    def code(self) -> pl.Expr:
        return pl.col(self.name).list.head(self.columns).list.eval(ids(pl.element(), self.vocabulary))

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


def encode(coders: Sequence[Coder], typed: pl.DataFrame) -> np.ndarray:
    """int32 [rows, columns]: the typed values of all fields, encoded."""
    out = np.empty((len(typed), sum(coder.columns for coder in coders)), dtype=np.int32)
    codes, first = typed.select(coder.code() for coder in coders), 0
    for coder, column in zip(coders, codes, strict=True):
        if column.dtype == pl.List:
            pad(column, out[:, first : first + coder.columns])
        elif column.dtype == pl.Float32:
            out[:, first] = column.to_numpy().view(np.int32)
        else:
            out[:, first] = column.to_numpy()
        first += coder.columns
    return out


def pad(bags: pl.Series, out: np.ndarray) -> None:
    """Write each list into its row of ``out``, then -1."""
    counts = bags.list.len().fill_null(0).to_numpy().astype(np.int64)
    row = np.repeat(np.arange(len(counts)), counts)
    place = np.arange(len(row)) - np.repeat(np.cumsum(counts) - counts, counts)
    out[:] = -1
    out[row, place] = bags.filter(pl.Series(counts > 0)).explode().to_numpy()


def vocabulary_of(values: pl.LazyFrame, name: str, min_count: int) -> pl.Series:
    """The values of a field seen at least ``min_count`` times, most frequent first, equal counts in order of value.

    So ids do not depend on threads, on the size of blocks or on hash seeds.
    """
    counts = values.group_by(name).len().drop_nulls()
    kept = counts.filter(pl.col("len") >= min_count).collect(engine="streaming")
    none = (
        f"has no value that occurs {min_count} times; lower min_count or"
        if min_count > 1
        else "is missing in every row;"
    )
    require(len(kept) > 0, f"field {name} {none} leave it out")
    return kept.sort("len", name, descending=[True, False])[name]


def ids(values: pl.Expr, vocabulary: pl.Series) -> pl.Expr:
    numbers = pl.int_range(1, len(vocabulary) + 1, dtype=pl.Int32, eager=True)
    return values.replace_strict(vocabulary, numbers, default=0, return_dtype=pl.Int32)


def describe(coder: Coder) -> dict[str, Any]:
    """What meta.json says of a field."""
    return {"name": coder.name, "kind": coder.kind, **coder.settings()}


def write(coder: Coder, folder: Path) -> None:
    """Store the vocabulary of a field, if it has one: value, id."""
    if isinstance(coder, CategoryCoder | BagCoder):
        folder.mkdir(exist_ok=True)
        numbers = pl.int_range(1, len(coder.vocabulary) + 1, dtype=pl.Int32, eager=True)
        pl.DataFrame({"value": coder.vocabulary, "id": numbers}).write_parquet(folder / f"{coder.name}.parquet")
