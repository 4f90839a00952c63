"""python -m eulernet.train: prepare a dataset if needed, train a model on it, test it, leave a run folder.

Under torchrun rank 0 is that program, and the other ranks take part in its training.
"""

import sys
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from eulernet.cli import command, to_plain
from eulernet.cli.callbacks import discard_unless_started
from eulernet.cli.resume import MAY_CHANGE, saved_config
from eulernet.distributed import launch
from eulernet.errors import UserError
from eulernet.files import short
from eulernet.runs.train import follow, train
from eulernet.training.checkpoint import LAST
from eulernet.training.device import device_of_job
from eulernet.training.files import locked_run


def main() -> None:
    """The program, in one process or as torchrun starts it, in several."""
    try:
        several, leads = launch.env_world_size() > 1, launch.env_rank() == 0
    except UserError as error:
        sys.exit(f"error: {error}")
    if several:
        launch.run(follow if not leads else refuse_sweep if {"-m", "--multirun"} & set(sys.argv) else command_line)
    command_line()


def refuse_sweep() -> None:
    raise UserError("-m runs one process after the other: leave it out under torchrun, or start it without torchrun")


@command("train")
def command_line(cfg: DictConfig) -> float:
    """Train one model on one dataset; return the best validation AUC, which sweeps maximise."""
    job = HydraConfig.get()
    run, overrides = Path(job.runtime.output_dir), list(job.overrides.task)
    with locked_run(short(run)):
        try:
            plain = to_plain(cfg)
            if plain["resume"] is not None:
                plain = saved_config(plain, overrides, MAY_CHANGE, run)
            elif any((run / name).exists() for name in (LAST, "config.yaml", "report.json")):
                raise UserError(f"{short(run)} already holds a run; give resume={short(run)}, or another hydra.run.dir")
            if job.mode == RunMode.MULTIRUN:
                plain["device"] = device_of_job(str(plain["device"]), job.job.num)
            return train(plain, short(run), overrides)
        finally:
            discard_unless_started(run, LAST)


if __name__ == "__main__":
    main()
