"""The store that a configuration describes: found, or made once; and what is in it, as text."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from inspect import isclass
from pathlib import Path
from typing import Any

from eulernet.data.growth import Growth
from eulernet.data.sets import DATASETS
from eulernet.data.sets.table import Table
from eulernet.data.workers import Workers, seconds_of, working
from eulernet.errors import UserError, choose, require
from eulernet.memory import keep_freed_memory
from eulernet.settings import construct

SHOWN = 20  # files in the closing table


def prepare(cfg: dict[str, Any], growth: Growth | None = None) -> Path:
    """The store that ``dataset``, ``raw`` and ``data_dir`` of a configuration describe, made if needed.

    ``growth`` is what encoded the rows of the run that goes on with these. Where the configuration has an ``engine``,
    its workers read and encode the rows.
    """
    keep_freed_memory()
    settings = dict(cfg["dataset"])
    make = choose(DATASETS, str(settings.pop("name", None)), "dataset")
    there = cfg["data_dir"] is not None and str(cfg["data_dir"]).strip() != ""
    require(there, f"data_dir={cfg['data_dir'] or 'null'}: give the folder for prepared stores and downloads")
    given = cfg["raw"] if isinstance(cfg["raw"], list) else [] if cfg["raw"] is None else [cfg["raw"]]
    require(all(str(path).strip() for path in given), "raw=: the path is empty")
    raw, data_dir = [Path(str(path)).expanduser() for path in given], Path(str(cfg["data_dir"])).expanduser()
    for path in map(str, given):
        address = "addresses are not read: mount what is there, and give the path"
        require("://" not in path, f"raw={path}: {address}")
    memory = cfg["memory"]
    require(isinstance(memory, int | float) and 0.25 <= memory < 2**20, f"memory={memory}: give GiB, at least 0.25")
    a_table = isclass(make) and issubclass(make, Table)
    require(growth is None or a_table, f"start_from goes with dataset=table; dataset={cfg['dataset']['name']} is whole")
    engine, scheduler = str(cfg.get("engine", "threads")), cfg.get("scheduler")
    drawn = isclass(make) and not a_table
    require(not drawn or engine == "threads", f"engine={engine}: dataset={cfg['dataset']['name']} is drawn, not read")
    with (
        working(engine, None if scheduler is None else str(scheduler), seconds_of(cfg)) as workers,
        absolute(raw, data_dir, workers) as (
            raw,
            data_dir,
        ),
    ):
        if isclass(make):
            maker: Any = construct(make, settings, "dataset")
            return maker(raw, data_dir, float(memory), *([] if growth is None else [growth]))
        return construct(make, settings, "dataset", raw=raw, data_dir=data_dir, memory=float(memory))


def prepare_quietly(cfg: dict[str, Any]) -> Path:
    """``prepare`` for one of many stores or runs: the log leaves out the kinds of columns that a table infers."""
    shown = logging.getLogger(Table.__module__)
    level = shown.level
    shown.setLevel(logging.WARNING)
    try:
        return prepare(cfg)
    finally:
        shown.setLevel(level)


@contextmanager
def absolute(raw: Sequence[Path], data_dir: Path, workers: Workers) -> Iterator[tuple[list[Path], Path]]:
    """The same paths; absolute where workers elsewhere, which run in other folders, are to find them.

    What a UserError within the block says of them is as they were given.
    """
    if workers.here:
        yield list(raw), data_dir
        return
    try:
        yield [path.absolute() for path in raw], data_dir.absolute()
    except UserError as error:
        text = str(error)
        for path in (*raw, data_dir):
            whole, given = str(path.absolute()), str(path)
            text = text.replace(f"{whole}/", "" if given == "." else f"{given}/").replace(whole, given)
        raise type(error)(text) from None


def summary_table(summary: dict[str, Any], when: str) -> str:
    """summary.json as tables, of the fields, of the splits and of the files, and what preparing took."""
    width = max(20, *(len(name) for name in summary["fields"]))
    lines = [f"{'field':{width}} {'kind':8} {'ids':>11} {'missing':>8} {'rare':>8}"]
    for name, field in summary["fields"].items():
        ids = "" if field["ids"] is None else f"{field['ids']:,}"
        lines.append(f"{name:{width}} {field['kind']:8} {ids:>11} {field['missing']:8.2%} {field['rare']:8.2%}")
        if "collisions" in field:
            lines[-1] += f"  {field['hashed']:,} values hashed, {field['collisions']:.2%} into a bucket that is taken"
    lines += [coverage(name, field) for name, field in summary["fields"].items() if "vectors" in field]
    lines += ["", f"{'split':{width}} {'rows':>20} {'clicks':>8}"]
    for part, split in summary["splits"].items():
        lines.append(f"{part:{width}} {split['rows']:>20,} {split['click_rate']:8.2%}")
    took = "".join(f"{phase} {seconds:.1f} s, " for phase, seconds in summary["seconds"].items())
    files, left_out = summary.get("files", {}), summary.get("left_out", {})
    if len(files) > 1 or left_out:
        lines += ["", f"{'file':{width}} {'rows':>20}"]
        lines += shorten([f"{name:{width}} {rows:>20,}" for name, rows in files.items()])
        lines += shorten([f"{name:{width}} {'left out: ' + why:>20}" for name, why in left_out.items()])
    return "\n".join([*lines, "", f"{when}{took}peak memory {summary['peak_memory_bytes'] / 2**30:.2f} GiB"])


def coverage(name: str, field: dict[str, Any]) -> str:
    """How many values of a field have vectors before training."""
    said = field["vectors"]
    stay = ", which stay as they are" if said["frozen"] else ""
    return f"{name}: {said['covered']:.2%} of {field['ids']:,} values have a vector of {said['width']} numbers{stay}"


def shorten(lines: list[str]) -> list[str]:
    """The first and the last of many lines; ``summary.json`` has them all."""
    return lines if len(lines) <= SHOWN else [*lines[: SHOWN - 1], f"... {len(lines) - SHOWN:,} more", lines[-1]]
