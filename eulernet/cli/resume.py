"""The configuration of a run, or of a search, that goes on."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from eulernet.errors import UserError, require
from eulernet.settings import machine_keys, read_config

# What may change when a run goes on: where it runs and for how long, not what it computes.
MAY_CHANGE = (
    *machine_keys(), "resume", "logger", "reference", "train.max_epochs", "train.patience", "train.checkpoint_every",
    "train.embedding", "train.keep_checkpoints", "train.rank_timeout",
)  # fmt: skip


def saved_config(cfg: dict[str, Any], overrides: Sequence[str], may_change: Sequence[str], run: Path) -> dict[str, Any]:
    """What the folder ``cfg["resume"]`` was started with, and from ``cfg`` what ``overrides`` change.

    Only keys in ``may_change`` can change. UserError if the output would go to another folder, ``run``.
    """
    folder = cfg["resume"]
    require(folder != "", "resume=: give the folder of the run to go on with")
    alone = f"resume={folder} goes on in its own folder, one at a time: leave out hydra.run.dir and -m"
    require(Path(str(folder)).absolute() == run.absolute(), alone)
    require(
        Path(str(folder)).is_dir(), f"resume={folder}: no such folder; give that of a run or a search that was started"
    )
    try:
        saved = read_config(Path(str(folder)) / "config.yaml")
        whole = {"dataset", "model", "train"} <= saved.keys() <= cfg.keys()
        require(whole, f"its keys are not {', '.join(cfg)}")
        saved = {**{key: value for key, value in cfg.items() if key not in saved}, **saved}  # an older eulernet's
    except UserError as error:
        again = "give the folder of a run that was started"
        raise UserError(f"resume={folder}: no readable config.yaml there ({error}); {again}") from None
    for override in overrides:
        key = override.split("=", 1)[0]
        if key not in may_change:
            can = ", ".join(name for name in may_change if name != "resume")
            raise UserError(f"a resumed run keeps its settings: {key} cannot change; only {can} can")
        old, new = saved, cfg
        *path, last = key.split(".")
        for part in path:
            old, new = old[part], new[part]
        old[last] = new[last]
    return saved
