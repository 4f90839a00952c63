"""Models beside LightGBM on the same rows, three seeds: python examples/compare.py clicks.csv click

One split, and settings that nobody tuned: a small gap says nothing. eulernet reproduce table=equal_effort is fairer.
"""

import sys

import pandas as pd

import eulernet

file, label = sys.argv[1:]
rows = []
for model in ["sklearn_lr", "lightgbm", "fm", "deepfm", "eulernet"]:
    for seed in (1, 2, 3):
        report = eulernet.fit(file, label=label, model=model, seed=seed, verbose=False).report
        rows.append({"model": model, **{name: report["test"][name] for name in ("auc", "logloss")}})

table = pd.DataFrame(rows).groupby("model", sort=False).agg(["mean", "std"])
print(table.round(4).to_string())
