"""The first pass of preparing: raw rows to typed values of every field, in columns on disk."""

import logging
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import polars as pl

from eulernet.data import disk
from eulernet.data.growth import DAY
from eulernet.data.lines import KEPT
from eulernet.data.raw import Piece
from eulernet.data.recipe import Recipe
from eulernet.data.sampling import weights_in
from eulernet.data.splits import KEY, LABEL, Splitter
from eulernet.data.threads import in_order
from eulernet.data.values import check_sizes, clicks, evaluate
from eulernet.errors import UserError, require

log = logging.getLogger(__name__)

THREADS = pl.thread_pool_size()


def read(recipe: Recipe, split: Splitter, files: Sequence[Path], new: Path, memory: int) -> list[int]:
    """The first pass: typed columns into ``new``/typed, one file a piece. Returns the rows of each raw file."""
    (new / "typed").mkdir()

    def type_piece(numbered: tuple[int, Piece]) -> tuple[Piece, int]:
        number, piece = numbered
        typed = type_rows(recipe, split, piece.frame(), piece.where)
        typed.write_ipc(new / "typed" / f"{number:08}.arrow")
        return piece, len(typed)

    in_files, seen, pieces = [0] * len(files), 0, enumerate(recipe.pieces(files, memory))
    with disk.progress("reading", " rows") as bar:
        for piece, rows in in_order(type_piece, pieces, threads=THREADS, ahead=THREADS):
            if seen == 0:
                state_space(new, int(rows / piece.done), rows, [getattr(one, "length", 1) for one in recipe.fields])
            in_files[piece.index] += rows
            seen += rows
            bar.total = int(seen / piece.done)
            bar.update(rows)
    if recipe.rows is not None and list(recipe.rows) != in_files:
        message = f"{recipe.name}: {in_files} rows in its files, the published ones have {list(recipe.rows)}"
        require(not recipe.verify, f"{message}; dataset.verify=false takes them")
        log.warning(message)
    return in_files


def type_rows(recipe: Recipe, split: Splitter, frame: pl.DataFrame, where: Callable[[int], str]) -> pl.DataFrame:
    """Labels, weights, typed values and what the split goes by. UserError, with ``where``, for a wrong row."""
    values = dict(zip(recipe.read_fields, recipe.values(), strict=True))
    names = {key: f"field {field.name}" for key, field in recipe.read_fields.items()}
    typed = evaluate(frame, values, names, where)
    check_sizes(typed, names, where)
    logs = [log.typed(frame, name, where) for name, log in recipe.logs.items()]
    keys = evaluate(frame, {} if split.key is None else {KEY: split.key}, {KEY: "the split"}, where)
    if split.check is not None:
        split.check(frame, keys[KEY], where)
    counts = [clicks(frame, recipe.label, where).alias(LABEL)]
    if recipe.weight is not None:
        counts.append(weights_in(frame, recipe.weight, where))
    days = pl.DataFrame() if recipe.day is None else days_of(frame, *recipe.day, where)
    return pl.concat([pl.DataFrame(counts), typed, *logs, keys, days], how="horizontal")


def days_of(frame: pl.DataFrame, column: str, day: pl.Expr, where: Callable[[int], str]) -> pl.DataFrame:
    """The date of each row. UserError for a row without one."""
    days = evaluate(frame, {DAY: day}, {DAY: f"the date in {column}"}, where)
    if days[DAY].null_count():
        row = int(days[DAY].is_null().arg_max() or 0)
        value = frame[KEPT + column][row]
        raise UserError(f"{where(row)}: {column} is {value!r}; it should be a date, as dataset.retire_by has to be")
    return days


def state_space(new: Path, rows: int, read: int, lengths: Sequence[int | None]) -> None:
    """Say how much disk a large dataset takes before it does; UserError if there is not as much."""
    typed = (new / "typed" / f"{0:08}.arrow").stat().st_size / read
    kept = rows * (4 * sum(length or 1 for length in lengths) + 1)
    needed, free = kept + int(rows * typed), shutil.disk_usage(new).free
    if needed > 1e9:
        log.info(
            "about %s rows: %.1f GB of disk while preparing, %.1f GB after; %.1f GB are free",
            f"{rows:,}", needed / 1e9, kept / 1e9, free / 1e9,
        )  # fmt: skip
    disk.require_space(new, needed)


def parts_of(new: Path) -> list[Path]:
    """The files of typed rows, in order."""
    return sorted((new / "typed").iterdir())
