"""What a run shows of itself: a table with a line an epoch, and three lines at its end."""

import logging
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from eulernet.files import program
from eulernet.training.config import TrainConfig
from eulernet.training.history import Epoch, best_of

log = logging.getLogger(__name__)

HEADER = "epoch     train  valid auc   logloss        lr  seconds     rows/s     left"


class EpochTable:
    """One header, then a line an epoch, at most 78 characters wide; a star marks the best epoch so far.

    ``left`` is the time until training stops if no better epoch comes: each better one begins ``patience`` anew. A
    handler may colour the records of best epochs, whose attribute ``best`` is true.
    """

    def __init__(self, config: TrainConfig, done: int) -> None:
        self.config, self.first, self.began = config, done, time.monotonic()
        self.headed = False

    def show(self, history: Sequence[Epoch]) -> None:
        if not self.headed:
            log.info(HEADER)
            self.headed = True
        epoch, best = history[-1], best_of(history, self.config.monitor).epoch
        waited = epoch.epoch - best
        more = min(self.config.patience - waited, self.config.max_epochs - epoch.epoch)
        each = (time.monotonic() - self.began) / (epoch.epoch - self.first)
        line = (
            f"{epoch.epoch:5}  {epoch.train_loss:8.5f}  {epoch.valid_auc:9.6f}  {epoch.valid_logloss:8.6f}  "
            f"{epoch.lr:8.3g}  {epoch.seconds:7.1f}  {epoch.samples_per_second:9,.0f}  {clock(more * each):>7}"
        )
        log.info("%s%s", line, " *" if waited == 0 else "", extra={"best": waited == 0})


def clock(seconds: float) -> str:
    """1:05 for 65 seconds, 1:01:05 for an hour more."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}" if minutes >= 60 else f"{minutes}:{rest:02}"


def closing(report: Mapping[str, Any], run: Path) -> list[str]:
    """The test figures of a finished run, its folder, and what to type next."""
    test = report["test"]
    found = f", {report['learned']['auc']:.1%} of the learnable AUC" if "learned" in report else ""
    figures = f"auc={test['auc']:.6f}  logloss={test['logloss']:.6f}" if test else "no test split"
    return [
        f"test  {figures}  (best epoch {report['best_epoch']} of {report['epochs']}{found})",
        f"run   {run}",
        f"next  {program('report')} run={run}",
    ]
