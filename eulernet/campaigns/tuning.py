"""A search from its configuration to what it found: the study, the best setting as a file, its one test."""

import json
import logging
import re
import shlex
import shutil
import socket
import warnings
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.exceptions import OptunaError
from optuna.trial import FrozenTrial
from sqlalchemy.exc import SQLAlchemyError

from eulernet.campaigns.findings import plot_history, plot_importance, tuned_cell, write_table
from eulernet.campaigns.pool import placed, sweep
from eulernet.campaigns.search import Plan, Search, best_trial
from eulernet.campaigns.space import apply, as_overrides, drawn, read_space
from eulernet.campaigns.storage import MASK, masked, scrubbed
from eulernet.campaigns.study import make_pruner, open_study
from eulernet.data.dataset import Dataset
from eulernet.data.prepare import prepare
from eulernet.errors import UserError, require
from eulernet.files import program, write_atomically
from eulernet.runs.manifest import MANIFEST, write_manifest
from eulernet.runs.reading import REPORT
from eulernet.runs.run import Run
from eulernet.runs.train import train
from eulernet.settings import construct, dump_config, read_config
from eulernet.training.job import set_up

log = logging.getLogger(__name__)

CONFIG = "config.yaml"
KEYS = (
    "sweep",
    "trials",
    "workers",
    "timeout",
    "test",
    "storage",
    "study",
    "prune",
    "chosen",
    "engine",
    "scheduler",
    "worker_wait",
)  # not a run's


@dataclass(frozen=True)
class Tuning:
    """A search in ``folder``: ``given`` are its own settings, ``base`` are those of a run around the space."""

    folder: Path
    given: Mapping[str, Any]
    base: dict[str, Any]

    @property
    def owner(self) -> str:
        return f"{socket.gethostname()}:{self.folder.absolute()}" if self.given["storage"] else ""

    def plan(self) -> Plan:
        """UserError for a number that cannot be meant."""
        minutes = self.given["timeout"]
        for key in ("trials", "workers"):
            whole = type(self.given[key]) is int and self.given[key] >= 1
            require(whole, f"{key}={self.given[key]}: should be a whole number, 1 or more")
        possible = minutes is None or (isinstance(minutes, int | float) and minutes > 0)
        require(possible, f"timeout={minutes}: give minutes")
        require(isinstance(self.given["test"], bool), f"test={self.given['test']}: give true or false")
        return Plan(
            trials=self.given["trials"],
            workers=self.given["workers"],
            timeout=None if minutes is None else 60.0 * minutes,
            startup=self.given["prune"]["startup"],
            owner=self.owner,
        )


def tune(cfg: dict[str, Any], folder: Path) -> float:
    """Search as the plain configuration ``cfg`` says, in ``folder``; the best validation AUC."""
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    logging.getLogger("matplotlib").setLevel(logging.WARNING)
    tuning = Tuning(
        folder,
        {key: cfg[key] for key in KEYS},
        {**{key: value for key, value in cfg.items() if key not in KEYS}, "resume": None},
    )
    url = str(tuning.given["storage"] or "")
    try:
        return _tune(tuning, resumed=cfg["resume"] is not None)
    except (OptunaError, SQLAlchemyError) as error:
        said = scrubbed(str(error).strip().splitlines()[0], url)
        raise UserError(f"the study in {masked(url) or folder} failed ({said}); resume={folder} goes on") from None


def _tune(tuning: Tuning, resumed: bool) -> float:
    folder, given, base = tuning.folder, tuning.given, tuning.base
    space, plan = read_space(given["sweep"], base), tuning.plan()
    pruner = construct(make_pruner, given["prune"], "prune")
    data = set_up(base).data  # what is wrong with the setting around the space is said now; the store is made once
    with placed(given):
        sweep(folder)
        if resumed:
            require_same_storage(folder, given["storage"])
        study = open_study(folder, given["storage"], study_name(given), digest(tuning, data), pruner)
        if not resumed:
            write_config(folder, {**base, **given})
        log.info("searching %s for %s on %s", ", ".join(space), base["model"]["name"], data.name)
        said = [o for o in given["chosen"]["overrides"] if re.split(r"[.=]", o.lstrip("+"))[0] not in KEYS]
        search = Search(study, space, base, said, folder, plan)
        try:
            search.run()
        finally:
            write_table(study, folder)
        return conclude(tuning, study, search.summary())


def study_name(given: Mapping[str, Any]) -> str:
    return str(given["study"] or "_".join(given["chosen"][group] for group in ("dataset", "model")))


def digest(tuning: Tuning, data: Dataset) -> str:
    """Of everything that a trial's validation AUC depends on, and of the space."""
    cfg = {**tuning.base, **tuning.given}
    parts = {key: cfg[key] for key in ("dataset", "model", "train", "seed", "sweep", "prune")}
    return f"{zlib.crc32(json.dumps([parts, data.digest], sort_keys=True).encode()):08x}"


def write_config(folder: Path, cfg: Mapping[str, Any]) -> None:
    """The configuration of a search in its folder, without the password of its database."""
    url, chosen = cfg["storage"], cfg["chosen"]
    if url is not None:
        said = [f"storage={masked(url)}" if one.lstrip("+").startswith("storage=") else one
                for one in chosen["overrides"]]  # fmt: skip
        cfg = {**cfg, "storage": masked(url), "chosen": {**chosen, "overrides": said}}
    text, mode = dump_config(cfg), 0o644 if url is None else 0o600
    write_atomically(folder / CONFIG, lambda file: file.write_text(text, encoding="utf-8"), mode=mode)


def require_same_storage(folder: Path, url: str | None) -> None:
    """UserError unless ``url`` is the database of the search that was begun in ``folder``, its password included.

    A password that an older eulernet stored there is removed.
    """
    begun = read_config(folder / CONFIG)
    place, given = masked(str(begun["storage"])), masked(str(url))
    require(place == given, f"storage={given}: the search in {folder} has its study in {place}")
    lacks = f":{MASK}@" in str(url) or f"={MASK}" in str(url)
    require(not lacks, f"the password of {given} is not kept: give storage= once more, with it")
    if place != str(begun["storage"]):
        write_config(folder, begun)


def conclude(tuning: Tuning, study: optuna.Study, line: str) -> float:
    """Leave the best setting and the plots in the folder, test the best weights if asked, and say what was found."""
    folder, chosen, best = tuning.folder, tuning.given["chosen"], best_trial(study)
    require(best is not None, f"no trial came to its end ({line}); resume={folder} goes on")
    assert best is not None
    assert best.value is not None
    cfg = apply(drawn(best), tuning.base)
    cell = f"{chosen['dataset']}/{chosen['model']}_best"
    file = folder / "tuned" / f"{cell}.yaml"
    file.parent.mkdir(parents=True, exist_ok=True)
    about = f"# Found by eulernet.tune: {line}; seed {cfg['seed']}."
    text = f"# @package _global_\n{about}\n{dump_config(tuned_cell(cfg))}"
    write_atomically(file, lambda temporary: temporary.write_text(text))
    plot_history(study, folder / "history.png")
    if not plot_importance(study, folder / "importance.png"):
        log.info("no importance.png: it takes five completed trials that differ")
    log.info("%s", line)
    log.info("best   valid auc=%.6f  (trial %d: %s)", best.value, best.number, " ".join(as_overrides(drawn(best))))
    if tuning.given["test"] and best.user_attrs["owner"] == tuning.owner:
        test_once(tuning, study, best, cfg)
    elif tuning.given["test"]:
        log.info("test   by the search that has trial %d: %s", best.number, best.user_attrs["owner"])
    of_data = [one for one in chosen["overrides"] if one.lstrip("+").startswith(("dataset.", "raw=", "data_dir="))]
    words = [f"dataset={chosen['dataset']}", f"model={chosen['model']}", f"tuned={cell}", *of_data]
    log.info("use    %s --config-dir %s %s", program("train"), folder, shlex.join(words))
    log.info("files  %s: trials.csv, *.png, %s", folder, file.relative_to(folder))
    return best.value


def test_once(tuning: Tuning, study: optuna.Study, best: FrozenTrial, cfg: dict[str, Any]) -> None:
    """Test the weights of the best trial, as the run ``folder``/best.

    The first call of a study does, on whatever machine; later ones only repeat its figure, whatever was found since.
    """
    folder, owner = tuning.folder, tuning.owner
    run = folder / "best"
    done = study.user_attrs.get("tested", {"owner": owner})
    if done["owner"] != owner:
        log.info("test   of trial %d, once, by the search in %s", done["trial"], done["owner"])
        return
    if not (run / REPORT).exists():
        study.set_user_attr("tested", {"owner": owner, "trial": best.number})
        shutil.rmtree(run, ignore_errors=True)  # of a search that was killed while it tested
        temporary = folder / ".best.new"
        shutil.copytree(folder / best.user_attrs["folder"], temporary)
        Dataset.open(prepare(cfg)).copy_preprocessor(temporary / "preprocessor")
        (temporary / "trial.json").write_text(json.dumps({"trial": best.number, "valid_auc": best.value}) + "\n")
        temporary.rename(run)
        train({**cfg, "logger": None, "resume": str(run)}, run, [])
        return
    if not (run / MANIFEST).exists():  # the search was killed before the last file of the run
        write_manifest(run)
    tested, report = json.loads((run / "trial.json").read_text()), Run.open(run).report
    log.info(
        "test  auc=%.6f  logloss=%.6f  (as reported before, of trial %d, run: %s)",
        report["test"]["auc"], report["test"]["logloss"], tested["trial"], run,
    )  # fmt: skip
    if tested["trial"] != best.number:
        log.info(
            "       trial %d is better by now, and not tested: a second look at the test split chooses by it",
            best.number,
        )
