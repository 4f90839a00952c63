"""Categories: each value that training saw often enough has an id of its own."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import polars as pl

from eulernet.data.kinds.vocabulary import Engine, Vocabulary
from eulernet.data.spelling import respelled
from eulernet.data.values import Raw


@dataclass(frozen=True)
class CategoryCoder:
    kind: ClassVar[str] = "category"
    columns: ClassVar[int] = 1
    name: str
    vocabulary: Vocabulary

    def encode(self, values: pl.Series) -> np.ndarray:
        return self.vocabulary.ids(values)

    def settings(self) -> dict[str, Any]:
        return {"size": len(self.vocabulary) + 1}

    @classmethod
    def read(cls, described: Mapping[str, Any], folder: Path) -> "CategoryCoder":
        return cls(described["name"], Vocabulary.read(described, folder))

    def names(self, ids: list[int]) -> list[str]:
        return self.vocabulary.names(ids)


@dataclass(frozen=True)
class Category:
    """A field of ids: each value that is seen ``min_count`` times has one; rarer and missing values share id 0.

    ``as_text``: whole numbers that occur equally often have ids in the order of their text.
    """

    coder: ClassVar[type[CategoryCoder]] = CategoryCoder
    of: ClassVar[str] = "category"  # what values.value_of makes of the raw value
    settings: ClassVar[dict[str, Any]] = {"min_count": None}
    name: str
    raw: Raw
    min_count: int = 1
    as_text: bool | None = None

    def fit(self, typed: pl.LazyFrame, engine: Engine) -> CategoryCoder:
        found = Vocabulary.of(typed, self.name, self.min_count, engine, as_text=self.as_text)
        return CategoryCoder(self.name, found)


def id_of(field: Mapping[str, Any], value: Any, ids: Any) -> int:  # the plain twin, for exported folders
    found = ids.get(value, 0)
    return found if found or not isinstance(value, str) else ids.get(respelled(value, **field["spelling"]), 0)


def category(field: Mapping[str, Any], value: Any, ids: Any) -> list[Any]:  # the plain twin, for exported folders
    return [id_of(field, value, ids)]
