"""The memory of each rank that trains a model with a large table, sharded, beside one process that has it whole.

    python benchmarks/sharded_memory.py FOLDER [--rows 40000000] [--dim 16] [--ranks 4] [--one] [any override of train]

FM with four fields of a quarter of --rows ids each, on 20,000 drawn rows: an epoch, its checkpoints, the test. Ranks
are processes of this machine (gloo, a thread each); with --one there is one process, which has all rows. Every .4 s the
memory of each is read from /proc/PID/smaps_rollup: USS, what is its own alone, and PSS, with its share of the pages
that several map. Prints the peaks of each rank, and of all at once.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
INTERVAL = 0.4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rows", type=int, default=40_000_000)
    parser.add_argument("--dim", type=int, default=16)
    parser.add_argument("--ranks", type=int, default=4)
    parser.add_argument("--one", action="store_true")
    args, overrides = parser.parse_known_args()
    ranks, run = (1 if args.one else args.ranks), args.folder / "run"
    program = ["-m", "eulernet.train", "dataset=synthetic", "dataset.rows=20000", "~tuned", "device=cpu", "model=fm",
               f"dataset.field_sizes={[args.rows // 4] * 4}".replace(" ", ""), f"model.embedding_dim={args.dim}",
               "dataset.interactions=[{f0:1,f1:1}]", f"data_dir={args.folder / 'data'}", f"hydra.run.dir={run}",
               "train.batch_size=4096", "train.max_epochs=1", "train.keep_checkpoints=1", "reference=false",
               *(["train.embedding=sharded"] if ranks > 1 else []), *overrides]  # fmt: skip
    many = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={ranks}"] if ranks > 1 else []
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    began = time.monotonic()
    process = subprocess.Popen([sys.executable, *many, *program], env=env)
    peaks, together = watch(process)
    print(f"{ranks} ranks, {time.monotonic() - began:.0f} s, exit code {process.returncode}")
    for rank, (uss, pss) in sorted(peaks.items()):
        print(f"rank {rank}: USS {uss / 2**30:.2f} GiB, PSS {pss / 2**30:.2f} GiB at most")
    print(f"all at once: PSS {together / 2**30:.2f} GiB at most; one table {args.rows * args.dim * 4 / 2**30:.2f} GiB")
    print(json.dumps({"ranks": ranks, "peaks": peaks, "together": together}))


def watch(process: "subprocess.Popen[bytes]") -> tuple[dict[int, tuple[int, int]], int]:
    """Until ``process`` ends: the largest USS and PSS of each rank, and the largest sum of PSS."""
    peaks: dict[int, tuple[int, int]] = {}
    together = 0
    while process.poll() is None:
        total = 0
        for pid in children(process.pid) or [process.pid]:
            try:
                env = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
                lines = [line.split() for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]]
            except OSError:
                continue
            rank = next((int(one[5:]) for one in env if one.startswith(b"RANK=")), 0)
            kb = {line[0]: int(line[1]) for line in lines}
            uss, pss = (kb["Private_Clean:"] + kb["Private_Dirty:"]) * 1024, kb["Pss:"] * 1024
            total += pss
            before = peaks.get(rank, (0, 0))
            peaks[rank] = max(before[0], uss), max(before[1], pss)
        together = max(together, total)
        time.sleep(INTERVAL)
    return peaks, together


def children(pid: int) -> list[int]:
    found = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True)
    return [int(child) for child in found.stdout.split()]


if __name__ == "__main__":
    main()
