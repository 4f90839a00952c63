"""Keys and groups of the configuration: which there are, and the composed configuration as plain values."""

import typing
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.conf import HydraConf
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from eulernet.cli.words import with_names
from eulernet.errors import UserError, choose, require, require_known
from eulernet.settings import conf_dir

# The folder of a run: a new one, or that of the run to go on with.
OmegaConf.register_new_resolver("first", lambda *values: next(value for value in values if value))


def _recipe_for(dataset: str) -> str:
    """The file of conf/train for a data set: that of its name; else default for those of eulernet, table for others."""
    if (conf_dir() / "train" / f"{dataset}.yaml").is_file():
        return dataset
    return "default" if (conf_dir() / "dataset" / f"{dataset}.yaml").is_file() else "table"


def _sweep_for(model: str) -> str:
    """The space of conf/sweep for a model: EulerNet's own, or that of equal effort, which every other model has."""
    if model.startswith("eulernet"):
        return "eulernet"
    return f"equal/{model}" if (conf_dir() / "sweep" / "equal" / f"{model}.yaml").is_file() else "equal/common"


OmegaConf.register_new_resolver("recipe_for", _recipe_for)
OmegaConf.register_new_resolver("sweep_for", _sweep_for)

GROUPS = tuple(sorted(path.name for path in conf_dir().iterdir() if path.is_dir() and path.name != "hydra"))


# Names of models and tuned cells that there were once, and what says the same now.
RENAMED = {
    "eulernet_without_explicit": "model.without=explicit",
    "eulernet_without_implicit": "model.without=implicit",
    "eulernet_phase_only": "model.without=modulus",
    "eulernet_modulus_only": "model.without=phase",
    "eulernet_without_norm": "model.norm=false",
}


def to_plain(cfg: DictConfig) -> dict[str, Any]:
    """The configuration as dictionaries and values, interpolations resolved.

    UserError for what Hydra lets pass though the run would not be the one that was meant: a new key at the top
    (``+foo=1``), a key taken away (``~seed``), a group's file by another spelling (``model=eulernet.yaml``), which
    finds no tuned cell, and a cell of the optional group ``tuned`` that has no file.
    """
    chosen = HydraConfig.get()
    for group, choice in chosen.runtime.choices.items():
        if group in GROUPS and group != "tuned" and choice:  # Hydra also takes a path or a suffix
            choose(group_files(group), choice, group)
    for override in chosen.overrides.task:
        key, _, choice = override.partition("=")
        if key.startswith("+"):
            top = key.lstrip("+").split(".")[0]
            require_known(top, (*defaults(str(chosen.job.config_name)), "tuned"), f"unknown key {top!r}")
        require(not key.startswith("~") or key == "~tuned", f"{key}: only ~tuned can be left out")
        if key == "tuned":
            if choice not in (files := group_files(key)) and (now := renamed(key, choice)):
                raise UserError(now)
            choose(files, choice, key)
    return typing.cast("dict[str, Any]", with_names(OmegaConf.to_container(cfg, resolve=True)))


def renamed(group: str, choice: str) -> str | None:
    """What to write for a name that another spelling has replaced."""
    cell, _, name = choice.rpartition("/")
    if name not in RENAMED:
        return None
    whole = "eulernet_averaged" if cell == "movielens_1m" else "eulernet"
    now = f"tuned={cell}/{whole}" if cell else "model=eulernet"
    hint = "" if cell else "; on movielens_1m its setting is tuned=movielens_1m/eulernet_averaged"
    return f"{group}={choice} is now {now} {RENAMED[name]}{hint}"


def group_files(group: str, folders: Sequence[Path] = ()) -> dict[str, Path]:
    """The files of a group in ``folders``, by the name that chooses them; else in ``conf`` and the user's."""
    return {
        file.relative_to(folder / group).with_suffix("").as_posix(): file
        for folder in folders or config_folders(HydraConfig.get())
        for file in sorted((folder / group).rglob("*.yaml"))
    }


def config_folders(hydra: HydraConf) -> list[Path]:
    """``conf`` and the folder given as --config-dir, where a user's own files are."""
    sources = [source.path for source in hydra.runtime.config_sources if source.schema == "file"]
    return [Path(path) for path in sources]


@contextmanager
def searching_conf() -> Iterator[None]:
    """Within it Hydra composes from ``conf``, and from the --config-dir of the command that runs.

    A Hydra of the program that calls us stays as it was.
    """
    there = GlobalHydra.instance()
    if there.is_initialized() and str(conf_dir()) in {source.path for source in there.config_loader().get_sources()}:
        yield
        return
    theirs, there.hydra = there.hydra, None
    try:
        with initialize_config_dir(str(conf_dir()), version_base="1.3"):
            yield
    finally:
        GlobalHydra.instance().hydra = theirs


@cache
def defaults(config: str, *overrides: str) -> dict[str, Any]:
    """``conf/<config>.yaml`` composed, changed by nothing but ``overrides``."""
    with searching_conf():
        return typing.cast("dict[str, Any]", OmegaConf.to_container(compose(config, list(overrides))))


def known_keys(config: str, overrides: Iterable[str]) -> list[str]:
    """Every key of the configuration, with the groups that ``overrides`` choose, dotted, for suggestions."""
    groups = [word for word in overrides if word.split("=")[0] in GROUPS and "," not in word]
    try:
        cfg = defaults(config, *groups)
    except Exception:  # a group is what is wrong
        cfg = defaults(config)

    def walk(node: Any, prefix: str) -> Iterator[str]:
        for key, value in node.items():
            yield f"{prefix}{key}"
            if isinstance(value, dict):
                yield from walk(value, f"{prefix}{key}.")

    return list(walk(cfg, ""))
