"""What a caller hands in as rows, as polars frames whose columns are called by text."""

import sys
from collections.abc import Mapping
from typing import Any

import polars as pl

from eulernet.data.frames import frame_of


def is_frame(rows: Any) -> bool:
    """Whether ``rows`` are a pandas or polars frame, or a list of dictionaries."""
    pandas = getattr(sys.modules.get("pandas"), "DataFrame", pl.DataFrame)
    dictionaries = isinstance(rows, list) and bool(rows) and all(isinstance(row, Mapping) for row in rows)
    return isinstance(rows, pl.DataFrame | pandas) or dictionaries


def to_polars(rows: Any) -> pl.DataFrame:
    """All columns of a frame, copied. UserError for two of one name, and for one that holds what no column can."""
    if isinstance(rows, pl.DataFrame):
        return rows.clone()
    names = (name for row in rows for name in row) if isinstance(rows, list) else rows.columns
    return frame_of(rows, list(dict.fromkeys(map(str, names))), ())


def categories(rows: Any) -> list[str]:
    """The columns that the frame itself calls categories: their values are names, though they may look like numbers."""
    types = rows.schema.items() if isinstance(rows, pl.DataFrame) else getattr(rows, "dtypes", {}).items()
    return [str(name) for name, dtype in types if type(dtype).__name__ in ("CategoricalDtype", "Categorical", "Enum")]
