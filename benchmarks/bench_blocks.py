"""How fast rows come from a cold disk: shuffled in blocks, and by a permutation of all of them.

    python benchmarks/bench_blocks.py FOLDER [--gb 4] [--window .05] [--random 1000000]

Writes a matrix of 39 columns of int32 into FOLDER, whose pages the system then forgets (Linux), reads an epoch of it in
batches of 4,096, window after window, forgets it again, and reads some rows in the order of a permutation. Prints
rows/s of both, and by how much this process's own memory (RssAnon, not the pages of the file) grew at most. Eight
threads gather, as in training, with nothing to train; the 16 batches that they are ahead count as read in no time.
"""

import argparse
import mmap
import os
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from eulernet.data.dataset import Split
from eulernet.data.shuffling import Blocks, window_rows

COLUMNS = 39


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--gb", type=float, default=4)
    parser.add_argument("--window", type=float, default=0.05)
    parser.add_argument("--random", type=int, default=1_000_000, help="rows read by the permutation")
    args = parser.parse_args()
    file, rows = args.folder / "blocks.npy", int(args.gb * 1e9 / 4 / COLUMNS)
    write(file, rows)
    try:
        window = window_rows(args.window, rows)
        own = anonymous()
        forget(file)
        took, read, most = timed(file, rows, Blocks(window), rows)
        print(f"{rows:,} rows of {4 * COLUMNS} bytes, windows of {window:,}")
        print(f"blocks:      {read / took:12,.0f} rows/s, memory {(most - own) / 2**20:,.0f} MiB")
        forget(file)
        took, read, most = timed(file, rows, None, args.random)
        print(f"permutation: {read / took:12,.0f} rows/s, memory {(most - own) / 2**20:,.0f} MiB ({read:,} rows)")
    finally:
        file.unlink()


def timed(file: Path, rows: int, blocks: Blocks | None, many: int) -> tuple[float, int, int]:
    """Seconds from the second batch on, the rows read in them, and the most memory of this process's own."""
    array = np.load(file, mmap_mode="c")
    array._mmap.madvise(mmap.MADV_RANDOM)  # as Dataset.open does
    split = Split(torch.from_numpy(array), torch.zeros(rows, dtype=torch.uint8), mapped=True)
    batches: Iterator[tuple[torch.Tensor, ...]] = split.batches(4096, torch.Generator().manual_seed(1), blocks=blocks)
    next(batches)
    start, read, most = time.perf_counter(), 0, anonymous()
    for number, (x, _) in enumerate(batches):
        read += len(x)
        most = max(most, anonymous()) if number % 100 == 0 else most
        if read >= many:
            break
    return time.perf_counter() - start, read, most


def write(file: Path, rows: int) -> None:
    """Numbers that need not be drawn: one block again and again."""
    out = np.lib.format.open_memmap(file, mode="w+", dtype=np.int32, shape=(rows, COLUMNS))
    block = np.random.default_rng(1).integers(0, 1 << 20, (1 << 16, COLUMNS), dtype=np.int32)
    for start in range(0, rows, len(block)):
        out[start : start + len(block)] = block[: rows - start]
    out.flush()


def forget(file: Path) -> None:
    """Have the system drop the pages of ``file``."""
    with file.open("rb") as stream:
        os.fsync(stream.fileno())
        os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def anonymous() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon:"))


if __name__ == "__main__":
    main()
