"""Kill ``eulernet.tune`` at random moments, and see that nothing is lost: python benchmarks/kill_test.py [--kills 10]

A search on synthetic data is killed (SIGKILL) and resumed until it was killed ``--kills`` times, then left to end. It
must then have every trial once, no file that cannot be read, and, with one worker, the same settings with the same
figures as a search that nobody disturbed. Ends with one line, and exit code 1 if anything is amiss.
"""

import argparse
import csv
import json
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml
from safetensors.torch import load_file

SETTING = (
    "dataset=synthetic", "dataset.rows=20000", "dataset.field_sizes=[30,30,30]", "~tuned", "train.batch_size=256",
    "dataset.interactions=[{f0:1,f1:1},{f2:-0.5}]", "model.embedding_dim=4", "train.max_epochs=8", "device=cpu",
    "prune.startup=3", "prune.warmup=1",
)  # fmt: skip
UNSTEADY = ("trial", "seconds", "folder")  # columns of trials.csv that a kill may change


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--trials", type=int, default=12)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument(
        "--longest", type=float, default=20.0, help="seconds at most from its start, or its search, to a kill"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    options = parser.parse_args()
    moments = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as work:
        study = Path(work) / "killed"
        start = [*SETTING, f"trials={options.trials}", f"workers={options.workers}"]
        killed = ends = 0
        while killed < options.kills:
            said, searching = size(study), moments.random() < 0.8
            process = tune(start, study, work)
            while searching and size(study) == said and process.poll() is None:
                time.sleep(0.1)  # else a slow machine spends most of the moments on starting
            try:
                process.wait(moments.uniform(0, options.longest))
                ends += 1  # too late: it was done already
                start = [*SETTING, f"trials={options.trials + ends}"]
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                killed += 1
                print(f"kill {killed}: {describe(study)}", flush=True)
        trials = options.trials + ends
        for _ in range(2):  # the second finds nothing to do
            code = tune([f"trials={trials}"], study, work).wait()
        faults = [f"exit code {code}"] * (code != 0) + check(study, trials)
        if options.workers == 1 and not faults:
            calm = Path(work) / "calm"
            tune([*SETTING, f"trials={trials}", "workers=1"], calm, work).wait()
            faults += [f"{a} became {b}" for a, b in zip(table(calm), table(study), strict=True) if a != b]
        for fault in faults:
            print(f"amiss: {fault}")
        same = ", the same as in an undisturbed search" if options.workers == 1 else ""
        print(f"{killed} kills, {trials} trials each once{same}: {describe(study)}" if not faults else "FAILED")
        sys.exit(bool(faults))


def tune(args: list[str], study: Path, work: str) -> "subprocess.Popen[bytes]":
    """Start the search in the folder ``study``, or go on with what is there."""
    resume = (study / "config.yaml").exists()
    args = [f"resume={study}", *(arg for arg in args if arg.startswith("trials="))] if resume else [
        *args, f"hydra.run.dir={study}"
    ]  # fmt: skip
    return subprocess.Popen([sys.executable, "-m", "eulernet.tune", *args], cwd=work, stdout=subprocess.DEVNULL)


def size(study: Path) -> int:
    """Bytes that the searches in ``study`` have logged."""
    return (study / "tune.log").stat().st_size if (study / "tune.log").exists() else 0


def describe(study: Path) -> str:
    """The trials in the database by their state."""
    if not (study / "study.db").exists():
        return "no study yet"
    with sqlite3.connect(study / "study.db", timeout=60) as database:
        states = database.execute("select lower(state), count(*) from trials group by state order by state")
        return ", ".join(f"{count} {state}" for state, count in states) or "no trial yet"


def check(study: Path, trials: int) -> list[str]:
    """What is wrong in the folder of a search that says that it has ended."""
    faults = []
    with sqlite3.connect(study / "study.db") as database:
        if (found := database.execute("pragma integrity_check").fetchall()) != [("ok",)]:
            faults.append(f"study.db: {found}")
        states = dict(database.execute("select number, state from trials"))
        attributes: dict[int, dict[str, object]] = {number: {} for number in states}
        query = "select number, key, value_json from trial_user_attributes join trials using (trial_id)"
        for number, key, value in database.execute(query):
            attributes[number][key] = json.loads(value)
    lost = {n for n, state in states.items() if state == "FAIL" and "error" not in attributes[n]}
    retried = [attrs["retry_of"] for attrs in attributes.values() if "retry_of" in attrs]
    if sorted(retried) != sorted(lost):  # type: ignore[type-var]
        faults.append(f"trials {sorted(lost)} were killed, {retried} are repeated")
    if open_ones := {n: state for n, state in states.items() if state in ("RUNNING", "WAITING")}:
        faults.append(f"never ended: {open_ones}")
    rows = table(study)
    if len(rows) != trials or len(states) - len(lost) != trials:
        faults.append(f"{len(rows)} lines in trials.csv, {len(states) - len(lost)} trials in the study, not {trials}")
    for number in set(states) - lost:
        attrs = attributes[number]
        with (study / str(attrs["folder"]) / "metrics.csv").open() as stream:
            aucs = [float(row["valid_auc"]) for row in csv.DictReader(stream)]
        if max(aucs) != attrs["valid_auc"] or len(aucs) < int(str(attrs["epochs"])):
            faults.append(f"trial {number} says {attrs}, its metrics.csv {aucs}")
    for file in study.rglob("*"):
        try:
            read(file)
        except Exception as error:
            faults.append(f"{file}: {error}")
    if hidden := [str(file) for file in study.rglob(".*")]:
        faults.append(f"left over: {hidden}")
    if not (study / "best" / "report.json").exists():
        faults.append("no report of the best trial")
    return faults


def read(file: Path) -> None:
    if file.suffix == ".json":
        json.loads(file.read_text())
    elif file.suffix == ".yaml":
        yaml.safe_load(file.read_text())
    elif file.suffix == ".safetensors":
        load_file(file)
    elif file.suffix == ".ckpt":
        import torch

        torch.load(file, weights_only=True)


def table(study: Path) -> list[dict[str, str]]:
    with (study / "trials.csv").open() as stream:
        return [{key: row[key] for key in row if key not in UNSTEADY} for row in csv.DictReader(stream)]


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    main()
