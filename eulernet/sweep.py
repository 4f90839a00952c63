"""What a Hydra sweep ends with: one table of all its runs."""

import json
import logging
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

log = logging.getLogger(__name__)


class SweepTable(Callback):
    """Collect the report.json of every run under the sweep's folder into results.csv, and print it."""

    def on_multirun_end(self, config: DictConfig, **_: Any) -> None:
        import pandas as pd

        folder = Path(config.hydra.sweep.dir)
        reports = sorted(folder.glob("*/report.json"), key=lambda file: int(file.parent.name))
        rows = []
        for file in reports:
            report = json.loads(file.read_text())
            rows.append(
                {
                    "run": file.parent.name,
                    **dict(override.split("=", 1) for override in report["overrides"]),
                    "valid_auc": report["valid"]["auc"],
                    "valid_logloss": report["valid"]["logloss"],
                    "test_auc": report["test"]["auc"],
                    "test_logloss": report["test"]["logloss"],
                    "best_epoch": report["best_epoch"],
                    "seconds": round(report["seconds"], 1),
                }
            )
        if rows:
            table = pd.DataFrame(rows)
            table.to_csv(folder / "results.csv", index=False)
            print(f"\n{table.to_string(index=False, float_format='{:.6f}'.format)}\n\n{folder / 'results.csv'}")
