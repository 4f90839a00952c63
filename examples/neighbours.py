"""Films that a model takes for alike, from the embeddings of a run: python examples/neighbours.py raw/ml-100k

The folder holds GroupLens' ml-100k (u.data and u.item). The vectors are Parquet, as pandas or a vector database takes.
"""

import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl

import eulernet

if len(sys.argv) != 2:
    sys.exit(__doc__)
raw, films = Path(sys.argv[1]), {}
for line in (raw / "u.item").read_text("latin-1").splitlines():
    number, title, *_ = line.split("|")
    films[int(number)] = title
names = ["user_id", "item_id", "rating", "timestamp"]
rows = pl.read_csv(raw / "u.data", separator="\t", has_header=False, new_columns=names).drop("timestamp")
rows = rows.with_columns(click=pl.col("rating") >= 4).drop("rating")
run = eulernet.fit(rows, "click", {"name": "fm", "embedding_dim": 16}, seed=1)

subprocess.run([sys.executable, "-m", "eulernet.export", f"run={run.folder}", "format=embeddings"], check=True)
items = pl.read_parquet(run.folder / "embeddings" / "item_id.parquet")
items = items.filter(pl.col("count") >= 100)  # who was rated rarely is nobody's neighbour
vectors = items["vector"].to_numpy()
vectors = vectors - vectors.mean(axis=0)
vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
titles = np.array([films[int(number)] for number in items["value"]])
for title in ("Star Wars (1977)", "Toy Story (1995)", "Scream (1996)"):
    near = vectors @ vectors[titles == title][0]
    print(title, "->", "; ".join(titles[np.argsort(-near)[1:6]]))
