"""A run, from its configuration to the report in its folder; under torchrun with the part of each rank."""

import json
import logging
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from eulernet.data.dataset import Dataset
from eulernet.data.growth import NothingNew
from eulernet.distributed import launch
from eulernet.distributed.ranks import world_size
from eulernet.errors import UserError, require
from eulernet.files import short, write_atomically
from eulernet.models.lr import LR
from eulernet.models.reference import Reference
from eulernet.runs import start
from eulernet.runs.manifest import CALIBRATION, MANIFEST, of_these_weights, write_manifest
from eulernet.runs.reading import EVALUATION
from eulernet.runs.run import STORES
from eulernet.settings import dump_config, read_config
from eulernet.training.auto import chosen
from eulernet.training.checkpoint import LAST, REPORT, load, load_last, numbered, store_of
from eulernet.training.compiling import Program
from eulernet.training.display import closing
from eulernet.training.history import Epoch, monitor_of
from eulernet.training.job import Job, set_up
from eulernet.training.loggers import Logger, loggers
from eulernet.training.loggers import closing as closing_loggers
from eulernet.training.loop import fit
from eulernet.training.report import click_rate, commit, overconfident, reset_peak_memory, write_report
from eulernet.training.resume import saying_how_to_resume
from eulernet.training.standing import Standing, logistic_regression
from eulernet.training.tables import count_weights
from eulernet.training.weights import weight_files

log = logging.getLogger(__name__)

TYPED = ".typed.json"  # in the folder of a run that has not ended: the overrides that it began with


def train(
    cfg: dict[str, Any],
    run: Path,
    overrides: list[str],
    *more_loggers: Logger,
    reference: bool | None = None,
    data: Dataset | None = None,
) -> float:
    """The run that the plain configuration ``cfg`` describes, in the folder ``run``; its best validation AUC.

    It trains on ``data`` if given, else on the store that ``cfg`` describes, which a run on a frame has in its folder.
    ``reference`` says whether it ends with a comparison with logistic regression; None takes what ``cfg`` says.
    """
    resume, cfg = cfg["resume"], {**cfg, "resume": None}
    typed = [override for override in overrides if not override.startswith("resume=")]
    store = None if resume is None else own_store(run)
    if resume is not None and stopped_at_once(run):
        log.info("%s was stopped before its first checkpoint: it begins anew", run)
        resume, typed = None, [*typed_before(run), *typed]
    # Asked now: the checkout may move on while the run goes.
    about: dict[str, Any] = {"overrides": typed, "commit": commit(), "threads": torch.get_num_threads()}
    also = [*loggers(cfg["logger"]), *more_loggers]
    try:
        job = job_of(cfg, data or store, begins=resume is None)
    except NothingNew:
        return repeat(cfg, run, typed)
    saved = moments = None
    if resume is not None:
        saved = go_on(job, run, about)
    else:
        moments = begin(job, cfg, run, about)
    if cfg["train"].get("shuffle") == "auto":  # every rank, and a resumed run, does the same
        cfg = {**cfg, "train": {**cfg["train"], "shuffle": job.config.shuffle}}
    save_config(cfg, run)
    reset_peak_memory(job.device)
    with saying_how_to_resume(run, resume_command(run)), closing_loggers(also):
        lead(job, cfg, run, None if saved is None else saved["checkpoint"])
        program = Program(job.config.compile)
        history, test = fit(
            job.model, job.data, job.config, job.device, run,
            identity={**job.identity, "about": about}, saved=saved, moments=moments, program=program, loggers=also,
        )  # fmt: skip
    if saved is not None and len(history) == len(saved["history"]) and (run / REPORT).exists():
        on = "train.max_epochs= or train.patience= lets it go on"
        log.info("%s had ended after %d epochs, and nothing is left to train; %s", run, len(history), on)
    compiling = program.report() if job.config.compile == "auto" else None
    asked = cfg.get("reference", True) if reference is None else reference
    beside = logistic_regression(job.data) if asked and world_size() == 1 and comparable(job) else None
    forget_older_weights(run, trained=saved is None or len(history) > len(saved["history"]))
    report = write_report(
        run, job.model, job.data, history, test,
        device=job.device, config=cfg, reference=beside, compile=compiling, **about,
    )  # fmt: skip
    for sign in (launch.SIGN, TYPED):
        (run / sign).unlink(missing_ok=True)
    write_manifest(run)
    say_end(job, cfg, history, beside, report)
    for line in closing(report, run):
        log.info("%s", line)
    return report["valid"]["auc"]


def say_end(
    job: Job, cfg: dict[str, Any], history: Sequence[Epoch], beside: Standing | None, report: dict[str, Any]
) -> None:
    """Where the run stands: whether its probabilities are far off, and what logistic regression would do."""
    if monitor_of(cfg) == "auc" and (warning := overconfident(history, click_rate(job.data.valid))):
        log.info("%s", warning)
    if beside is not None:
        hint = "try train=table" if "auto" not in cfg["train"] else "try another model=, or a search: eulernet.tune"
        for line in beside.lines(report["valid"], len(job.data.train), hint):
            log.info("%s", line)


def forget_older_weights(run: Path, *, trained: bool) -> None:
    """Remove what was found of weights that ``run`` has no longer, and its manifest; ``trained`` if it has new ones.

    A run that was stopped while it went on has the manifest of before.
    """
    if of_these_weights(run) or not (trained or (run / MANIFEST).exists()):
        return
    there = [name for name in (CALIBRATION, EVALUATION) if (run / name).exists()]
    for name in (*there, MANIFEST):
        (run / name).unlink(missing_ok=True)
    if there:
        log.info("removed %s, of the weights before: evaluate again", " and ".join(there))


def finish(cfg: dict[str, Any], run: Path, overrides: list[str], data: Dataset | None) -> float:
    """End a run that was stopped after some epochs as if it had been given no more: its best weights are tested.

    UserError where no epoch has ended.
    """
    job = job_of(cfg, data or own_store(run) or kept_store(cfg, run), begins=False)
    epochs = len(load_last(run, **job.identity)["history"])
    require(epochs > 0, f"{run}: no epoch has ended")
    log.info("stopped after %d epochs: the best of them are tested", epochs)
    ended = {**cfg, "resume": str(run), "train": {**cfg["train"], "max_epochs": epochs}}
    return train(ended, run, overrides, data=job.data)


def parent_of(cfg: dict[str, Any]) -> start.Parent | None:
    """The run that ``cfg`` starts from. UserError if that is of another dataset or model."""
    if cfg.get("start_from") is None:  # an older eulernet's
        return None
    parent = start.Parent(cfg["start_from"])
    parent.require_same(cfg)
    return parent


def job_of(cfg: dict[str, Any], store: Dataset | Path | None, *, begins: bool) -> Job:
    """What ``cfg`` describes, on ``store`` if given. NothingNew where a run starts from another without a new row.

    A run that ``begins`` from another gets whole tables, into which those of the other are put; one that goes on has
    them, and does not need the other.
    """
    parent = parent_of(cfg) if begins or store is None else None
    growth = None if parent is None or store else parent.growth()
    return set_up(cfg, store, growth, whole_tables=begins and parent is not None)


def begin(job: Job, cfg: dict[str, Any], run: Path, about: dict[str, Any]) -> dict[str, Any] | None:
    """Give ``run`` its preprocessor, and what the run before it learned, if it starts from one: the moments."""
    job.data.copy_preprocessor(run / "preprocessor")
    write_atomically(run / TYPED, lambda file: file.write_text(json.dumps(about["overrides"])))
    if (parent := parent_of(cfg)) is None:
        return None
    moments, grown = parent.give(job, run / "preprocessor")
    about |= {"ancestry": parent.ancestry(), "grown": grown}
    log.info("goes on from %s: %s", parent.folder, start.line(grown))
    return moments


def go_on(job: Job, run: Path, about: dict[str, Any]) -> dict[str, Any]:
    """The newest checkpoint of ``run``; ``about`` gets what is noted in it of the run's beginning."""
    saved = load_last(run, **job.identity)
    began = {**about, **(saved.get("about") or {})}  # an older eulernet did not note all of it
    if job.device.type == "cpu":
        warn_of_threads(began["threads"], about["threads"])
    about |= {key: then(began[key], about[key]) for key in ("commit", "threads")}
    about["overrides"] = began["overrides"] + about["overrides"]
    about |= {key: began[key] for key in ("ancestry", "grown") if key in began}
    return saved


def repeat(cfg: dict[str, Any], run: Path, overrides: list[str]) -> float:
    """The run in ``run`` where there are no new rows: the one that ``cfg`` starts from. Its validation AUC."""
    require(launch.env_world_size() == 1, f"raw={cfg['raw']}: no rows; without torchrun the run is repeated")
    parent = parent_of(cfg)
    assert parent is not None
    other = store_of(run) not in (None, parent.run.store)
    require(not other, f"raw={cfg['raw']}: no rows; leave raw= out, {run} goes on with those that it has")
    save_config(cfg, run)
    return parent.repeat(cfg, run, overrides)


def own_store(run: Path) -> Path | None:
    """The store in the folder of a run, which one on a frame has."""
    return next((meta.parent for meta in (run / STORES).glob("*/*/meta.json")), None)


def kept_store(cfg: dict[str, Any], run: Path) -> Path | None:
    """The store that ``run`` was stopped on, if it is there: since then its raw files may have grown, or be gone.

    None where ``cfg`` names other files than the run, and where the checkpoint is of another store than the run.
    """
    name = store_of(run)
    if name is None or read_config(run / "config.yaml").get("raw") != cfg["raw"]:
        return None
    folder = Path(str(cfg["data_dir"])).expanduser() / name
    metas = [place / "meta.json" for place in (folder, run / "preprocessor")]
    there = all(meta.is_file() for meta in metas) and metas[0].read_bytes() == metas[1].read_bytes()
    return folder if there else None


def stopped_at_once(run: Path) -> bool:
    """Whether ``run`` stopped before its first checkpoint."""
    there = [LAST, REPORT, "metrics.csv", *weight_files(run)]
    return not any(numbered(run)) and not any((run / name).exists() for name in there)


def typed_before(run: Path) -> list[str]:
    """What was typed for the run that began in the folder ``run``, and has no checkpoint."""
    try:
        return list(map(str, json.loads((run / TYPED).read_text())))
    except (OSError, ValueError, TypeError):
        return []


def comparable(job: Job) -> bool:
    """Whether it says something that logistic regression did as well: no other library's model, nor itself."""
    return not isinstance(job.model, LR | Reference)


def then(began: Any, now: Any) -> Any:
    """Both, where a run goes on in other circumstances than those it was stopped in."""
    return began if str(began).rpartition(", then ")[2] == str(now) else f"{began}, then {now}"


def warn_of_threads(began: int | str, now: int) -> None:
    """Sums are added in another order by another number of threads."""
    last = str(began).rpartition(", then ")[2]
    if last != str(now):
        keep = f"OMP_NUM_THREADS={last} keeps them"
        log.warning("began with %s threads, now %d: the bits will differ; %s", last, now, keep)


def lead(job: Job, cfg: dict[str, Any], run: Path, resumed: Path | None) -> None:
    """Say what is trained, and have the other ranks build the same, from the checkpoint ``resumed`` if there is one."""
    rows, weights = f"{len(job.data.train):,}", f"{count_weights(job.model):,}"
    name, auto = cfg["model"]["name"], chosen(cfg["train"], len(job.data.train))
    log.info("%s on %s: %s training rows, %s weights, %s", name, job.data.name, rows, weights, job.device)
    for line in job.unused(cfg["model"]):
        log.warning("%s", line)
    if auto:
        log.info("chosen for so many rows: %s", ", ".join(f"{key} {value:.4g}" for key, value in auto.items()))
    launch.sign(run, sys.argv[1:])
    places = {"run": str(run.absolute()), "store": str(job.data.folder.absolute()), "device": job.device.type}
    checkpoint = None if resumed is None else str(resumed.absolute())
    launch.lead({**places, "resumed": checkpoint, "rank_timeout": job.config.rank_timeout}, job.device)


def take_part(lead: Callable[[], None], restarted: Callable[[list[str], str | None], list[str]]) -> None:
    """Do the part of this rank in a run that torchrun started, which for rank 0 is ``lead``, and end the process.

    Returns if this is the only rank. ``restarted`` says what the command line becomes where torchrun began a run
    before.
    """

    def begin() -> None:
        sys.argv[1:] = restarted(sys.argv[1:], launch.begun(sys.argv[1:]))
        if several:
            lead()

    several = False
    sweeps = bool({"-m", "--multirun"} & set(sys.argv))
    try:
        several, leads = launch.env_world_size() > 1, launch.env_rank() == 0
        if not several and sweeps and launch.from_torchrun():
            refuse_sweep()
        if not several:
            begin()
    except UserError as error:
        sys.exit(f"error: {error}")
    if several:
        launch.run(follow if not leads else refuse_sweep if sweeps else begin)


def refuse_sweep() -> None:
    raise UserError("-m runs one process after the other: leave it out under torchrun, or start it without torchrun")


def follow() -> None:
    """Take part in the run that rank 0 leads: the same steps, without a message and without a file."""
    signal.signal(signal.SIGTERM, launch.terminate)
    logging.disable(logging.WARNING)

    def build(lead: dict[str, Any]) -> tuple[Callable[[], object], torch.device]:
        run = Path(lead["run"])
        file = run / "config.yaml"
        require(file.is_file(), f"{run} is not there; every machine must see it: hydra.run.dir=")
        cfg = {**read_config(file), "device": lead["device"]}
        job = job_of(cfg, Path(lead["store"]), begins=not lead["resumed"])
        saved = load(Path(lead["resumed"])) if lead["resumed"] else None  # rank 0 found it whole
        parent = None if lead["resumed"] else parent_of(cfg)
        moments = None if parent is None else parent.give(job, run / "preprocessor")[0]

        def steps() -> None:
            with saying_how_to_resume(run, resume_command(run)):
                fit(
                    job.model, job.data, job.config, job.device, run,
                    identity=job.identity, saved=saved, moments=moments,
                )  # fmt: skip

        return steps, job.device

    steps = launch.follow(build)
    try:
        steps()
    except launch.RankLost:
        raise
    except UserError:  # rank 0 meets the same error, and says it
        sys.exit(1)
    except OSError as error:
        raise UserError(f"process {launch.env_rank()}: {error}") from None


def save_config(cfg: dict[str, Any], run: Path) -> None:
    """``cfg`` as config.yaml in the folder of a run: plain values."""
    text = dump_config(cfg)
    write_atomically(run / "config.yaml", lambda file: file.write_text(text, encoding="utf-8"), place="hydra.run.dir=")


def resume_command(run: Path) -> str:
    """What to type to go on with ``run``."""
    several = launch.env_world_size() > 1
    return launch.resume_command(run) if several else f"{short(Path(sys.executable))} -m eulernet.train resume={run}"
