"""python -m eulernet.train: prepare a dataset if needed, train a model on it, test it, leave a run folder.

Under torchrun rank 0 is that program, and the other ranks take part in its training.
"""

import os
import sys
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode

from eulernet.cli import command
from eulernet.cli.folders import discard_unless_started
from eulernet.cli.resume import MAY_CHANGE, naming, restarted, saved_config, started_config
from eulernet.errors import UserError
from eulernet.files import short

STARTED = ("last.ckpt", "config.yaml", "report.json")  # a folder with one of them holds a run


def main() -> None:
    """The program, in one process or as torchrun starts it, in several."""
    sys.argv[1:] = naming(sys.argv[1:])
    if "WORLD_SIZE" in os.environ:
        from eulernet.runs.train import take_part

        take_part(command_line, restarted)
    command_line()


@command("train")
def command_line(given: dict[str, Any]) -> float:
    """Train one model on one dataset; return the best validation AUC, which sweeps maximise."""
    from eulernet.data.dataset import Dataset
    from eulernet.runs.train import kept_store, train
    from eulernet.training.device import device_of_job
    from eulernet.training.files import locked_run

    job = HydraConfig.get()
    run, overrides = Path(job.runtime.output_dir), list(job.overrides.task)
    with locked_run(short(run)):
        try:
            if given["resume"] is not None:
                given = saved_config(given, overrides, MAY_CHANGE, run)
            elif given["start_from"] is not None:
                given = started_config(given, overrides)
            if given["resume"] is None and any((run / name).exists() for name in STARTED):
                raise UserError(f"{short(run)} already holds a run; give resume={short(run)}, or another hydra.run.dir")
            if job.mode == RunMode.MULTIRUN:
                given["device"] = device_of_job(str(given["device"]), job.job.num)
            kept = None if given["resume"] is None else kept_store(given, short(run))
            return train(given, short(run), overrides, data=None if kept is None else Dataset.open(kept))
        finally:
            discard_unless_started(run, "last.ckpt", "report.json")


if __name__ == "__main__":
    main()
