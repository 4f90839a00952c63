"""Bags: several values at once, whose embeddings are pooled."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import polars as pl

from eulernet.data.kinds.category import id_of
from eulernet.data.kinds.vocabulary import Engine, Vocabulary
from eulernet.data.values import Raw
from eulernet.errors import require

LONGEST = 256  # members of a bag whose length is not given: each takes a column of every row


def ids_of_lists(lists: pl.Series, columns: int, ids_of: Callable[[pl.Series], np.ndarray]) -> np.ndarray:
    """int32 [rows, columns]: what ``ids_of`` makes of the members of each list, at most ``columns``, and then -1."""
    counts = lists.list.len().fill_null(0).to_numpy().astype(np.int64)
    row = np.repeat(np.arange(len(counts)), counts)
    place = np.arange(len(row)) - np.repeat(np.cumsum(counts) - counts, counts)
    ids = np.full((len(counts), columns), -1, dtype=np.int32)
    ids[row, place] = ids_of(lists.filter(pl.Series(counts > 0)).explode())
    return ids


@dataclass(frozen=True)
class BagCoder:
    """Ids as for a category, of the first ``columns`` members, then -1; their vectors are pooled by ``pooling``."""

    kind: ClassVar[str] = "bag"
    name: str
    vocabulary: Vocabulary
    columns: int
    pooling: Literal["mean", "sum"]

    def encode(self, values: pl.Series) -> np.ndarray:
        return ids_of_lists(values.list.head(self.columns), self.columns, self.vocabulary.ids)

    def settings(self) -> dict[str, Any]:
        own = {"size": len(self.vocabulary) + 1, "length": self.columns, "pooling": self.pooling}
        return {**own, **self.vocabulary.said}

    @classmethod
    def read(cls, described: Mapping[str, Any], folder: Path) -> "BagCoder":
        right = described["pooling"] in ("mean", "sum") and described["length"] in range(1, 1 << 16)
        require(right, f"field {described['name']} is described wrongly")
        vocabulary = Vocabulary.read(described, folder)
        return cls(described["name"], vocabulary, described["length"], described["pooling"])

    def names(self, ids: list[int]) -> list[str]:
        return self.vocabulary.names(ids)


@dataclass(frozen=True)
class Bag:
    """A field of several values at once, whose embeddings are pooled: its value is a list.

    The first ``length`` members of a list are kept; None keeps as many as the longest has, of the rows that ids come
    from. Members seen less often than ``min_count`` share id 0; a missing or empty list pools to the zero vector.
    """

    coder: ClassVar[type[BagCoder]] = BagCoder
    of: ClassVar[str] = "bag"
    settings: ClassVar[dict[str, Any]] = {"min_count": None, "separator": "|", "length": None, "pooling": "mean"}
    name: str
    raw: Raw
    min_count: int
    length: int | None
    pooling: Literal["mean", "sum"]

    def fit(self, typed: pl.LazyFrame, engine: Engine) -> BagCoder:
        length = self.length
        if length is None:
            length = typed.select(pl.col("value").list.len().max()).collect(engine=engine).item() or 1
            require(length <= LONGEST, f"field {self.name}: a row has {length} members; say how many to keep (length)")
        members = typed.select(pl.col("value").explode())
        return BagCoder(self.name, Vocabulary.of(members, self.name, self.min_count, engine), length, self.pooling)


def bag(field: Mapping[str, Any], value: Any, ids: Any) -> list[Any]:  # the plain twin, for exported folders
    members = [id_of(field, member, ids) for member in value or []][: field["length"]]
    return members + [-1] * (field["length"] - len(members))
