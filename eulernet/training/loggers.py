"""Where the figures of an epoch go besides metrics.csv: each logger takes (history, run folder) after every epoch."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from eulernet.errors import UserError, choose
from eulernet.training.history import Epoch

Logger = Callable[[Sequence[Epoch], Path], None]


class TensorBoard:
    """Scalars by epoch in ``tensorboard/`` of the run folder.

    A resumed run writes its history anew and tells TensorBoard to forget what was there, so that no epoch shows twice.
    UserError where the package is not installed.
    """

    def __init__(self) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            raise UserError("logger=tensorboard takes a package more: pip install 'eulernet[tensorboard]'") from None
        self._open = SummaryWriter
        self._writer: Any = None
        self._written = 0

    def __call__(self, history: Sequence[Epoch], run: Path) -> None:
        if self._writer is None:
            self._writer = self._open(str(run / "tensorboard"), purge_step=1)
        for epoch in history[self._written :]:
            for name, value in (
                ("loss/train", epoch.train_loss),
                ("loss/valid", epoch.valid_logloss),
                ("auc/valid", epoch.valid_auc),
                ("lr", epoch.lr),
                ("samples_per_second", epoch.samples_per_second),
            ):
                self._writer.add_scalar(name, value, epoch.epoch)
        self._written = len(history)
        self._writer.flush()


LOGGERS: dict[str, Callable[[], Logger]] = {"tensorboard": TensorBoard}


def loggers(name: str | None) -> list[Logger]:
    """The logger called ``name``; None is none."""
    return [] if name is None else [choose(LOGGERS, name, "logger")()]
