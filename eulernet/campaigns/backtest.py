"""Training forward through time: what a model that is trained every day gains over one that is trained once.

Each step of the log is tested before anything is learned from it. ``warm`` goes on from its own weights with the step
alone (``start_from``), ``cold`` is trained anew on the window that ends with the step, ``frozen`` stays what the first
window made it, which is where the others begin, too. What is done stands in the folder: a backtest that was stopped
goes on where it was.
"""

import json
import logging
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from eulernet.campaigns.windows import STEPS, Step, cut, lengths
from eulernet.data import sampling
from eulernet.errors import UserError, choose, require
from eulernet.files import holders, write_atomically
from eulernet.measures import metrics
from eulernet.reporting.backtest import write_findings
from eulernet.runs.evaluate import of_files
from eulernet.runs.manifest import MANIFEST
from eulernet.runs.predictor import BATCH, Predictor
from eulernet.runs.run import Run
from eulernet.runs.train import save_config, train
from eulernet.training.checkpoint import LAST
from eulernet.training.device import pick_device

log = logging.getLogger(__name__)

MODES = {"warm": "goes on with the step alone", "cold": "anew on the window", "frozen": "the first window alone"}
OWN = ("split_column", "window", "step", "mode", "steps")  # keys that a run has not
WRITTEN = ("steps", "runs", "data")  # folders that it makes in its own
SPLITS = ("random", "chronological", "time")


@dataclass(frozen=True)
class Backtest:
    """A backtest in ``folder``: ``base`` is the configuration of its runs, ``window`` how many steps they look back."""

    folder: Path
    base: dict[str, Any]
    steps: list[Step]
    window: int

    def trained(self, mode: str, end: int) -> Path:
        """The run of ``mode`` that has learned from the steps before number ``end``; trained unless it is there."""
        if end == self.window or mode == "frozen":
            return self.run("first", range(self.window))
        if mode == "cold":
            return self.run(f"cold {end:04}", range(end - self.window, end))
        last = max((n for n in range(self.window + 1, end + 1) if self.done(f"warm {n:04}")), default=self.window)
        run = self.at(f"warm {last:04}") if last > self.window else self.trained("frozen", self.window)
        for number in range(last, end):
            step = self.steps[number]
            if 0 < step.clicks < step.rows:
                run = self.run(f"warm {number + 1:04}", range(number, number + 1), run)
            else:  # nothing to validate on
                what = "no row" if not step.rows else "nothing but clicks" if step.clicks else "no click"
                log.info("%s has %s: the warm model stays what it is", step.name, what)
        return run

    def at(self, name: str) -> Path:
        """The folder of the run called ``name``."""
        return self.folder / "runs" / name.replace(" ", "_")

    def done(self, name: str) -> bool:
        return (self.at(name) / MANIFEST).is_file()  # the last of its files

    def run(self, name: str, learned: range, before: Path | None = None) -> Path:
        """The run called ``name`` on the steps ``learned``, from the run ``before`` if there is one."""
        run = self.at(name)
        if self.done(name):
            return run
        raw = [str(self.place(number)) for number in learned if self.steps[number].rows]
        first, last = self.steps[learned[0]].name, self.steps[learned[-1]].name
        clicked, rows = (sum(getattr(self.steps[n], key) for n in learned) for key in ("clicks", "rows"))
        gap = f"window: no row from {first} to {last}, the log has a gap: give a longer window="
        require(rows > 0, gap)
        require(0 < clicked < rows, f"window: {first} to {last} has {clicked} clicks in {rows} rows: AUC needs both")
        resume = str(run) if (run / LAST).is_file() else None
        cfg = {**self.base, "raw": raw, "start_from": None if before is None else str(before), "resume": resume}
        run.mkdir(parents=True, exist_ok=True)
        log.info("%s: learns from %s", name, first if first == last else f"{first} to {last}")
        train(cfg, run, [])
        for store in holders(self.folder / "data", "meta.json"):  # the next run has another
            shutil.rmtree(store)
        return run

    def place(self, number: int) -> Path:
        """The folder with the rows of a step."""
        return self.folder / "steps" / f"{number:04}"

    def tested(self, mode: str, number: int) -> dict[str, Any]:
        """What ``mode`` is worth on step ``number``, by the run that has learned from those before it."""
        file = self.folder / "results" / f"{mode}_{number:04}.json"
        if file.is_file():
            return dict(json.loads(file.read_text()))
        run = self.trained(mode, number)
        found = {"mode": mode, "step": number, "name": self.steps[number].name, **self.measured(run, number)}
        file.parent.mkdir(exist_ok=True)
        write_atomically(file, lambda new: new.write_text(json.dumps(found, indent=1) + "\n"))
        return found

    def measured(self, run: Path, number: int) -> dict[str, Any]:
        predictor = Predictor.load(run, str(pick_device(str(self.base["device"]))))
        rows = of_files(predictor, [self.place(number)], None, BATCH)
        both = 0 < rows.labels.sum() < len(rows.labels)
        weights = sampling.measured(rows.labels, rows.weights, predictor.preprocessor.meta.get(sampling.KEPT, 1.0))
        report = Run.open(run).report
        grown = sum(one["new"] for one in (report.get("grown") or {}).values())
        return {
            "run": str(run),
            "rows": len(rows.labels),
            "clicks": int(rows.labels.sum()),
            "auc": metrics.auc(rows.labels, rows.logits, weights) if both else None,
            "logloss": metrics.logloss(rows.labels, rows.logits, weights),
            "unknown": self.unknown(predictor, number),
            "learned": report["dataset"]["rows"]["train"],
            "new": grown if report.get("ancestry") else None,
            "seconds": report["seconds"] if run.name != "first" else 0.0,
        }

    def unknown(self, predictor: Predictor, number: int) -> float:
        """The share of values of the step that the model does not know, over the fields that have a vocabulary."""
        prepare, count, zeros = predictor.preprocessor, 0, 0
        places = np.concatenate([[0], np.cumsum([coder.columns for coder in prepare.coders])])
        coders = [
            (place, coder) for place, coder in zip(places, prepare.coders, strict=False) if coder.kind == "category"
        ]
        named, tails = [place for place, _ in coders], [getattr(coder, "tail", 0) for _, coder in coders]
        files = sorted(self.place(number).glob("*.parquet"))
        for piece in prepare.read(files, 1 << 28):
            ids = prepare.encode(piece.frame(), piece.where)[:, named]
            count, zeros = count + ids.size, zeros + int((ids <= tails).sum())  # ids of buckets, too
        return zeros / count if count else 0.0


def require_free(folder: Path) -> None:
    """UserError where ``folder`` holds what a new backtest would write over; the steps of a refused log may go."""
    if (folder / "steps" / STEPS).is_file():
        shutil.rmtree(folder / "steps")
    there = [name for name in WRITTEN if (folder / name).exists()]
    require(not there, f"{folder} holds {', '.join(there)} already: give another hydra.run.dir=")


def discard(folder: Path) -> None:
    """Remove what a backtest has written into ``folder``."""
    for name in WRITTEN:
        shutil.rmtree(folder / name, ignore_errors=True)
    (folder / "config.yaml").unlink(missing_ok=True)


def backtest(cfg: dict[str, Any], folder: Path) -> None:
    """Test every step by every mode that ``cfg`` asks for, in ``folder``, and write what was found."""
    modes = list(dict.fromkeys(cfg["mode"] if isinstance(cfg["mode"], list) else [cfg["mode"]]))
    require(bool(modes), f"mode={cfg['mode']}: give one of {', '.join(MODES)}, or a list of them")
    for mode in modes:
        choose(MODES, str(mode), "mode")
    count = cfg["steps"]
    require(count is None or (type(count) is int and count >= 1), f"steps={count}: give a whole number, 1 or more")
    require(cfg["dataset"]["name"] == "table", f"dataset={cfg['dataset']['name']}: a backtest takes dataset=table")
    split = cfg["dataset"]["split"]
    require(split in SPLITS, f"dataset.split={split}: of a window only {', '.join(SPLITS)} can validate")
    once = cfg["model"]["name"] in ("lightgbm", "sklearn_lr") and "warm" in modes
    require(not once, f"model={cfg['model']['name']} learns all rows at once: leave warm out, mode=[cold,frozen]")
    _, window = lengths(cfg)
    if not (folder / "config.yaml").exists():
        require_free(folder)
    steps, dataset = cut(cfg, folder / "steps")
    least = f"the log has {len(steps)} steps of {cfg['step']} ({steps[0].name} to {steps[-1].name})"
    require(len(steps) > window, f"window={cfg['window']}: {least}; give a shorter one, a step is for the test")
    save_config({**cfg, "resume": None}, folder)
    base = {key: value for key, value in cfg.items() if key not in OWN}
    ratios = [dataset["ratios"][0] + dataset["ratios"][2], dataset["ratios"][1], 0.0]
    base |= {"dataset": {**dataset, "ratios": [round(share, 12) for share in ratios]}}
    base["data_dir"] = str(folder / "data")
    made = Backtest(folder, base, steps, window)
    numbers = range(window, len(steps) if count is None else min(len(steps), window + count))
    wanted = [(mode, number) for number in numbers if steps[number].rows for mode in modes]
    try:
        require(bool(wanted), f"window={cfg['window']}: no step after it has a row; give a shorter window=")
        found = [made.tested(mode, number) for mode, number in wanted]
    except UserError:
        if cfg["resume"] is None and not holders(folder / "runs", LAST):  # nothing to go on with
            discard(folder)
        raise
    shutil.rmtree(folder / "data", ignore_errors=True)
    for line in write_findings(found, cfg, steps, folder):
        log.info("%s", line)
