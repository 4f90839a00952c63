"""python -m eulernet.backtest: train forward through time and test each step on the next, warm, cold and frozen."""

from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig

from eulernet.cli import command
from eulernet.cli.folders import stoppable
from eulernet.cli.resume import saved_config
from eulernet.errors import UserError
from eulernet.files import short
from eulernet.settings import machine_keys

CONFIG = "config.yaml"  # what a folder with a backtest has
# When a backtest goes on. Its steps are cut: another log would not be read.
MAY_CHANGE = ("resume", "mode", "steps", "logger", "reference", *(key for key in machine_keys() if key != "raw"))


@command("backtest")
def main(given: dict[str, Any]) -> None:
    """Cut the log into steps, train what is missing, and write the table and the page."""
    from eulernet.campaigns.backtest import backtest
    from eulernet.training.files import locked_run

    folder = Path(HydraConfig.get().runtime.output_dir)
    with locked_run(short(folder)), stoppable(folder, "backtest", CONFIG):
        if given["resume"] is not None:
            given = saved_config(given, list(HydraConfig.get().overrides.task), MAY_CHANGE, folder)
        elif (folder / CONFIG).exists():
            raise UserError(f"{short(folder)} already holds a backtest or a run; give another hydra.run.dir")
        backtest(given, short(folder))


if __name__ == "__main__":
    main()
