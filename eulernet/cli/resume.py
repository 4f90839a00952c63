"""The configuration of a run, or of a search, that goes on, and of a run that starts from another."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from eulernet.errors import UserError, require
from eulernet.settings import machine_keys, read_config

# What may change when a run goes on: where it runs and for how long, not what it computes.
MAY_CHANGE = (
    *machine_keys(), "resume", "logger", "reference", "train.max_epochs", "train.patience", "train.checkpoint_every",
    "train.embedding", "train.keep_checkpoints", "train.rank_timeout",
)  # fmt: skip


def saved_config(cfg: dict[str, Any], overrides: Sequence[str], may_change: Sequence[str], run: Path) -> dict[str, Any]:
    """What the folder ``cfg["resume"]`` was started with, and from ``cfg`` what ``overrides`` change.

    Only keys in ``may_change`` can change. UserError if the output would go to another folder, ``run``.
    """
    folder = cfg["resume"]
    require(folder != "", "resume=: give the folder of the run to go on with")
    alone = f"resume={folder} goes on in its own folder, one at a time: leave out hydra.run.dir and -m"
    require(Path(str(folder)).absolute() == run.absolute(), alone)
    require(
        Path(str(folder)).is_dir(), f"resume={folder}: no such folder; give that of a run or a search that was started"
    )
    try:
        require((Path(str(folder)) / "config.yaml").is_file(), "no such file")
        saved = read_config(Path(str(folder)) / "config.yaml")
        whole = {"dataset", "model", "train"} <= saved.keys() <= cfg.keys()
        require(whole, f"its keys are not {', '.join(cfg)}")
        saved = {**{key: value for key, value in cfg.items() if key not in saved}, **saved}  # an older eulernet's
    except UserError as error:
        again = "give the folder of a run that was started"
        raise UserError(f"resume={folder}: no readable config.yaml there ({error}); {again}") from None
    for override in overrides:
        key = override.split("=", 1)[0]
        if key not in may_change:
            can = ", ".join(name for name in may_change if name != "resume")
            raise UserError(f"a resumed run keeps its settings: {key} cannot change; only {can} can")
        old, new = saved, cfg
        *path, last = key.split(".")
        for part in path:
            old, new = old[part], new[part]
        old[last] = new[last]
    return saved


def restarted(argv: Sequence[str], begun: str | None) -> list[str]:
    """``argv`` of a process that torchrun started in the place of one that ended: it goes on with the run ``begun``.

    A run without a checkpoint begins anew.
    """
    if begun is None or any(word.startswith("resume=") for word in argv):
        return list(argv)
    if (Path(begun) / "last.ckpt").is_file():
        return [f"resume={begun}", *(word for word in argv if word.partition("=")[0] in {*MAY_CHANGE} - {"resume"})]
    (Path(begun) / "config.yaml").unlink(missing_ok=True)
    return [*(word for word in argv if not word.startswith("hydra.run.dir=")), f"hydra.run.dir={begun}"]


# Of the dataset: what the fields are, and what probabilities mean.
FIXED = (
    "label", "label_from", "fields", "only", "ignore", "missing", "unseen", "buckets", "weight", "keep_negatives",
    "negatives_kept",
)  # fmt: skip


def naming(argv: Sequence[str]) -> list[str]:
    """``argv`` with the dataset and the model of the run that it starts from, so that keys of that model are known."""
    given = dict(word.partition("=")[::2] for word in argv)
    file = Path(given.get("start_from", "")).expanduser() / "config.yaml"
    if "start_from" not in given or not file.is_file():
        return list(argv)
    old, choices = read_config(file), []
    for group in ("dataset", "model"):
        if group not in given and isinstance(section := old.get(group), dict):
            choices.append(f"{group}={section.get('name')}")
    return [*argv, *choices]


def started_config(cfg: dict[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """What the run ``cfg["start_from"]`` was trained with, and from ``cfg`` what ``overrides`` change, and ``raw``.

    UserError for another dataset or model, and for a change of what the fields are.
    """
    folder = str(cfg["start_from"])
    require(folder.strip() != "", "start_from=: give the folder of a finished run")
    start = f"start_from={folder}"
    require(Path(folder).expanduser().is_dir(), f"{start}: no such folder; give that of a finished run")
    file = Path(folder).expanduser() / "config.yaml"
    require(file.is_file(), f"{start}: no config.yaml there; give the folder of a finished run")
    old = read_config(file)
    require({"dataset", "model", "train"} <= old.keys(), f"{start}: its config.yaml lacks dataset, model or train")
    for group in ("dataset", "model"):
        there, here = old[group].get("name"), cfg[group]["name"]
        require(there == here, f"{start} is a run of {group}={there}, and {group}={here} is asked for; leave that out")
    sections = {name: {**cfg[name], **old[name]} for name in ("dataset", "train")}
    new = {**cfg, **old, **sections, "raw": cfg["raw"], "resume": None, "start_from": folder}
    for override in overrides:
        key = override.lstrip("+~").partition("=")[0]
        require(key not in ("tuned", "wrap"), f"{start} keeps the settings of that run: leave out {key}=")
        if key == "train":
            new["train"] = cfg["train"]
        if key == "seed":
            new["seed"], new["train"]["shuffle_seed"] = cfg["seed"], cfg["train"]["shuffle_seed"]
        if "." not in key:
            new[key] = new[key] if key in ("dataset", "model", "train", "start_from") else cfg[key]
            continue
        *path, last = key.split(".")
        to, of = new, cfg
        for part in path:
            to, of = to[part], of[part]
        before = old["dataset"].get(last)  # nothing, if the setting is younger than that run
        found = last == "label" and before is None  # whether it is the same one is seen when rows are read
        kept = path != ["dataset"] or last not in FIXED or found or before == of[last]
        require(kept, f"{start} keeps {key} as that run has it: leave it out")
        to[last] = of[last]
    return new
