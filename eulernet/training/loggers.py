"""Where the figures of an epoch go besides metrics.csv: each logger takes (history, run folder) after every epoch.

A resumed run hands over its whole history again: every logger sees to it that no epoch shows twice.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from eulernet.errors import UserError, choose
from eulernet.files import write_atomically
from eulernet.settings import read_config
from eulernet.training.history import Epoch

Logger = Callable[[Sequence[Epoch], Path], None]
SCALARS = {
    "loss/train": "train_loss",
    "loss/valid": "valid_logloss",
    "auc/valid": "valid_auc",
    "lr": "lr",
    "samples_per_second": "samples_per_second",
}


class TensorBoard:
    """Scalars by epoch in ``tensorboard/`` of the run folder; those of before a resume are written anew."""

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
            for name, attribute in SCALARS.items():
                self._writer.add_scalar(name, getattr(epoch, attribute), epoch.epoch)
        self._written = len(history)
        self._writer.flush()


class MLflow:
    """Metrics by epoch, and config.yaml, as a run of the experiment "eulernet", where MLFLOW_TRACKING_URI says.

    ``mlflow.txt`` in the run folder keeps the number of that run: a resumed run adds what is not there yet.
    """

    def __init__(self) -> None:
        try:
            import mlflow
        except ImportError:
            raise UserError("logger=mlflow takes a package more: pip install 'eulernet[mlflow]'") from None
        self._mlflow = mlflow
        self._number = ""
        self._written = 0
        with self._refusals():  # before anything is trained
            self._client = mlflow.MlflowClient()
            known = self._client.get_experiment_by_name("eulernet")
            self._experiment = known.experiment_id if known else self._client.create_experiment("eulernet")

    @contextmanager
    def _refusals(self) -> Iterator[None]:
        try:
            yield
        except (self._mlflow.exceptions.MlflowException, ImportError) as error:
            line = str(error).splitlines()[0]
            raise UserError(f"logger=mlflow: {line} (MLFLOW_TRACKING_URI={self._mlflow.get_tracking_uri()})") from None

    def __call__(self, history: Sequence[Epoch], run: Path) -> None:
        with self._refusals():
            if not self._number:
                self._begin(run)
            for epoch in history[self._written :]:
                for name, attribute in SCALARS.items():
                    self._client.log_metric(self._number, name, getattr(epoch, attribute), step=epoch.epoch)
            self._client.set_terminated(self._number)  # as far as MLflow knows, each epoch may be the last
        self._written = len(history)

    def _begin(self, run: Path) -> None:
        note = run / "mlflow.txt"
        if note.is_file():
            self._number = note.read_text().strip()
            self._written = len(self._client.get_metric_history(self._number, list(SCALARS)[-1]))
            return
        self._number = self._client.create_run(self._experiment, run_name=str(run)).info.run_id
        write_atomically(note, lambda file: file.write_text(f"{self._number}\n"))
        self._client.log_artifact(self._number, str(run / "config.yaml"))


class WandB:
    """Metrics by epoch, and the configuration, as a run of the project "eulernet"; WANDB_MODE=offline needs no server.

    Its files lie in ``wandb/`` of the run folder. ``wandb.txt`` there keeps the name of the record and how many of its
    epochs are there: a resumed run adds the others.
    """

    def __init__(self) -> None:
        try:
            import wandb
        except ImportError:
            raise UserError("logger=wandb takes a package more: pip install 'eulernet[wandb]'") from None
        self._wandb = wandb
        self._record: Any = None
        self._written = 0
        if os.environ.get("WANDB_MODE", "online") == "online" and not wandb.api.api_key:  # before anything is trained
            raise UserError("logger=wandb: log in with `wandb login`, or set WANDB_MODE=offline")

    def __call__(self, history: Sequence[Epoch], run: Path) -> None:
        if self._record is None:
            self._begin(run)
        for epoch in history[self._written :]:
            self._record.log({name: getattr(epoch, column) for name, column in SCALARS.items()}, step=epoch.epoch)
        self._written = len(history)
        write_atomically(run / "wandb.txt", lambda file: file.write_text(f"{self._record.id} {self._written}\n"))

    def _begin(self, run: Path) -> None:
        note = run / "wandb.txt"
        known, written = note.read_text().split() if note.is_file() else (None, "0")
        self._written = int(written)
        settings = self._wandb.Settings(silent=True, console="off")
        try:
            self._record = self._wandb.init(
                project="eulernet", id=known, resume="allow", name=str(run), dir=str(run), reinit="create_new",
                config=read_config(run / "config.yaml"), settings=settings,
            )  # fmt: skip
        except self._wandb.errors.Error as error:
            raise UserError(
                f"logger=wandb: {' '.join(str(error).split())}; WANDB_MODE=offline needs no server"
            ) from None

    def close(self) -> None:
        """End the record: the next run of this process has one of its own."""
        if self._record is not None:
            self._record.finish()


LOGGERS: dict[str, Callable[[], Logger]] = {"tensorboard": TensorBoard, "mlflow": MLflow, "wandb": WandB}


def loggers(name: str | None) -> list[Logger]:
    """The logger called ``name``; None is none."""
    return [] if name is None else [choose(LOGGERS, name, "logger")()]


@contextmanager
def closing(loggers: Sequence[Logger]) -> Iterator[None]:
    """Within it a run trains; those of ``loggers`` that have to be ended are, however it ends."""
    try:
        yield
    finally:
        for logger in loggers:
            if hasattr(logger, "close"):
                logger.close()
