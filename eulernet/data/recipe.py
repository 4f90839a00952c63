"""A dataset as a value: where its rows, its fields and its label come from. ``build`` turns it into a store."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import polars as pl

from eulernet.data.raw import Piece
from eulernet.errors import require


@dataclass(frozen=True)
class Category:
    """A field of ids: each value that is seen ``min_count`` times has one; rarer and missing values share id 0."""

    name: str
    value: pl.Expr
    min_count: int = 1


@dataclass(frozen=True)
class Quantiles:
    """A field of ids from a number: one of at most ``classes`` classes of about equally many rows; 0 if missing."""

    name: str
    value: pl.Expr
    classes: int


@dataclass(frozen=True)
class Number:
    """A field of real numbers, brought to mean 0 and variance 1 if ``standardise``; a missing one is 0 after that."""

    name: str
    value: pl.Expr
    standardise: bool


@dataclass(frozen=True)
class Bag:
    """A field of several values at once, whose embeddings are pooled: ``value`` is a list.

    The first ``length`` members of a list are kept; None keeps as many as the longest has, of the rows that ids come
    from. Members seen less often than ``min_count`` share id 0; a missing or empty list pools to the zero vector.
    """

    name: str
    value: pl.Expr
    min_count: int
    length: int | None
    pooling: Literal["mean", "sum"]


Field = Category | Quantiles | Number | Bag


@dataclass(frozen=True)
class Recipe:
    """How raw files become rows: ``scan`` reads and checks them piece by piece, then each row is fields and a label.

    ``protocol`` says in words what the preprocessing does; it goes into the store and into every report.
    """

    name: str
    version: int  # raise it when scan, a field or the label changes: stores of other versions are not reused
    protocol: str
    scan: Callable[[Sequence[Path], int], Iterator[Piece]]  # (files, bytes of memory) -> rows in order
    label: pl.Expr
    fields: Sequence[Field]
    settings: Any = None  # what else the expressions depend on, as plain values
    rows: Sequence[int] | None = None  # how many rows each file should have, where that is known
    verify: bool = True  # whether other numbers are an error

    def __post_init__(self) -> None:
        require(bool(self.fields), f"{self.name}: there is no field to learn from")
        for field in self.fields:
            count = getattr(field, "min_count", 1)
            require(count >= 1, f"{field.name}: min_count must be at least 1, got {count}")

    def describe(self) -> dict[str, Any]:
        """All that the encoded rows depend on, beside the raw files and the split, as plain values."""
        fields = [
            [type(field).__name__, {key: value for key, value in vars(field).items() if key != "value"}]
            for field in self.fields
        ]
        own = {"name": self.name, "version": self.version, "protocol": self.protocol, "settings": self.settings}
        return {**own, "fields": fields}
