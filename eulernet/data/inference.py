"""What kind of field a column is, by all of its values, whatever their order.

The first rows give a guess. The pass that reads every row compares it with what it sees, and ends where they
disagree (``Misjudged``): then all rows are judged before they are read again.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl

from eulernet.data import raw, workers
from eulernet.data.columns import conform
from eulernet.data.lines import Dtype, Format, first_failure
from eulernet.data.raw import Piece
from eulernet.data.values import LARGEST
from eulernet.errors import UserError, require

# What the values of a column show. 3 is whole; 3.0, and any number of a column of floats, is a float.
WHOLE, FLOAT, FRACTION, TEXT, LONG = "whole", "float", "fraction", "text", "long"
Evidence = set[str]
DIGITS = 16  # a number with so many, or from 2^53, is an id or a hash: a float no longer holds it

AFAR = 1 << 26  # bytes of memory by which pieces are sized that may be sent to workers with the text that they hold


class Misjudged(Exception):
    """A row shows another kind than the first rows did: which one. ``store`` is what these would have become."""

    store: Path


def kind_of(evidence: Evidence) -> str:
    """Numbers with fractions are a number; whole ones are ids, unless all are written as floats."""
    number = FRACTION in evidence or (FLOAT in evidence and WHOLE not in evidence)
    return "number" if number and not evidence & {TEXT, LONG} else "category"


def evidence_of(values: pl.Series, known: Evidence) -> Evidence:
    """What ``values`` show beside what is ``known`` of their column."""
    missing, dtype = values.null_count(), values.dtype
    if missing == len(values):
        return set()
    if dtype.is_integer():
        ends: list[Any] = [values.min(), values.max()]
        return {WHOLE, LONG} if max(map(abs, ends)) >= 2**53 else {WHOLE}
    if dtype.is_numeric():
        numbers = values.cast(pl.Float64).fill_nan(None)
        shown = {FRACTION: (pl.first() % 1 != 0).any(), LONG: is_long(pl.first())}
        return {FLOAT} | {
            one for one, there in numbers.to_frame().select_seq(**shown).row(0, named=True).items() if there
        }
    if dtype != pl.String:
        return {TEXT}
    longest: Any = values.str.len_bytes().max()
    if FRACTION not in known and longest < DIGITS and values.cast(pl.Int64, strict=False).null_count() == missing:
        return {WHOLE}
    words = values.str.strip_chars()
    numbers = words.cast(pl.Float64, strict=False)
    if numbers.null_count() > missing:
        return {TEXT}
    text, digits = pl.col("words").str, rf"^[+-]?\d{{{DIGITS},}}$"
    shown = {LONG: is_long(pl.col("numbers")) | (text.contains(digits).any() if longest >= DIGITS else False)}
    if FRACTION not in known:
        whole, written = text.contains(r"^[+-]?\d+$"), text.contains(r"^[+-]?\d+\.0*$")
        shown |= {WHOLE: whole.any(), FLOAT: written.any(), FRACTION: ~(whole | written).all()}
    found = pl.DataFrame({"words": words, "numbers": numbers}).select_seq(**shown).row(0, named=True)
    return {one for one, there in found.items() if there}


def is_long(numbers: pl.Expr) -> pl.Expr:
    """1.42e+19 is a hash that some program took for a number."""
    return numbers.abs().is_between(2**53, LARGEST).any()


@dataclass(frozen=True)
class Judge:
    """Watches inferred columns: ``guess`` is the kind of each by what it showed ``first``.

    It judges each piece of rows by itself, in whatever process: where no piece changes the kind of a column beside what
    came first, all together do not.
    """

    guess: Mapping[str, str]
    first: Mapping[str, frozenset[str]]

    @classmethod
    def of(cls, rows: pl.DataFrame, inferred: Sequence[str]) -> "Judge":
        first = {name: frozenset(evidence_of(rows[name], set())) for name in inferred}
        return cls({name: kind_of(set(shown)) for name, shown in first.items()}, first)

    def pieces(self, form: Format, files: Sequence[Path], memory: int) -> Iterator[Piece]:
        """The rows of ``files`` in the ``form`` of a recipe. As a piece is parsed, Misjudged where a guess is wrong."""
        as_they_are = {name: pl.Unknown if name in self.guess else dtype for name, dtype in form.columns.items()}
        for piece in raw.read(files, replace(form, columns=as_they_are), memory):
            yield replace(piece, frame=partial(self.compare, piece, form.columns, str(files[piece.index])))

    def compare(self, piece: Piece, wanted: Mapping[str, Dtype], file: str) -> pl.DataFrame:
        frame = piece.frame()
        for name, shown in self.look(frame).items():
            if kind_of(shown) != self.guess[name] and (row := self.first_unlike(frame[name])) is not None:
                raise Misjudged(f"{piece.where(row)}: {name} is {str(frame[name][row])[:50]!r}")
        others = {name: wanted[name] for name in self.guess if frame[name].dtype != wanted[name]}
        texts = [name for name in others if frame[name].dtype == pl.String]
        stripped = frame.with_columns(pl.col(texts).str.strip_chars()) if texts else frame
        typed = conform(stripped, others, (), piece.where, file)
        return frame.with_columns(typed.get_columns()) if others else frame

    def first_unlike(self, values: pl.Series) -> int | None:
        """The first of ``values`` that is unlike what the first rows of its column had, if one is."""

        def compare(start: int, stop: int) -> None:
            require(evidence_of(values[start:stop], set()) <= self.first[values.name], "")

        try:
            compare(0, len(values))
        except UserError:
            return first_failure(len(values), compare)
        return None

    def look(self, frame: pl.DataFrame) -> dict[str, Evidence]:
        """What each column shows in the first rows and in ``frame``."""
        shown = {name: set(first) for name, first in self.first.items()}
        for name, known in shown.items():
            if not known & {TEXT, LONG}:  # which decide
                known |= evidence_of(frame[name], known)
        return shown

    def all(self, form: Format, files: Sequence[Path], memory: int) -> dict[str, str]:
        """The kind of each column by all rows."""
        form = replace(form, columns=dict.fromkeys(self.first, pl.Unknown))
        seen = {name: set(first) for name, first in self.first.items()}
        crew = workers.current()
        room = crew.share(memory) if crew.here else AFAR
        for shown in crew.map(self.look_at, raw.read(files, form, room)):
            for name, evidence in shown.items():
                seen[name] |= evidence
        return {name: kind_of(shown) for name, shown in seen.items()}

    def look_at(self, piece: Piece) -> dict[str, Evidence]:
        return self.look(piece.frame())


def common(types: Sequence[Any]) -> Any:
    """The type that a column of parts with these ``types`` is read as, before its kind is considered."""
    if len(set(types)) == 1 or isinstance(types[0], pl.List):
        return types[0]
    if not all(dtype.is_integer() for dtype in types):
        return pl.Float64() if all(dtype.is_numeric() for dtype in types) else pl.String()
    if pl.UInt64 not in types:
        return pl.Int64()
    return pl.String() if any(dtype.is_signed_integer() for dtype in types) else pl.UInt64()
