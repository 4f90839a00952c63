"""A pool of worker processes: tune and reproduce hand it runs, and hear how each of them goes.

A worker trains one run. It lives no longer than the campaign that started it, and holds the lock of its run's folder:
of two campaigns in one folder only one trains a run.
"""

import json
import os
import selectors
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import PIPE, Popen
from typing import Any, Generic, Literal, Protocol, Self, TypeVar

import torch

from eulernet.data.workers import MISSING, seconds_of
from eulernet.errors import UserError, choose, require
from eulernet.files import locked
from eulernet.training.device import device_of_job
from eulernet.training.history import MONITORS, Epoch, monitor_of

LOG = "train.log"  # in the folder of a run: all that its worker printed
PROGRAM = [sys.executable, "-m", "eulernet.campaigns.worker"]
T = TypeVar("T")


class Process(Protocol):
    """What a worker is told and tells by; ``subprocess.Popen`` is one."""

    stdin: Any
    stdout: Any

    def kill(self) -> None: ...

    def wait(self) -> int: ...


Launch = Callable[[dict[str, Any], int, int], Process]  # what to train, the slot it takes, of how many slots


def launch_here(order: dict[str, Any], slot: int, slots: int) -> Process:
    """A process of this machine that trains what ``order`` says. Slot i trains on GPU i % count."""
    cfg = {**order["cfg"], "device": device_of_job(str(order["cfg"]["device"]), slot)}
    threads = max(1, torch.get_num_threads() // slots)
    with (Path(order["folder"]) / LOG).open("ab") as log:
        process = Popen(
            PROGRAM,
            stdin=PIPE,
            stdout=PIPE,
            stderr=log,
            bufsize=0,
            env={"OMP_NUM_THREADS": str(threads), **os.environ},
            start_new_session=True,  # a Ctrl-C is for the campaign, which ends its workers
        )
    assert process.stdin is not None
    with suppress(BrokenPipeError):  # it died at once, which ``hear`` tells
        process.stdin.write(json.dumps({**order, "cfg": cfg}).encode() + b"\n")
    return process


_LAUNCH: ContextVar[Launch] = ContextVar("launch", default=launch_here)


@contextmanager
def launching(launch: Launch) -> Iterator[None]:
    """Within it pools start their workers by ``launch``."""
    token = _LAUNCH.set(launch)
    try:
        yield
    finally:
        _LAUNCH.reset(token)


@contextmanager
def placed(cfg: Mapping[str, Any]) -> Iterator[None]:
    """Within it workers are processes of this machine, or on the cluster that ``engine`` and ``scheduler`` of cfg name.

    UserError for an engine that there is not, and for a cluster that cannot be reached or has no workers.
    """
    engine, scheduler = cfg["engine"], cfg["scheduler"]
    choose(dict.fromkeys(("processes", "dask")), str(engine), "engine")
    require(engine == "dask" or scheduler is None, f"scheduler={scheduler} goes with engine=dask")
    if engine == "processes":
        yield
        return
    try:
        from eulernet.campaigns.afar import runs_on
    except ImportError as missing:
        raise UserError(MISSING.format(missing.name)) from None
    with runs_on(None if scheduler is None else str(scheduler), seconds_of(cfg)):
        yield


@dataclass(eq=False)
class Worker(Generic[T]):
    """The process that trains ``task`` in ``folder``, and the epochs that it told of."""

    task: T
    slot: int
    folder: Path
    process: Process
    monitor: str = "auc"
    began: float = field(default_factory=time.monotonic)
    epochs: list[dict[str, Any]] = field(default_factory=list)
    core_seconds: float = 0.0  # that the process had computed when it told of its last epoch

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.began

    @property
    def best(self) -> dict[str, Any] | None:
        """The epoch whose weights its run keeps."""
        return max(self.epochs, key=lambda epoch: MONITORS[self.monitor](Epoch(**epoch)), default=None)

    def read(self) -> tuple[str, Any]:
        """Wait for the next message. Its kind is epoch, or, at the end, done, busy, diverged, full, failed or stopped.

        A worker that ends without a word has failed, unless somebody asked it to stop.
        """
        line = self.process.stdout.readline()
        if line.endswith(b"\n"):
            message: dict[str, Any] = json.loads(line)
            self.core_seconds = message.get("core_seconds", self.core_seconds)
            return next(iter(message.items()))
        code = self.process.wait()
        if code in (-signal.SIGTERM, -signal.SIGINT):
            return "stopped", "stopped by a signal"
        why = f"killed by signal {-code}; was it out of memory?" if code < 0 else f"ended with code {code}"
        return "failed", why

    def kill(self) -> None:
        """End the process, which leaves its files whole at any moment."""
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            pipe.close()


class Pool(Generic[T]):
    """At most ``slots`` workers at a time, which share the GPUs and threads of this machine, or of a cluster."""

    def __init__(self, slots: int) -> None:
        self.slots = slots
        self.workers: list[Worker[T]] = []
        self._pipes = selectors.DefaultSelector()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in list(self.workers):
            self.end(worker)
        self._pipes.close()

    @property
    def free(self) -> bool:
        return len(self.workers) < self.slots

    def start(
        self, task: T, kind: Literal["trial", "run"], folder: Path, cfg: dict[str, Any], overrides: list[str]
    ) -> Worker[T]:
        """Begin to train what ``cfg`` describes in ``folder``, or go on from the checkpoint there, in a free slot."""
        slot = min(set(range(self.slots)) - {worker.slot for worker in self.workers})
        folder.mkdir(parents=True, exist_ok=True)
        order = {"kind": kind, "cfg": cfg, "folder": str(folder.absolute()), "overrides": overrides}
        process = _LAUNCH.get()(order, slot, self.slots)
        worker = Worker(task, slot, folder, process, monitor_of(cfg))
        self.workers.append(worker)
        self._pipes.register(process.stdout, selectors.EVENT_READ, worker)
        return worker

    def hear(self, seconds: float) -> Iterator[tuple[Worker[T], str, Any]]:
        """What the workers say within ``seconds``: each message with its kind. Its last message ends a worker."""
        for key, _ in self._pipes.select(timeout=seconds):
            worker: Worker[T] = key.data
            if worker in self.workers:  # else it was ended because of what another one said
                kind, content = worker.read()
                if kind == "epoch":
                    worker.epochs.append(content)
                else:
                    self.end(worker)
                    if kind == "failed":
                        content = f"{content} (see {worker.folder / LOG})"
                yield worker, kind, content

    def end(self, worker: Worker[T]) -> None:
        """Kill ``worker``, remove what it was writing, and free its slot."""
        if worker in self.workers:
            self._pipes.unregister(worker.process.stdout)
            worker.kill()
            self.workers.remove(worker)
            with suppress(OSError), locked(worker.folder, wait=False):  # unless another campaign trains there by now
                sweep(worker.folder)


def sweep(folder: Path) -> None:
    """Remove what killed processes were writing in ``folder``: hidden files and folders called .NAME.(new|NUMBER)."""
    for path in folder.glob(".*"):
        if path.suffix == ".new" or path.suffix[1:].isdigit():
            remove(path)


def remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
