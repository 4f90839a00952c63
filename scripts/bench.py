"""How fast eulernet trains here: samples per second in steady state, and seconds from process start to first step.

    python scripts/bench.py dataset=movielens_1m raw=PATH [any override of eulernet.train]
    python scripts/bench.py --threads 2 --runs 9 --steps 200 --json bench.json dataset=synthetic

Every run is the real loop (``train_epoch``) over real batches of the prepared store; figures are medians over runs.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

FIRST_STEP = """
import os, torch
step = torch.optim.Adam.step
def first(*args, **kwargs):
    step(*args, **kwargs)
    os._exit(0)
torch.optim.Adam.step = first
from eulernet.train import main
main()
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--runs", type=int, default=7, help="timed runs; the median is reported")
    parser.add_argument("--steps", type=int, default=200, help="training steps in a run")
    parser.add_argument("--json", type=Path, help="also write the figures there")
    parser.add_argument("overrides", nargs="*")
    args = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = str(args.threads)

    rates, evaluations, settings = steady_state(args.overrides, args.runs, args.steps)
    starts = [seconds_to_first_step(args.overrides) for _ in range(min(args.runs, 5))]
    figures = {
        **settings,
        "threads": args.threads,
        "training_samples_per_second": spread(rates),
        "evaluation_samples_per_second": spread(evaluations),
        "seconds_to_first_step": spread(starts),
    }
    for name, value in figures.items():
        text = "{median:,.6g}  ({min:,.6g} to {max:,.6g})".format(**value) if isinstance(value, dict) else value
        print(f"{name:30} {text}")
    if args.json:
        args.json.write_text(json.dumps(figures, indent=2) + "\n")


def steady_state(overrides: list[str], runs: int, steps: int) -> tuple[list[float], list[float], dict]:
    """Samples per second of ``runs`` runs of ``steps`` training steps, and of evaluating the validation split."""
    import torch
    from hydra import compose, initialize_config_dir
    from omegaconf import OmegaConf

    from eulernet.cli import conf_dir
    from eulernet.data.dataset import Split
    from eulernet.train import set_up
    from eulernet.training.loop import evaluate, train_epoch
    from eulernet.training.precision import compile_model
    from eulernet.training.state import State

    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        cfg = OmegaConf.to_container(compose("train", overrides), resolve=True)
    job = set_up(cfg)
    model, config, data = job.model.to(job.device), job.config, job.data.to(job.device)
    state = State(model, config, job.device)
    if config.compile:
        for one in {state.model, state.scored}:
            compile_model(one, job.device)
    rows = min(steps * config.batch_size, len(data.train))
    whole = data.train
    order = torch.arange(rows) if whole.order is None else whole.order[:rows]
    part = Split(whole.x, whole.y, order.to(whole.y.device), whole.mapped)

    def timed(work) -> float:
        start = time.perf_counter()
        work()  # both end with a number on the host, so nothing is still running on the device
        return time.perf_counter() - start

    def train() -> None:
        train_epoch(state, part, config, save=lambda: None)
        state.begin_epoch()

    train()
    rates = [rows / timed(train) for _ in range(runs)]

    def score() -> None:
        evaluate(model, data.valid, config, "evaluation")

    score()
    evaluations = [len(data.valid) / timed(score) for _ in range(runs)]
    settings = {
        "dataset": data.name,
        "model": cfg["model"]["name"],
        "parameters": sum(weight.numel() for weight in model.parameters()),
        "batch_size": config.batch_size,
        "device": str(job.device),
        "torch": torch.__version__,
    }
    return rates, evaluations, settings


def seconds_to_first_step(overrides: list[str]) -> float:
    """From the start of ``python -m eulernet.train`` with a prepared store to the end of its first training step."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-c", FIRST_STEP, *overrides, f"hydra.run.dir={folder}/run"]
        start = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        return time.perf_counter() - start


def spread(values: list[float]) -> dict[str, float]:
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


if __name__ == "__main__":
    main()
