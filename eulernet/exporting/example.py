"""Score raw rows with onnxruntime and numpy: ``python example.py rows.csv``, or ``score(rows)`` of dictionaries."""

import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnxruntime
from encode import encode, probabilities, read

HERE, THREADS = Path(__file__).parent, os.cpu_count() or 1
ONE = onnxruntime.SessionOptions()
ONE.intra_op_num_threads = 1  # parts of a batch take the threads: onnxruntime's Sin and Cos know only one
SESSION = onnxruntime.InferenceSession(HERE / "model.onnx", ONE, providers=["CPUExecutionProvider"])


def logits(x):
    return SESSION.run(["logits"], {"x": x})[0]


def score(rows):
    """The click probability of each row."""
    if not rows:
        return np.empty(0, np.float32)
    parts = np.array_split(encode(rows), min(THREADS, len(rows) // 256 + 1))
    with ThreadPoolExecutor(THREADS) as pool:
        return probabilities(np.concatenate(list(pool.map(logits, parts))))


if __name__ == "__main__":
    print(*score(read(sys.argv[1])), sep="\n")
