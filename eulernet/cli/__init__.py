"""The door between the command line and the package: Hydra, configurations to plain arguments, errors to one line."""

import errno
import os
import re
import signal
import sys
import traceback
import typing
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hydra
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from eulernet.errors import UserError, choose, nearest, require
from eulernet.settings import conf_dir

KEYS = (
    "dataset", "model", "train", "tuned", "seed", "device", "raw", "data_dir", "accept_terms", "memory", "resume",
    "logger", "run", "input", "output", "keep", "batch_size", "split", "group", "resamples", "predictions",
    "format", "host", "port", "workers", "max_rows", "max_body", "body_seconds", "max_connections", "shutdown_seconds",
)  # fmt: skip  # of all entry configs
FAILED = "failed.txt"  # in a sweep's folder: what its failed runs said
Task = Callable[[DictConfig], float | None]

# The folder of a run: a new one, or that of the run to go on with.
OmegaConf.register_new_resolver("first", lambda *values: next(value for value in values if value))


def command(config: str) -> Callable[[Task], Callable[[], None]]:
    """Make ``task(cfg)`` a program configured by ``conf/<config>.yaml``.

    A UserError, a configuration that Hydra refuses and a file that the system refuses each end as one line on
    stderr and exit code 1, Ctrl-C with 130; anything else that ``task`` raises is a bug and shows its traceback. In
    a sweep a failed run is reported, the others go on, and the sweep exits with 1.
    """

    def decorate(task: Task) -> Callable[[], None]:
        def guarded(cfg: DictConfig) -> float | None:
            try:
                return task(cfg)
            except Exception as error:
                known = isinstance(error, UserError | OSError | OmegaConfBaseException)
                if isinstance(error, MemoryError) or "allocate memory" in str(error):
                    line = "error: not enough memory; choose a smaller model, batch or dataset"
                else:
                    line = _explain(error, config) if known else traceback.format_exc()
            job = HydraConfig.get()
            if job.mode != RunMode.MULTIRUN:
                sys.exit(line)
            line = f"run {job.job.num} ({job.job.override_dirname}): {line}"
            print(line, file=sys.stderr)
            with (Path(job.sweep.dir) / FAILED).open("a") as file:  # a launcher may run us in any process or machine
                print(line, file=file)
            return float("nan")

        def main() -> None:
            os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then raises instead of printing lines of its own
            signal.signal(signal.SIGTERM, signal.default_int_handler)  # a job scheduler's stop is a Ctrl-C
            try:
                hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name=config)(guarded)()
            except KeyboardInterrupt:
                sys.exit(130)
            except Exception as error:  # Hydra's: those of the task do not come out of ``guarded``
                sys.exit(_explain(error, config))
            sys.exit(0)

        return main

    return decorate


def to_plain(cfg: DictConfig, more_keys: tuple[str, ...] = ()) -> dict[str, Any]:
    """The configuration as dictionaries and values, interpolations resolved; ``more_keys`` are the command's own.

    UserError for what Hydra lets pass though the run would not be the one that was meant: a new key at the top
    (``+foo=1``), a key taken away (``~seed``), a group's file by another spelling (``model=eulernet.yaml``), which
    finds no tuned cell, and a cell of the optional group ``tuned`` that has no file.
    """
    for group in ("dataset", "model", "train", "sweep", "table"):
        if choice := HydraConfig.get().runtime.choices.get(group):  # Hydra also takes a path or a suffix
            choose(group_files(group), choice, group)
    for override in HydraConfig.get().overrides.task:
        key, _, choice = override.partition("=")
        top = key.lstrip("+").split(".")[0]
        if key.startswith("+") and top not in (*KEYS, *more_keys):
            raise UserError(f"unknown key {top!r}; {nearest(top, (*KEYS, *more_keys))}")
        require(not key.startswith("~") or key == "~tuned", f"{key}: only ~tuned can be left out")
        if key == "tuned":
            choose(group_files(key), choice, key)
    return typing.cast("dict[str, Any]", OmegaConf.to_container(cfg, resolve=True))


def config_folders() -> list[Path]:
    """``conf`` and the folder given as --config-dir, where a user's own files are."""
    sources = [source.path for source in HydraConfig.get().runtime.config_sources if source.schema == "file"]
    return [Path(path) for path in sources]


def group_files(group: str) -> dict[str, Path]:
    """The files of a group of ``conf`` and of the user's own folder, by the name that chooses them."""
    return {
        file.relative_to(folder / group).with_suffix("").as_posix(): file
        for folder in config_folders()
        for file in sorted((folder / group).rglob("*.yaml"))
    }


def _explain(error: Exception, config: str) -> str:
    """One line for what went wrong, with the nearest name for a key or a choice that does not exist."""
    line = " ".join(str(error).split())
    if isinstance(error, MissingConfigException) and error.missing_cfg_file and error.options:
        group, _, name = error.missing_cfg_file.rpartition("/")
        line = f"unknown {group} {name!r}; {nearest(name, error.options)}"
    elif isinstance(error, OverrideParseException):
        line = f"cannot read {error.override!r} on the command line; write key=value, odd values quoted twice"
    elif isinstance(error, HydraException) and (found := re.match(r"Could not override '([^']+)'", str(error))):
        key, keys = found[1], _known_keys(config)
        same = [name for name in keys if name.endswith(f".{key}")]  # train.lr for lr
        line = f"unknown key {key!r}; {nearest(same[0], same) if same else nearest(key, keys)}"
    elif isinstance(error, HydraException) and str(error).startswith("Ambiguous value"):
        line = f"{line.split('1. ')[0].strip()}; to run every value add -m, to give a list write key=[a,b]"
    elif str(error).startswith("Config group override must be"):
        line = "a group (dataset, model, train, tuned, sweep) takes the name of a file in conf/"
        line += "; ~tuned leaves out the tuned cell"
    elif isinstance(error, OmegaConfBaseException):
        line = str(error).splitlines()[0]
    elif isinstance(error, OSError) and error.strerror:
        line = f"{error.filename}: {error.strerror}" if error.filename else error.strerror
        line += "; free some space, or move the folder with data_dir= or hydra.run.dir=" * (error.errno == errno.ENOSPC)
    return f"error: {line}"


def _known_keys(config: str) -> list[str]:
    """Every key of the configuration, with the groups that the command line chose, dotted, for suggestions."""
    groups = [
        word
        for word in sys.argv[1:]
        if word.split("=")[0] in ("dataset", "model", "train", "sweep") and "," not in word
    ]
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        try:
            cfg = OmegaConf.to_container(compose(config, groups))
        except Exception:  # a group is what is wrong
            cfg = OmegaConf.to_container(compose(config))

    def walk(node: Any, prefix: str) -> Iterator[str]:
        for key, value in node.items():
            yield f"{prefix}{key}"
            if isinstance(value, dict):
                yield from walk(value, f"{prefix}{key}.")

    return list(walk(cfg, ""))
