"""A log cut into steps of time, or of rows: a folder of Parquet files each."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl

from eulernet.data import disk
from eulernet.data import raw as source
from eulernet.data.find import find
from eulernet.data.inference import Misjudged
from eulernet.data.lines import KEPT
from eulernet.data.raw import Piece
from eulernet.data.recipe import Recipe
from eulernet.data.sets.table import SAMPLE, Table
from eulernet.data.times import micros_of
from eulernet.data.values import clicks
from eulernet.errors import UserError, require
from eulernet.files import replacing
from eulernet.settings import construct

MICROS = {"d": 86_400_000_000, "h": 3_600_000_000, "m": 60_000_000}
STEPS = "steps.json"  # in the folder of the steps: what they are
MOST = 10_000  # steps: each is a folder


@dataclass(frozen=True)
class Step:
    """Consecutive rows of a log: from when, or from which row on, and how many of them are clicks."""

    name: str
    rows: int
    clicks: int


@dataclass(frozen=True)
class Length:
    """A length of time in microseconds, or a number of rows."""

    count: int
    unit: str  # d, h, m or rows

    @classmethod
    def of(cls, text: Any, key: str) -> "Length":
        """UserError for what is no length.

        >>> Length.of("7d", "window")
        Length(count=604800000000, unit='d')
        """
        found = re.fullmatch(r"([1-9][0-9]{0,11}) ?(d|h|m|rows)", str(text).strip())
        require(found is not None, f"{key}={text}: give days, hours, minutes or rows: 7d, 12h, 30m, 20000rows")
        assert found is not None
        return cls(int(found[1]) * MICROS.get(found[2], 1), found[2])


def lengths(cfg: Mapping[str, Any]) -> tuple[Length, int]:
    """The step, and how many of them the window has. UserError where they do not go together."""
    step, window = Length.of(cfg["step"], "step"), Length.of(cfg["window"], "window")
    timed, both = cfg["split_column"] is not None, f"window={cfg['window']} step={cfg['step']}"
    for key, one in {"window": window, "step": step}.items():
        what = "of rows goes by the order of the files: leave split_column out" if timed else "of time goes by a column"
        way = "" if timed else ": give split_column=, or count in rows (20000rows)"
        require((one.unit == "rows") != timed, f"{key}={cfg[key]} {what}{way}")
    whole = window.count % step.count == 0
    require(whole, f"{both}: the window should be a whole number of steps")
    return step, window.count // step.count


def cut(cfg: Mapping[str, Any], folder: Path) -> tuple[list[Step], dict[str, Any]]:
    """The steps of the log that ``cfg`` describes, each a folder in ``folder``, and the settings to read them by.

    Whatever was inferred of the columns is said in these settings, so that each step is read alike. A ``folder`` that
    is there is taken as it is.
    """
    if not (folder / STEPS).is_file():
        settings = {key: value for key, value in cfg["dataset"].items() if key != "name"}
        table = construct(Table, settings, "dataset")
        given = cfg["raw"] if isinstance(cfg["raw"], list) else [] if cfg["raw"] is None else [cfg["raw"]]
        files = find([Path(str(path)).expanduser() for path in given], "a CSV, TSV or Parquet file, or a folder").files
        memory = int(cfg["memory"] * 2**30)
        with replacing(folder.absolute()) as new:
            new.mkdir()
            steps, found = _write(table, files, cfg["split_column"], lengths(cfg)[0], memory, new)
            about = {"steps": [asdict(step) for step in steps], "dataset": {**cfg["dataset"], **found}}
            (new / STEPS).write_text(json.dumps(about, indent=1) + "\n")
    about = json.loads((folder / STEPS).read_text())
    return [Step(**step) for step in about["steps"]], about["dataset"]


def _write(
    table: Table, files: Sequence[Path], column: str | None, step: Length, memory: int, new: Path
) -> tuple[list[Step], dict[str, Any]]:
    form = table.form_of(files)
    there = source.sample(files, form, SAMPLE)
    label = table.clicks_of(there)
    require(column is None or column in there.columns, f"split_column: no column {column!r} in {files[0]}")
    ignored = [*table.ignore]
    if column is not None and column not in {*(table.fields or {}), *ignored}:
        ignored.append(column)
    table = replace(table, ignore=ignored)
    judge = table.judge(there, label)
    kinds, time = dict(judge.guess), None if column is None else micros_of(there[column].alias(KEPT + column))
    recipe = _keeping(table.recipe(form, there, label, files, kinds), column)
    try:
        steps = _sort(recipe, judge.pieces(recipe.form, files, memory), time, step, new)
    except Misjudged:
        kinds = judge.all(form, files, memory)
        recipe = _keeping(table.recipe(form, there, label, files, kinds), column)
        steps = _sort(recipe, source.read(files, recipe.form, memory), time, step, new)
    fields = {field.name: kinds.get(field.name, "bag") for field in recipe.fields} | dict(table.fields or {})
    written = {*recipe.form.columns, *recipe.form.kept}
    ignored = [name for name in ignored if name in written]
    own = {"fields": fields, "label": label, "ignore": ignored, "only": None, "columns": None}
    return steps, {**own, "only": [name for name in fields if name not in table.computed] or None}


def _keeping(recipe: Recipe, column: str | None) -> Recipe:
    """``recipe``, with the time as it is written."""
    kept = dict.fromkeys([*recipe.form.kept, *([] if column is None else [column])])
    return replace(recipe, form=replace(recipe.form, kept=tuple(kept)))


def _sort(recipe: Recipe, pieces: Iterator[Piece], time: pl.Expr | None, step: Length, new: Path) -> list[Step]:
    """Each row into the folder of its step, by its time or by its number. UserError for a row without a time."""
    seen: dict[int, list[int]] = {}
    before = 0
    with disk.progress("cutting", " rows") as bar:
        for number, piece in enumerate(pieces):
            frame = piece.frame()
            labels = clicks(frame, recipe.label, piece.where)
            places = pl.int_range(before, before + len(frame), eager=True) if time is None else frame.select(time)
            places = (places if isinstance(places, pl.Series) else places.to_series()) // step.count
            if time is not None and places.null_count():
                row, column = int(places.is_null().arg_max() or 0), time.meta.root_names()[0].removeprefix(KEPT)
                value = frame[KEPT + column if KEPT + column in frame.columns else column][row]
                raise UserError(f"{piece.where(row)}: {column} is {str(value)!r}, which is no time as the others are")
            kept = {name: name.removeprefix(KEPT) for name in frame.columns if name.startswith(KEPT)}
            whole = frame.drop(name for name, plain in kept.items() if plain in frame.columns)
            whole = whole.rename({name: plain for name, plain in kept.items() if name in whole.columns})
            for (place,), part in whole.with_columns(places.alias(KEPT), labels.alias(KEPT + "1")).group_by(
                KEPT, maintain_order=True
            ):
                counts = seen.setdefault(int(place), [0, 0])
                counts[0] += len(part)
                counts[1] += int(part[KEPT + "1"].sum())
                part.drop(KEPT, KEPT + "1").write_parquet(_folder(new, int(place)) / f"{number:08}.parquet")
            before += len(frame)
            bar.total = int(before / piece.done)
            bar.update(len(frame))
    return _numbered(seen, step, new)


def _folder(new: Path, place: int) -> Path:
    folder = new / f"at {place}"
    folder.mkdir(exist_ok=True)
    return folder


def _numbered(seen: Mapping[int, Sequence[int]], step: Length, new: Path) -> list[Step]:
    """The steps from the first to the last, those without a row among them; their folders are called 0000, 0001, ..."""
    first, last = min(seen), max(seen)
    count = last - first + 1
    require(count <= MOST, f"step: the log has {count:,} of them; the limit is {MOST:,}, give a longer step=")
    steps = []
    for place in range(first, last + 1):
        rows, clicked = seen.get(place, (0, 0))
        if rows:
            (new / f"at {place}").rename(new / f"{place - first:04}")
        steps.append(Step(_name(place, step), rows, clicked))
    return steps


def _name(place: int, step: Length) -> str:
    if step.unit == "rows":
        return f"row {place * step.count + 1:,}"
    form = "%Y-%m-%d" if step.unit == "d" else "%Y-%m-%d %H:%M"
    return datetime.fromtimestamp(place * step.count / 1e6, UTC).strftime(form)
