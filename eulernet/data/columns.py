"""What raw rows look like, as plain values; and columns of whatever types to the types that a recipe reads."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import polars as pl

from eulernet.data.lines import Dtype, Format, kind_of
from eulernet.data.spelling import text_of
from eulernet.data.values import Label
from eulernet.errors import UserError, require

NUMBERS: tuple[Dtype, ...] = (
    pl.Int8, pl.Int16, pl.Int32, pl.Int64, pl.UInt8, pl.UInt16, pl.UInt32, pl.UInt64, pl.Float32, pl.Float64,
)  # fmt: skip
DTYPES: dict[str, Dtype] = {**{str(dtype): dtype for dtype in NUMBERS}, "List": pl.List(pl.String)}


def dtype_name(dtype: Dtype) -> str:
    """What meta.json calls a type; what is neither a number nor a list is read as text."""
    if isinstance(dtype, pl.List):
        return "List"
    return str(dtype) if str(dtype) in DTYPES else "String"


def dtype_of(name: str) -> Dtype:
    return DTYPES.get(name, pl.String)


def describe_raw(form: Format, label: Label) -> dict[str, Any]:
    """What meta.json says of raw rows, beside the column and the transform of each field."""
    return {
        "columns": {name: dtype_name(dtype) for name, dtype in form.columns.items()},
        "separator": form.separator,
        "header": form.header,
        "quote": form.quote,
        **({"escape": form.escape} if form.escape else {}),
        "missing": list(form.missing),
        "names": None if form.header else list(form.names or form.columns),
        "label": label.describe(),
    }


def raw_of(described: Mapping[str, Any]) -> tuple[Format, Label]:
    """The reverse of ``describe_raw``."""
    given = dict(described)
    columns = {name: dtype_of(dtype) for name, dtype in given.pop("columns").items()}
    label, missing = Label(**given.pop("label")), tuple(given.pop("missing"))
    return Format(columns=columns, missing=missing, **given), label


def conform(
    frame: pl.DataFrame, columns: Mapping[str, Dtype], missing: Sequence[str], where: Callable[[int], str], what: str
) -> pl.DataFrame:
    """``columns`` of ``frame`` with the types that are wanted; a list keeps its own, and so does what is Unknown.

    Text is what ``spelling.text_of`` makes of a value. Empty text, the words in ``missing`` and, where something else
    than a real number is wanted, NaN are null, whatever container they come in. UserError, with ``where`` the row is
    or, for a whole column of ``what``, its type, for what cannot be converted.
    """
    there = [
        text_of(values) if isinstance(values.dtype, pl.Categorical | pl.Enum | pl.Binary) else values
        for values in map(frame.get_column, columns)
    ]
    made = {}
    for values, (name, dtype) in zip(without(["", *missing], there), columns.items(), strict=True):
        if dtype == pl.Unknown or (isinstance(values.dtype, pl.List) and isinstance(dtype, pl.List)):
            pass
        elif values.dtype == pl.Null:
            values = values.cast(dtype)
        elif dtype == pl.String and values.dtype not in (pl.String, pl.List):
            try:
                values = text_of(values)
            except UserError:
                raise UserError(f"{what}: column {name} of type {values.dtype} is not text") from None
        elif values.dtype != dtype:
            values = number_of(values, dtype, where, f"{what}: column {name} of type {values.dtype}")
        made[name] = values
    return pl.DataFrame(made) if made else frame.select([])


def without(words: Sequence[str], columns: Sequence[pl.Series]) -> list[pl.Series]:
    """``columns`` with null for each of ``words``, which are looked for in all text at once: a request has few rows."""
    texts = [values for values in columns if values.dtype == pl.String]
    found = pl.concat(texts).is_in(words) if texts else pl.Series(dtype=pl.Boolean)
    if not found.any():
        return list(columns)
    parts = (found[i * len(texts[0]) : (i + 1) * len(texts[0])] for i in range(len(texts)))
    words_in = {values.name: part for values, part in zip(texts, parts, strict=True)}
    return [values.set(words_in[values.name], None) if values.name in words_in else values for values in columns]


def number_of(values: pl.Series, dtype: Dtype, where: Callable[[int], str], what: str) -> pl.Series:
    """``values`` as ``dtype``; a whole float is a whole number, and NaN is none. UserError for what is not so."""
    if values.dtype.is_float() and not dtype.is_float():
        values = values.fill_nan(None)
    try:
        require(not values.dtype.is_nested(), "")  # polars would write its members as one text
        cast = values.cast(dtype, strict=False)
    except (pl.exceptions.PolarsError, UserError):
        raise UserError(f"{what} is not {kind_of(dtype)}") from None
    wrong = cast.is_null() & values.is_not_null()
    if values.dtype.is_float() and dtype.is_integer():
        wrong |= (values % 1 != 0).fill_null(False)
    if wrong.any():
        row = int(wrong.arg_max() or 0)
        wrong_how = "which is out of range" if values.dtype.is_integer() else f"not {kind_of(dtype)}"
        raise UserError(f"{where(row)}: {values.name} is {values[row]!r}, {wrong_how}")
    return cast
