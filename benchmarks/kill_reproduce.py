"""Kill ``eulernet.reproduce`` at random moments, and see that nothing is lost.

    python benchmarks/kill_reproduce.py [--kills 10]

A campaign on synthetic data is killed (SIGKILL) and started again until it was killed ``--kills`` times, each time
amidst its runs, every third time after one of its workers; then it is left to end. No worker may outlive its campaign.
At the end every run of the table must be there once, its files readable, with the figures of a campaign that nobody
disturbed. Ends with one line, and exit code 1 if anything is amiss.
"""

import argparse
import csv
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from safetensors.torch import load_file

TABLE = (
    """
datasets: [synthetic]
seeds: 3
first_seed: 1
common: [dataset.rows=20000, "dataset.field_sizes=[30,30,30]", "dataset.interactions=[{f0:1,f1:1},{f2:-0.5}]",
  train.batch_size=256, train.max_epochs=8, device=cpu]
settings:
  small: [model=eulernet, model.embedding_dim=4]
  large: [model=eulernet, model.embedding_dim=8]
  lr: [model=lr]
  fm: [model=fm]
""".replace("{f", "{{f")
    .replace("},", "}},")
    .replace("0.5}", "0.5}}")
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--longest", type=float, default=8.0, help="seconds at most from its first epoch to a kill")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    options = parser.parse_args()
    moments = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as work:
        (Path(work) / "conf" / "table").mkdir(parents=True)
        (Path(work) / "conf" / "table" / "toy.yaml").write_text(TABLE)
        done, met, faults = 0, Counter[str](), list[str]()
        for kill in range(options.kills):
            out = Path(work) / f"killed_{done}"
            process = reproduce(out, options.jobs, work)
            trained, amidst = epochs(out), moments.random() < 0.8  # else while the workers start
            while not (at_work(process) if not amidst else epochs(out) > trained) and process.poll() is None:
                time.sleep(0.05)
            try:
                process.wait(moments.uniform(0, options.longest))
                done += 1  # all is trained: begin another one
                met["ended"] += 1
                continue
            except subprocess.TimeoutExpired:
                running = at_work(process)
            what = "a worker, then the campaign" if kill % 3 == 2 and running else "the campaign"
            if what.startswith("a worker"):  # the campaign says so, and goes on with the others
                os.kill(moments.choice(running), signal.SIGKILL)
                time.sleep(moments.uniform(0, 2))
            process.kill()
            process.wait()
            faults += outliving(running)
            met[what] += 1
            there = f"{ended(out)}, {epochs(out)} epochs"
            print(f"kill {kill + 1}: {what}, {len(running)} runs at work, {there}", flush=True)
        for out in sorted(Path(work).glob("killed_*")):
            for _ in range(2):  # the second finds nothing to do
                code = reproduce(out, options.jobs, work).wait()
                faults += [f"{out.name}: exit code {code}"] * (code != 0)
            faults += check(out)
        calm = Path(work) / "calm"
        reproduce(calm, options.jobs, work).wait()
        for out in sorted(Path(work).glob("killed_*")):
            faults += [f"{name}: {figures(calm)[name]} became {said}" for name, said in figures(out).items()
                       if said != figures(calm)[name]]  # fmt: skip
        for fault in faults:
            print(f"amiss: {fault}")
        said = ", ".join(f"{count} with {what}" for what, count in sorted(met.items()))
        end = "every run once, with the figures of an undisturbed campaign" if not faults else "FAILED"
        print(f"{options.kills} kills ({said}): {end}")
        sys.exit(bool(faults))


def reproduce(out: Path, jobs: int, work: str) -> "subprocess.Popen[bytes]":
    args = ["--config-dir", f"{work}/conf", "table=toy", f"jobs={jobs}", f"out={out}"]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "eulernet.reproduce", *args]
    return subprocess.Popen(command, cwd=work, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def at_work(process: "subprocess.Popen[bytes]") -> list[int]:
    """The workers of a campaign."""
    pattern = "eulernet.campaigns.worker"
    found = subprocess.run(["pgrep", "-P", str(process.pid), "-f", pattern], capture_output=True, text=True)
    return [int(pid) for pid in found.stdout.split()]


def epochs(out: Path) -> int:
    """How many epochs the logs in the folder of a campaign tell of."""
    return sum(file.read_text().count(" epoch ") for file in out.rglob("train.log"))


def outliving(workers: list[int]) -> list[str]:
    """Those of ``workers`` that do not end within a minute of their campaign."""
    until = time.monotonic() + 60
    while (alive := [pid for pid in workers if Path(f"/proc/{pid}").exists()]) and time.monotonic() < until:
        time.sleep(0.05)
    return [f"worker {pid} outlives its campaign" for pid in alive]


def ended(out: Path) -> str:
    return f"{len(list(out.rglob('report.json')))} of 12 ended"


def figures(out: Path) -> dict[str, object]:
    """Setting and seed of every run, with what it found."""
    reports = {file: json.loads(file.read_text()) for file in out.rglob("report.json")}
    keys = ("valid", "test", "best_epoch", "epochs")
    return {"/".join(file.parts[-3:-1]): [report[key] for key in keys] for file, report in reports.items()}


def check(out: Path) -> list[str]:
    """What is wrong in the folder of a campaign that says that it has ended."""
    reports = [json.loads(file.read_text()) for file in out.rglob("report.json")]
    runs = Counter((r["model"], r["config"]["model"].get("embedding_dim"), r["seed"]) for r in reports)
    faults = [f"{run} is there {count} times" for run, count in runs.items() if count > 1]
    faults += [f"{len(runs)} runs instead of 12"] * (len(runs) != 12)
    for run in {file.parent for file in out.rglob("report.json")}:
        load_file(run / "model.safetensors")
        epochs = [int(line["epoch"]) for line in csv.DictReader((run / "metrics.csv").open(newline=""))]
        faults += [f"{run}: epochs {epochs}"] * (epochs != list(range(1, 9)))
    faults += [f"left behind: {file}" for file in out.rglob(".*")]
    return faults


if __name__ == "__main__":
    main()
