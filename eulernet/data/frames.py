"""Rows in memory, as people have them, to a polars frame of the columns that are wanted."""

import sys
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from eulernet.data.spelling import written
from eulernet.errors import UserError, require, require_there

if TYPE_CHECKING:
    import pandas as pd

    Rows = pd.DataFrame | pl.DataFrame | Sequence[Mapping[str, Any]]

NUMBER = int | float | np.number | Decimal


def frame_of(rows: "Rows", columns: Iterable[str], required: Iterable[str]) -> pl.DataFrame:
    """Those of ``columns`` that ``rows`` has: a pandas or polars frame, or a list of dictionaries.

    Names are text: a column or a key 1 is called "1". UserError where a frame lacks a ``required`` column or a
    dictionary a key, or two columns have one name.
    """
    required = dict.fromkeys(required)
    if isinstance(rows, pl.DataFrame):
        own_names = dict.fromkeys(rows.columns)
        require_there(required, own_names, "rows")
        found = rows.select(name for name in columns if name in own_names)
        return found if found.width else pl.DataFrame(height=len(rows))
    # Who hands in a frame has imported pandas; what another thread is still importing has no such name yet.
    frame_of_pandas = getattr(sys.modules.get("pandas"), "DataFrame", None)
    if frame_of_pandas is not None and isinstance(rows, frame_of_pandas):
        own = {str(name): name for name in rows.columns}
        require_there(required, own, "rows")
        return frame_from(
            lambda name: column_of_pandas(rows[own[name]], name), columns, map(str, rows.columns), len(rows)
        )
    if isinstance(rows, Sequence) and all(isinstance(row, Mapping) for row in rows):
        rows = [row if all(type(name) is str for name in row) else called_by_text(row) for row in rows]
        for i, row in enumerate(rows):
            if not required.keys() <= row.keys():
                raise UserError(f"row {i + 1} has no {next(name for name in required if name not in row)!r}")
        there = dict.fromkeys(name for row in rows for name in row)
        return frame_from(lambda name: series(name, [row.get(name) for row in rows]), columns, there, len(rows))
    raise UserError(
        f"rows are given as {type(rows).__name__}; give a pandas or polars frame, a list of dictionaries, or the path "
        "of a CSV, TSV or Parquet file"
    )


def called_by_text(row: Mapping[Any, Any]) -> dict[str, Any]:
    named = {str(name): value for name, value in row.items()}
    require(len(named) == len(row), f"a row has two keys of one name, as 1 and '1': {', '.join(map(repr, row))}")
    return named


def frame_from(
    make: Callable[[str], pl.Series], columns: Iterable[str], there: Iterable[Any], rows: int
) -> pl.DataFrame:
    counts, columns = Counter(iter(there)), list(columns)
    twice = [name for name in columns if counts[name] > 1]
    require(not twice, f"column {', '.join(twice)} is there twice")
    made = {name: make(name) for name in columns if name in counts}
    return pl.DataFrame(made) if made else pl.DataFrame(height=rows)


def series(name: str, values: list[Any]) -> pl.Series:
    """Values of any types as one column. Those of several types, but for numbers, become text."""
    try:
        types = {*map(type, values)}
        if types <= {str, type(None)}:
            return pl.Series(name, values, dtype=pl.String)
        values = [plain(value) for value in values]
        types = {*map(type, values)} - {type(None)}
        nested = {kind for kind in types if issubclass(kind, list | tuple | dict | set)}
        require(not nested or nested == types, "lists or dictionaries among other values")
        if len(types) > 1 and not nested and not all(issubclass(kind, NUMBER) for kind in types):
            values = [None if value is None or value != value else written(value) for value in values]
        return pl.Series(name, values, strict=False)
    except (pl.exceptions.PolarsError, TypeError, OverflowError, ValueError) as error:
        raise UserError(f"column {name} cannot be read ({str(error).splitlines()[0]})") from None


def plain(value: Any) -> Any:
    """Python's own value for numpy's lists, whole numbers and truth values, and None for pandas' missing values.

    polars cuts 2.5 to 2 behind a numpy.int64. A numpy.float32 stays: its text has fewer digits than that of a float.
    """
    if isinstance(value, np.ndarray | np.integer | np.bool_):
        return value.tolist()
    return None if type(value).__name__ in ("NAType", "NaTType") else value


def column_of_pandas(column: "pd.Series[Any]", name: str) -> pl.Series:
    """A column of pandas; NaN, NaT and NA are null, but NaN among numpy's own numbers stays for others to judge."""
    if getattr(column.dtype, "kind", "O") in "iufb" and hasattr(column.dtype, "byteorder"):
        return pl.Series(name, column.to_numpy())
    values = column.to_numpy(dtype=object, copy=True)
    values[column.isna().to_numpy()] = None
    return series(name, values.tolist())
