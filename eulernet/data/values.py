"""Raw values to typed ones, by name: one definition of every encoding, for training and for scoring alike.

A store's ``meta.json`` names the raw column and the transform of every field, and a trained run keeps that file; so a
row is encoded when it is scored by the lines that encoded it for training, and nothing that a run holds is executed.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from eulernet.data.lines import first_failure
from eulernet.errors import UserError, choose

TRUTH = {"true": 1, "t": 1, "yes": 1, "y": 1, "1": 1, "false": 0, "f": 0, "no": 0, "n": 0, "0": 0}
LARGEST = 1e30  # larger numbers, and infinite ones, are not what somebody measured


def log_square(count: pl.Expr) -> pl.Expr:
    """Counts up to 2, negative ones too, stay as they are; a larger v goes into bucket ceil(ln(v)^2 + 1)."""
    count = count.cast(pl.Int64)  # from text, where a split goes by it
    return pl.when(count > 2).then((count.log() ** 2 + 1).ceil()).otherwise(count).cast(pl.Int32)


def floor_log_square(count: pl.Expr) -> pl.Expr:
    """Counts above 2 to floor(ln(v)^2); 0 counts as missing, as in FuxiCTR, whose tokenizer drops its fill value."""
    return pl.when(count > 2).then((count.log() ** 2).floor()).otherwise(count).cast(pl.Int32).replace(0, None)


def hexadecimal(code: pl.Expr) -> pl.Expr:
    """The number that eight hexadecimal digits write: a quarter of the text's memory, and faster to count."""
    return code.str.to_integer(base=16, dtype=pl.UInt32)


def day(hour: pl.Expr) -> tuple[pl.Expr, pl.Expr, pl.Expr]:
    """Year, month and day of YYMMDDHH as an integer."""
    return 2000 + hour // 1_000_000, hour // 10_000 % 100, hour // 100 % 100


def weekday(hour: pl.Expr) -> pl.Expr:
    """Monday is 0, from YYMMDDHH as an integer; polars refuses a date or an hour that there is not."""
    return pl.datetime(*day(hour), hour % 100).dt.weekday() - 1


def decade(age: pl.Expr) -> pl.Expr:
    """Ages from 1 to 95 in tens, those above 60 together; others count as missing."""
    return pl.when(age.is_between(1, 95)).then((age / 10).ceil().clip(upper_bound=7).cast(pl.Int32))


def members(values: pl.Expr) -> pl.Expr:
    """The members of a list as text, without those that say nothing."""
    return values.list.eval(pl.element().cast(pl.String).replace("", None).drop_nulls())


TRANSFORMS: dict[str, Callable[[pl.Expr], pl.Expr]] = {
    "as_is": lambda value: value,
    "text": lambda value: value.cast(pl.String),
    "whole": lambda value: value.cast(pl.Int32),  # of numbers that files write as 9 or 9.0
    "log_square": log_square,
    "floor_log_square": floor_log_square,
    "hexadecimal": hexadecimal,
    "hour": lambda hour: hour % 100,  # of YYMMDDHH, as those below
    "weekday": weekday,
    "weekday_from_sunday": lambda hour: pl.date(*day(hour)).dt.weekday() % 7,
    "weekend": lambda hour: (pl.date(*day(hour)).dt.weekday() >= 6).cast(pl.Int8),
    "first_two": lambda text: text.str.slice(0, 2),
    "decade": decade,
    "members": members,
}


@dataclass(frozen=True)
class Raw:
    """What a field is computed from: a raw column, changed by one of ``TRANSFORMS``.

    Text with a ``separator`` between members is cut there first.
    """

    column: str
    transform: str = "as_is"
    separator: str | None = None

    @property
    def expression(self) -> pl.Expr:
        column = pl.col(self.column)
        if self.separator is not None:
            column = column.str.split(self.separator)
        return choose(TRANSFORMS, self.transform, f"transform of column {self.column}")(column)

    def describe(self) -> dict[str, str]:
        given = {"column": self.column, "transform": self.transform}
        return given if self.separator is None else {**given, "separator": self.separator}


def value_of(raw: Raw, kind: str) -> pl.Expr:
    """What the coder of a field takes. ``kind`` is category, number (numbers in classes too) or bag."""
    value = raw.expression
    if kind == "number":
        return value.cast(pl.Float64).fill_nan(None)
    if kind == "bag":  # an empty bag is a missing one
        return pl.when(value.list.len() > 0).then(value)
    return value


@dataclass(frozen=True)
class Label:
    """What a click is: the raw ``column`` is 1, or ``at_least`` so much; rows where it is ``without`` are no rows.

    With ``words`` the column is text, and one of TRUTH.
    """

    column: str
    at_least: float | None = None
    without: float | None = None
    words: bool = False

    @property
    def expression(self) -> pl.Expr:
        """1.0 or 0.0 for rows that are right; null where the label is missing, which NaN is too."""
        label = pl.col(self.column)
        if self.words:
            return (
                label.str.strip_chars().str.to_lowercase().replace_strict(TRUTH, default=None, return_dtype=pl.Float64)
            )
        label = label.cast(pl.Float64).fill_nan(None)
        return label if self.at_least is None else (label >= self.at_least).cast(pl.Float64)

    def rows(self, frame: pl.DataFrame) -> pl.DataFrame:
        return frame if self.without is None else frame.filter(pl.col(self.column) != self.without)

    def describe(self) -> dict[str, Any]:
        return {key: value for key, value in vars(self).items() if key != "words" or value}


def evaluate(
    frame: pl.DataFrame, values: Mapping[str, pl.Expr], names: Mapping[str, str], where: Callable[[int], str]
) -> pl.DataFrame:
    """The columns ``values`` of ``frame``. UserError, with ``names`` and ``where`` the row is, for what cannot be."""
    wanted = [value.alias(name) for name, value in values.items()]
    try:
        typed = frame.select(wanted)
    except pl.exceptions.PolarsError:
        row = first_failure(len(frame), lambda start, stop: frame[start:stop].select(wanted))
        for name, value in values.items():
            try:
                frame[row : row + 1].select(value)
            except pl.exceptions.PolarsError as error:
                reason = " ".join(str(error).split("\n\n")[0].split())
                raise UserError(f"{where(row)}: {names[name]}: {reason[:200]}") from None
        raise
    return typed


def check_sizes(typed: pl.DataFrame, names: Mapping[str, str], where: Callable[[int], str]) -> None:
    """UserError for a number that nobody measured."""
    for name, dtype in typed.schema.items():
        if dtype == pl.Float64:
            large = typed[name].abs() > LARGEST
            if large.any():
                row = int(large.arg_max() or 0)
                raise UserError(f"{where(row)}: {names[name]}: {typed[name][row]:g} is not a number to learn from")


def clicks(frame: pl.DataFrame, label: Label, where: Callable[[int], str]) -> pl.Series:
    """The labels of ``frame`` as UInt8. UserError for one that is neither 0 nor 1."""
    found = evaluate(frame, {"label": label.expression}, {"label": "the label"}, where)["label"]
    right = ((found == 0) | (found == 1)).fill_null(False)
    if not right.all():
        row = int(right.arg_min() or 0)
        value = frame[label.column][row]
        if value is None:
            raise UserError(f"{where(row)}: the label is missing, it should be 0 or 1")
        shown = int(value) if isinstance(value, float) and value.is_integer() else value
        hint = "dataset.label_from=NUMBER makes clicks of all labels from that number"
        raise UserError(f"{where(row)}: the label is {shown}, it should be 0 or 1; {hint}")
    return found.cast(pl.UInt8)
