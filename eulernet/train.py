"""python -m eulernet.train: prepare a dataset if needed, train a model on it, test it, leave a run folder.

Under torchrun one of the processes is that program, and the others take part in its training.
"""

import logging
import os
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from eulernet.cli import command, construct, to_plain
from eulernet.cli.callbacks import discard_unless_started
from eulernet.data.dataset import Dataset
from eulernet.distributed import launch
from eulernet.errors import UserError, choose, require
from eulernet.models import MODELS
from eulernet.models.base import CTRModel
from eulernet.prepare import prepare
from eulernet.runs.manifest import write_manifest
from eulernet.training.checkpoint import LAST, load_last
from eulernet.training.config import TrainConfig
from eulernet.training.device import device_of_job, pick_device
from eulernet.training.files import write_atomically
from eulernet.training.loggers import loggers
from eulernet.training.loop import fit
from eulernet.training.report import commit, reset_peak_memory, write_report

log = logging.getLogger(__name__)

# What may change when a run goes on: where it runs and for how long, not what it computes.
MAY_CHANGE = (
    "resume", "device", "raw", "data_dir", "memory", "accept_terms",
    "logger", "train.max_epochs", "train.patience", "train.checkpoint_every", "train.embedding",
)  # fmt: skip


def main() -> None:
    """The program, in one process or as torchrun starts it, in several."""
    try:
        several, leads = launch.env_world_size() > 1, launch.env_rank() == 0
    except UserError as error:
        sys.exit(f"error: {error}")
    if not several:
        command_line()
    elif not leads:
        launch.run(follow)
    elif {"-m", "--multirun"} & set(sys.argv):
        launch.run(refuse_sweep)
    else:
        launch.run(command_line)


def refuse_sweep() -> None:
    raise UserError("-m runs one process after the other: leave it out under torchrun, or start it without torchrun")


@command("train")
def command_line(cfg: DictConfig) -> float:
    """Train one model on one dataset; return the best validation AUC, which sweeps maximise."""
    run = Path(HydraConfig.get().runtime.output_dir)
    try:
        overrides = list(HydraConfig.get().overrides.task)
        if cfg.resume is not None:
            require(bool(cfg.resume), "resume=: give the folder of the run to go on with")
            require(
                Path(str(cfg.resume)).absolute() == run.absolute(),
                f"resume={cfg.resume} goes on in its own folder, one at a time: leave out hydra.run.dir and -m",
            )
            cfg = saved_config(cfg, overrides)
        elif any((run / name).exists() for name in (LAST, "config.yaml", "report.json")):
            raise UserError(f"{short(run)} already holds a run; give resume={short(run)}, or another hydra.run.dir")
        if HydraConfig.get().mode == RunMode.MULTIRUN:
            cfg.device = device_of_job(str(cfg.device), HydraConfig.get().job.num)
        return train(to_plain(cfg), short(run), overrides)
    finally:
        discard_unless_started(run)


@dataclass(frozen=True)
class Job:
    """A configuration, built: everything that ``fit`` takes."""

    model: CTRModel
    data: Dataset
    config: TrainConfig
    device: torch.device


def set_up(cfg: dict[str, Any], folder: Path | None = None) -> Job:
    """Check the plain configuration ``cfg`` and build what it describes.

    The dataset's store is ``folder``, if it is there; otherwise it is made if needed.
    """
    seed = cfg["seed"]
    whole = isinstance(seed, int) and not isinstance(seed, bool) and 0 <= seed < 2**63
    require(whole, f"seed={seed}: should be a whole number, 0 or more and below 2^63")
    device = pick_device(launch.device_of_rank(str(cfg["device"])))
    config = construct(TrainConfig, cfg["train"], "train")
    processes = launch.env_world_size()
    require(
        config.batch_size >= processes,
        f"train.batch_size={config.batch_size} leaves some of {processes} processes without a row",
    )
    data = Dataset.open(folder if folder is not None and folder.is_dir() else prepare(cfg))
    settings = dict(cfg["model"])
    make = choose(MODELS, str(settings.pop("name", None)), "model")
    torch.manual_seed(seed)
    return Job(construct(make, settings, "model", field_sizes=data.field_sizes), data, config, device)


def train(cfg: dict[str, Any], run: Path, overrides: list[str]) -> float:
    """The run that the plain configuration ``cfg`` describes, in the folder ``run``; its best validation AUC."""
    resume, cfg = cfg["resume"], {**cfg, "resume": None}
    # Asked now: the checkout may move on while the run goes.
    about: dict[str, Any] = {"overrides": overrides, "commit": commit()}
    also = loggers(cfg["logger"])
    job = set_up(cfg)
    name, data = cfg["model"]["name"], job.data
    identity = {"model_name": name, "dataset": f"{data.name}/{data.digest}"}
    saved = None
    if resume is not None:
        saved = load_last(run, **identity)
        began = saved.get("about", about)
        if began["commit"] != about["commit"]:
            about["commit"] = f"{began['commit']}, then {about['commit']}"
        about["overrides"] = began["overrides"] + [o for o in overrides if not o.startswith("resume=")]
    else:
        data.copy_preprocessor(run / "preprocessor")
    write_atomically(run / "config.yaml", lambda file: OmegaConf.save(OmegaConf.create(cfg), file))

    rows, weights = len(data.train), sum(weight.numel() for weight in job.model.parameters())
    log.info("%s on %s: %s training rows, %s weights, %s", name, data.name, f"{rows:,}", f"{weights:,}", job.device)
    reset_peak_memory(job.device)
    try:
        places = {"run": str(run.absolute()), "store": str(data.folder.absolute())}
        launch.lead({**places, "device": job.device.type, "resumed": resume is not None}, job.device)
        history, test = fit(
            job.model, data, job.config, job.device, run,
            identity={**identity, "about": about}, saved=saved, loggers=also,
        )  # fmt: skip
    except KeyboardInterrupt:
        if (run / LAST).exists():
            log.info("stopped; go on with: %s", again(run))
        raise
    except Exception as error:
        if launch.is_lost_rank(error) and (run / LAST).exists():
            raise UserError(f"another process of this run is gone; go on with: {again(run)}") from None
        raise
    report = write_report(run, job.model, data, history, test, device=job.device, config=cfg, **about)
    write_manifest(run)
    found = f", {report['learned']['auc']:.1%} of the learnable AUC" if "learned" in report else ""
    log.info("test  %s  (best epoch %d%s, run: %s)", test, report["best_epoch"], found, run)
    return report["valid"]["auc"]


def follow() -> None:
    """Take part in the run that another process leads: the same steps, but no word and no file."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    logging.disable(logging.WARNING)

    def build(job: dict[str, Any]) -> tuple[Callable[[], object], torch.device]:
        run = Path(job["run"])
        require((run / "config.yaml").is_file(), f"{run} is not there; every machine must see it: hydra.run.dir=")
        cfg: Any = OmegaConf.to_container(OmegaConf.load(run / "config.yaml"))
        mine = set_up({**cfg, "device": job["device"]}, Path(job["store"]))
        identity = {"model_name": cfg["model"]["name"], "dataset": f"{mine.data.name}/{mine.data.digest}"}
        saved = load_last(run, **identity) if job["resumed"] else None
        train = partial(fit, mine.model, mine.data, mine.config, mine.device, run, identity=identity, saved=saved)
        return train, mine.device

    train = launch.follow(build)
    try:
        train()
    except UserError:  # the leader meets and says the same
        sys.exit(1)
    except OSError as error:
        raise UserError(f"process {launch.env_rank()}: {error}") from None


def again(run: Path) -> str:
    """What to type to go on with ``run``."""
    several = launch.env_world_size() > 1
    return launch.resume_command(run) if several else f"{short(Path(sys.executable))} -m eulernet.train resume={run}"


def saved_config(cfg: DictConfig, overrides: list[str], may_change: Sequence[str] = MAY_CHANGE) -> DictConfig:
    """The configuration of the run that ``cfg.resume`` names, changed by those overrides that may change."""
    try:
        saved = OmegaConf.load(Path(str(cfg.resume)) / "config.yaml")
    except Exception:  # missing, not YAML, not a mapping: whatever reading it led to
        saved = None
    if not isinstance(saved, DictConfig) or saved.keys() != cfg.keys():
        raise UserError(
            f"resume={cfg.resume}: no readable config.yaml there; give the folder of a run that was started"
        )
    for override in overrides:
        key = override.split("=", 1)[0]
        require(
            key in may_change,
            f"a resumed run keeps its settings: {key} cannot change; only {', '.join(may_change[1:])} can",
        )
        OmegaConf.update(saved, key, OmegaConf.select(cfg, key))
    return saved


def short(path: Path) -> Path:
    """Relative to the working folder where it lies below it, as a user would type it."""
    return Path(os.path.relpath(path)) if path.absolute().is_relative_to(Path.cwd()) else path


if __name__ == "__main__":
    main()
