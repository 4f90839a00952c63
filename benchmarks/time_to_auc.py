"""Seconds of EulerNet to RecBole's best validation AUC on MovieLens-1M, the same rows, from the start of each process.

    python benchmarks/time_to_auc.py --python .envs/recbole/bin/python raw=PATH [any override of eulernet.train]

RecBole trains EulerNet in the paper's setting until its own early stopping; then eulernet trains, by default in
``tuned=movielens_1m/eulernet_averaged``, until its validation AUC reaches that of RecBole's best epoch. One thread
each. CPU seconds are told too: on a busy machine they are the fairer figure. ``benchmarks/bench_peers.py`` makes the
environment.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from eulernet.cli import compose
from eulernet.data.prepare import prepare

PAPER = {"embedding_size": 16, "order_list": [7], "drop_ex": 0.3, "drop_im": 0.3, "apply_norm": False,
         "reg_weight": 1e-5, "learning_rate": 1e-3, "train_batch_size": 1024, "eval_batch_size": 8192,
         "epochs": 300, "stopping_step": 10}  # fmt: skip
DRIVER = Path(__file__).parent / "peers" / "recbole_fit.py"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", type=Path, help="of RecBole's environment")
    parser.add_argument("--epochs", type=Path, help="what RecBole's run printed, instead of running it")
    parser.add_argument("--json", type=Path, help="also write the figures there")
    parser.add_argument("overrides", nargs="*")
    args = parser.parse_args()
    overrides = ["dataset=movielens_1m", "tuned=movielens_1m/eulernet_averaged", *args.overrides]
    store = prepare(compose("train", overrides))
    env = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    with tempfile.TemporaryDirectory() as folder:
        if args.epochs:
            printed = args.epochs.read_text()
        else:
            command = [args.python, DRIVER, store, f"{folder}/recbole", json.dumps(PAPER)]
            printed = subprocess.run(command, env=env, check=True, capture_output=True, text=True).stdout
        theirs = max(map(json.loads, printed.splitlines()), key=lambda epoch: epoch["auc"])
        ours = train_until(theirs["auc"], [*overrides, f"hydra.run.dir={folder}/run"], Path(folder) / "run", env)
    figures = {"recbole": theirs, "eulernet": ours}
    figures["ratio"] = {key: ours[key] / theirs[key] for key in ("seconds", "cpu_seconds")}
    print(json.dumps(figures, indent=2))
    if args.json:
        args.json.write_text(json.dumps(figures, indent=2) + "\n")


def train_until(auc: float, overrides: list[str], run: Path, env: dict[str, str]) -> dict[str, float]:
    """The first epoch of eulernet.train whose validation AUC is at least ``auc``."""
    start = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", "eulernet.train", *overrides], env=env, stdout=sys.stderr)
    while process.poll() is None:
        time.sleep(0.05)
        lines = (run / "metrics.csv").read_text().splitlines()[1:] if (run / "metrics.csv").exists() else []
        for line in lines:
            epoch, _, found, *_ = line.split(",")
            if float(found) >= auc:
                seconds, cpu = time.perf_counter() - start, cpu_seconds(process.pid)
                process.send_signal(signal.SIGKILL)
                return {"epoch": int(epoch), "auc": float(found), "seconds": seconds, "cpu_seconds": cpu}
    sys.exit(f"error: eulernet.train ended (code {process.returncode}) before its validation AUC reached {auc}")


def cpu_seconds(pid: int) -> float:
    after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(after_name[11]) + int(after_name[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main()
