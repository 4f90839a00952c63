"""Which row goes where."""

import random
from array import array

import numpy as np
import polars as pl


def paper(table: pl.DataFrame, seed: int) -> tuple[np.ndarray, dict[str, tuple[int, int]]]:
    """The split of the authors' code: a shuffled order of the rows, and where each part lies in it.

    All rows are shuffled with Python's ``random.seed(seed); random.shuffle(rows)``; the first tenth is the test
    split, the next the validation split, the rest the training split (bounds ``int(n * .1)`` and ``int(n * .2)``).
    Shuffling row numbers instead of rows gives the same membership and order.
    """
    rows = len(table)
    order = array("q", range(rows))
    random.Random(seed).shuffle(order)
    test, valid = int(rows * 0.1), int(rows * 0.2)
    return np.frombuffer(order, dtype=np.int64), {"test": (0, test), "valid": (test, valid), "train": (valid, rows)}


SPLITS = {"paper": paper}  # each takes the scanned table and a seed: a split may go by what is in the rows
