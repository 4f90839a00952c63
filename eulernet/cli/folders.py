"""The folders that Hydra makes for runs: a run that is refused takes its own back."""

import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

FAILED = "failed.txt"  # in a sweep's folder: what its failed runs said
_made: list[Path] = []  # folders that this process is about to make, innermost first


class Folders(Callback):
    """Note which folders Hydra is going to make, before it does."""

    def on_run_start(self, config: DictConfig, **_: Any) -> None:
        self._note(Path(config.hydra.run.dir))

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        self._note(Path(config.hydra.sweep.dir))

    def _note(self, folder: Path) -> None:
        folder = folder.absolute()
        _made[:] = [path for path in (folder, *folder.parents) if not path.exists()]


def discard_unless_started(run: Path, *marks: str) -> None:
    """Remove the folder of a run that did not start, with the empty ones above it, if this process made them.

    A run that started has one of the files ``marks``. A folder that was there before stays, with all that is in it.
    """
    run = run.absolute()
    if not _made or not run.is_relative_to(_made[0]) or any((run / mark).exists() for mark in marks):
        return
    shutil.rmtree(run)
    with suppress(OSError):  # not empty, or removed by another process that was refused at the same moment
        for folder in run.parents:
            if not (folder.is_relative_to(_made[0]) or folder in _made):
                return
            folder.rmdir()
