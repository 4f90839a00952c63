"""The other end of a pipe: a process that holds one system ready and runs what bench_peers.py asks for.

A driver reads its job, makes ``train(steps)`` and ``evaluate(steps)``, which return how many rows they took, and serves
them. Standard library only: it runs in the peers' environments.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any

answers = os.fdopen(os.dup(1), "w", buffering=1)
os.dup2(2, 1)  # what a peer prints is not an answer


def job() -> dict[str, Any]:
    """What to measure: the first line from the parent. Torch is told the number of threads."""
    asked = json.loads(sys.stdin.readline())
    import torch

    torch.set_num_threads(asked["threads"])
    torch.manual_seed(2022)
    return asked


def serve(train: Callable[[int], int], evaluate: Callable[[int], int]) -> None:
    """Take the first training step, say so, then time what is asked for until the pipe closes."""
    train(1)
    print(json.dumps({"rows": 0}), file=answers)
    for line in sys.stdin:
        asked = json.loads(line)
        work = {"train": train, "evaluate": evaluate}[asked["work"]]
        start, cpu = time.perf_counter(), time.process_time()
        rows = work(asked["steps"])
        seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
        print(json.dumps({"rows": rows, "seconds": seconds, "cpu_seconds": cpu}), file=answers)
    os._exit(0)  # some libraries' threads would not let go
