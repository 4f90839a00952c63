"""Which row goes where."""

import random
from array import array

import numpy as np


def paper(rows: int, seed: int) -> tuple[np.ndarray, dict[str, tuple[int, int]]]:
    """The split of the authors' code: a shuffled order of the rows, and where each part lies in it.

    All rows are shuffled with Python's ``random.seed(seed); random.shuffle(rows)``; the first tenth is the test
    split, the next the validation split, the rest the training split (bounds ``int(n * .1)`` and ``int(n * .2)``).
    Shuffling row numbers instead of rows gives the same membership and order.
    """
    order = array("q", range(rows))
    random.Random(seed).shuffle(order)
    test, valid = int(rows * 0.1), int(rows * 0.2)
    return np.frombuffer(order, dtype=np.int64), {"test": (0, test), "valid": (test, valid), "train": (valid, rows)}


SPLITS = {"paper": paper}
