"""python -m eulernet.tune: search for a setting on the validation split, with many workers, resumable."""

import json
import logging
import re
import shlex
import shutil
import socket
import sys
import warnings
import zlib
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from eulernet.cli import command, to_plain
from eulernet.cli.callbacks import discard_unless_started
from eulernet.cli.resume import saved_config
from eulernet.data.dataset import Dataset
from eulernet.data.prepare import prepare
from eulernet.errors import UserError, require
from eulernet.files import short
from eulernet.runs.train import save_config, train
from eulernet.settings import construct, dump_config
from eulernet.training.device import device_of_job
from eulernet.training.files import write_atomically
from eulernet.training.job import set_up

try:
    import matplotlib  # noqa: F401 (found missing now, not after a night of search)
    import optuna

    from eulernet.campaigns.findings import plot_history, plot_importance, tuned_cell, write_table
    from eulernet.campaigns.search import Plan, Search, best_trial, holding, require_whole
    from eulernet.campaigns.space import apply, as_overrides, drawn, read_space
    from eulernet.campaigns.study import make_pruner, open_study
except ImportError as missing:
    sys.exit(f"error: tune needs {missing.name}: pip install 'eulernet[tune]'")

log = logging.getLogger(__name__)

# What may change when a search goes on: how far and where it runs, not what it searches.
MAY_CHANGE = (
    "resume", "trials", "workers", "timeout", "test", "device", "raw", "data_dir", "memory", "accept_terms",
)  # fmt: skip
TUNE_KEYS = ("sweep", "trials", "workers", "timeout", "test", "storage", "study", "prune", "chosen")


@command("tune")
def main(cfg: DictConfig) -> float:
    """Search; return the best validation AUC."""
    folder = Path(HydraConfig.get().runtime.output_dir)
    try:
        overrides = list(HydraConfig.get().overrides.task)
        plain = to_plain(cfg, TUNE_KEYS)
        if plain["resume"] is not None:
            plain = saved_config(plain, overrides, MAY_CHANGE, folder)
        elif (folder / "config.yaml").exists():
            raise UserError(f"{short(folder)} already holds a search; give resume={short(folder)}")
        return tune(plain, short(folder))
    finally:
        discard_unless_started(folder, "config.yaml")


def tune(cfg: dict[str, Any], folder: Path) -> float:
    """The search that the plain configuration ``cfg`` describes, in ``folder``; its best validation AUC."""
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    logging.getLogger("matplotlib").setLevel(logging.WARNING)
    resume, cfg = cfg["resume"], {**cfg, "resume": None}
    given = {key: cfg[key] for key in TUNE_KEYS}
    base = {key: value for key, value in cfg.items() if key not in TUNE_KEYS}
    space = read_space(given["sweep"], base)
    for key in ("trials", "workers"):
        require_whole(given[key], key)
    minutes = given["timeout"]
    require(minutes is None or (isinstance(minutes, int | float) and minutes > 0), f"timeout={minutes}: give minutes")
    require(isinstance(given["test"], bool), f"test={given['test']}: give true or false")
    pruner = construct(make_pruner, given["prune"], "prune")
    data = set_up(base).data  # what is wrong with the setting around the space is said now; the store is made once
    owner = f"{socket.gethostname()}:{folder.absolute()}" if given["storage"] else ""
    plan = Plan(
        trials=given["trials"],
        workers=given["workers"],
        timeout=None if minutes is None else 60.0 * minutes,
        startup=given["prune"]["startup"],
        owner=owner,
        device=lambda slot: device_of_job(str(base["device"]), slot),
    )
    with holding(folder) as lock:
        name = str(given["study"] or "_".join(given["chosen"][group] for group in ("dataset", "model")))
        study = open_study(folder, given["storage"], name, digest(cfg, data), pruner)
        if resume is None:
            save_config(cfg, folder)
        log.info("searching %s for %s on %s", ", ".join(space), cfg["model"]["name"], data.name)
        said = [o for o in given["chosen"]["overrides"] if re.split(r"[.=]", o.lstrip("+"))[0] not in TUNE_KEYS]
        search = Search(study, space, base, said, folder, lock, plan)
        try:
            search.run()
        except KeyboardInterrupt:
            log.info("stopped; go on with: %s -m eulernet.tune resume=%s", short(Path(sys.executable)), folder)
            raise
        finally:
            write_table(study, folder)
        return conclude(study, folder, base, given, owner, search.summary())


def digest(cfg: dict[str, Any], data: Dataset) -> str:
    """Of everything that a trial's validation AUC depends on, and of the space."""
    parts = {key: cfg[key] for key in ("dataset", "model", "train", "seed", "sweep", "prune")}
    return f"{zlib.crc32(json.dumps([parts, data.digest], sort_keys=True).encode()):08x}"


def conclude(
    study: "optuna.Study", folder: Path, base: dict[str, Any], given: dict[str, Any], owner: str, line: str
) -> float:
    """Leave the best setting and the plots in ``folder``, test the best weights if asked, and say what was found."""
    chosen, test = given["chosen"], bool(given["test"])
    best = best_trial(study)
    require(best is not None, f"no trial came to its end ({line}); resume={folder} goes on")
    assert best is not None
    assert best.value is not None
    cfg = apply(drawn(best), base)
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
    if test and best.user_attrs["owner"] == owner:
        test_once(study, folder, best, cfg, owner)
    elif test:
        log.info("test   by the search that has trial %d: %s", best.number, best.user_attrs["owner"])
    of_data = [one for one in chosen["overrides"] if one.lstrip("+").startswith(("dataset.", "raw=", "data_dir="))]
    words = [f"dataset={chosen['dataset']}", f"model={chosen['model']}", f"tuned={cell}", *of_data]
    log.info("use    python -m eulernet.train --config-dir %s %s", folder, shlex.join(words))
    log.info("files  %s: trials.csv, *.png, %s", folder, file.relative_to(folder))
    return best.value


def test_once(
    study: "optuna.Study", folder: Path, best: "optuna.trial.FrozenTrial", cfg: dict[str, Any], owner: str
) -> None:
    """Test the weights of the best trial, as the run ``folder``/best.

    The first call of a study does, on whatever machine; later ones only repeat its figure, whatever was found since.
    """
    run, mark = folder / "best", folder / "best" / "report.json"
    done = study.user_attrs.get("tested", {"owner": owner})
    if done["owner"] != owner:
        log.info("test   of trial %d, once, by the search in %s", done["trial"], done["owner"])
        return
    if not mark.exists():
        study.set_user_attr("tested", {"owner": owner, "trial": best.number})
        temporary = folder / ".best"
        for old in (run, temporary):
            shutil.rmtree(old, ignore_errors=True)
        shutil.copytree(folder / best.user_attrs["folder"], temporary)
        Dataset.open(prepare(cfg)).copy_preprocessor(temporary / "preprocessor")
        (temporary / "trial.json").write_text(json.dumps({"trial": best.number, "valid_auc": best.value}) + "\n")
        temporary.rename(run)
        train({**cfg, "logger": None, "resume": str(run)}, run, [])
        return
    tested, report = json.loads((run / "trial.json").read_text()), json.loads(mark.read_text())
    log.info(
        "test  auc=%.6f  logloss=%.6f  (as reported before, of trial %d, run: %s)",
        report["test"]["auc"], report["test"]["logloss"], tested["trial"], run,
    )  # fmt: skip
    if tested["trial"] != best.number:
        log.info(
            "       trial %d is better by now, and not tested: a second look at the test split chooses by it",
            best.number,
        )


if __name__ == "__main__":
    main()
