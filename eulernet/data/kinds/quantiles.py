"""Quantiles: a number as one of at most ``classes`` classes of about equally many rows."""

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import polars as pl

from eulernet.data.kinds.vocabulary import Engine, counted
from eulernet.data.values import Raw
from eulernet.errors import require


@dataclass(frozen=True)
class QuantileCoder:
    """The id of a number is 1 + how many of ``edges`` it reaches."""

    kind: ClassVar[str] = "quantiles"
    columns: ClassVar[int] = 1
    vocabulary: ClassVar[None] = None
    name: str
    edges: list[float]

    def encode(self, values: pl.Series) -> np.ndarray:
        ids = np.searchsorted(self.edges, values.fill_null(0).to_numpy(), side="right") + 1
        return np.where(values.is_null().to_numpy(), 0, ids)

    def settings(self) -> dict[str, Any]:
        return {"size": len(self.edges) + 2, "edges": self.edges}

    @classmethod
    def read(cls, described: Mapping[str, Any], folder: Path) -> "QuantileCoder":
        edges = described["edges"]
        right = all(isinstance(edge, float | int) for edge in edges) and described["size"] == len(edges) + 2
        require(right, f"field {described['name']} is described wrongly")
        return cls(described["name"], edges)

    def names(self, ids: list[int]) -> list[str]:
        edges = [f"{edge:g}" for edge in self.edges]
        classes = ["missing", *(f"{low} to {high}" for low, high in zip(["-∞", *edges], [*edges, "∞"], strict=True))]
        return [classes[i] for i in ids]


@dataclass(frozen=True)
class Quantiles:
    """A field of ids from a number: one of at most ``classes`` classes of about equally many rows; 0 if missing."""

    coder: ClassVar[type[QuantileCoder]] = QuantileCoder
    of: ClassVar[str] = "number"
    settings: ClassVar[dict[str, Any]] = {"classes": 20}
    name: str
    raw: Raw
    classes: int

    def fit(self, typed: pl.LazyFrame, engine: Engine) -> QuantileCoder:
        counts = counted(typed).drop_nulls().sort("value").collect(engine=engine)
        require(len(counts) > 0, f"field {self.name} is missing in every row; leave it out")
        values, below = counts["value"].to_numpy(), counts["rows"].cum_sum().to_numpy()
        bounds = np.arange(1, self.classes) * below[-1] / self.classes
        edges = np.unique(values[np.searchsorted(below, bounds, side="right")])
        return QuantileCoder(self.name, edges[edges > values[0]].tolist())


def quantiles(field: Mapping[str, Any], value: Any, ids: Any) -> list[Any]:  # the plain twin, for exported folders
    return [0 if value is None else 1 + bisect_right(field["edges"], value)]
