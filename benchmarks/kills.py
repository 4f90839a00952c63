"""Kill commands at random moments, start them again, and see that nothing is lost, doubled, torn or left behind.

    python benchmarks/kills.py [--kills 30] [--of prepare,train,predict,export,tune,reproduce,serve,ranks] [--seed 0]

Each command runs once undisturbed, on small synthetic data. Then it is started and killed (SIGKILL; every other time
with all the processes that it started) and started again in the same folder. What it makes must at any moment be whole
or absent; when it ends by itself it must be what the undisturbed one made, with no hidden file beside it. A server
loses a worker and must answer on with a new one; or it loses its supervisor, and then the workers must end and free the
port. Under torchrun any one rank of a run is killed, and the run goes on with another number of ranks, 1 to 3, with
tables sharded and replicated in turn. The epochs that its newest checkpoint knows stay as they are to the digit; at
most one more may have been told, where the kill came between its row and its checkpoint, and is trained again. It ends
after as many epochs as the undisturbed run, with AUC and logloss within .01: other ranks round, and drop units, in
another way. Ends with a line for each command, and with exit code 1 if anything is amiss.
"""

import argparse
import csv
import hashlib
import json
import operator
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).parents[1]
DATA = ("dataset=synthetic", "dataset.rows=20000", "dataset.field_sizes=[30,30,30]",
        "dataset.interactions=[{f0:1,f1:1},{f2:-0.5}]", "~tuned", "device=cpu")  # fmt: skip
MODEL = ("model.embedding_dim=4", "train.batch_size=256", "train.max_epochs=6")
RAW, RUN = "{inputs}/rows.csv", "{inputs}/run"
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
UNSTEADY = ("trial", "seconds", "core_seconds", "folder")  # columns of trials.csv that a kill may change
TABLE = """
datasets: [synthetic]
seeds: 2
first_seed: 1
common: [dataset.rows=20000, "dataset.field_sizes=[30,30,30]", "dataset.interactions=[{{f0:1,f1:1}},{{f2:-0.5}}]",
  train.batch_size=256, train.max_epochs=6, device=cpu]
settings:
  small: [model=eulernet, model.embedding_dim=4]
  lr: [model=lr]
"""


@dataclass(frozen=True)
class Command:
    """``python -m eulernet.NAME args`` in a folder of its own, and what of it two runs must have in common."""

    args: Sequence[str]
    made: Callable[[Path], Any]  # what it left in its folder; None where that is not there
    again: Sequence[str] = ()  # the arguments when ``begun`` is there
    begun: str = ""
    whole: bool = False  # what is there is whole at any moment
    program: Sequence[str] = ()  # instead of python -m eulernet.NAME
    same: Callable[[Any, Any], bool] = operator.eq  # of what two runs made

    def start(self, name: str, folder: Path, inputs: Path) -> "subprocess.Popen[bytes]":
        args = self.again if self.begun and (folder / self.begun).exists() else self.args
        program = self.program or [sys.executable, "-m", f"eulernet.{name}"]
        env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
        with (folder.parent / f"{folder.name}.log").open("ab") as log:
            filled = [arg.replace("{inputs}", str(inputs)) for arg in args]
            return subprocess.Popen(
                [*program, *filled], cwd=folder, env=env, stdout=log, stderr=log, start_new_session=True
            )


def digests(pattern: str) -> Callable[[Path], Any]:
    """Name and content of all files below the only match of ``pattern``."""

    def made(folder: Path) -> Any:
        found = [file for file in folder.glob(pattern) if not file.name.startswith(".")]
        files = [file for top in found for file in ([top] if top.is_file() else top.rglob("*")) if file.is_file()]
        files = [file for file in files if file.name != "summary.json"]  # tells the seconds
        named = {str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}
        return named or None

    return made


def trained(run: Path) -> Any:
    """What a run found, with its weights; each epoch stands once in its metrics."""
    if not (run / "report.json").exists():
        return None
    report = json.loads((run / "report.json").read_text())
    with (run / "metrics.csv").open(newline="") as file:
        epochs = [row["epoch"] for row in csv.DictReader(file)]
    weights = hashlib.sha256((run / "model.safetensors").read_bytes()).hexdigest()
    return {key: report[key] for key in ("valid", "test", "best_epoch", "epochs")}, epochs, weights


def searched(folder: Path) -> Any:
    """Every trial's setting and figures, in order, and the test of the best."""
    study = folder / "study"
    if not (study / "best" / "report.json").exists():
        return None
    with (study / "trials.csv").open(newline="") as file:
        rows = [{k: v for k, v in row.items() if k not in UNSTEADY} for row in csv.DictReader(file)]
    return rows, trained(study / "best")


def reproduced(folder: Path) -> Any:
    """Every run by its setting and seed."""
    runs = {str(file.parent.relative_to(folder)): trained(file.parent) for file in folder.rglob("report.json")}
    return dict(sorted(runs.items())) or None


COMMANDS = {
    "prepare": Command(
        ["dataset=table", f"raw={RAW}", "dataset.label=click", "memory=0.25"], digests("data/table/*"), whole=True
    ),
    "train": Command(
        [*DATA, *MODEL, "data_dir={inputs}/data", "hydra.run.dir=run", "train.checkpoint_every=20"],
        lambda folder: trained(folder / "run"),
        ["resume=run"],
        "run/config.yaml",
    ),
    "predict": Command([f"run={RUN}", f"input={RAW}", "output=scores.csv"], digests("scores.csv"), whole=True),
    "export": Command([f"run={RUN}", "format=onnx", "output=scorer"], digests("scorer"), whole=True),
    "tune": Command(
        [*DATA, *MODEL, "data_dir={inputs}/data", "trials=6", "hydra.run.dir=study", "prune.startup=3"],
        searched,
        ["resume=study"],
        "study/config.yaml",
    ),
    "reproduce": Command(["--config-dir", "{inputs}/conf", "table=toy", "jobs=2", "out=out"], reproduced),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=30, help="of each command (default: 30)")
    parser.add_argument(
        "--of", default=",".join([*COMMANDS, "serve", "ranks"]), help="which, with commas (default: all)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    options = parser.parse_args()
    moments, failed = random.Random(options.seed), False
    with tempfile.TemporaryDirectory(prefix="eulernet-kills-") as work:
        inputs = make_inputs(Path(work) / "inputs")
        for name in options.of.split(","):
            if name == "serve":
                said, faults = kill_server(inputs, options.kills, moments)
            elif name == "ranks":
                said, faults = kill_ranks(Path(work) / name, inputs, options.kills, moments)
            else:
                said, faults = kill(name, COMMANDS[name], Path(work) / name, inputs, options.kills, moments)
            for fault in faults:
                print(f"{name}: amiss: {fault}")
            print(f"{name}: {said}, {len(faults)} faults" if faults else f"{name}: {said}, nothing amiss", flush=True)
            failed |= bool(faults)
    sys.exit(failed)


def make_inputs(inputs: Path) -> Path:
    """A log, a run on it, a store for training and a table, for the commands."""
    (inputs / "conf" / "table").mkdir(parents=True)
    (inputs / "conf" / "table" / "toy.yaml").write_text(TABLE)
    draw = random.Random(1)
    lines = [
        f"u{draw.randrange(5000)},{draw.randrange(40)},{draw.random():.3f},{draw.randrange(2)}\n"
        for _ in range(200_000)
    ]
    (inputs / "rows.csv").write_text("user,item,price,click\n" + "".join(lines))
    run = [
        "dataset=table",
        "raw=rows.csv",
        "hydra.run.dir=run",
        "device=cpu",
        "model.embedding_dim=4",
        "train.max_epochs=1",
    ]
    for name, args in (("train", run), ("train", [*DATA, "train.max_epochs=1", "hydra.run.dir=other"])):
        subprocess.run([sys.executable, "-m", f"eulernet.{name}", *args], cwd=inputs, check=True, capture_output=True,
                       env={**os.environ, "PYTHONPATH": str(ROOT)})  # fmt: skip
    return inputs


def kill(
    name: str, command: Command, work: Path, inputs: Path, kills: int, moments: random.Random
) -> tuple[str, list[str]]:
    """Kill ``command`` so many times: what was done, and what is amiss."""
    calm = work / "calm"
    calm.mkdir(parents=True)
    began = time.monotonic()
    if code := command.start(name, calm, inputs).wait():
        return "not one run", [f"ends with {code}: {(work / 'calm.log').read_text()[-300:]}"]
    seconds, wanted, killed, ended, faults = time.monotonic() - began, command.made(calm), 0, 0, list[str]()
    folder = work / "killed_0"
    while killed < kills and len(faults) < 5:
        folder.mkdir(exist_ok=True)
        process = command.start(name, folder, inputs)
        try:
            code = process.wait(moments.uniform(0, 1.1 * seconds))
            ended += 1
            faults += check(command, folder, wanted, code)
            folder = work / f"killed_{ended}"
        except subprocess.TimeoutExpired:
            end(process, whole_group=killed % 2 == 0)
            killed += 1
            if command.whole and (made := command.made(folder)):
                if made != wanted:
                    faults.append(f"half of it is there after kill {killed}: {str(made)[:300]}")
                ended += 1  # it had made it, and would refuse to make it again
                folder = work / f"killed_{ended}"
    folder.mkdir(exist_ok=True)
    faults += check(command, folder, wanted, command.start(name, folder, inputs).wait())
    return f"{killed} kills, {ended + 1} came to the end", faults


def end(process: "subprocess.Popen[bytes]", whole_group: bool) -> None:
    with suppress(ProcessLookupError):
        (os.killpg if whole_group else os.kill)(process.pid, signal.SIGKILL)
    process.wait()


def check(command: Command, folder: Path, wanted: Any, code: int) -> list[str]:
    """What is wrong where a command says that it has ended."""
    log = folder.parent / f"{folder.name}.log"
    faults = [f"{folder.name} ends with {code}: {log.read_text()[-300:]}"] * (code != 0)
    if not faults and not command.same(made := command.made(folder), wanted):
        faults.append(f"{folder.name} made {str(made)[:300]}, not {str(wanted)[:300]}")
    ours = [file for file in folder.rglob(".*") if ".hydra" not in file.parts]
    left = [str(file.relative_to(folder)) for file in ours if file.name != ".metadata"]  # torch's, in a checkpoint
    return faults + [f"{folder.name}: left behind: {left}"] * bool(left)


def kill_server(inputs: Path, kills: int, moments: random.Random) -> tuple[str, list[str]]:
    """Workers and supervisors in turn."""
    faults, port = list[str](), 20_000 + moments.randrange(20_000)
    for number in range(kills):
        command = [sys.executable, "-m", "eulernet.serve", f"run={inputs}/run", f"port={port}", "workers=2"]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, env={**os.environ, "PYTHONPATH": str(ROOT)})
        workers: list[int] = []
        while process.poll() is None and not (answers(port) and len(workers) >= 2):
            time.sleep(0.1)
            workers = children(process.pid)
        time.sleep(moments.uniform(0, 1))
        if number % 2:
            process.kill()
            process.wait()
            if not eventually(lambda: not any(map(alive, workers)) and not answers(port)):  # noqa: B023
                faults.append(f"kill {number + 1}, of the supervisor: workers {workers} live on")
                for worker in workers:
                    with suppress(ProcessLookupError):
                        os.kill(worker, signal.SIGKILL)
            continue
        os.kill(workers[-1], signal.SIGKILL)
        if not eventually(lambda: len(set(children(process.pid)) - set(workers)) > 0 and answers(port)):  # noqa: B023
            faults.append(f"kill {number + 1}, of a worker: no new one")
        process.terminate()
        if code := process.wait():
            faults.append(f"kill {number + 1}, of a worker: the server then ends with {code}")
    return f"{kills} kills of a worker or the supervisor", faults


def ranks(number: int, embedding: str) -> Command:
    """The training of ``COMMANDS`` by so many ranks."""
    torchrun = [*TORCHRUN, f"--nproc-per-node={number}", "-m", "eulernet.train"]
    train, own = COMMANDS["train"], [f"train.embedding={embedding}", "train.max_epochs=10", "train.patience=10"]
    again = [*train.again, own[0], "device=cpu"]
    return Command([*train.args, *own], train.made, again, train.begun, program=torchrun, same=near)


def epochs_of(folder: Path) -> list[str]:
    """The epochs that the run has finished, a line each, with the seconds that they took."""
    with suppress(FileNotFoundError):
        return (folder / "run" / "metrics.csv").read_text().splitlines(keepends=True)[1:]
    return []


def epochs_kept(folder: Path) -> int:
    """How many epochs the newest checkpoint of the run knows."""
    files = sorted((folder / "run" / "checkpoints").glob("[0-9]*/last.ckpt"))
    return len(torch.load(files[-1], weights_only=True)["history"]) if files else 0


def near(made: Any, wanted: Any) -> bool:
    """Of two runs that ``trained`` tells of: the same epochs, and test figures within .01."""
    if made is None or made[1] != wanted[1]:
        return False
    return all(abs(made[0]["test"][name] - wanted[0]["test"][name]) <= 0.01 for name in ("auc", "logloss"))


def kill_ranks(work: Path, inputs: Path, kills: int, moments: random.Random) -> tuple[str, list[str]]:
    """Any rank of a run at any moment; then another number of ranks, and the other placement, goes on."""
    calm, number, faults, runs, within, again = work / "calm", 2, list[str](), 1, 0, 0
    calm.mkdir(parents=True)
    began = time.monotonic()
    if code := ranks(2, "replicated").start("train", calm, inputs).wait():
        return "not one run", [f"ends with {code}: {(work / 'calm.log').read_text()[-300:]}"]
    seconds, wanted, killed = time.monotonic() - began, trained(calm / "run"), 0
    folder = work / "killed_1"
    while len(faults) < 5:
        folder.mkdir(exist_ok=True)
        before, kept = epochs_of(folder), epochs_kept(folder)
        again += len(before) - kept
        command = ranks(number, ("sharded", "replicated")[killed % 2])
        process = command.start("train", folder, inputs)
        with suppress(subprocess.TimeoutExpired):
            process.wait(moments.uniform(0.3, 0.9) * seconds if killed < kills else None)
        members = children(process.pid, "eulernet.train") if process.poll() is None else []
        if members:
            os.kill(moments.choice(members), signal.SIGKILL)
            killed += 1
            process.wait()
            within += (folder / "run" / "last.ckpt").exists()
        else:
            faults += check(command, folder, wanted, process.wait())
        if epochs_of(folder)[:kept] != before[:kept] or not 0 <= len(before) - kept <= 1:
            faults.append(f"kill {killed}: of {before}, {kept} of them kept, became {epochs_of(folder)}")
        if not members:
            if killed >= kills:
                break
            runs += 1
            folder = work / f"killed_{runs}"
        number = moments.choice([n for n in (1, 2, 3) if n != number])
    said = f"{killed} kills of a rank, {within} of them with a checkpoint, {again} of them between row and checkpoint"
    return f"{said}, {runs} came to the end", faults


def answers(port: int) -> bool:
    with suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=30) as answer:
        return bool(answer.status == 200)
    return False


def children(pid: int, named: str = "eulernet.serving.workers") -> list[int]:
    found = subprocess.run(["pgrep", "-P", str(pid), "-f", named], capture_output=True, text=True)
    return [int(child) for child in found.stdout.split()]


def alive(pid: int) -> bool:
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def eventually(holds: Callable[[], bool], seconds: float = 300) -> bool:
    end_ = time.monotonic() + seconds
    while time.monotonic() < end_:
        if holds():
            return True
        time.sleep(0.2)
    return False


if __name__ == "__main__":
    main()
