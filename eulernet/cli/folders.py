"""The folders that Hydra makes for runs: a run that is refused takes its own back."""

import logging
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from eulernet.errors import DiskFull
from eulernet.files import short

log = logging.getLogger(__name__)

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


@contextmanager
def stoppable(folder: Path, command: str, mark: str) -> Iterator[None]:
    """Within it ``command`` works in ``folder``, which it has locked; where that is stopped, say how it goes on.

    A folder without the file ``mark`` holds nothing to go on with: it is removed, if this process made it.
    """
    try:
        yield
    except (KeyboardInterrupt, DiskFull):
        if (folder / mark).exists():
            again = f"{short(Path(sys.executable))} -m eulernet.{command} resume={short(folder)}"
            log.info("stopped; go on with: %s", again)
        raise
    finally:
        discard_unless_started(folder, mark)


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
