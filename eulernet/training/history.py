"""What an epoch did, and the file that lists them."""

import csv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

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


# What ``train.monitor`` may name: the figure by which one epoch is better than another, higher is better.
MONITORS: dict[str, Callable[[Epoch], float]] = {
    "auc": lambda epoch: epoch.valid_auc,
    "logloss": lambda epoch: -epoch.valid_logloss,
}


def best_of(history: Sequence[Epoch], monitor: str = "auc") -> Epoch:
    """The first epoch with the best validation figure of that name."""
    return max(history, key=MONITORS[monitor])


def monitor_of(config: Mapping[str, Any]) -> str:
    """What the run of a configuration picks its epoch by; those of an older eulernet had no choice."""
    return str(config.get("train", {}).get("monitor", "auc"))


def write_metrics(history: Sequence[Epoch], run: Path) -> None:
    """metrics.csv: a line an epoch."""

    def write(file: Path) -> None:
        with file.open("w", newline="") as stream:
            writer = csv.DictWriter(stream, [field.name for field in fields(Epoch)])
            writer.writeheader()
            writer.writerows(asdict(epoch) for epoch in history)

    write_atomically(run / "metrics.csv", write)


def epochs_of(run: Path) -> int:
    """How many epochs of ``run`` have ended."""
    file = run / "metrics.csv"
    return len(file.read_text().splitlines()) - 1 if file.exists() else 0
