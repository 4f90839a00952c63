"""The first pass of preparing: raw rows to typed values of every field, in columns on disk."""

import logging
import os
import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import polars as pl

from eulernet.data import disk
from eulernet.data.growth import DAY
from eulernet.data.histories import LogKeys
from eulernet.data.inference import Misjudged
from eulernet.data.lines import KEPT
from eulernet.data.raw import Piece, is_packed
from eulernet.data.recipe import Recipe
from eulernet.data.sampling import weights_in
from eulernet.data.splits import KEY, LABEL, Splitter
from eulernet.data.times import Check
from eulernet.data.unpack import opened
from eulernet.data.values import Label, check_sizes, clicks, evaluate
from eulernet.data.workers import Workers
from eulernet.errors import UserError, require

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Part:
    """A file of typed rows, the first of which is row ``first`` of all."""

    file: Path
    first: int
    rows: int


@dataclass(frozen=True)
class Typed:
    """All typed rows: their files, how many came from each raw file, and in how many each column is missing."""

    parts: Sequence[Part]
    in_files: Sequence[int]
    missing: Mapping[str, int]

    @property
    def rows(self) -> int:
        return sum(self.in_files)

    @property
    def bytes(self) -> int:
        return sum(part.file.stat().st_size for part in self.parts)

    def scan(self) -> pl.LazyFrame:
        return pl.scan_ipc([part.file for part in self.parts], glob=False)


@dataclass(frozen=True)
class Typist:
    """Makes typed rows of raw ones. It goes to every worker, and so holds of a recipe no more than that takes."""

    values: Mapping[str, pl.Expr]
    names: Mapping[str, str]  # of the fields, for messages
    logs: Mapping[str, LogKeys]
    key: pl.Expr | None  # of the split
    check: Check | None
    label: Label
    weight: str | None
    day: tuple[str, pl.Expr] | None

    @classmethod
    def of(cls, recipe: Recipe, split: Splitter) -> "Typist":
        values = dict(zip(recipe.read_fields, recipe.values(), strict=True))
        names = {key: f"field {field.name}" for key, field in recipe.read_fields.items()}
        return cls(values, names, recipe.logs, split.key, split.check, recipe.label, recipe.weight, recipe.day)

    def rows(self, frame: pl.DataFrame, where: Callable[[int], str]) -> pl.DataFrame:
        """Labels, weights, typed values and what the split goes by. UserError, with ``where``, for a wrong row."""
        typed = evaluate(frame, self.values, self.names, where)
        check_sizes(typed, self.names, where)
        logs = [log.typed(frame, name, where) for name, log in self.logs.items()]
        keys = evaluate(frame, {} if self.key is None else {KEY: self.key}, {KEY: "the split"}, where)
        if self.check is not None:
            self.check(frame, keys[KEY], where)
        counts = [clicks(frame, self.label, where).alias(LABEL)]
        if self.weight is not None:
            counts.append(weights_in(frame, self.weight, where))
        days = pl.DataFrame() if self.day is None else days_of(frame, *self.day, where)
        return pl.concat([pl.DataFrame(counts), typed, *logs, keys, days], how="horizontal")

    def type_piece(self, folder: Path, numbered: tuple[int, Piece]) -> "Written":
        """The rows of a piece as a file in ``folder``, which appears whole."""
        number, piece = numbered
        typed, file = self.rows(piece.frame(), piece.where), folder / f"{number:08}.arrow"
        temporary = file.with_suffix(f".{os.getpid()}")  # another worker may do the same, if we were taken for dead
        typed.write_ipc(temporary)
        temporary.replace(file)
        missing = {name: typed[name].null_count() for name in self.values}
        return Written(file, len(typed), piece.index, piece.done, missing)


@dataclass(frozen=True)
class Written:
    """What became of a piece of the ``index``-th raw file; of all bytes the share ``done`` is read with it."""

    file: Path
    rows: int
    index: int
    done: float
    missing: Mapping[str, int]


def read(recipe: Recipe, split: Splitter, files: Sequence[Path], new: Path, memory: int, workers: Workers) -> Typed:
    """The first pass: typed columns into ``new``/typed, one file a piece."""
    folder, parts, in_files, seen = new / "typed", list[Part](), [0] * len(files), 0
    folder.mkdir()
    missing = Counter(dict.fromkeys(recipe.read_fields, 0))
    pieces = enumerate(recipe.pieces(files, memory))
    with disk.progress("reading", " rows") as bar:
        for part in workers.map(partial(Typist.of(recipe, split).type_piece, folder), pieces):
            if seen == 0:
                lengths = [getattr(one, "length", 1) for one in recipe.fields]
                state_space(part.file, int(part.rows / part.done), part.rows, lengths)
            parts.append(Part(part.file, seen, part.rows))
            in_files[part.index] += part.rows
            missing.update(part.missing)
            seen += part.rows
            bar.total = int(seen / part.done)
            bar.update(part.rows)
    if recipe.rows is not None and list(recipe.rows) != in_files:
        message = f"{recipe.name}: {in_files} rows in its files, the published ones have {list(recipe.rows)}"
        require(not recipe.verify, f"{message}; dataset.verify=false takes them")
        log.warning(message)
    return Typed(parts, in_files, missing)


@contextmanager
def unpacked(files: Sequence[Path], member: str | None, folder: Path, workers: Workers) -> Iterator[Sequence[Path]]:
    """The same files; where workers elsewhere are to read them, as plain text that these unpack into ``folder``.

    What is said of an unpacked file within the block is said of the packed one.
    """
    targets = [] if workers.here else [file for file in files if is_packed(file, member)]
    places = {file: folder / f"{i}" for i, file in enumerate(targets)}
    if places:
        folder.mkdir()
        with disk.progress("unpacking", " files", len(places)) as bar:
            for _ in workers.map(partial(unpack, member), places.items()):
                bar.update(1)
    if not places:
        yield files
        return
    try:
        yield [places.get(file, file) for file in files]
    except (UserError, Misjudged) as error:
        text = str(error)
        for file, place in places.items():
            text = re.sub(rf"{re.escape(str(place))}\b", str(file).replace("\\", r"\\"), text)
        raise type(error)(text) from None
    finally:
        shutil.rmtree(folder)


def unpack(member: str | None, places: tuple[Path, Path]) -> None:
    """Write the text that is packed in the first file to the second, which appears whole."""
    file, place = places
    temporary = place.with_suffix(f".{os.getpid()}")
    with opened(file, member) as (text, _), temporary.open("wb") as stream:
        shutil.copyfileobj(text, stream, 1 << 22)
    temporary.replace(place)


def days_of(frame: pl.DataFrame, column: str, day: pl.Expr, where: Callable[[int], str]) -> pl.DataFrame:
    """The date of each row. UserError for a row without one."""
    days = evaluate(frame, {DAY: day}, {DAY: f"the date in {column}"}, where)
    if days[DAY].null_count():
        row = int(days[DAY].is_null().arg_max() or 0)
        value = frame[KEPT + column][row]
        raise UserError(f"{where(row)}: {column} is {value!r}; it should be a date, as dataset.retire_by has to be")
    return days


def state_space(first: Path, rows: int, read: int, lengths: Sequence[int | None]) -> None:
    """Say how much disk a large dataset takes before it does; UserError if there is not as much.

    ``first`` is the file of the ``read`` typed rows that came first.
    """
    new, typed = first.parents[1], first.stat().st_size / read
    kept = rows * (4 * sum(length or 1 for length in lengths) + 1)
    needed, free = kept + int(rows * typed), shutil.disk_usage(new).free
    if needed > 1e9:
        log.info(
            "about %s rows: %.1f GB of disk while preparing, %.1f GB after; %.1f GB are free",
            f"{rows:,}", needed / 1e9, kept / 1e9, free / 1e9,
        )  # fmt: skip
    disk.require_space(new, needed)
