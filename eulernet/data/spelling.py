"""One value, one text: the text of a category's value, whatever container it comes in, and how a field spells values.

``text_of`` gives a value of any type its one text: a truth value is true or false, 5.0 is 5, another float has the
shortest digits that say it in its own width, a moment with a zone is in UTC, fractions of 0 are left out; null, NaN and
"" are null. ``Spelling`` is how one field writes values: readers make 37 or 37.0 of 00037, True of true and 1e+16 of
10000000000000000, and a field knows its own way.
"""

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, time
from decimal import Decimal
from typing import Any

import numpy as np
import polars as pl

from eulernet.errors import UserError

WHOLE = r"^[+-]?[0-9]+(\.0+)?$"
EXPONENT = r"^[+-]?[0-9](\.[0-9]+)?e\+[0-9]{2,3}$"  # as Python and pandas write floats from 1e16
LARGE = rf"{EXPONENT}|^[+-]?[0-9]{{17,}}(\.0+)?$"
WORDS = (("false", "true"), ("False", "True"), ("FALSE", "TRUE"))
DIGITS = ("0", "1")
TRUTH_WORD = "(?i)^(true|false)$"
TEXT = pl.col("v").str  # of the values that ``asked`` asks


def text_of(values: pl.Series) -> pl.Series:
    """``values`` as text. UserError for types that have none: lists, structures, bytes that are not UTF-8."""
    dtype = values.dtype
    if dtype == pl.String:
        return values.replace("", None)
    if dtype == pl.Boolean:
        return values.replace_strict([False, True], WORDS[0], return_dtype=pl.String)
    if dtype.is_float():
        distinct = values.fill_nan(None).unique().drop_nulls()
        texts = [written(number) for number in distinct.to_numpy()]
        return values.replace_strict(distinct, pl.Series(texts, dtype=pl.String), default=None, return_dtype=pl.String)
    if dtype.is_decimal():
        return values.cast(pl.String).str.replace(r"(\.\d*?)0+$", "$1").str.strip_suffix(".")
    if isinstance(dtype, pl.Datetime):
        zone = "" if dtype.time_zone is None else "+00:00"
        moments = values.dt.convert_time_zone("UTC").dt.replace_time_zone(None) if zone else values
        return moments.cast(pl.String).str.replace(r"(\.\d*?)0+$", "$1").str.strip_suffix(".") + zone
    if dtype == pl.Time:  # a cast would lose the fractions
        return values.dt.to_string("%H:%M:%S%.9f").str.replace(r"(\.\d*?)0+$", "$1").str.strip_suffix(".")
    if dtype.is_nested() or dtype == pl.Object:
        raise UserError(f"column {values.name} of type {dtype} is not text")
    try:
        return values.cast(pl.String).replace("", None)
    except pl.exceptions.PolarsError:
        raise UserError(f"column {values.name} of type {dtype} is not text") from None


def asked(values: pl.Series, **questions: pl.Expr) -> dict[str, Any]:
    """What ``questions`` find of ``values``, which they call v. One query for all: polars takes .1 ms to begin one."""
    return values.alias("v").to_frame().select_seq(**questions).row(0, named=True)


def written(value: Any) -> str:  # exported folders carry it, too
    """The text of a value that is there, as ``text_of`` writes it."""
    if isinstance(value, bool | np.bool_):
        return "true" if value else "false"
    if isinstance(value, float | np.floating):
        return str(int(value)) if float(value).is_integer() else str(value)
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, datetime | time):
        value = value.astimezone(UTC) if isinstance(value, datetime) and value.tzinfo else value
        return re.sub(r"(\.\d*?)0+(?=\+|$)", r"\1", str(value))
    if isinstance(value, Decimal):
        value = f"{value:f}"
        return value.rstrip("0").rstrip(".") if "." in value else value
    return str(value)


@dataclass(frozen=True)
class Spelling:
    """How a field writes what others write otherwise.

    ``decimals``: whole numbers with .0; ``width``: whole numbers filled with zeros to that many digits, 0 is none;
    ``words``: the two truth values; ``exponents``: some whole numbers as 1e+16.
    """

    decimals: bool = False
    width: int = 0
    words: tuple[str, str] = WORDS[0]
    exponents: bool = False

    @classmethod
    def of(cls, values: pl.Series) -> "Spelling":
        """That of ``values``, which are text, or whole numbers, which have one spelling."""
        if values.dtype != pl.String or values.is_empty():
            return cls()
        value, digits = pl.col("v"), pl.col("v").filter(TEXT.contains(r"^[0-9]+$")).str
        found = asked(
            values,
            whole=TEXT.contains(WHOLE).sum(),
            points=TEXT.contains(r"^[+-]?[0-9]+\.0+$").sum(),
            shortest=digits.len_chars().min(),
            longest=digits.len_chars().max(),
            zeros=TEXT.contains(r"^0[0-9]+$").any(),
            exponents=TEXT.contains(EXPONENT).any(),
            digits=value.is_in(DIGITS).all(),
            words=value.filter(value.is_in([word for words in WORDS for word in words])).unique().implode(),
        )
        known = [words for words in WORDS if set(words) & set(found["words"])] + [DIGITS] * found["digits"]
        padded = found["zeros"] and found["shortest"] == found["longest"]
        return cls(
            decimals=2 * found["points"] > found["whole"],
            width=found["longest"] if padded else 0,
            words=known[0] if known else WORDS[0],
            exponents=found["exponents"],
        )

    def respell(self, values: pl.Series) -> pl.Series:
        """Text of ``text_of``, or out of a file, as this field writes it. ``respelled`` is its plain twin."""
        frame = values.alias("v").to_frame()
        whole, lower = pl.col("v").str.contains(WHOLE), pl.col("v").str.to_lowercase()
        number = pl.col("v").str.replace(r"\.0+$", "").str.zfill(self.width) + ".0" * self.decimals
        said = pl.when(lower == "true").then(pl.lit(self.words[1])).when(lower == "false").then(pl.lit(self.words[0]))
        respelt = frame.select_seq(pl.when(whole).then(number).otherwise(said.otherwise(pl.col("v")))).to_series()
        large = values.str.contains(LARGE)
        if not large.any():
            return respelt
        plain = [respelled(text, **asdict(self)) for text in values.filter(large)]
        return respelt.scatter(large.fill_null(False).arg_true(), plain)

    @classmethod
    def merges(cls, values: pl.Series) -> bool:
        """Whether a field that has ``values`` among others may hold nothing but whole numbers or truth values."""
        found = asked(values, whole=TEXT.contains(WHOLE).all(), truth=TEXT.contains(TRUTH_WORD).all())
        return found["whole"] or found["truth"]

    @classmethod
    def merged(cls, counts: pl.DataFrame) -> pl.DataFrame:
        """The ``rows`` of each ``value``, the spellings of one value together: 3 and 3.0, True and TRUE.

        Only where a field holds nothing but whole numbers, or nothing but truth values: elsewhere 5 and 5.0 may well be
        two things.
        """
        first = counts["value"][0] if len(counts) else ""  # most fields show by one value that they are neither
        if re.match(WHOLE, first):
            dots = TEXT.contains(r"\.0+$")
            mixed = dots.any() & ~dots.all() & TEXT.contains(WHOLE).all()
        elif re.match(TRUTH_WORD, first):
            one = [pl.col("v").is_in(words).all() for words in WORDS]
            mixed = TEXT.contains(TRUTH_WORD).all() & ~pl.any_horizontal(one)
        else:
            return counts
        if not asked(counts["value"], mixed=mixed)["mixed"]:
            return counts
        merged = counts.with_columns(value=cls().respell(counts["value"]))
        return merged.group_by("value").agg(pl.col("rows").sum())


def respelled(  # the plain twin of ``respell``
    text: str, decimals: bool, width: int, words: Sequence[str], exponents: bool = False
) -> str:
    if re.fullmatch(r"[+-]?[0-9](\.[0-9]+)?e\+[0-9]{2,3}", text) and float(text).is_integer():
        text = str(int(float(text)))
    if re.fullmatch(r"[+-]?[0-9]+(\.0+)?", text):
        digits = text.partition(".")[0]
        if exponents and 16 < len(digits) < 309 and int(float(digits)) == int(digits):
            return str(float(digits))
        return digits.zfill(width) + ".0" * decimals
    return {"true": words[1], "false": words[0]}.get(text.lower(), text)
