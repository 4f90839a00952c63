"""Anybody's log: CSV, TSV or Parquet files described in a configuration, no Python needed.

What is not said is inferred from the first file and shown: text and whole numbers become categories, other numbers
stay numbers, lists (in Parquet) become bags.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl

from eulernet.data import raw as source
from eulernet.data import splits
from eulernet.data.build import build
from eulernet.data.criteo import bucket
from eulernet.data.raw import Dtype, Format
from eulernet.data.recipe import Bag, Category, Field, Number, Quantiles, Recipe
from eulernet.data.splits import PARTS, Splitter
from eulernet.errors import UserError, choose, nearest, require

log = logging.getLogger(__name__)

SUFFIXES = (".csv", ".tsv", ".txt", ".gz", ".zip", ".parquet", ".pq")
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
    fields: Mapping[str, Any],
    only: Sequence[str] | None,
    ignore: Sequence[str],
    min_count: int,
    missing: Sequence[str],
    columns: Sequence[str] | None,
    separator: str | None,
    quote: str | None,
    vocabulary: str,
    split: str,
    split_column: str | None,
    split_values: Mapping[str, Sequence[str]],
    split_seed: int,
    ratios: Sequence[float],
) -> Path:
    """The store of a log of clicks. ``conf/dataset/table.yaml`` says what each setting is for.

    Raises UserError for a column that is not there, a kind or a setting that does not exist, and whatever is wrong in
    the files.
    """
    require(quote is None or len(quote.encode()) == 1, f"dataset.quote={quote}: give one character, or null")
    require(separator is None or len(separator.encode()) == 1, f"dataset.separator={separator}: give one character")
    files = source.find(raw, "a CSV, TSV or Parquet file, or a folder of them", SUFFIXES)
    if split == "files":
        files = sorted(files, key=lambda file: (PARTS.index(part_of(file)), file))
    form = Format({}, separator or source.separator_of(files[0]), columns is None, quote, tuple(missing), columns)
    there = source.sample(files[0], form, SAMPLE)
    clicks = label or next((name for name in LABELS if name in there.columns), "")
    require(clicks != "", f"dataset.label: say which column has the clicks, one of {', '.join(there.columns)}")
    named = {"label": [clicks], "fields": fields, "only": only or [], "ignore": ignore}
    for key, names in {**named, "split_column": [split_column] if split_column else []}.items():
        for name in names:
            require(name in there.columns, f"dataset.{key}: no column {name!r}; {nearest(str(name), there.columns)}")

    left_out = {clicks, split_column, *ignore} - set(fields)
    used = [name for name in there.columns if name not in left_out and (only is None or name in only)]
    described = {name: describe(name, fields[name]) if name in fields else infer(there[name]) for name in used}
    for name, settings in described.items():
        if name not in fields:
            distinct = f"{there[name].n_unique():,} values in the first {len(there):,} rows"
            log.info("%s: %s (%s)", name, settings["kind"], distinct)
        if settings.get("min_count", 0) is None:
            settings["min_count"] = min_count

    splitter = splitter_of(split, split_column, split_values, split_seed, ratios, files)
    types = {name: dtype_of(settings["kind"], there[name]) for name, settings in described.items()}
    types[clicks] = pl.Float64
    if splitter.key is not None and split_column is not None:
        types.setdefault(split_column, key_type(there[split_column], split))
    form = replace(form, columns=types)
    recipe = Recipe(
        name="table",
        version=1,
        protocol=f"click = {clicks}" + (f" >= {label_from:g}" if label_from is not None else ""),
        scan=lambda files, memory: source.read(files, form, memory),
        label=pl.col(clicks) if label_from is None else (pl.col(clicks) >= label_from).cast(pl.UInt8),
        fields=[make_field(name, settings, types[name]) for name, settings in described.items()],
        settings=[clicks, label_from, described, list(missing), columns, form.separator, quote],
    )
    return build(recipe, files, data_dir, vocabulary=vocabulary, split=splitter, origin="raw files", memory=memory)


def describe(name: str, given: Any) -> dict[str, Any]:
    """The settings of one field, from its kind alone or from ``{kind: ..., setting: ...}``."""
    given = {"kind": given} if isinstance(given, str) else given
    require(isinstance(given, Mapping) and "kind" in given, f"dataset.fields.{name}: give a kind: {', '.join(KINDS)}")
    known = choose(KINDS, str(given["kind"]), f"kind of dataset.fields.{name}")
    for key, value in given.items():
        if key != "kind":
            require(key in known, f"dataset.fields.{name}: no setting {key!r}; {nearest(str(key), known)}")
            possible, what = POSSIBLE[key]
            require(possible(value), f"dataset.fields.{name}.{key}={value}: should be {what}")
    return {**known, **given}


def infer(values: pl.Series) -> dict[str, Any]:
    """The kind of a field from the first values of its column: Parquet's types, or what its text reads as."""
    if values.dtype.is_nested():
        return describe(values.name, "bag")
    if values.dtype.is_float():
        return describe(values.name, "number")
    if values.dtype == pl.String and values.null_count() < len(values):
        whole = values.cast(pl.Int64, strict=False).null_count() == values.null_count()
        number = values.cast(pl.Float64, strict=False).null_count() == values.null_count()
        return describe(values.name, "number" if number and not whole else "category")
    return describe(values.name, "category")


def dtype_of(kind: str, values: pl.Series) -> Dtype:
    """What a column is read as: categories keep the type that Parquet gives them, or are text as it stands."""
    if kind in ("number", "quantiles"):
        return pl.Float64
    if kind == "log_square":
        return pl.Int64
    if values.dtype.is_nested():
        return values.dtype
    return values.dtype if kind == "category" and values.dtype.is_integer() else pl.String


def key_type(values: pl.Series, split: str) -> Dtype:
    """Times that are written as numbers are compared as numbers, others as text: 2024-01-31 sorts by itself."""
    if split == "time" and values.dtype == pl.String:
        return pl.Float64 if infer(values)["kind"] == "number" or _whole(values) else pl.String
    return values.dtype


def _whole(values: pl.Series) -> bool:
    return values.cast(pl.Int64, strict=False).null_count() == values.null_count()


def make_field(name: str, settings: Mapping[str, Any], dtype: Dtype) -> Field:
    column = pl.col(name)
    match settings["kind"]:
        case "number":
            return Number(name, column, settings["standardise"])
        case "quantiles":
            return Quantiles(name, column, settings["classes"])
        case "log_square":
            return Category(name, bucket(column), settings["min_count"])
        case "bag":
            if not isinstance(dtype, pl.List):
                column = column.str.split(settings["separator"])
            members = column.list.eval(pl.element().cast(pl.String).replace("", None).drop_nulls())
            return Bag(name, members, settings["min_count"], settings["length"], settings["pooling"])
    return Category(name, column, settings["min_count"])


def splitter_of(
    split: str,
    column: str | None,
    values: Mapping[str, Sequence[str]],
    seed: int,
    ratios: Sequence[float],
    files: Sequence[Path],
) -> Splitter:
    def needed() -> str:
        require(column is not None, f"dataset.split={split} goes by a column: give dataset.split_column")
        return str(column)

    makers = {
        "random": lambda: splits.random_rows(seed, ratios),
        "chronological": lambda: splits.chronological(ratios),
        "time": lambda: splits.by_time(needed(), ratios),
        "column": lambda: splits.by_value(needed(), values),
        "files": lambda: splits.by_file([part_of(file) for file in files]),
        "paper": lambda: splits.paper(seed),
    }
    return choose(makers, split, "dataset.split")()


def part_of(file: Path) -> str:
    """The split that a file's name begins with, or else that its folder is called; dev and val are valid."""
    names = {"train": "train", "valid": "valid", "val": "valid", "dev": "valid", "test": "test"}
    for name, part in names.items():
        if file.name.lower().startswith(name) or file.parent.name.lower() == name:
            return part
    raise UserError(f"dataset.split=files: {file} should begin with train, valid or test, or lie in such a folder")
