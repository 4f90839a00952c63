"""Score raw rows with onnxruntime and numpy: ``python example.py rows.csv``, or ``score(rows)`` of dictionaries."""

import csv
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnxruntime
from encode import RAW, encode

HERE, THREADS = Path(__file__).parent, os.cpu_count() or 1
ONE = onnxruntime.SessionOptions()
ONE.intra_op_num_threads = 1  # parts of a batch take the threads: onnxruntime's Sin and Cos know only one
SESSION = onnxruntime.InferenceSession(HERE / "model.onnx", ONE, providers=["CPUExecutionProvider"])


def logits(x):
    return SESSION.run(["logits"], {"x": x})[0]


def score(rows):
    """The click probability of each row."""
    parts = np.array_split(encode(rows), min(THREADS, len(rows) // 256 + 1))
    with ThreadPoolExecutor(THREADS) as pool:
        return 1 / (1 + np.exp(-np.concatenate(list(pool.map(logits, parts)))))


if __name__ == "__main__":
    quoting = {"quotechar": RAW["quote"]} if RAW["quote"] else {"quoting": csv.QUOTE_NONE}
    with Path(sys.argv[1]).open(newline="", encoding="utf-8-sig") as lines:
        rows = list(csv.DictReader(lines, RAW["names"], delimiter=RAW["separator"], **quoting))
    print(*score(rows), sep="\n")
