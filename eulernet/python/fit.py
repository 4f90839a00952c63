"""``eulernet.fit``: what ``eulernet.train`` does, from a frame or from files, without leaving Python."""

import logging
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from eulernet.bars import no_bars
from eulernet.cli.resume import naming, started_config
from eulernet.data.growth import NothingNew
from eulernet.data.in_memory import InMemory, table_in_memory
from eulernet.data.sets.table import LABELS, Table
from eulernet.errors import DiskFull, UserError, require
from eulernet.files import program
from eulernet.python.frames import categories, is_frame, to_polars
from eulernet.python.run import Run
from eulernet.python.settings import Settings, configuration
from eulernet.runs.run import STORES
from eulernet.runs.train import finish, parent_of, repeat
from eulernet.runs.train import train as train_run
from eulernet.settings import construct
from eulernet.training.checkpoint import LAST
from eulernet.training.files import locked_run


def fit(
    data: Any,
    label: str | None = None,
    model: Settings | None = None,
    *,
    valid: Any = None,
    test: Any = None,
    fields: Mapping[str, Any] | None = None,
    weight: str | None = None,
    split: str | None = None,
    split_column: str | None = None,
    dataset: Settings = "table",
    train: Settings | None = None,
    overrides: Sequence[str] = (),
    seed: int | None = None,
    device: str | None = None,
    run: str | Path | None = None,
    start_from: str | Path | Run | None = None,
    verbose: bool = True,
) -> Run:
    """Train a model on a log of clicks, and return its finished run: the weights of the best epoch, its figures.

    ``data`` is a pandas or polars frame, a list of dictionaries, or the path of a CSV, TSV or Parquet file, of a folder
    of them, or a list of paths. ``label`` names the column with 0 and 1; None looks for one called click, label, ...
    Every other column is a field: its kind is inferred and shown, or said in ``fields``, as {"price": "number"}
    (``conf/dataset/table.yaml`` has the kinds and their settings). The column ``weight`` says how much a row counts.
    ``valid`` and ``test`` are frames of their own; what is not given is split off ``data``: at random, or as ``split``
    says ("time" with ``split_column``, "chronological", "column"). ``test=False`` makes no test split.

    ``model`` is one of ``list_models()``, None eulernet, or {"name": "deepfm", "dropout": 0.2}. ``train={"lr": 1e-3}``,
    ``dataset={"min_count": 2}`` and ``overrides=["train.lr=1e-3"]`` set whatever the command takes, by its keys; with
    the same settings and rows the weights are those of the command, to the bit. ``run`` is a new folder for the run;
    None makes a temporary one, which goes with the object (``run.save(path)`` keeps it). A store of files goes to
    ``data_dir``, as the command's does. ``verbose`` shows the epochs where nobody listens to the logger "eulernet".

    ``start_from`` is a finished run, or its folder: this one goes on with its settings, weights and ids on new rows,
    whose new values get ids of their own. Without a row nothing changes.

    Ctrl-C after an epoch ends training: the best weights so far are tested and returned. UserError, a ValueError, for
    a column, a key, a kind or a value that cannot be.

    >>> run = eulernet.fit(frame, label="click")
    >>> run.predict_proba(new_rows)[:, 1]
    """
    framed = is_frame(data)
    check_columns(label, weight, fields)
    parent = start_from.folder if isinstance(start_from, Run) else start_from
    about = {"label": label, "weight": weight, "split": split, "split_column": split_column, "fields": fields}
    values: dict[str, Any] = {"seed": seed, "device": device} | {f"dataset.{key}": one for key, one in about.items()}
    if not framed:
        values["raw"] = paths(data)
        require(valid is None and test in (None, False), "valid= and test= go with a frame; files are split by split=")
    sections = {**named({"dataset": dataset, "model": model}, parent), "train": train}
    cfg, typed = configuration(sections, {**values, "start_from": parent}, overrides)
    cfg = cfg if parent is None else started_config(cfg, typed)
    if test is False:
        cfg["dataset"]["ratios"] = without_test(cfg["dataset"].get("ratios"))
    with run_folder(run) as folder, showing(verbose), own_random_numbers():
        run_to_its_end(cfg, folder, typed, {"train": data, "valid": valid, "test": test} if framed else None)
        return Run(folder, temporary=run is None)


def run_to_its_end(cfg: dict[str, Any], folder: Path, typed: list[str], frames: dict[str, Any] | None) -> None:
    """Train on the ``frames``, or the files of ``cfg``; a Ctrl-C after the first epoch is the last one's end."""
    try:
        rows = None if frames is None else in_memory(cfg, frames, folder)
    except NothingNew:
        repeat(cfg, folder, typed)
        return
    if rows is not None:
        rows.write()
    try:
        train_run(cfg, folder, typed, data=rows)
    except KeyboardInterrupt:
        try:
            finish(cfg, folder, typed, rows)
        except UserError:  # no epoch has ended
            raise KeyboardInterrupt from None


def check_columns(label: Any, weight: Any, fields: Any) -> None:
    """UserError for what names no column."""
    for key, name in {"label": label, "weight": weight}.items():
        right = name is None or isinstance(name, str | int)
        require(right, f"{key}: give the name of a column, got a {type(name).__name__}")
    require(fields is None or isinstance(fields, Mapping), 'fields: give a dictionary, as {"price": "number"}')


def named(sections: Mapping[str, Settings | None], parent: str | Path | None) -> dict[str, Settings]:
    """Each of the ``sections`` with a name: that of ``parent``, if the run starts from one, where it has none."""
    names = {"dataset": "table", "model": "eulernet"}
    if parent is not None:
        names |= dict(word.split("=") for word in naming([f"start_from={parent}"])[1:])
    return {
        key: {"name": names[key], **(given or {})} if given is None or isinstance(given, Mapping) else given
        for key, given in sections.items()
    }


def paths(data: Any) -> list[str]:
    """``data`` as paths. UserError for what is neither a path nor a frame."""
    given = [data] if isinstance(data, str | Path) else data
    right = isinstance(given, list | tuple) and bool(given) and all(isinstance(one, str | Path) for one in given)
    what = "a pandas or polars frame, a list of dictionaries, a path or a list of paths"
    require(right, f"data is given as {type(data).__name__}; give {what}")
    return [str(one) for one in given]


def without_test(ratios: Any) -> list[float]:
    """The shares with that of test gone to training."""
    require(isinstance(ratios, list) and len(ratios) == 3, "test=False goes with a table that is split by shares")
    return [round(ratios[0] + ratios[2], 12), ratios[1], 0.0]


def in_memory(cfg: dict[str, Any], given: Mapping[str, Any], folder: Path) -> InMemory:
    """The frames as ids, with their store to lie in the folder of the run."""
    require(cfg["dataset"]["name"] == "table", "a frame goes with dataset=table; the other datasets are made of files")
    for part, frame in given.items():
        wrong = f"{part}: give a frame, got a {type(frame).__name__}"
        require(frame is None or (frame is False and part == "test") or is_frame(frame), wrong)
    frames = {part: to_polars(frame) for part, frame in given.items() if is_frame(frame)}
    parent = parent_of(cfg)
    if parent is None:
        cfg["dataset"] = with_categories(cfg["dataset"], categories(given["train"]))
    table = construct(Table, {key: value for key, value in cfg["dataset"].items() if key != "name"}, "dataset")
    require(table.split != "files", "dataset.split=files goes with files; give the frames valid= and test=")
    return table_in_memory(table, frames, folder / STORES, None if parent is None else parent.growth())


ALONE = ("label", "split_column", "weight")  # settings of a table that name a column which is no field


def with_categories(settings: dict[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """The settings of a table, where the columns ``names`` are categories unless they say otherwise."""
    only, left_out = settings["only"], {*settings["ignore"], *(settings[key] for key in ALONE)}
    found = [name for name in names if name not in left_out and (only is None or name in only)]
    found = [name for name in found if settings["label"] is not None or name.lower() not in LABELS]
    fields = {**dict.fromkeys(found, "category"), **(settings["fields"] or {})}
    return {**settings, "fields": fields or None}


@contextmanager
def run_folder(run: str | Path | None) -> Iterator[Path]:
    """The folder of a new run, held until the block ends; a temporary one if ``run`` is None.

    It goes again where the block raises, if it is temporary, or training had not begun. UserError if there is a run
    already.
    """
    require(run is None or isinstance(run, str | Path), f"run={run!r}: give the folder of the new run")
    folder = Path(tempfile.mkdtemp(prefix="eulernet-run-") if run is None else run).expanduser()
    made = run is None or not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"run={folder}: {error.strerror}") from None
    try:
        with locked_run(folder):
            there = [name for name in (LAST, "config.yaml", "report.json") if (folder / name).exists()]
            ways = "eulernet.load it" if "report.json" in there else f"go on: {program('train')} resume={folder}"
            require(not there, f"run={folder} already holds a run; give another folder, or {ways}")
            yield folder
    except BaseException as error:
        if run is None and isinstance(error, DiskFull):  # there will be nothing to go on with
            error.args = (f"{str(error).partition('; free')[0]}; free some space",)
        if made and (run is None or not (folder / LAST).exists()):
            shutil.rmtree(folder, ignore_errors=True)
        raise


@contextmanager
def own_random_numbers() -> Iterator[None]:
    """Within it torch draws by the run's seed; after that the caller's numbers go on as if nothing had been."""
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        yield


@contextmanager
def showing(verbose: bool) -> Iterator[None]:
    """Within it the lines of the logger "eulernet" are printed, if nobody takes them. The root logger is left alone.

    If not ``verbose`` they are not, and no bar appears.
    """
    log = logging.getLogger("eulernet")
    if not verbose:
        with no_bars():
            yield
        return
    if log.hasHandlers() and log.isEnabledFor(logging.INFO):
        yield
        return
    level, propagate, handler = log.level, log.propagate, logging.StreamHandler(sys.stdout)
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    log.propagate = False
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.setLevel(level)
        log.propagate = propagate


def load(folder: str | Path, device: str = "cpu") -> Run:
    """The finished run in ``folder``, of ``fit`` or of ``eulernet.train``. UserError for what is none."""
    return Run(folder, device=device)
