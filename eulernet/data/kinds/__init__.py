"""The kinds of fields. One file has all of a kind; ``KINDS`` is the one table of them.

A kind is a pair of classes: what a recipe says of a field (``Category``), and what is fitted on its values
(``CategoryCoder``) and encodes any rows after that. Beside them stands the plain twin, a function of the standard
library and numpy that exported folders carry: ``(what fields.json says, typed value, value to id) -> columns of x``.

Each field takes one column of x, a bag as many as it keeps members. A category is its id, a number the bits of its
float32, a bag the ids of its members and then -1. A coder is fitted on a frame with one column, ``value``.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from eulernet.data.kinds.bag import Bag, BagCoder, bag
from eulernet.data.kinds.category import Category, CategoryCoder, category
from eulernet.data.kinds.hashed import Hashed, HashedCoder, hashed
from eulernet.data.kinds.history import History, HistoryCoder, Log, history
from eulernet.data.kinds.number import SCALINGS, Number, NumberCoder, number
from eulernet.data.kinds.quantiles import QuantileCoder, Quantiles, quantiles
from eulernet.data.kinds.vectors import Given, Vectors
from eulernet.data.store import vectors_file, vocabulary_file
from eulernet.data.values import Raw
from eulernet.errors import UserError, choose, require, require_known

__all__ = [
    "KINDS", "Bag", "BagCoder", "Category", "CategoryCoder", "Coder", "Field", "Hashed", "HashedCoder", "History",
    "HistoryCoder", "Log", "Number", "NumberCoder", "QuantileCoder", "Quantiles",
]  # fmt: skip

AT_ONCE = 64  # files of vocabularies that are written at once

Field = Category | Hashed | Quantiles | Number | Bag | History
Coder = CategoryCoder | HashedCoder | QuantileCoder | NumberCoder | BagCoder | HistoryCoder


@dataclass(frozen=True)
class Kind:
    """A kind by the name that ``dataset=table`` has for it.

    Its raw column is read as ``reads``; None keeps Parquet's whole numbers and lists, and reads all else as text.
    ``transform`` is one of ``values.TRANSFORMS``.
    """

    field: type[Field]
    twin: Callable[[Mapping[str, Any], Any, Mapping[Any, int] | None], list[Any]]
    reads: pl.DataType | type[pl.DataType] | None = None
    transform: str = "as_is"


KINDS = {
    "category": Kind(Category, category),
    "hash": Kind(Hashed, hashed),
    "quantiles": Kind(Quantiles, quantiles, pl.Float64),
    "number": Kind(Number, number, pl.Float64),
    "log_square": Kind(Category, category, pl.Int64, "log_square"),
    "bag": Kind(Bag, bag, transform="members"),
    "history": Kind(History, history, transform="members"),
}


# What each setting of a field may be, and how that is said.
POSSIBLE: dict[str, tuple[Callable[[Any], bool], str]] = {
    "min_count": (lambda value: type(value) is int and value >= 1, "a whole number from 1"),
    "length": (lambda value: type(value) is int and 1 <= value < 1 << 16, "a whole number from 1, below 65536"),
    "classes": (lambda value: type(value) is int and value >= 2, "a whole number from 2"),
    "buckets": (lambda value: type(value) is int and 1 <= value < 2**31 - 1, "a whole number from 1, below 2^31 - 1"),
    "standardise": (lambda value: type(value) is bool, "true or false"),
    "scaling": (lambda value: value in SCALINGS, " or ".join(SCALINGS)),
    "separator": (lambda value: isinstance(value, str) and value != "", "what stands between two members"),
    "pooling": (lambda value: value in ("mean", "sum"), "mean or sum"),
    "same_as": (lambda value: isinstance(value, str), "the name of a field of the kind category or hash"),
    "by": (lambda value: isinstance(value, str), "the column that says whose row it is, as user_id"),
    "of": (lambda value: isinstance(value, str), "the name of a field of the kind category or hash, as item_id"),
    "order": (lambda value: isinstance(value, str), "a column of times or numbers"),
    "clicked": (lambda value: type(value) is bool, "true or false"),
    "vectors": (lambda value: isinstance(value, str) and value != "", "a Parquet file with value and vector"),
    "frozen": (lambda value: type(value) is bool, "true or false"),
}


def settings_of(name: str, given: Any) -> dict[str, Any]:
    """The settings of one field with its ``kind``, from its kind alone or from ``{kind: ..., setting: ...}``.

    UserError for a kind or a setting that does not exist, or that cannot be.
    """
    given = {"kind": given} if isinstance(given, str) else given
    require(isinstance(given, Mapping) and "kind" in given, f"dataset.fields.{name}: give a kind: {', '.join(KINDS)}")
    known = choose(KINDS, str(given["kind"]), f"kind of dataset.fields.{name}").field.settings
    for key, value in given.items():
        if key != "kind":
            require_known(key, known, f"dataset.fields.{name}: no setting {key!r}")
            check_setting(f"dataset.fields.{name}.{key}", key, value)
    return {**known, **given}


def check_setting(shown: str, key: str, value: Any) -> None:
    """UserError, which calls it ``shown``, for a setting of a field that cannot be."""
    possible, what = POSSIBLE[key]
    require(possible(value), f"{shown}={value}: should be {what}")


def dtype_of(kind: str, dtype: pl.DataType) -> pl.DataType | type[pl.DataType]:
    """What the raw column of a field is read as, where its file has ``dtype``."""
    if reads := KINDS[kind].reads:
        return reads
    if isinstance(dtype, pl.List):
        return dtype
    if dtype.is_integer() and dtype not in (pl.Int128, pl.UInt128) and KINDS[kind].field.of == "category":
        return pl.UInt64 if dtype == pl.UInt64 else pl.Int64  # parts may differ in width
    return pl.String


def make_field(name: str, settings: Mapping[str, Any], dtype: pl.DataType | type[pl.DataType]) -> Field:
    """The field that ``settings_of`` describes, of a raw column that is read as ``dtype``."""
    own = dict(settings)
    kind, separator = KINDS[own.pop("kind")], own.pop("separator", None)
    raw = Raw(name, kind.transform, None if isinstance(dtype, pl.List) else separator)
    if kind.field is Category and kind.reads is None and dtype.is_integer():
        own["as_text"] = True
    if kind.field is Category:
        file, frozen = own.pop("vectors"), own.pop("frozen")
        own["vectors"] = None if file is None else Vectors.read(Path(file).expanduser(), frozen)
    if kind.field is History:
        made = {key: own.pop(key) for key in ("by", "of", "order", "clicked")}
        own["log"] = None if made["by"] is None else Log(**made)
        own["same_as"] = made["of"] or own["same_as"]
    return kind.field(name=name, raw=raw, **own)


def check_sharing(fields: Sequence[Field]) -> None:
    """UserError for a history that is to have the ids of a field that there is not, or that has none to share."""
    ids = {one.name: one for one in fields if isinstance(one, Category | Hashed) and one.raw.transform == "as_is"}
    for one in fields:
        if isinstance(one, History) and one.same_as is not None and one.same_as not in ids:
            setting = "same_as" if one.log is None else "of"
            what = f"{one.same_as!r} is no field of the kind category or hash ({', '.join(ids) or 'there is none'})"
            raise UserError(f"dataset.fields.{one.name}.{setting}: {what}")


def kind_of(described: Mapping[str, Any]) -> str:
    """The kind of a field that meta.json describes; older stores call quantiles a category with edges."""
    return "quantiles" if "edges" in described else str(described["kind"])


def value_kind(described: Mapping[str, Any]) -> str:
    """What ``values.value_of`` is to make of the raw value: a category, a number or a bag."""
    return choose(KINDS, kind_of(described), "kind of field").field.of


def encode(
    coders: Sequence[Coder], typed: pl.DataFrame, computed: Mapping[str, Callable[[np.ndarray], None]] | None = None
) -> tuple[np.ndarray, list[int]]:
    """The columns of ``typed``, one a coder, encoded: int32 [rows, columns], and in how many rows each has id 0.

    ``computed`` fills in the ids [rows, columns] of fields that have no column there.
    """
    out, first, zeros = np.empty((len(typed), sum(coder.columns for coder in coders)), dtype=np.int32), 0, []
    columns = iter(typed)
    for coder in coders:
        codes = out[:, first : first + coder.columns]
        if computed and coder.name in computed:
            computed[coder.name](codes)
        else:
            codes[:] = coder.encode(next(columns)).reshape(codes.shape)
        if coder.kind != "number":  # one table for all fields: an id too large would read a neighbour's row
            assert codes.max(initial=0) < coder.settings()["size"]
        zero = codes == 0
        zeros.append(0 if coder.kind == "number" else int(zero.reshape(len(typed), -1).any(axis=1).sum()))
        first += coder.columns
    return out, zeros


def describe(coder: Coder) -> dict[str, Any]:
    """What meta.json says of a field."""
    return {"name": coder.name, "kind": coder.kind, **coder.settings()}


def write(coders: Sequence[Coder], folder: Path) -> None:
    """Put the vocabularies of the fields that have one into the store in ``folder``."""
    (folder / "vocab").mkdir(exist_ok=True)
    known = {coder.name: coder.vocabulary for coder in coders if coder.vocabulary is not None}
    sinks = [vocabulary.sink(folder / vocabulary_file(name)) for name, vocabulary in known.items()]
    for first in range(0, len(sinks), AT_ONCE):
        pl.collect_all(sinks[first : first + AT_ONCE], engine="streaming")
    for name, given in given_of(coders).items():
        if given.matrix is not None:
            (folder / "vectors").mkdir(exist_ok=True)
            np.save(folder / vectors_file(name), given.matrix)


def given_of(coders: Sequence[Coder]) -> dict[str, Given]:
    """What the ids of some fields have before training, by field."""
    return {one.name: one.given for one in coders if isinstance(one, CategoryCoder) and one.given is not None}


def read(described: Mapping[str, Any], folder: Path) -> Coder:
    """The coder of a field from what meta.json says of it, and its vocabulary in ``folder``.

    UserError for a field that nobody can have trained with: a run may come from anywhere.
    """
    name, kind = described["name"], kind_of(described)
    require(isinstance(name, str) and kind in KINDS, f"field {name} is described wrongly")
    return KINDS[kind].field.coder.read(described, folder)
