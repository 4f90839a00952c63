"""The settings of a history that is computed from the log, as ``dataset=table`` has them."""

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from eulernet.data.histories import LogKeys
from eulernet.data.lines import Dtype
from eulernet.data.times import check_moments
from eulernet.errors import require, require_known

NEEDED = ("by", "of", "order")


def check(name: str, log: Mapping[str, Any], there: Sequence[str], split: str, label: str) -> None:
    """UserError for a history that lacks something, or that would tell training the labels of test rows.

    ``label`` is the column of the label.
    """
    where = f"dataset.fields.{name}"
    require(log.get("kind") == "history", f"{where}: by, of and order go with kind: history")
    lacking = [key for key in NEEDED if not isinstance(log.get(key), str)]
    require(not lacking, f"{where}: a history from the log takes by, of and order; give {' and '.join(lacking)}")
    require(name not in there, f"{where}: there is a column {name}; give a history from the log another name")
    same_as = log.get("same_as", log["of"])
    require(same_as == log["of"], f"{where}: its items are those of {log['of']}, so same_as cannot be {same_as}")
    for key in ("by", "order"):
        require_known(log[key], dict.fromkeys(there), f"{where}.{key}: no column {log[key]!r}")
        require(log[key] != label, f"{where}.{key}: {label} is the label; a history by it would give the answer away")
    shuffled = log.get("clicked") is True and split in ("random", "paper")
    why = "training rows would know the labels of test rows that came before them; give dataset.split=time"
    require(not shuffled, f"{where}.clicked=true with dataset.split={split}: {why}")


def keys(name: str, log: Mapping[str, Any], types: Mapping[str, Dtype], order: pl.Expr) -> LogKeys:
    """Whose a row is and when it was, for the history ``name``; as text, 3 and 3.0 are one person."""
    by = pl.col(log["by"])
    by = by.str.replace(r"^([+-]?[0-9]+)\.0+$", "$1") if types[log["by"]] == pl.String else by
    return LogKeys(by, order, check_moments(log["order"], f"history {name}"))
