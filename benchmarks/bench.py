"""How fast eulernet trains here: samples per second in steady state, and seconds from process start to first step.

    python benchmarks/bench.py dataset=movielens_1m raw=PATH [any override of eulernet.train]
    python benchmarks/bench.py --threads 2 --runs 9 --steps 200 --json bench.json dataset=synthetic
    python benchmarks/bench.py --threads 1 --profile dataset=criteo raw=PATH train.batch_size=8192

Every run is the real loop (``train_epoch``) over real batches of the prepared store; figures are medians over runs.
``--profile`` says instead where a step goes, beside what this machine's products and memory allow (profiling.py).
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

FIRST_STEP = """
import os
from eulernet.training.optimizers import TableOptimizer
step = TableOptimizer.step
TableOptimizer.step = lambda self: (step(self), os._exit(0))
from eulernet.train import main
main()
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--runs", type=int, default=7, help="timed runs; the median is reported")
    parser.add_argument("--steps", type=int, default=200, help="training steps in a run")
    parser.add_argument("--profile", action="store_true", help="say where a step goes")
    parser.add_argument("--json", type=Path, help="also write the figures there")
    parser.add_argument("overrides", nargs="*")
    args = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = str(args.threads)

    loop = Loop(args.overrides)
    if args.profile:
        from profiling import profile

        figures, text = profile(loop, args.steps)
        print(text)
    else:
        figures = measure(loop, args.overrides, args.runs, args.steps)
        for name, value in figures.items():
            shown = "{median:,.6g}  ({min:,.6g} to {max:,.6g})".format(**value) if isinstance(value, dict) else value
            print(f"{name:30} {shown}")
    if args.json:
        args.json.write_text(json.dumps(figures, indent=2) + "\n")


class Loop:
    """Training and evaluation as ``eulernet.train`` with these overrides does them, as many steps at a time as asked.

    OMP_NUM_THREADS should be set before: torch reads it when it is imported.
    """

    def __init__(self, overrides: list[str]) -> None:
        import torch
        from hydra import compose, initialize_config_dir
        from omegaconf import OmegaConf

        import eulernet.cli  # noqa: F401  # conf/ takes its resolvers
        from eulernet.settings import conf_dir
        from eulernet.training.job import set_up
        from eulernet.training.state import State

        torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
        with initialize_config_dir(str(conf_dir()), version_base="1.3"):
            self.cfg: Any = OmegaConf.to_container(compose("train", overrides), resolve=True)
        job = set_up(self.cfg)
        self.device, self.config = job.device, job.config
        self.model, self.data = job.model.to(job.device), job.data.to(job.device)
        self.state = State(self.model, self.config, job.device)
        self.state.program.begin(self.model, job.device, sure_steps=1 << 40)

    def train(self, steps: int) -> int:
        """That many steps, or an epoch if that is less; the number of rows."""
        from eulernet.training.loop import train_epoch

        part = first_rows(self.data.train, steps * self.config.batch_size)
        train_epoch(self.state, part, self.config, save=lambda: None)
        self.state.begin_epoch()
        return len(part)

    def evaluate(self, steps: int | None = None) -> int:
        """So many batches of the validation split, or all of it; the number of rows."""
        from eulernet.training.loop import evaluate

        part = self.data.valid if steps is None else first_rows(self.data.valid, steps * self.config.eval_batch_size)
        evaluate(self.state.scored, part, self.config, "evaluation")
        return len(part)

    def settings(self) -> dict[str, Any]:
        import torch

        return {
            "dataset": self.data.name,
            "model": self.cfg["model"]["name"],
            "parameters": sum(weight.numel() for weight in self.model.parameters()),
            "batch_size": self.config.batch_size,
            "optimizer": self.config.optimizer,
            "device": str(self.device),
            "torch": torch.__version__,
            "threads": torch.get_num_threads(),
        }


def first_rows(split: Any, rows: int) -> Any:
    """The first rows of a split, as a split."""
    from dataclasses import replace

    import torch

    rows = min(rows, len(split))
    order = torch.arange(rows, device=split.y.device) if split.order is None else split.order[:rows]
    return replace(split, order=order)


def measure(loop: Loop, overrides: list[str], runs: int, steps: int) -> dict[str, Any]:
    rates, evaluations = rate(lambda: loop.train(steps), runs), rate(loop.evaluate, runs)
    threads = int(os.environ["OMP_NUM_THREADS"])
    imports, firsts = list[float](), list[float]()
    for _ in range(min(runs, 5)):  # in turn: both meet the same weather
        imports.append(seconds_of(["import torch"], threads))
        firsts.append(seconds_to_first_step(overrides, threads))
    beyond = [first - imported for imported, first in zip(imports, firsts, strict=True)]
    return {
        **loop.settings(),
        "training_samples_per_second": spread(rates),
        "evaluation_samples_per_second": spread(evaluations),
        "seconds_to_first_step": spread(firsts),
        "seconds_to_import_torch": spread(imports),
        "seconds_beyond_import_torch": spread(beyond),
    }


def rate(work: Callable[[], int], runs: int) -> list[float]:
    """Rows per second of each of ``runs`` calls, after one to warm up."""
    work()
    rates = []
    for _ in range(runs):
        start = time.perf_counter()
        rows = work()  # ends with a number on the host, so nothing is still running on the device
        rates.append(rows / (time.perf_counter() - start))
    return rates


def seconds_to_first_step(overrides: list[str], threads: int) -> float:
    """From the start of ``python -m eulernet.train`` with a prepared store to the end of its first training step."""
    with tempfile.TemporaryDirectory() as folder:
        return seconds_of([FIRST_STEP, *overrides, f"hydra.run.dir={folder}/run"], threads)


def seconds_of(program: list[str], threads: int) -> float:
    """That Python runs ``program``: its text, then its arguments."""
    start, env = time.perf_counter(), os.environ | {"OMP_NUM_THREADS": str(threads)}
    subprocess.run([sys.executable, "-c", *program], check=True, stdout=subprocess.DEVNULL, env=env)
    return time.perf_counter() - start


def spread(values: list[float]) -> dict[str, float]:
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


if __name__ == "__main__":
    main()
