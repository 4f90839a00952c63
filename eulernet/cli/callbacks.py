"""What happens around the runs that Hydra starts: how a sweep ends. conf/train.yaml names these classes."""

import json
import re
import sys
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from eulernet.cli.folders import FAILED
from eulernet.files import stamps


class Failures(Callback):
    """End a sweep with an error if any of its runs failed, in whichever process it ran."""

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        (Path(config.hydra.sweep.dir) / FAILED).unlink(missing_ok=True)  # of another sweep into the same folder

    def on_multirun_end(self, config: DictConfig, **_: Any) -> None:
        file = Path(config.hydra.sweep.dir) / FAILED
        if file.exists():
            failed = len(re.findall(r"^run \d+ \(", file.read_text(), re.MULTILINE))
            sys.exit(f"error: {failed} of the runs failed, see above and {file}")


class SweepTable(Callback):
    """Collect the report.json of every run of this sweep into results.csv, and print it.

    The file has every measure of the test rows; the printed table has AUC and logloss. Reports that were in the folder
    before, of another sweep, do not count.
    """

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        self.before = self._reports(config)

    def _reports(self, config: DictConfig) -> dict[Path, tuple[int, int]]:
        return stamps(Path(config.hydra.sweep.dir).glob("*/report.json"))

    def on_multirun_end(self, config: DictConfig, **_: Any) -> None:
        import pandas as pd

        from eulernet.measures.table import MEASURES

        folder = Path(config.hydra.sweep.dir)
        rows, overrides = [], dict[str, None]()
        new = [file for file, stamp in self._reports(config).items() if self.before.get(file) != stamp]
        for file in sorted(new, key=lambda file: (len(file.parent.name), file.parent.name)):
            report = json.loads(file.read_text())
            changed = dict(override.split("=", 1) for override in report["overrides"] if "=" in override)
            overrides.update(dict.fromkeys(changed))
            rows.append(
                {
                    "run": file.parent.name,
                    **changed,
                    **{f"valid_{name}": report["valid"][name] for name in ("auc", "logloss")},
                    **{f"test_{one.name}": report["test"][one.name] for one in MEASURES if one.name in report["test"]},
                    "best_epoch": report["best_epoch"],
                    "seconds": round(report["seconds"], 1),
                }
            )
        if rows:
            table = pd.DataFrame(rows)
            table.to_csv(folder / "results.csv", index=False)
            swept = [name for name in overrides if table[name].nunique(dropna=False) > 1]
            more = (f"test_{one.name}" for one in MEASURES if one.name not in ("auc", "logloss"))
            hidden = {"run", *overrides, *more}
            shown = table[["run", *swept, *(name for name in table if name not in hidden)]]
            form = {"seconds": "{:.1f}".format}
            text = shown.to_string(index=False, float_format="{:.6f}".format, formatters=form)
            print(f"\n{text}\n\n{folder / 'results.csv'}")
