"""eulernet in the measurements of bench_peers.py train and bench_models.py: the loop of bench.py behind a pipe."""

import sys
from pathlib import Path

import worker

sys.path.insert(0, str(Path(__file__).parents[1]))
from bench import Loop

if __name__ == "__main__":
    loop = Loop(worker.job()["overrides"])
    worker.serve(loop.train, loop.evaluate)
