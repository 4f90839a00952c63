"""Hashed categories: the id of a value is a hash of its text, so that nothing needs to be known of it beforehand."""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import polars as pl

from eulernet.data.kinds.vocabulary import Engine
from eulernet.data.spelling import respelled
from eulernet.data.values import Raw
from eulernet.errors import require


def hashed(field: Mapping[str, Any], value: Any, ids: Any) -> list[Any]:  # the plain twin, for exported folders
    if value is None:
        return [0]
    # Readers make 37 or 37.0 of 00037 and True of true, and no vocabulary tells which was meant: all are hashed as one.
    text = respelled(str(value), False, 0, ("false", "true"))
    text = str(int(text)) if re.fullmatch(r"[+-]?[0-9]{1,4000}", text) else text
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    return [1 + int.from_bytes(digest, "little") % field["buckets"]]


@dataclass(frozen=True)
class HashedCoder:
    """1 + the first 8 bytes of BLAKE2b (RFC 7693) of the value's text, little-endian, modulo ``buckets``.

    3, 003 and 3.0 are one text, and so are true and True.
    """

    kind: ClassVar[str] = "hash"
    columns: ClassVar[int] = 1
    vocabulary: ClassVar[None] = None
    name: str
    buckets: int

    def encode(self, values: pl.Series) -> np.ndarray:
        distinct = values.unique()
        ids = [hashed({"buckets": self.buckets}, value, None)[0] for value in distinct.to_list()]
        return values.replace_strict(distinct, pl.Series(ids, dtype=pl.Int32), return_dtype=pl.Int32).to_numpy()

    def settings(self) -> dict[str, Any]:
        return {"size": self.buckets + 1, "buckets": self.buckets}

    @classmethod
    def read(cls, described: Mapping[str, Any], folder: Path) -> "HashedCoder":
        right = type(described["buckets"]) is int and described["size"] == described["buckets"] + 1 > 1
        require(right, f"field {described['name']} is described wrongly")
        return cls(described["name"], described["buckets"])

    def names(self, ids: list[int]) -> list[str]:
        return ["missing" if i == 0 else f"bucket {i}" for i in ids]


@dataclass(frozen=True)
class Hashed:
    """A field of ids in ``buckets`` buckets, which values may share. Unknown ones have one, too; missing ones id 0."""

    coder: ClassVar[type[HashedCoder]] = HashedCoder
    of: ClassVar[str] = "category"
    settings: ClassVar[dict[str, Any]] = {"buckets": 1 << 16}
    name: str
    raw: Raw
    buckets: int

    def fit(self, typed: pl.LazyFrame, engine: Engine) -> HashedCoder:
        return HashedCoder(self.name, self.buckets)
