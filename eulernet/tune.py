"""python -m eulernet.tune: search for a setting on the validation split, with many workers, resumable."""

from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig

from eulernet.cli import command
from eulernet.cli.folders import stoppable
from eulernet.cli.resume import saved_config
from eulernet.errors import UserError
from eulernet.files import short
from eulernet.settings import machine_keys

CONFIG = "config.yaml"  # what a folder with a search has
# What may change when a search goes on: how far and where it runs, not what it searches.
MAY_CHANGE = (
    *machine_keys(), "resume", "trials", "workers", "timeout", "test", "storage", "engine", "scheduler", "worker_wait",
)  # fmt: skip


@command("tune")
def main(given: dict[str, Any]) -> float:
    """Search; return the best validation AUC."""
    try:
        import matplotlib  # noqa: F401 (found missing now, not after a night of search)

        from eulernet.campaigns.tuning import tune
        from eulernet.training.files import locked_run
    except ImportError as missing:
        raise UserError(f"tune needs {missing.name}: pip install 'eulernet[tune]'") from None
    folder = Path(HydraConfig.get().runtime.output_dir)
    with locked_run(short(folder)), stoppable(folder, "tune", CONFIG):
        if given["resume"] is not None:
            given = saved_config(given, list(HydraConfig.get().overrides.task), MAY_CHANGE, folder)
        elif (folder / CONFIG).exists():
            raise UserError(f"{short(folder)} already holds a search; give resume={short(folder)}")
        return tune(given, short(folder))


if __name__ == "__main__":
    main()
