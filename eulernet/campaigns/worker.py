"""python -m eulernet.campaigns.worker: one run of a campaign, in a process of its own, which may crash alone.

It reads what to train as one line of JSON from stdin, writes a line of JSON to stdout for every epoch and one for how
it ended, and logs to stderr. It lives no longer than its parent: when stdin ends, it does.
"""

import json
import logging
import os
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from threading import Thread
from typing import Any

from eulernet.campaigns.pool import LOG, remove, sweep
from eulernet.errors import DiskFull, Diverged, UserError
from eulernet.files import NO_ROOM, locked
from eulernet.runs.manifest import MANIFEST, write_manifest
from eulernet.runs.reading import REPORT
from eulernet.runs.train import save_config, train
from eulernet.training.checkpoint import LAST, load_last
from eulernet.training.history import Epoch
from eulernet.training.job import set_up
from eulernet.training.loggers import Logger, closing, loggers
from eulernet.training.loop import fit
from eulernet.training.report import commit

Tell = Callable[[Epoch], None]


def main() -> None:
    channel = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # whatever a library prints goes to the log
    logging.basicConfig(format="%(asctime)s %(message)s", level=logging.INFO)

    def tell(**message: Any) -> None:
        print(json.dumps(message), file=channel)

    def tell_epoch(epoch: Epoch) -> None:
        tell(epoch=asdict(epoch), core_seconds=time.process_time())

    line = sys.stdin.readline()
    if not line:  # the parent died while we started
        return
    order = json.loads(line)
    Thread(target=end_with_parent, daemon=True).start()
    work = {"trial": trial, "run": run}[order["kind"]]
    try:
        work(order["cfg"], Path(order["folder"]), order["overrides"], tell_epoch)
        tell(done=True)
    except BlockingIOError:
        tell(busy=True)
    except Diverged as error:
        tell(diverged=str(error))
    except DiskFull as error:
        tell(full=str(error))
    except (UserError, OSError) as error:
        full = isinstance(error, OSError) and error.errno in NO_ROOM
        tell(**{"full" if full else "failed": str(error)})
    except Exception as error:
        traceback.print_exc()
        memory = isinstance(error, MemoryError) or "allocate memory" in str(error) or "out of memory" in str(error)
        tell(failed="not enough memory" if memory else f"{type(error).__name__}: {error}".splitlines()[0])
    channel.flush()
    os._exit(0)  # nothing is left to do, and the thread waits for stdin


def end_with_parent() -> None:
    """End this process, in the middle of whatever it does, once the parent has closed its side of stdin or died."""
    while os.read(0, 1):
        pass
    os._exit(1)


def trial(cfg: dict[str, Any], folder: Path, overrides: list[str], tell: Tell) -> None:
    """Train without a test, or go on from the checkpoint; ``tell`` every epoch in order, also those before it."""
    with locked(folder):  # until the worker of a search that was killed is gone
        job = set_up(cfg)
        about = {"overrides": overrides, "commit": commit()}
        save_config(cfg, folder)
        saved = load_last(folder, **job.identity) if (folder / LAST).exists() else None
        also = [telling(tell), *loggers(cfg.get("logger"))]
        also[0]([Epoch(**epoch) for epoch in saved["history"]] if saved else [], folder)
        with closing(also):
            fit(
                job.model, job.data.without_test(), job.config, job.device, folder,
                identity={**job.identity, "about": about}, saved=saved, loggers=also,
            )  # fmt: skip


def telling(tell: Tell) -> Logger:
    """A logger that tells of every epoch once."""
    told = 0

    def log(history: Sequence[Epoch], _: Path) -> None:
        nonlocal told
        for epoch in history[told:]:
            tell(epoch)
        told = len(history)

    return log


def run(cfg: dict[str, Any], folder: Path, overrides: list[str], tell: Tell) -> None:
    """Train and test, or go on from the checkpoint. BlockingIOError while another process trains in ``folder``."""
    with locked(folder, wait=False):
        if (folder / REPORT).exists():  # another campaign was faster
            if not (folder / MANIFEST).exists():  # it was killed before the last of its files
                write_manifest(folder)
            return
        if (folder / LAST).exists():
            sweep(folder)
            train({**cfg, "resume": str(folder)}, folder, [f"device={cfg['device']}"], telling(tell), reference=False)
            return
        for rest in folder.iterdir():  # of a run that was killed before its first epoch was over
            if rest.name != LOG:
                remove(rest)
        train(cfg, folder, [*overrides, f"device={cfg['device']}"], telling(tell), reference=False)


if __name__ == "__main__":
    main()
