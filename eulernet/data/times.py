"""Moments that a log writes: what a split by time compares."""

from collections.abc import Callable

import polars as pl

from eulernet.errors import UserError

MICROS_A_DAY = 86_400_000_000
MILLISECONDS = 1e11  # a number of seconds as large as that is in the year 5138
DAYS = (19_700_101, 20_991_231)  # days as whole numbers
WRITTEN = r"^(\d{4}-\d{2}-\d{2})(?:[ T](\d{2})(?::(\d{2})(?::(\d{2})(?:\.(\d{1,9}))?)?)?\s?(Z|UTC|[+-]\d{2}:?\d{2})?)?$"


def moment(text: pl.Expr, *, zoned: bool) -> pl.Expr:
    """Microseconds since 1970, from text like 2026-01-31, 2026-01-31T10:00 or 2026-01-31 10:00:59.5+01:00.

    Null for other text, for a day that there is not, and for a time with an offset from UTC where the others have
    none (``zoned``), or without one where they have: nobody can say which of two such times is earlier.
    """
    part = [text.str.strip_chars().str.extract(WRITTEN, i) for i in range(1, 7)]
    hour, minute, second = (found.fill_null("00") for found in part[1:4])
    fraction, zone = (found.fill_null("") for found in part[4:])
    whole = pl.concat_str(part[0], hour, minute, second, separator=" ").str.to_datetime(
        "%Y-%m-%d %H %M %S", strict=False
    )
    micros = fraction.str.pad_end(6, "0").str.slice(0, 6).cast(pl.Int64)
    hours, minutes = zone.str.slice(1, 2).cast(pl.Int64, strict=False), zone.str.slice(-2).cast(pl.Int64, strict=False)
    sign = pl.when(zone.str.starts_with("-")).then(-1).otherwise(1)
    offset = (sign * (60 * hours + minutes)).fill_null(0) * 60_000_000
    key = whole.dt.timestamp("us") + micros - offset
    return pl.when((zone != "") == zoned).then(key)


def is_zoned(text: pl.Series) -> bool:
    """Whether the first text that is a time has an offset from UTC."""
    zones = text.str.strip_chars().str.extract(WRITTEN, 1).is_not_null()
    first = text.filter(zones).head(1).str.contains(r"(?:[ T].*(?:Z|UTC|[+-]\d{2}:?\d{2}))$")
    return bool(first.any())


Check = Callable[[pl.DataFrame, pl.Series, Callable[[int], str]], None]  # raw rows, their keys, where a row is


def micros_of(values: pl.Series) -> pl.Expr:
    """Microseconds since 1970 of the column whose first values are ``values``; null where it says no time.

    Numbers are seconds since 1970, milliseconds where the first ones are that large, or days as 20260131 where all of
    the first are like that, and most of them are days: as seconds they are of 1970. The others say no time.
    """
    key = time_key(values)
    if values.dtype.is_temporal():
        return key.dt.timestamp("us")
    if values.dtype == pl.String and not reads_as(values, pl.Float64):
        return key
    numbers = values.drop_nulls().cast(pl.Float64, strict=False).alias("")
    days = numbers.to_frame().select(day_of(pl.col(""))).to_series()
    if len(numbers) and numbers.is_between(*DAYS).all() and 2 * days.null_count() < len(days):
        return day_of(key)
    first = numbers.max()
    scale = 1_000 if isinstance(first, float) and first > MILLISECONDS else 1_000_000
    return (key.cast(pl.Float64) * scale).round().cast(pl.Int64)


def day_of(numbers: pl.Expr) -> pl.Expr:
    """Microseconds since 1970 of the days that numbers like 20260131 are, from 1970 to 2099; null for other numbers."""
    day = numbers.cast(pl.Int64, strict=False).cast(pl.String).str.to_date("%Y%m%d", strict=False)
    return pl.when(numbers.is_between(*DAYS)).then(day.cast(pl.Datetime("us")).dt.timestamp("us"))


def reads_as(values: pl.Series, dtype: pl.DataType | type[pl.DataType]) -> bool:
    """Whether all words are numbers."""
    return values.str.strip_chars().cast(dtype, strict=False).null_count() == values.null_count()


def time_key(values: pl.Series) -> pl.Expr:
    """What a split by time compares: numbers, dates, or text that ``moment`` reads; null, which is refused, for others.

    ``values`` are the first of the column; the split goes by what is written, whatever kind of field it is.
    """
    column = pl.col(values.name)
    if values.dtype.is_float():
        return column.fill_nan(None)
    if values.dtype != pl.String:
        return column
    if reads_as(values, pl.Float64):
        return column.str.strip_chars().cast(pl.Float64, strict=False)
    return moment(column, zoned=is_zoned(values))


def check_moments(column: str, who: str = "split=time", prefix: str = "") -> Check:
    """Complains about the first row whose key is null, with what is written there; ``who`` wants it."""

    def check(frame: pl.DataFrame, keys: pl.Series, where: Callable[[int], str]) -> None:
        if keys.null_count():
            row = int(keys.is_null().arg_max() or 0)
            value = frame[prefix + column][row]
            what = "is missing" if value is None else f"is {str(value)!r}"
            form = (
                "a number, or a time as others of the column: 2026-01-31 10:00:59, all with an offset (+01:00) or none"
            )
            raise UserError(f"{where(row)}: {column} {what}; {who} wants {form}")

    return check
