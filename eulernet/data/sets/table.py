"""Anybody's log: CSV, TSV or Parquet files described in a configuration, no Python needed.

What is not said is inferred from the first file and shown: text and whole numbers become categories, other numbers
stay numbers, lists (in Parquet) become bags.
"""

import logging
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl

from eulernet.data import raw as source
from eulernet.data import splits
from eulernet.data.build import build
from eulernet.data.find import find
from eulernet.data.lines import KEPT, Dtype, Format
from eulernet.data.recipe import Bag, Category, Field, Number, Quantiles, Recipe
from eulernet.data.splits import PARTS, Splitter
from eulernet.data.times import check_moments, is_zoned, moment
from eulernet.data.values import TRUTH, Label, Raw
from eulernet.errors import UserError, choose, require, require_known

log = logging.getLogger(__name__)

LABELS = ("label", "click", "clicked", "is_click", "target", "y")
SAMPLE = 10_000  # rows that types are inferred from
# The settings of each kind of field, with what they are when nothing is said; min_count is then dataset.min_count.
KINDS: dict[str, dict[str, Any]] = {
    "category": {"min_count": None},
    "number": {"standardise": True},
    "log_square": {"min_count": None},
    "quantiles": {"classes": 20},
    "bag": {"min_count": None, "separator": "|", "length": None, "pooling": "mean"},
}
POSSIBLE: dict[str, tuple[Callable[[Any], bool], str]] = {
    "min_count": (lambda value: type(value) is int and value >= 1, "a whole number from 1"),
    "length": (lambda value: type(value) is int and value >= 1, "a whole number from 1"),
    "classes": (lambda value: type(value) is int and value >= 2, "a whole number from 2"),
    "standardise": (lambda value: type(value) is bool, "true or false"),
    "separator": (lambda value: isinstance(value, str) and value != "", "what stands between two members"),
    "pooling": (lambda value: value in ("mean", "sum"), "mean or sum"),
}


def make_table(
    raw: Sequence[Path],
    data_dir: Path,
    memory: float,
    *,
    label: str | None,
    label_from: float | None,
    fields: Mapping[str, Any] | None,
    only: Sequence[str] | None,
    ignore: Sequence[str],
    min_count: int,
    missing: Sequence[str],
    columns: Sequence[str] | None,
    separator: str | None,
    quote: str | None,
    escape: str | None,
    vocabulary: str,
    split: str,
    split_column: str | None,
    split_values: Mapping[str, Any] | None,
    split_seed: int,
    ratios: Sequence[float],
) -> Path:
    """The store of a log of clicks. ``conf/dataset/table.yaml`` says what each setting is for.

    Raises UserError for a column that is not there, a kind or a setting that does not exist, and whatever is wrong in
    the files.
    """
    separator = {"\\t": "\t", "tab": "\t", "space": " "}.get(separator, separator) if separator is not None else None
    for key, value in {"separator": separator, "quote": quote, "escape": escape}.items():
        require(
            value is None or len(value.encode()) == 1,
            f"dataset.{key}={value}: give one character" + ", tab or space" * (key == "separator"),
        )
    escape = None if escape == quote else escape  # as who calls a quote written twice escaped
    marks = [mark for mark in (separator, quote, escape) if mark is not None]
    clear = len(set(marks)) == len(marks) and not {"\n", "\r"} & set(marks)
    require(clear, "dataset.separator, quote and escape: give different characters, none of them a line end")
    require(columns is None or len(set(columns)) == len(columns), "dataset.columns: a name is there twice")
    found = find(raw, "a CSV, TSV or Parquet file, or a folder of them")
    files = found.files
    if split == "files":
        files = sorted(files, key=lambda file: PARTS.index(part_of(file)))
    first = next((file for file in files if source.has_text(file)), files[0])
    separator = separator or source.separator_of(first, quote)
    form = Format({}, separator, columns is None, quote, tuple(map(str, missing)), columns, escape=escape)
    form = replace(form, escape=source.escape_of(first, form))
    there = source.sample(files, form, SAMPLE)
    clicks = label or next((name for name in there.columns if name.lower() in LABELS), "")
    require(clicks != "", f"dataset.label: say which column has the clicks, one of {', '.join(there.columns)}")
    unused = split not in ("time", "column") and split_column is not None
    require(not unused, f"dataset.split={split} goes by no column; give dataset.split=time or column with split_column")
    require(split == "column" or not split_values, "dataset.split_values goes with dataset.split=column")
    given = fields or {}
    check_columns(there.columns, clicks, given, only, ignore, split_column)

    left_out = {clicks, split_column, *ignore} - set(given)
    used = [name for name in there.columns if name not in left_out and (only is None or name in only)]
    used = [name for name in used if name in given or not name.startswith("(unnamed ")]
    described = {name: describe(name, given[name]) if name in given else infer(there[name]) for name in used}
    for name, settings in described.items():
        if name not in given:
            distinct = f"{there[name].drop_nulls().n_unique():,} values in the first {len(there):,} rows"
            log.info("%s: %s (%s)", name, settings["kind"], distinct)
            if name.lower() in LABELS:
                log.warning("%s may be a label too: dataset.ignore=[%s] leaves it out", name, name)
        if settings.get("min_count", 0) is None:
            settings["min_count"] = min_count

    splitter = splitter_of(split, split_column, split_values or {}, split_seed, ratios, files, there)
    types = {name: dtype_of(settings["kind"], there[name]) for name, settings in described.items()}
    words = label_from is None and says_truth(there[clicks])
    types[clicks] = pl.String if words else pl.Float64
    if splitter.key is not None and split_column is not None:
        types[split_column] = there.schema[split_column]  # the split goes by what is written, whatever the field is
    kept = [split_column] if split == "column" and split_column is not None else []
    form = replace(form, columns=types, kept=kept)
    recipe = Recipe(
        name="table",
        version=2,
        protocol=f"click = {clicks}" + (f" >= {label_from:g}" if label_from is not None else ""),
        form=form,
        label=Label(clicks, at_least=label_from, words=words),
        fields=[make_field(name, settings, types[name]) for name, settings in described.items()],
    )
    return build(
        recipe,
        files,
        data_dir,
        vocabulary=vocabulary,
        split=splitter,
        origin="raw files",
        memory=memory,
        left_out=found.left_out,
    )


def check_columns(
    there: Sequence[str],
    label: str,
    fields: Mapping[str, Any],
    only: Sequence[str] | None,
    ignore: Sequence[str],
    split_column: str | None,
) -> None:
    """UserError for a setting that names a column that is not there, or one in two roles that exclude each other."""
    known = dict.fromkeys(there)
    named = {"label": [label], "fields": fields, "only": only or [], "ignore": ignore}
    for key, names in {**named, "split_column": [] if split_column is None else [split_column]}.items():
        for name in names:
            require_known(name, known, f"dataset.{key}: no column {name!r}")
    require(label != split_column, f"dataset.split_column: {label} is the label")
    require(label not in fields, f"dataset.fields: {label} is the label; as a field it would give the answer away")
    for name in fields:
        require(name not in ignore, f"dataset.ignore leaves out {name}, which dataset.fields describes")
        require(only is None or name in only, f"dataset.only leaves out {name}, which dataset.fields describes")
    for name in there:
        regular = name == "*" or (name.startswith("^") and name.endswith("$"))  # polars would read it as a pattern
        require(not regular, f"column {name!r}: rename it, a name like this stands for other columns")


def describe(name: str, given: Any) -> dict[str, Any]:
    """The settings of one field, from its kind alone or from ``{kind: ..., setting: ...}``."""
    given = {"kind": given} if isinstance(given, str) else given
    require(isinstance(given, Mapping) and "kind" in given, f"dataset.fields.{name}: give a kind: {', '.join(KINDS)}")
    known = choose(KINDS, str(given["kind"]), f"kind of dataset.fields.{name}")
    for key, value in given.items():
        if key != "kind":
            require_known(key, known, f"dataset.fields.{name}: no setting {key!r}")
            possible, what = POSSIBLE[key]
            require(possible(value), f"dataset.fields.{name}.{key}={value}: should be {what}")
    return {**known, **given}


def infer(values: pl.Series) -> dict[str, Any]:
    """The kind of a field from the first values of its column: Parquet's types, or what its text reads as."""
    if isinstance(values.dtype, pl.List):
        return describe(values.name, "bag")
    nested = values.dtype.is_nested()
    require(not nested, f"column {values.name} holds {values.dtype}: leave it out with dataset.ignore=[{values.name}]")
    number = values.dtype.is_numeric() and not values.dtype.is_integer()
    if values.dtype == pl.String and values.null_count() < len(values):
        digits = values.str.strip_chars().str.contains(r"^[+-]?\d+$").all()  # ids, however long
        number = reads_as(values, pl.Float64) and not digits
    return describe(values.name, "number" if number else "category")


def says_truth(values: pl.Series) -> bool:
    """Whether a column of labels holds words such as true and no, not numbers."""
    return values.dtype == pl.String and not reads_as(values, pl.Float64) and _words(values) <= TRUTH.keys()


def _words(values: pl.Series) -> set[str]:
    return set(values.drop_nulls().str.strip_chars().str.to_lowercase())


def reads_as(values: pl.Series, dtype: Dtype) -> bool:
    """Whether all words are numbers."""
    return values.str.strip_chars().cast(dtype, strict=False).null_count() == values.null_count()


def dtype_of(kind: str, values: pl.Series) -> Dtype:
    """What a column is read as: categories keep the type that Parquet gives them, or are text as it stands."""
    if kind in ("number", "quantiles"):
        return pl.Float64
    if kind == "log_square":
        return pl.Int64
    if isinstance(values.dtype, pl.List):
        return values.dtype
    if kind == "category" and values.dtype.is_integer():
        return pl.UInt64 if values.dtype == pl.UInt64 else pl.Int64  # parts may differ in width
    if kind == "category" and values.dtype.is_float():
        return pl.Float64
    return pl.String


def make_field(name: str, settings: Mapping[str, Any], dtype: Dtype) -> Field:
    match settings["kind"]:
        case "number":
            return Number(name, Raw(name), settings["standardise"])
        case "quantiles":
            return Quantiles(name, Raw(name), settings["classes"])
        case "log_square":
            return Category(name, Raw(name, "log_square"), settings["min_count"])
        case "bag":
            separator = None if isinstance(dtype, pl.List) else settings["separator"]
            raw = Raw(name, "members", separator)
            return Bag(name, raw, settings["min_count"], settings["length"], settings["pooling"])
    as_it_is = dtype.is_integer() or dtype == pl.String
    return Category(name, Raw(name, "as_is" if as_it_is else "text"), settings["min_count"])


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


def splitter_of(
    split: str,
    column: str | None,
    values: Mapping[str, Any],
    seed: int,
    ratios: Sequence[float],
    files: Sequence[Path],
    there: pl.DataFrame,
) -> Splitter:
    """The split that the settings describe. UserError for one that does not exist, or lacks its column."""

    def needed() -> str:
        require(column is not None, f"dataset.split={split} goes by a column: give dataset.split_column")
        return str(column)

    makers = {
        "random": lambda: splits.random_rows(seed, ratios),
        "chronological": lambda: splits.chronological(ratios),
        "time": lambda: splits.by_time(needed(), time_key(there[needed()]), ratios, check_moments(needed())),
        "column": lambda: splits.by_value(needed(), values, pl.col(KEPT + needed()).cast(pl.String).fill_null("")),
        "files": lambda: splits.by_file([part_of(file) for file in files]),
        "paper": lambda: splits.paper(seed),
    }
    return choose(makers, split, "dataset.split")()


def part_of(file: Path) -> str:
    """The split that a file's name begins with, or else that its folder is called; dev and val are valid."""
    names = {"train": "train", "valid": "valid", "val": "valid", "dev": "valid", "test": "test"}
    begins = re.match(r"train|valid|test|(?:val|dev)(?![a-z])", file.name.lower())
    name = begins[0] if begins else file.parent.name.lower()
    if name in names:
        return names[name]
    raise UserError(f"dataset.split=files: {file} should begin with train, valid or test, or lie in such a folder")
