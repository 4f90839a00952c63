"""What an epoch did, and the file that lists them."""

import csv
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from eulernet.training.files import write_atomically


@dataclass(frozen=True)
class Epoch:
    """One line of metrics.csv."""

    epoch: int
    train_loss: float
    valid_auc: float
    valid_logloss: float
    lr: float
    seconds: float  # of training, without the evaluation
    samples_per_second: float


def best_of(history: Sequence[Epoch]) -> Epoch:
    """The first epoch with the highest validation AUC."""
    return max(history, key=lambda epoch: epoch.valid_auc)


def write_metrics(history: Sequence[Epoch], run: Path) -> None:
    """metrics.csv: a line an epoch."""

    def write(file: Path) -> None:
        with file.open("w", newline="") as stream:
            writer = csv.DictWriter(stream, [field.name for field in fields(Epoch)])
            writer.writeheader()
            writer.writerows(asdict(epoch) for epoch in history)

    write_atomically(run / "metrics.csv", write)
