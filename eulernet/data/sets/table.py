"""Anybody's log: CSV, TSV or Parquet files described in a configuration, no Python needed.

What is not said is inferred from the first file and shown: text and whole numbers become categories, other numbers
stay numbers, lists (in Parquet) become bags.
"""

import logging
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import polars as pl

from eulernet.data import kinds, splits
from eulernet.data import raw as source
from eulernet.data.build import build
from eulernet.data.find import find
from eulernet.data.lines import KEPT, Dtype, Format
from eulernet.data.recipe import Recipe
from eulernet.data.splits import PARTS, Splitter
from eulernet.data.times import check_moments, is_zoned, moment
from eulernet.data.values import LARGEST, TRUTH, Label
from eulernet.errors import UserError, choose, require, require_known

log = logging.getLogger(__name__)

LABELS = ("label", "click", "clicked", "is_click", "target", "y")
SAMPLE = 10_000  # rows that types are inferred from
WRITTEN = {"\\t": "\t", "tab": "\t", "space": " "}  # a separator as people write it


@dataclass(frozen=True)
class Table:
    """The settings of ``dataset=table``: ``conf/dataset/table.yaml`` says what each is for. UserError if impossible."""

    name: ClassVar[str] = "table"

    label: str | None
    label_from: float | None
    fields: Mapping[str, Any] | None
    only: Sequence[str] | None
    ignore: Sequence[str]
    min_count: int
    missing: Sequence[str]
    columns: Sequence[str] | None
    separator: str | None
    quote: str | None
    escape: str | None
    vocabulary: str
    split: str
    split_column: str | None
    split_values: Mapping[str, Any] | None
    split_seed: int
    ratios: Sequence[float]

    def __post_init__(self) -> None:
        for key in ("separator", "quote", "escape"):
            value = WRITTEN.get(getattr(self, key), getattr(self, key))
            named = ", tab or space" * (key == "separator")
            require(value is None or len(value.encode()) == 1, f"dataset.{key}={value}: give one character{named}")
        written = (
            WRITTEN.get(mark, mark) for mark in (self.separator, self.quote, self.spark_escape) if mark is not None
        )
        marks = list(written)
        clear = len(set(marks)) == len(marks) and not {"\n", "\r"} & set(marks)
        require(clear, "dataset.separator, quote and escape: give different characters, none of them a line end")
        names = self.columns
        require(names is None or len(set(names)) == len(names), "dataset.columns: a name is there twice")
        unused = self.split not in ("time", "column") and self.split_column is not None
        instead = "give dataset.split=time or column with split_column"
        require(not unused, f"dataset.split={self.split} goes by no column; {instead}")
        require(self.split == "column" or not self.split_values, "dataset.split_values goes with dataset.split=column")

    @property
    def spark_escape(self) -> str | None:
        """The escape character; none where it is the quote, as who writes a quote twice calls that."""
        return None if self.escape == self.quote else self.escape

    def __call__(self, raw: Sequence[Path], data_dir: Path, memory: float) -> Path:
        """The store of a log of clicks.

        UserError for a column that is not there, a kind or a setting that does not exist, and whatever is wrong in the
        files.
        """
        found = find(raw, "a CSV, TSV or Parquet file, or a folder of them")
        files = found.files
        if self.split == "files":
            files = sorted(files, key=lambda file: PARTS.index(part_of(file)))
        form = self.form_of(files)
        there = source.sample(files, form, SAMPLE)
        clicks = self.label or next((name for name in there.columns if name.lower() in LABELS), "")
        require(clicks != "", f"dataset.label: say which column has the clicks, one of {', '.join(there.columns)}")
        check_columns(there.columns, clicks, self.fields or {}, self.only, self.ignore, self.split_column)
        return build(
            self.recipe(form, there, clicks, files),
            files,
            data_dir,
            vocabulary=self.vocabulary,
            split=self.splitter(files, there),
            origin="raw files",
            memory=memory,
            left_out=found.left_out,
        )

    def form_of(self, files: Sequence[Path]) -> Format:
        """How the lines of the files become columns; the columns come later."""
        first = next((file for file in files if source.has_text(file)), files[0])
        given = WRITTEN.get(self.separator, self.separator) if self.separator is not None else None
        separator, missing = given or source.separator_of(first, self.quote), tuple(map(str, self.missing))
        form = Format({}, separator, self.columns is None, self.quote, missing, self.columns, escape=self.spark_escape)
        return replace(form, escape=source.escape_of(first, form))

    def recipe(self, form: Format, there: pl.DataFrame, clicks: str, files: Sequence[Path]) -> Recipe:
        """``there`` are the first rows of the files."""
        described = self.described(there, clicks)
        seen = {name: types_of(name, files, there) for name in described}
        types = {
            name: held(kinds.dtype_of(own["kind"], there[name].dtype), seen[name]) for name, own in described.items()
        }
        fields = [kinds.make_field(name, settings, types[name]) for name, settings in described.items()]
        words = self.label_from is None and says_truth(there[clicks])
        types[clicks] = pl.String if words else pl.Float64
        if self.split in ("time", "column") and self.split_column is not None:
            types[self.split_column] = there.schema[self.split_column]  # it splits by what is written, in a field too
        kept = [self.split_column] if self.split == "column" and self.split_column is not None else []
        return Recipe(
            name=self.name,
            version=2,
            protocol=f"click = {clicks}" + (f" >= {self.label_from:g}" if self.label_from is not None else ""),
            form=replace(form, columns=types, kept=kept),
            label=Label(clicks, at_least=self.label_from, words=words),
            fields=fields,
        )

    def described(self, there: pl.DataFrame, clicks: str) -> dict[str, dict[str, Any]]:
        """The settings of each field, given or inferred, which is shown."""
        given = self.fields or {}
        left_out = {clicks, self.split_column, *self.ignore} - set(given)
        used = [name for name in there.columns if name not in left_out and (self.only is None or name in self.only)]
        used = [name for name in used if name in given or not name.startswith("(unnamed ")]
        described = {
            name: kinds.settings_of(name, given[name]) if name in given else infer(there[name]) for name in used
        }
        for name, settings in described.items():
            if name not in given:
                distinct = f"{there[name].drop_nulls().n_unique():,} values in the first {len(there):,} rows"
                log.info("%s: %s (%s)", name, settings["kind"], distinct)
                if name.lower() in LABELS:
                    log.warning("%s may be a label too: dataset.ignore=[%s] leaves it out", name, name)
            if settings.get("min_count", 0) is None:
                settings["min_count"] = self.min_count
        return described

    def splitter(self, files: Sequence[Path], there: pl.DataFrame) -> Splitter:
        """The split that the settings describe. UserError for one that does not exist, or lacks its column."""

        def column() -> str:
            require(
                self.split_column is not None, f"dataset.split={self.split} goes by a column: give dataset.split_column"
            )
            return str(self.split_column)

        def by_value() -> Splitter:
            written = pl.col(KEPT + column()).cast(pl.String).fill_null("")
            return splits.by_value(column(), self.split_values or {}, written)

        makers: dict[str, Callable[[], Splitter]] = {
            "random": lambda: splits.random_rows(self.split_seed, self.ratios),
            "chronological": lambda: splits.chronological(self.ratios),
            "time": lambda: splits.by_time(column(), time_key(there[column()]), self.ratios, check_moments(column())),
            "column": by_value,
            "files": lambda: splits.by_file([part_of(file) for file in files]),
            "paper": lambda: splits.paper(self.split_seed),
        }
        return choose(makers, self.split, "dataset.split")()


class Kdd12(Table):
    """Sponsored search, a sample of track 2 of the KDD Cup 2012 as OpenML has it: a table with a name of its own."""

    name = "kdd12"


def types_of(name: str, files: Sequence[Path], there: pl.DataFrame) -> set[Any]:
    """The types that Parquet parts give to a column, which may differ from part to part."""
    parts = [file for file in files if len(files) > 1 and source.is_columnar(file)]
    return {there[name].dtype, *(types[name] for file in parts if name in (types := source.schema_of(file)))}


def held(dtype: Dtype, seen: set[Any]) -> Dtype:
    """``dtype``, or text where it is one of whole numbers that cannot hold those of all parts."""
    signed = any(other.is_signed_integer() for other in seen)
    return pl.String if dtype in (pl.Int64, pl.UInt64) and signed and pl.UInt64 in seen else dtype


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


def infer(values: pl.Series) -> dict[str, Any]:
    """The kind of a field from the first values of its column: Parquet's types, or what its text reads as."""
    if isinstance(values.dtype, pl.List):
        return kinds.settings_of(values.name, "bag")
    nested = values.dtype.is_nested()
    require(not nested, f"column {values.name} holds {values.dtype}: leave it out with dataset.ignore=[{values.name}]")
    number = values.dtype.is_numeric() and not values.dtype.is_integer()
    if values.dtype == pl.String and values.null_count() < len(values):
        words = values.str.strip_chars()
        # Ids are whole numbers, however long; and one with more digits than a float holds is a hash, not a quantity.
        ids = words.str.contains(r"^[+-]?\d+$").all() or words.str.contains(r"^[+-]?\d{16,}$").any()
        number = reads_as(values, pl.Float64) and not ids
    if number:  # 1.42e+19 is a hash that some program took for a number
        sizes = values.str.strip_chars() if values.dtype == pl.String else values
        number = not sizes.cast(pl.Float64).abs().is_between(2**53, LARGEST).any()
    return kinds.settings_of(values.name, "number" if number else "category")


def says_truth(values: pl.Series) -> bool:
    """Whether a column of labels holds words such as true and no, not numbers."""
    return values.dtype == pl.String and not reads_as(values, pl.Float64) and _words(values) <= TRUTH.keys()


def _words(values: pl.Series) -> set[str]:
    return set(values.drop_nulls().str.strip_chars().str.to_lowercase())


def reads_as(values: pl.Series, dtype: Dtype) -> bool:
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


def part_of(file: Path) -> str:
    """The split that a file's name begins with, or else that its folder is called; dev and val are valid."""
    names = {"train": "train", "valid": "valid", "val": "valid", "dev": "valid", "test": "test"}
    begins = re.match(r"train|valid|test|(?:val|dev)(?![a-z])", file.name.lower())
    name = begins[0] if begins else file.parent.name.lower()
    if name in names:
        return names[name]
    raise UserError(f"dataset.split=files: {file} should begin with train, valid or test, or lie in such a folder")
