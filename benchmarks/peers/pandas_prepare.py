"""Criteo as notebooks and the examples of DeepCTR do it, in pandas; run inside its environment by bench_peers.py.

python pandas_prepare.py build RAW OUT    x_*.npy and y_*.npy for train, valid and test

Where such code differs, this takes the faster way: factorize and not scikit-learn's LabelEncoder, one matrix of ids
and not a dictionary of columns.
"""

import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd

NUMBERS = [f"I{i}" for i in range(1, 14)]
CATEGORIES = [f"C{i}" for i in range(1, 27)]


def build(raw: Path, out: Path) -> None:
    dtypes = {"label": "int8", **dict.fromkeys(NUMBERS, "float64"), **dict.fromkeys(CATEGORIES, "str")}
    data = pd.read_csv(raw, sep="\t", header=None, names=list(dtypes), dtype=dtypes)
    data[CATEGORIES] = data[CATEGORIES].fillna("missing")
    for name in NUMBERS:
        value = data[name]
        large = value > 2
        data[name] = value.mask(large, np.floor(np.log(value.where(large, 1)) ** 2)).fillna(-100)
    for name in CATEGORIES:
        counts = data[name].value_counts()
        data[name] = data[name].where(data[name].map(counts) >= 8, "rare")
    ids = 0
    for name in [*NUMBERS, *CATEGORIES]:
        data[name], values = pd.factorize(data[name])
        ids += len(values)
    data = data.sample(frac=1, random_state=2021)
    tenth = len(data) // 10
    for part, rows in {
        "test": slice(0, tenth),
        "valid": slice(tenth, 2 * tenth),
        "train": slice(2 * tenth, None),
    }.items():
        np.save(out / f"x_{part}.npy", data[[*NUMBERS, *CATEGORIES]].iloc[rows].to_numpy(np.int32))
        np.save(out / f"y_{part}.npy", data["label"].iloc[rows].to_numpy(np.float32))
    print(json.dumps({"ids": ids}))


if __name__ == "__main__":
    {"build": build}[sys.argv[1]](Path(sys.argv[2]), Path(sys.argv[3]))
