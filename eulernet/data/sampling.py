"""Rows that count more, less or not at all: weights, and negatives (rows that are no click) that were left out.

Where a share k of the negatives is kept, the odds of a click grow by 1 / k: the logit of a model that was trained on
such rows is too high by -log(k), for every row the same (King and Zeng, 2001; He et al., ADKDD 2014, section 6.3).
``correction`` is what is added to it.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl

from eulernet.data.splits import CHUNK, LABEL, WEIGHT, Cut, Rows, Splitter
from eulernet.errors import require

KEEP, KEPT = "keep_negatives", "negatives_kept"  # of the training rows; of the log, before it came


def check_share(name: str, share: float | None) -> None:
    """UserError unless ``share`` is None, or above 0 and at most 1."""
    require(share is None or 0 < share <= 1, f"dataset.{name}={share}: give the share that is kept, above 0, at most 1")


def counted(own: Splitter, share: float | None, seed: int, *, weighted: bool = False) -> Splitter:
    """``own``, of whose training rows those are left out that do not count; the other splits stay whole.

    Left out are rows of weight 0, and negatives beyond ``share``: each by a draw of its own, which depends on the
    row's number in the log and on ``seed`` alone. UserError where no training row is left.
    """
    share = None if share == 1 else share
    if share is None and not weighted:
        return own

    def cut(rows: Rows) -> Cut:
        found, keep = own.cut(rows), np.ones(rows.count, dtype=bool)
        if share is not None:
            draw = np.random.default_rng([seed, 1])  # the split's own draws are those of the seed alone
            for start in range(0, rows.count, CHUNK):
                part = keep[start : start + CHUNK]
                part[:] = draw.random(len(part)) < share
            keep |= rows.column(LABEL) == 1
        if weighted:
            keep &= rows.column(WEIGHT) > 0
        train = found["train"]
        numbers = np.arange(*train) if isinstance(train, tuple) else train
        kept = numbers[keep[numbers]]
        require(len(kept) > 0 or not weighted, "dataset.weight: every training row has the weight 0")
        return {**found, "train": train if len(kept) == len(numbers) else kept}

    describe = own.describe if share is None else {**own.describe, KEEP: share}
    return Splitter(describe, cut, own.key, own.check, own.parts)


def said_of_rows(weight: str | None, kept: float | None, split: Splitter) -> dict[str, Any]:
    """What meta.json says of them: only what is set, so that other stores stay what they were."""
    said = {"weight": weight, KEEP: split.describe.get(KEEP), KEPT: kept}
    return {key: value for key, value in said.items() if value is not None}


def correction(meta: Mapping[str, Any]) -> float:
    """What is added to the logit of a model that was trained on the rows that ``meta`` describes. UserError if damaged.

    >>> round(correction({"keep_negatives": 0.1}), 4)
    -2.3026
    """
    shares = [meta.get(key, 1.0) for key in (KEEP, KEPT)]
    right = all(type(share) in (int, float) and 0 < share <= 1 for share in shares)
    require(right, f"meta.json is damaged: {KEEP} and {KEPT} should be shares, above 0, at most 1")
    return math.fsum(math.log(share) for share in shares)


def measured(labels: np.ndarray, weights: np.ndarray | None, kept: float) -> np.ndarray | None:
    """How much rows count in a measure where a share ``kept`` of the negatives is there: each stands for 1 / kept.

    float64 [rows]; None where all count alike.
    """
    if weights is None and kept == 1:
        return None
    weights = np.ones(len(labels)) if weights is None else weights
    return np.where(labels == 0, weights / kept, weights)


def weights_in(frame: pl.DataFrame, column: str, where: Any) -> pl.Series:
    """The weights of raw rows, float32. UserError, with the row, for one that is missing, negative or not finite."""
    found = frame[column].cast(pl.Float64).fill_nan(None)
    right = ((found >= 0) & (found <= 1e30)).fill_null(False)
    if not right.all():
        row = int(right.arg_min() or 0)
        value = "missing" if found[row] is None else f"{found[row]:g}"
        require(False, f"{where(row)}: the weight {column} is {value}; it should be a number from 0")
    return found.cast(pl.Float32).alias(WEIGHT)
