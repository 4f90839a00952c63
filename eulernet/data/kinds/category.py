"""Categories: each value that training saw often enough has an id of its own; the others share one, or some buckets."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import polars as pl

from eulernet.data.kinds.hashed import HashedCoder, hashed
from eulernet.data.kinds.vectors import Given, Vectors
from eulernet.data.kinds.vocabulary import Engine, Vocabulary
from eulernet.data.spelling import respelled
from eulernet.data.values import Raw
from eulernet.errors import require


@dataclass(frozen=True)
class CategoryCoder:
    kind: ClassVar[str] = "category"
    columns: ClassVar[int] = 1
    """The i-th value has id i + ``tail``, from 1; another one its hash's bucket of 1 ... ``tail``, or 0 without any."""

    name: str
    vocabulary: Vocabulary
    tail: int = 0  # before the values, so that these can become more
    given: Given | None = None  # vectors that ids have before training

    def encode(self, values: pl.Series) -> np.ndarray:
        ids = self.vocabulary.ids(values)
        if self.tail:
            others = np.flatnonzero(ids == 0)
            ids[ids > 0] += self.tail
            ids[others] = self.hashes.encode(values.gather(others))
        return ids

    @property
    def hashes(self) -> HashedCoder:
        return HashedCoder(self.name, self.tail)

    def settings(self) -> dict[str, Any]:
        tail = {"tail": self.tail} if self.tail else {}
        given = {} if self.given is None else {"vectors": self.given.said}
        return {"size": len(self.vocabulary) + 1 + self.tail, **tail, **given, **self.vocabulary.said}

    @classmethod
    def read(cls, described: Mapping[str, Any], folder: Path) -> "CategoryCoder":
        tail = described.get("tail", 0)
        right = type(tail) is int and 0 <= tail < described["size"]
        require(right, f"field {described['name']} is described wrongly")
        vocabulary = Vocabulary.read({**described, "size": described["size"] - tail}, folder)
        return cls(described["name"], vocabulary, tail, Given.read(described, described["name"]))

    def names(self, ids: list[int]) -> list[str]:
        if not self.tail:
            return self.vocabulary.names(ids)
        return [self.hashes.names([i])[0] if i <= self.tail else self.vocabulary.names([i - self.tail])[0] for i in ids]


@dataclass(frozen=True)
class Category:
    """A field of ids: each value that is seen ``min_count`` times has one; rarer and missing values share id 0.

    With ``buckets`` rarer values share these, by a hash. ``as_text``: whole numbers that occur equally often have ids
    in the order of their text. ``vectors``: what some values have before training.
    """

    coder: ClassVar[type[CategoryCoder]] = CategoryCoder
    of: ClassVar[str] = "category"  # what values.value_of makes of the raw value
    settings: ClassVar[dict[str, Any]] = {"min_count": None, "buckets": None, "vectors": None, "frozen": True}
    name: str
    raw: Raw
    min_count: int = 1
    as_text: bool | None = None
    buckets: int | None = None
    vectors: Vectors | None = None

    def fit(self, typed: pl.LazyFrame, engine: Engine) -> CategoryCoder:
        found = Vocabulary.of(typed, self.name, self.min_count, engine, as_text=self.as_text)
        return self.with_vectors(CategoryCoder(self.name, found, self.buckets or 0))

    def with_vectors(self, coder: CategoryCoder) -> CategoryCoder:
        """``coder``, which was fitted without, with the vectors that its values have before training, if they have."""
        if self.vectors is None:
            return coder
        return replace(coder, given=Given.of(self.vectors, coder.vocabulary, self.name, coder.tail))


def id_of(field: Mapping[str, Any], value: Any, ids: Any) -> int:  # the plain twin, for exported folders
    found, tail = ids.get(value, 0), field.get("tail", 0)
    if not found and isinstance(value, str):
        found = ids.get(respelled(value, **field["spelling"]), 0)
    if tail:
        return found + tail if found else hashed({"buckets": tail}, value, None)[0]
    return found


def category(field: Mapping[str, Any], value: Any, ids: Any) -> list[Any]:  # the plain twin, for exported folders
    return [id_of(field, value, ids)]
