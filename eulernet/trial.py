"""python -m eulernet.trial: one trial of ``eulernet.tune``, in a process of its own, which may crash alone.

It reads what to do as one line of JSON from stdin, writes a line of JSON to stdout for every epoch and one for how it
ended, and logs to stderr. It lives no longer than its parent: when stdin ends, it does.
"""

import json
import logging
import os
import sys
import traceback
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from threading import Thread
from typing import Any

from eulernet.errors import Diverged, UserError
from eulernet.runs.train import save_config
from eulernet.training.checkpoint import LAST, load_last
from eulernet.training.history import Epoch
from eulernet.training.job import set_up
from eulernet.training.loop import fit
from eulernet.training.report import commit


def main() -> None:
    channel = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # whatever a library prints goes to the log
    logging.basicConfig(format="%(asctime)s %(message)s", level=logging.INFO)

    def tell(**message: Any) -> None:
        print(json.dumps(message), file=channel)

    job = json.loads(sys.stdin.readline())
    Thread(target=end_with_parent, daemon=True).start()
    try:
        trial(job["cfg"], Path(job["run"]), job["overrides"], lambda epoch: tell(epoch=asdict(epoch)))
        tell(done=True)
    except Diverged as error:
        tell(diverged=str(error))
    except (UserError, OSError) as error:
        tell(failed=str(error))
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


def trial(cfg: dict[str, Any], run: Path, overrides: list[str], report: Callable[[Epoch], None]) -> None:
    """Train as ``cfg`` says in the folder ``run``, without a test; goes on from a checkpoint that is there.

    ``report`` hears of every epoch in order, those of before the checkpoint included.
    """
    job = set_up(cfg)
    about = {"overrides": overrides, "commit": commit()}
    save_config(cfg, run)
    saved = load_last(run, **job.identity) if (run / LAST).exists() else None
    for epoch in saved["history"] if saved else []:
        report(Epoch(**epoch))
    fit(
        job.model, job.data.without_test(), job.config, job.device, run,
        identity={**job.identity, "about": about}, saved=saved,
        loggers=[lambda history, _: report(history[-1])],
    )  # fmt: skip


if __name__ == "__main__":
    main()
