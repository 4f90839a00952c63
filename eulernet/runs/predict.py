"""Click probabilities of raw rows in files of any size, written to a file."""

import time
from pathlib import Path
from typing import Any

import polars as pl

from eulernet import memory
from eulernet.data import disk
from eulernet.data.find import find
from eulernet.data.output import writer
from eulernet.errors import require
from eulernet.runs.predictor import Predictor
from eulernet.training.device import pick_device

COLUMN = "probability"
WHAT = {
    "run": "the folder of a finished run",
    "input": "a CSV, TSV or Parquet file, plain or packed, or a folder of them",
    "output": "a file that ends in .csv, .csv.gz, .tsv or .parquet",
}


def predict(cfg: dict[str, Any]) -> None:
    """Score the rows of ``input`` by the run ``run`` into ``output``, and say how many and how fast."""
    run, source, output, keep = (cfg[key] for key in ("run", "input", "output", "keep"))
    for key in ("run", "input", "output"):
        require(cfg[key] is not None and str(cfg[key]).strip() != "", f"{key}=: give {WHAT[key]}")
    require(isinstance(keep, list), f"keep={keep}: give a list of columns, as keep=[{keep}]")
    keep = [str(name) for name in keep]
    require(COLUMN not in keep, f"keep: {COLUMN} is what the output adds")
    twice = next((name for name in keep if keep.count(name) > 1), None)
    require(twice is None, f"keep: {twice} is there twice")
    batch_size = cfg["batch_size"]
    whole = type(batch_size) is int and batch_size >= 1
    require(whole, f"batch_size={batch_size}: should be a whole number from 1")
    memory.keep_freed_memory()
    given = source if isinstance(source, list) else [source]
    files = find([Path(str(path)).expanduser() for path in given], WHAT["input"], key="input").files
    target = Path(str(output)).expanduser()
    require(target.resolve() not in {file.resolve() for file in files}, f"output={target} is an input too")
    predictor = Predictor.load(str(run), pick_device(str(cfg["device"])))
    start, rows = time.perf_counter(), 0
    with writer(target) as write, disk.progress("scoring", " rows") as bar:
        for scored in predictor.stream(files, keep=keep, batch_size=batch_size):
            write(pl.DataFrame([*scored.rows, pl.Series(COLUMN, scored.probabilities)]))
            rows += len(scored.logits)
            bar.total = int(rows / scored.done)
            bar.update(len(scored.logits))
        if not rows:
            write(pl.DataFrame(schema={**dict.fromkeys(keep, pl.String), COLUMN: pl.Float64}))
    seconds = time.perf_counter() - start
    peak = memory.peak_resident() / 2**30
    print(f"{rows:,} rows, {rows / seconds:,.0f} rows/s, peak memory {peak:.2f} GiB, output: {target}")
