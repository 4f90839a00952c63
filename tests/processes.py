"""Real processes for tests of training in several: each a ``python -m processes``, which is forked (forking.py)."""

import os
import pickle
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

PATIENCE = 600  # seconds until a process hangs, for sure
SYNTHETIC = (
    "dataset=synthetic",
    "dataset.rows=2000",
    "dataset.field_sizes=[6,7,5]",
    "dataset.interactions=[{f0:1,f1:1},{f2:-0.5}]",
    "model.embedding_dim=4",
    "train.batch_size=256",
    "train.max_epochs=2",
    "device=cpu",
)


def start(world: int, work, *args, folder: Path) -> list[subprocess.Popen]:
    """``work(*args)`` in ``world`` processes with torchrun's environment; what each prints goes to folder/<rank>.*."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "work.pickle").write_bytes(pickle.dumps((sys.path, work, args)))
    return [start_rank(rank, world, port, folder) for rank in range(world)]


def start_rank(rank: int, world: int, port: int, folder: Path) -> subprocess.Popen:
    environment = {
        **os.environ, "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(world),
        "LOCAL_WORLD_SIZE": str(world), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1",
    }  # fmt: skip
    with (folder / f"{rank}.out").open("w") as out, (folder / f"{rank}.err").open("w") as err:
        command = [sys.executable, "-m", "processes", str(folder / "work.pickle")]
        return subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=out, stderr=err)


def finish(members: list[subprocess.Popen], folder: Path) -> list[int]:
    """The exit codes. A process that hangs is killed, and the test fails with what all have printed."""
    hung = []
    for rank, member in enumerate(members):
        try:
            member.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            hung.append(rank)
            member.kill()
    assert not hung, f"processes {hung} hang:\n{''.join(printed(folder, rank) for rank in range(len(members)))}"
    return [member.returncode for member in members]


def run(world: int, work, *args, folder: Path) -> None:
    """``start``, and all of them end well."""
    codes = finish(start(world, work, *args, folder=folder), folder)
    assert codes == [0] * world, "".join(printed(folder, rank) for rank in range(world))


def printed(folder: Path, rank: int, what: str = "err") -> str:
    return (folder / f"{rank}.{what}").read_text()


def jobs(folder: Path, store: Path, many: list[dict]) -> None:
    """Train once for each of ``many`` ({"name", "config", "model", "resumed", "kill"}) in one group of processes.

    Each leaves its run in folder/name, and what every process ended with in folder/name/<rank>.pt.
    """
    import torch
    import torch.distributed as dist

    rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    dist.init_process_group("gloo", timeout=timedelta(seconds=120))
    for job in many:
        train(folder / job["name"], store, job, folder / job["name"] / f"{world}_{rank}.pt")
    dist.barrier()
    dist.destroy_process_group()
    assert torch.get_num_threads() == 1


def train(run: Path, store: Path, job: dict, result: Path):
    """One training, in this process or as one of several."""
    import torch

    from eulernet.data.dataset import Dataset
    from eulernet.models import MODELS
    from eulernet.training.checkpoint import load_last
    from eulernet.training.loop import fit

    run.mkdir(parents=True, exist_ok=True)
    data = Dataset.open(store.with_name("weighted") if job.get("weighted") else store)
    torch.manual_seed(job.get("seed", 5))
    settings = dict(job["model"])
    model = MODELS[settings.pop("name")](data.field_sizes, **settings)
    identity = {"model_name": "it", "dataset": "toy"}
    saved = load_last(run, **identity) if job.get("resumed") else None
    if "stop" in job:
        job["stop"](model)
    history, test = fit(model, data, job["config"], torch.device("cpu"), run, identity=identity, saved=saved)
    epochs = [replace(epoch, seconds=0.0, samples_per_second=0.0).__dict__ for epoch in history]
    state = {name: getattr(weight, "_local_tensor", weight) for name, weight in model.state_dict().items()}
    torch.save({"epochs": epochs, "test": test.__dict__, "weights": state}, result)


def command(folder: Path, *args: str) -> None:
    """python -m eulernet.train args, in ``folder``."""
    from eulernet.train import main

    os.chdir(folder)
    sys.argv = ["eulernet-train", *args]
    main()


def run_command(folder: Path, *args: str, world: int = 2) -> list[int]:
    """The exit codes of ``python -m eulernet.train args`` in several processes; what they print is in ``folder``."""
    (folder / "work").mkdir(parents=True, exist_ok=True)
    return finish(start(world, command, folder / "work", *args, folder=folder), folder)


def strike(rank: int, what: signal.Signals, folder: Path, *args: str) -> None:
    """The command, in which ``rank`` gets the signal ``what`` at its 10th batch: the second epoch."""
    from eulernet.models import EulerNet

    steps, calculate_loss = iter(range(1, 10**6)), EulerNet.calculate_loss

    def struck(self, x, y):
        if next(steps) == 10:
            os.kill(os.getpid(), what)
        return calculate_loss(self, x, y)

    if int(os.environ["RANK"]) == rank:
        EulerNet.calculate_loss = struck
    command(folder, *args)


if __name__ == "__main__":
    sys.path[:], work, args = pickle.loads(Path(sys.argv[1]).read_bytes())
    work(*args)


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Within it an operation of this thread takes ``count`` threads."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
