"""How fast a store gives its rows, and how long training waits for them.

    python benchmarks/bench_reading.py dataset=criteo raw=train.txt [any override of eulernet.train] [--batches 3000]

Four figures for the batch iterator alone, in rows per second: training batches in a fresh random order of all rows, and
the same from a cold disk, where the page cache is emptied first (Linux, root) both with the file being read ahead in
order and, as if it did not fit in memory, without. Then the share of a training step in which the model waits for its
batch, in the real loop. Figures are medians over runs.
"""

import argparse
import json
import os
import statistics
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import torch

from eulernet.cli import compose
from eulernet.data import dataset
from eulernet.data.dataset import Dataset
from eulernet.training.job import set_up
from eulernet.training.state import State


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batches", type=int, default=3000, help="batches read in a run")
    parser.add_argument("--steps", type=int, default=100, help="training steps whose waiting is measured")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--json", type=Path, help="also write the figures there")
    parser.add_argument("overrides", nargs="*")
    args = parser.parse_args()
    cfg = compose("train", args.overrides)
    job = set_up(cfg)
    size, folder = job.config.batch_size, job.data.folder
    print(f"{job.data.name}: {job.data.meta['rows']:,} rows, {job.data.bytes / 1e9:.2f} GB, batches of {size:,}")

    def rate(data: Dataset, batches: int, seed: int) -> float:
        generator = torch.Generator().manual_seed(seed)
        iterator = data.train.batches(size, generator)
        next(iterator)  # the permutation is drawn here
        start = time.perf_counter()
        rows = sum(len(y) for _, y in islice(iterator, batches))
        seconds = time.perf_counter() - start
        iterator.close()
        return rows / seconds

    def warm() -> Dataset:
        dataset.read_through(folder / "x.npy")
        return Dataset.open(folder)

    figures: dict[str, object] = {"dataset": job.data.name, "rows": job.data.meta["rows"], "batch_size": size}
    figures["warm"] = median(rate(warm(), args.batches, seed) for seed in range(args.runs))
    if drop_page_cache():
        figures["cold, read ahead"] = median(
            rate(Dataset.open(folder).to(torch.device("cpu")), args.batches, seed)
            for seed in range(args.runs)
            if drop_page_cache()
        )
        figures["cold, as if larger than memory"] = median(
            rate(Dataset.open(folder), args.batches // 10, seed) for seed in range(args.runs) if drop_page_cache()
        )
    model, data = job.model.to(job.device), warm().to(job.device)
    optimizer = State(model, job.config, job.device).optimizer
    waiting, working = [], []
    for seed in range(args.runs):
        batches = timed(data.train.batches(size, torch.Generator().manual_seed(seed)), waits := [])
        next(batches)  # the permutation
        waits.clear()
        start = time.perf_counter()
        for x, y in islice(batches, args.steps):
            loss = model.calculate_loss(x.to(job.device), y.to(job.device))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        working.append(time.perf_counter() - start)
        waiting.append(sum(waits))
    figures["step_ms"] = 1000 * statistics.median(working) / args.steps
    figures["share_of_a_step_spent_waiting"] = statistics.median(w / t for w, t in zip(waiting, working, strict=True))
    for name, value in figures.items():
        print(f"{name:32} {value:,.4g}" if isinstance(value, float) else f"{name:32} {value}")
    if args.json:
        args.json.write_text(json.dumps(figures, indent=2) + "\n")


def median(values: Iterator[float]) -> float:
    return round(statistics.median(values), 1)


def timed(items: Iterator, waits: list[float]) -> Iterator:
    """The same items; how long each kept its taker waiting goes into ``waits``."""
    while True:
        start = time.perf_counter()
        item = next(items, None)
        waits.append(time.perf_counter() - start)
        if item is None:
            return
        yield item


def drop_page_cache() -> bool:
    """Forget what the system has read; False where that is not allowed."""
    os.sync()
    try:
        Path("/proc/sys/vm/drop_caches").write_text("1\n")
    except OSError:
        return False
    return True


if __name__ == "__main__":
    main()
