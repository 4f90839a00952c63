"""A trial at work: the process that trains it, and what it says."""

import json
import os
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import optuna

LOG = "train.log"
PROGRAM = [sys.executable, "-m", "eulernet.trial"]


@dataclass
class Worker:
    """The process of one trial: the ``slot``-th of those at work on this machine."""

    trial: optuna.Trial
    slot: int
    run: Path
    process: "subprocess.Popen[bytes]"
    began: float = field(default_factory=time.monotonic)
    beaten: float = field(default_factory=time.monotonic)
    epochs: list[dict[str, Any]] = field(default_factory=list)

    @property
    def best(self) -> dict[str, Any] | None:
        return max(self.epochs, key=lambda epoch: epoch["valid_auc"], default=None)

    def hear(self) -> dict[str, Any] | None:
        """The next thing that the process says, once there is one; None when it ended."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        return json.loads(line) if line.endswith(b"\n") else None

    def stop(self) -> None:
        """Kill the process: its files are whole at any moment."""
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            pipe.close()


def start(
    trial: optuna.Trial, slot: int, run: Path, cfg: dict[str, Any], overrides: list[str], threads: int, lock: int
) -> Worker:
    """Begin to train ``trial`` as ``cfg`` says in the folder ``run``, with ``threads`` threads.

    The process holds the open file ``lock`` too: the search's lock is free only when all its trials are gone.
    """
    run.mkdir(parents=True, exist_ok=True)
    with (run / LOG).open("ab") as log:
        process = subprocess.Popen(
            PROGRAM,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            bufsize=0,
            env={"OMP_NUM_THREADS": str(threads), **os.environ},
            pass_fds=(lock,),
            start_new_session=True,  # a Ctrl-C is for the search, which ends its trials
        )
    assert process.stdin is not None
    job = {"cfg": cfg, "run": str(run.absolute()), "overrides": overrides}
    with suppress(BrokenPipeError):  # it died at once, which is heard of in its turn
        process.stdin.write(json.dumps(job).encode() + b"\n")
    return Worker(trial, slot, run, process)
