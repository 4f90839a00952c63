"""python -m eulernet.tune: search for a setting on the validation split, with many workers, resumable."""

import logging
import sys
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from eulernet.cli import command, to_plain
from eulernet.cli.callbacks import discard_unless_started
from eulernet.cli.resume import saved_config
from eulernet.errors import UserError
from eulernet.files import short
from eulernet.settings import machine_keys

try:
    import matplotlib  # noqa: F401 (found missing now, not after a night of search)

    from eulernet.campaigns.tuning import CONFIG, tune
except ImportError as missing:
    sys.exit(f"error: tune needs {missing.name}: pip install 'eulernet[tune]'")

log = logging.getLogger(__name__)

# What may change when a search goes on: how far and where it runs, not what it searches.
MAY_CHANGE = (
    *machine_keys(), "resume", "trials", "workers", "timeout", "test", "storage",
)  # fmt: skip


@command("tune")
def main(cfg: DictConfig) -> float:
    """Search; return the best validation AUC."""
    folder = Path(HydraConfig.get().runtime.output_dir)
    try:
        plain = to_plain(cfg)
        if plain["resume"] is not None:
            plain = saved_config(plain, list(HydraConfig.get().overrides.task), MAY_CHANGE, folder)
        elif (folder / CONFIG).exists():
            raise UserError(f"{short(folder)} already holds a search; give resume={short(folder)}")
        return tune(plain, short(folder))
    except KeyboardInterrupt:
        if (folder / CONFIG).exists():
            again = f"{short(Path(sys.executable))} -m eulernet.tune resume={short(folder)}"
            log.info("stopped; go on with: %s", again)
        raise
    finally:
        discard_unless_started(folder, CONFIG)


if __name__ == "__main__":
    main()
