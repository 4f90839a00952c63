"""Rows in memory, as people have them, to a polars frame of the columns that are wanted."""

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from eulernet.data.spelling import written
from eulernet.errors import UserError, require

if TYPE_CHECKING:
    import pandas as pd

    Rows = pd.DataFrame | pl.DataFrame | Sequence[Mapping[str, Any]]


def frame_of(rows: "Rows", columns: Iterable[str], required: Iterable[str]) -> pl.DataFrame:
    """Those of ``columns`` that ``rows`` has: a pandas or polars frame, or a list of dictionaries.

    UserError where a dictionary lacks a ``required`` key; whether a frame has all columns is for others to check.
    """
    if isinstance(rows, pl.DataFrame):
        return rows.select(name for name in columns if name in rows.columns)
    # Who hands in a frame has imported pandas; what another thread is still importing has no such name yet.
    frame_of_pandas = getattr(sys.modules.get("pandas"), "DataFrame", None)
    if frame_of_pandas is not None and isinstance(rows, frame_of_pandas):
        return frame_from(lambda name: column_of_pandas(rows[name], name), columns, rows.columns, len(rows))
    if isinstance(rows, Sequence) and all(isinstance(row, Mapping) for row in rows):
        for i, row in enumerate(rows):
            for name in required:
                require(name in row, f"row {i + 1} has no {name!r}")
        there = {name: None for row in rows for name in row}
        return frame_from(lambda name: series(name, [row.get(name) for row in rows]), columns, there, len(rows))
    raise UserError(
        f"rows are given as {type(rows).__name__}; give a pandas or polars frame, a list of dictionaries, or the path "
        "of a CSV, TSV or Parquet file"
    )


def frame_from(
    make: Callable[[str], pl.Series], columns: Iterable[str], there: Iterable[Any], rows: int
) -> pl.DataFrame:
    there = list(there)
    twice = [name for name in columns if there.count(name) > 1]
    require(not twice, f"column {', '.join(twice)} is there twice")
    made = [make(name) for name in columns if name in there]
    return pl.DataFrame(made) if made else pl.DataFrame(height=rows)


def series(name: str, values: list[Any]) -> pl.Series:
    """Values of any types as one column; numbers among text become text."""
    try:
        values = [value.tolist() if isinstance(value, np.ndarray) else value for value in values]  # lists of pandas
        if any(isinstance(value, str) for value in values):
            values = [None if isinstance(v, float | np.floating) and v != v else v for v in values]
            values = [written(v) if isinstance(v, int | float | np.number) else v for v in values]
        made = pl.Series(name, values, strict=False)
        mixed = not made.dtype.is_nested() and any(isinstance(value, list | tuple | dict | set) for value in values)
        require(not mixed, f"{made.dtype} and lists or dictionaries")
        return made
    except (pl.exceptions.PolarsError, TypeError, OverflowError, ValueError) as error:
        raise UserError(f"column {name} cannot be read ({str(error).splitlines()[0]})") from None


def column_of_pandas(column: "pd.Series[Any]", name: str) -> pl.Series:
    """A column of pandas; NaN, NaT and NA are null, but NaN among numpy's own numbers stays for others to judge."""
    if getattr(column.dtype, "kind", "O") in "iufb" and hasattr(column.dtype, "byteorder"):
        return pl.Series(name, column.to_numpy())
    values = column.to_numpy(dtype=object, copy=True)
    values[column.isna().to_numpy()] = None
    return series(name, values.tolist())
