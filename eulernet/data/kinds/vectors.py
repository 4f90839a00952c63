"""Vectors that the values of a category have before training, from a Parquet file: of another model, text or images."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from eulernet.data.kinds.vocabulary import Vocabulary
from eulernet.data.spelling import text_of
from eulernet.errors import UserError, require, require_there

COLUMNS = ("value", "vector")


@dataclass(frozen=True)
class Vectors:
    """``numbers`` float32 [n, K] of n ``values``, text; with ``frozen`` a value keeps its vector in training."""

    sum: str
    frozen: bool
    values: pl.Series = field(repr=False)
    numbers: np.ndarray = field(repr=False)

    @classmethod
    def read(cls, file: Path, frozen: bool) -> "Vectors":
        """From a Parquet file with the columns value and vector, a list of numbers, all of one length.

        UserError for what is not so, with the row.
        """
        try:
            content = file.read_bytes()
            frame = pl.read_parquet(content)
        except (OSError, pl.exceptions.PolarsError) as error:
            raise UserError(f"vectors={file} cannot be read as Parquet ({str(error).splitlines()[0]})") from None
        require_there(COLUMNS, frame.columns, f"vectors={file}")
        values, lists = text_of(frame["value"]), frame["vector"]
        inner = getattr(lists.dtype, "inner", pl.Null)
        numbers = isinstance(lists.dtype, pl.List | pl.Array) and inner.is_numeric()
        require(len(frame) > 0, f"vectors={file} has no rows")
        require(numbers, f"vectors={file}: the column vector holds {lists.dtype}, not lists of numbers")
        lists = lists.cast(pl.List(pl.Float32))
        width = lists.list.len()[0] or 0
        of_width = f"{width} numbers, as the first row has"
        flat = lists.explode()
        finite = flat.is_finite().fill_null(False).to_numpy() if width else np.zeros(0, dtype=bool)
        wrong = {
            "has no value": values.is_null(),
            f"has not {of_width}": (lists.list.len() != width).fill_null(True) | (width == 0),
            "has a value that is there twice": ~values.is_first_distinct(),
        }
        for what, rows in wrong.items():
            require(not rows.any(), f"vectors={file}, row {(rows.arg_max() or 0) + 1} {what}")
        row = int(np.argmin(finite)) // width + 1 if not finite.all() else 0
        require(row == 0, f"vectors={file}, row {row} has a number that is missing or not finite")
        matrix = flat.to_numpy().reshape(len(frame), width)
        return cls(hashlib.sha256(content).hexdigest(), frozen, values, matrix)

    def describe(self) -> dict[str, Any]:
        return {"sha256": self.sum, "frozen": self.frozen}


@dataclass(frozen=True)
class Given:
    """What the ids of a field have: ``matrix`` float32 [ids, K], NaN where there is no vector.

    Where only meta.json is known, and not the store, there is no matrix.
    """

    width: int
    frozen: bool
    covered: float  # share of the values that have ids
    matrix: np.ndarray | None = field(default=None, repr=False)

    @classmethod
    def of(cls, vectors: Vectors, vocabulary: Vocabulary, name: str, tail: int) -> "Given":
        """The vectors of the values in ``vocabulary``, whose ids come after ``tail`` others.

        UserError where two of them are one value of the field.
        """
        values = vectors.values
        if vocabulary.values.dtype.is_integer():
            values = values.str.replace(r"\.0+$", "").cast(vocabulary.values.dtype, strict=False)
        ids = vocabulary.ids(values)
        found = np.flatnonzero(ids)
        first = np.unique(ids[found], return_index=True)[1]
        again = np.setdiff1d(np.arange(len(found)), first)
        if len(again):
            raise UserError(
                f"field {name}: vectors has {vectors.values[int(found[again[0]])]!r} twice, in two spellings"
            )
        require(len(found) > 0, f"field {name}: none of the {len(ids):,} values in vectors occurs in the training rows")
        matrix = np.full((len(vocabulary) + 1 + tail, vectors.numbers.shape[1]), np.nan, dtype=np.float32)
        matrix[ids[found] + tail] = vectors.numbers[found]
        return cls(matrix.shape[1], vectors.frozen, len(found) / len(vocabulary), matrix)

    @classmethod
    def read(cls, described: Mapping[str, Any], name: str) -> "Given | None":
        """From what meta.json says of a field; None where it has no vectors."""
        about = described.get("vectors")
        if about is None:
            return None
        right = type(about["width"]) is int and 1 <= about["width"] < 1 << 16 and type(about["frozen"]) is bool
        require(right and isinstance(about["covered"], float | int), f"field {name} is described wrongly")
        return cls(about["width"], about["frozen"], about["covered"])

    @cached_property
    def said(self) -> dict[str, Any]:
        """For meta.json; ``stored``: the store has the matrix, which that of a run's next log lacks."""
        here = self.matrix is not None
        return {"width": self.width, "frozen": self.frozen, "covered": self.covered, "stored": here}
