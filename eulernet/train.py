"""python -m eulernet.train: prepare a dataset if needed, train a model on it, test it, leave a run folder."""

import logging
import os
from pathlib import Path
from typing import Any

import torch
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from eulernet.cli import build, command, to_plain
from eulernet.data import Dataset
from eulernet.errors import UserError, choose, require
from eulernet.models import MODELS
from eulernet.prepare import prepare
from eulernet.training.checkpoint import LAST
from eulernet.training.device import keep_freed_memory, pick_device
from eulernet.training.loop import TrainConfig, fit
from eulernet.training.run import commit, write_report

log = logging.getLogger(__name__)

# What may change when a run goes on: where it runs and for how long, not what it computes.
MAY_CHANGE = ("resume", "device", "raw", "data_dir", "train.max_epochs", "train.patience")


@command("train")
def main(cfg: DictConfig) -> float:
    """Train one model on one dataset; return the best validation AUC, which sweeps maximise."""
    run = Path(HydraConfig.get().runtime.output_dir)
    overrides = list(HydraConfig.get().overrides.task)
    shown = Path(os.path.relpath(run)) if run.is_relative_to(Path.cwd()) else run
    try:
        if cfg.resume is not None:
            cfg = saved_config(shown, overrides)
        elif (run / LAST).exists():
            raise UserError(f"{shown} already holds a run; give resume={shown}, or another hydra.run.dir")
        return train(to_plain(cfg), shown, overrides)
    finally:
        discard_unless_started(run)


def train(cfg: dict[str, Any], run: Path, overrides: list[str]) -> float:
    """The run that the plain configuration ``cfg`` describes, in the folder ``run``; its best validation AUC."""
    seed = cfg["seed"]
    require(isinstance(seed, int) and seed >= 0, f"seed={seed}: should be a whole number, 0 or more")
    started_from = commit()  # asked now: the checkout may move on while the run goes
    keep_freed_memory()
    device = pick_device(cfg["device"])
    config = build(TrainConfig, cfg["train"], "train")
    data = Dataset.open(prepare(cfg))
    settings = dict(cfg["model"])
    name = settings.pop("name")
    torch.manual_seed(seed)
    model = build(choose(MODELS, name, "model"), settings, "model", field_sizes=data.field_sizes)

    data.copy_preprocessor(run / "preprocessor")
    OmegaConf.save(OmegaConf.create({**cfg, "resume": None}), run / "config.yaml")
    rows, weights = len(data.train), sum(weight.numel() for weight in model.parameters())
    log.info("%s on %s: %s training rows, %s weights, %s", name, data.name, f"{rows:,}", f"{weights:,}", device)
    try:
        history, test = fit(model, data, config, device, run, name=name, resume=cfg["resume"] is not None)
    except KeyboardInterrupt:
        log.info("stopped; go on with: python -m eulernet.train resume=%s", run)
        raise
    report = write_report(
        run,
        model=model,
        data=data,
        history=history,
        test=test,
        device=device,
        config=cfg,
        overrides=overrides,
        commit=started_from,
    )
    found = f", {report['learned']['auc']:.1%} of the learnable AUC" if "learned" in report else ""
    log.info("test  %s  (best epoch %d%s, run: %s)", test, report["best_epoch"], found, run)
    return report["valid"]["auc"]


def saved_config(run: Path, overrides: list[str]) -> DictConfig:
    """The configuration of the run to go on with, changed by those overrides that may change."""
    try:
        cfg = OmegaConf.load(run / "config.yaml")
        assert isinstance(cfg, DictConfig)
    except (OSError, OmegaConfBaseException, AssertionError):
        raise UserError(
            f"resume={run}: no readable config.yaml there; give the folder of a run that was started"
        ) from None
    for override in overrides:
        key = override.split("=", 1)[0]
        require(
            key in MAY_CHANGE,
            f"a resumed run keeps its settings: {key} cannot change; only {', '.join(MAY_CHANGE)} can",
        )
    cfg.merge_with_dotlist(overrides)
    return cfg


def discard_unless_started(run: Path) -> None:
    """Remove the folder that Hydra made for a run that never came to train: nothing but a log is in it."""
    if not run.is_dir() or {file.name for file in run.iterdir()} - {"train.log"}:
        return
    (run / "train.log").unlink(missing_ok=True)
    run.rmdir()
    for parent in run.parents:  # outputs/<dataset>/<model>, never the folder that the user is in
        if Path.cwd() not in parent.parents or any(parent.iterdir()):
            return
        parent.rmdir()


if __name__ == "__main__":
    main()
