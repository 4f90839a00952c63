"""Real processes for tests of training in several: forked from a server that has imported torch once."""

import multiprocessing
import os
import socket
import sys
import traceback
from dataclasses import replace
from datetime import timedelta
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["torch", "eulernet.train", "eulernet.campaigns.worker", "processes"])


def start(world: int, work, *args, folder: Path) -> list[BaseProcess]:
    """``work(*args)`` in ``world`` processes with torchrun's environment; what each prints goes to folder/<rank>."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folder.mkdir(parents=True, exist_ok=True)
    members = [CONTEXT.Process(target=enter, args=(rank, world, port, folder, work, args)) for rank in range(world)]
    for member in members:
        member.start()
    return members


def finish(members: list[BaseProcess], folder: Path, timeout: float = 240) -> list[int]:
    """The exit codes. A process that hangs is killed, and the test fails with what all have printed."""
    for member in members:
        member.join(timeout)
    hung = [rank for rank, member in enumerate(members) if member.is_alive()]
    for member in members:
        member.kill()
    assert not hung, f"processes {hung} hang:\n{''.join(printed(folder, rank) for rank in range(len(members)))}"
    return [member.exitcode for member in members]


def run(world: int, work, *args, folder: Path) -> None:
    """``start``, and all of them end well."""
    codes = finish(start(world, work, *args, folder=folder), folder)
    assert codes == [0] * world, "".join(printed(folder, rank) for rank in range(world))


def printed(folder: Path, rank: int, what: str = "err") -> str:
    return (folder / f"{rank}.{what}").read_text()


def enter(rank: int, world: int, port: int, folder: Path, work, args) -> None:
    os.environ.update(
        RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(world), LOCAL_WORLD_SIZE=str(world),
        MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port),
    )  # fmt: skip
    alone(rank, folder, work, args)


class ForkedWorker:
    """As much of a subprocess.Popen as a pool of workers needs: a worker that has torch loaded when it starts."""

    def __init__(self, program, *, stdin, stdout, stderr, bufsize, env, start_new_session):
        told, mine = CONTEXT.Pipe(duplex=False)
        heard, yours = CONTEXT.Pipe(duplex=False)
        log = Connection(os.dup(stderr.fileno()), readable=False)
        self.process = CONTEXT.Process(target=enter_worker, args=(told, yours, log))
        self.process.start()
        for end in (told, yours, log):
            end.close()
        self.stdin, self.stdout = (
            os.fdopen(os.dup(end.fileno()), mode, 0) for end, mode in ((mine, "wb"), (heard, "rb"))
        )
        mine.close(), heard.close()
        self.pid = self.process.pid

    def kill(self):
        self.process.kill()

    def wait(self):
        self.process.join()
        return self.process.exitcode


def enter_worker(stdin, stdout, stderr):
    import torch

    from eulernet.campaigns import worker

    for descriptor, end in enumerate((stdin, stdout, stderr)):
        os.dup2(end.fileno(), descriptor)
        end.close()
    sys.stdin = os.fdopen(0)
    torch.set_num_threads(1)
    worker.main()


def alone(rank: int, folder: Path, work, args) -> None:
    """``work(*args)`` as all that this process does: its output goes to ``folder``, and it ends as Python would."""
    for stream, what in ((1, "out"), (2, "err")):
        os.dup2(os.open(folder / f"{rank}.{what}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC), stream)
    code = 1
    try:
        import torch

        torch.set_num_threads(1)
        work(*args)
        code = 0
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
        if isinstance(ended.code, str):
            print(ended.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # gloo's threads may abort an orderly exit


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
    data = Dataset.open(store)
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
