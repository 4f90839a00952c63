"""Anybody's log: CSV, TSV or Parquet files described in a configuration, no Python needed.

What is not said is inferred and shown: text and whole numbers become categories, other numbers stay numbers, lists
(in Parquet) become bags.
"""

import logging
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import polars as pl

from eulernet.data import kinds, sampling, splits
from eulernet.data import raw as source
from eulernet.data.build import build
from eulernet.data.find import find
from eulernet.data.growth import Growth
from eulernet.data.inference import Judge, Misjudged, common
from eulernet.data.lines import KEPT, Dtype, Format
from eulernet.data.recipe import Recipe
from eulernet.data.sets import logs
from eulernet.data.sets.later import later
from eulernet.data.splits import PARTS, Splitter
from eulernet.data.times import MICROS_A_DAY, check_moments, micros_of, reads_as, time_key
from eulernet.data.values import TRUTH, Label
from eulernet.errors import UserError, choose, require, require_known

log = logging.getLogger(__name__)

LABELS = ("label", "click", "clicked", "is_click", "target", "y")
SAMPLE = 10_000  # rows that kinds are guessed from
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
    vocabulary: str
    split: str
    split_column: str | None
    split_values: Mapping[str, Any] | None
    split_seed: int
    ratios: Sequence[float]
    escape: str | None = None  # younger than other settings, as those that follow
    weight: str | None = None
    keep_negatives: float | None = None
    negatives_kept: float | None = None
    retire_after: int | None = None
    retire_by: str | None = None
    rescale: bool = False
    unseen: str | None = None
    buckets: int | None = None

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
        for key in ("keep_negatives", "negatives_kept"):
            sampling.check_share(key, getattr(self, key))
        if self.unseen is not None:
            choose({"hash": None}, self.unseen, "dataset.unseen")
            kinds.check_setting("dataset.buckets", "buckets", self.buckets)
        require(self.split_seed >= 0, f"dataset.split_seed must not be negative, got {self.split_seed}")
        after = self.retire_after
        require(after is None or after >= 1, f"dataset.retire_after={after}: give days, 1 or more")
        dated = after is None or self.days is not None
        require(dated, f"dataset.retire_after={after} counts days: give dataset.retire_by, the column of the date")

    @property
    def spark_escape(self) -> str | None:
        """The escape character; none where it is the quote, as who writes a quote twice calls that."""
        return None if self.escape == self.quote else self.escape

    @property
    def days(self) -> str | None:
        """The column by which vocabularies know when a value was seen last."""
        by_time = self.retire_after is not None and self.split == "time"
        return self.retire_by or (self.split_column if by_time else None)

    @property
    def kept(self) -> list[str]:
        """Columns that are also wanted as they are written."""
        named = [self.split_column if self.split == "column" else None, self.days]
        return [name for name in dict.fromkeys(named) if name is not None]

    def __call__(self, raw: Sequence[Path], data_dir: Path, memory: float, growth: Growth | None = None) -> Path:
        """The store of a log of clicks; with a ``growth`` that of a later one, whose known values keep their ids.

        UserError for a column that is not there, a kind or a setting that does not exist, and whatever is wrong in the
        files.
        """
        found = find(raw, "a CSV, TSV or Parquet file, or a folder of them")
        files = found.files
        if self.split == "files":
            files = sorted(files, key=lambda file: PARTS.index(part_of(file)))
        if growth is not None:
            growth.require_rows(files)
        form = self.form_of(files)
        there = source.sample(files, form, SAMPLE)

        def make(recipe: Recipe) -> Path:  # after what the settings name has been looked for
            split = self.counted(self.splitter(files, there, "" if growth is None else KEPT))
            return build(
                recipe,
                files=files,
                data_dir=data_dir,
                vocabulary=self.vocabulary,
                split=split,
                origin="raw files",
                memory=memory,
                left_out=found.left_out,
            )

        if growth is not None:
            return make(later(self, growth, there))
        clicks = self.clicks_of(there)
        judge = self.judge(there, clicks)
        recipe = self.recipe(form, there, clicks, files, judge.guess)
        try:
            return make(replace(recipe, scan=partial(judge.pieces, recipe.form)))
        except Misjudged as misjudged:
            log.warning("%s, unlike the first %s rows: kinds are inferred from all", misjudged, f"{len(there):,}")
            right = judge.all(form, files, int(memory * 2**30))
            store = make(self.recipe(form, there, clicks, files, right))
            if store != misjudged.store:
                with suppress(OSError):  # who asks again finds it at once, where the disk has links
                    misjudged.store.unlink(missing_ok=True)
                    misjudged.store.symlink_to(store.name)
            return store

    def clicks_of(self, there: pl.DataFrame) -> str:
        """The column of the label. UserError if there is none, or a setting names a column that is not there."""
        clicks = self.label or next((name for name in there.columns if name.lower() in LABELS), "")
        require(clicks != "", f"dataset.label: say which column has the clicks, one of {', '.join(there.columns)}")
        roles = {"label": clicks, "split_column": self.split_column, "weight": self.weight, "retire_by": self.days}
        given, computed = self.fields or {}, self.computed
        read = {name: given for name, given in given.items() if name not in computed}
        check_columns(there.columns, roles, read, self.only, self.ignore)
        for name, log in computed.items():
            logs.check(name, log, there.columns, self.split, clicks)
        return clicks

    @property
    def computed(self) -> dict[str, Mapping[str, Any]]:
        """The settings of the histories that no column holds: they are computed from the log."""
        given = (self.fields or {}).items()
        return {name: own for name, own in given if isinstance(own, Mapping) and own.keys() & {"by", "of", "order"}}

    def judge(self, there: pl.DataFrame, clicks: str) -> Judge:
        """What the rows ``there`` show of the columns whose kind is not said."""
        inferred = [name for name in self.used(there, clicks) if name not in (self.fields or {})]
        return Judge.of(there, [name for name in inferred if not there[name].dtype.is_nested()])

    def form_of(self, files: Sequence[Path]) -> Format:
        """How the lines of the files become columns; the columns come later."""
        first = next((file for file in files if source.has_text(file)), files[0])
        given = WRITTEN.get(self.separator, self.separator) if self.separator is not None else None
        separator, missing = given or source.separator_of(first, self.quote), tuple(map(str, self.missing))
        form = Format({}, separator, self.columns is None, self.quote, missing, self.columns, escape=self.spark_escape)
        return replace(form, escape=source.escape_of(first, form))

    def recipe(
        self, form: Format, there: pl.DataFrame, clicks: str, files: Sequence[Path], inferred: Mapping[str, str]
    ) -> Recipe:
        """``there`` are the first rows of the files, ``inferred`` the kinds of the fields that are not described."""
        described = self.described(there, clicks, inferred)
        seen = types_of((name for name in described if name not in self.computed), files, there)
        types = {
            name: kinds.dtype_of(own["kind"], common(seen[name])) for name, own in described.items() if name in seen
        }
        fields = [kinds.make_field(name, settings, types.get(name, pl.String)) for name, settings in described.items()]
        kinds.check_sharing(fields)
        words = self.label_from is None and says_truth(there[clicks])
        types[clicks] = pl.String if words else pl.Float64
        if self.split in ("time", "column") and self.split_column is not None:
            types[self.split_column] = there.schema[self.split_column]  # it splits by what is written, in a field too
        if self.weight is not None:
            types[self.weight] = pl.Float64
        for log in self.computed.values():
            types.setdefault(log["by"], kinds.dtype_of("category", there.schema[log["by"]]))
            types[log["order"]] = there.schema[log["order"]]
        return Recipe(
            name=self.name,
            version=2,
            protocol=f"click = {clicks}"
            + (f" >= {self.label_from:g}" if self.label_from is not None else "")
            + (f"; rows weigh {self.weight}" if self.weight is not None else "")
            + (f"; the log has {self.negatives_kept:g} of its negatives" if self.negatives_kept is not None else ""),
            form=replace(form, columns=types, kept=self.kept),
            label=Label(clicks, at_least=self.label_from, words=words),
            fields=fields,
            weight=self.weight,
            negatives_kept=self.negatives_kept,
            logs={
                name: logs.keys(name, log, types, time_key(there[log["order"]])) for name, log in self.computed.items()
            },
            day=self.day(there),
        )

    def counted(self, split: Splitter) -> Splitter:
        """``split`` without the training rows that the settings leave out."""
        return sampling.counted(split, self.keep_negatives, self.split_seed, weighted=self.weight is not None)

    def day(self, there: pl.DataFrame) -> tuple[str, pl.Expr] | None:
        """The date of a raw row, of which ``there`` are the first; None where nobody asked for it."""
        if self.days is None:
            return None
        micros = micros_of(there[self.days].alias(KEPT + self.days))
        return self.days, (micros // MICROS_A_DAY).cast(pl.Int32).cast(pl.Date)

    def used(self, there: pl.DataFrame, clicks: str) -> list[str]:
        """The columns that become fields."""
        given = self.fields or {}
        orders = [log["order"] for log in self.computed.values()]
        left_out = {clicks, self.split_column, self.weight, self.days, *orders, *self.ignore} - set(given)
        used = [name for name in there.columns if name not in left_out and (self.only is None or name in self.only)]
        return [name for name in used if name in given or not name.startswith("(unnamed ")]

    def described(self, there: pl.DataFrame, clicks: str, inferred: Mapping[str, str]) -> dict[str, dict[str, Any]]:
        """The settings of each field, given or inferred, which is shown."""
        given, schema, described = self.fields or {}, there.schema, {}
        if self.split_column is not None and self.split_column not in given:
            log.info("%s: no field, the split goes by it (dataset.fields can make it one)", self.split_column)
        for name in (*self.used(there, clicks), *self.computed):
            dtype = schema.get(name, pl.String())
            odd = dtype == pl.Object or (dtype.is_nested() and not isinstance(dtype, pl.List))
            wrong = f"column {name} holds {dtype}: make text of it, or leave it out with dataset.ignore=[{name}]"
            require(name in given or not odd, wrong)
            described[name] = settings = kinds.settings_of(name, given.get(name) or inferred.get(name, "bag"))
            if name not in given:
                distinct = f"{there[name].drop_nulls().n_unique():,} values in the first {len(there):,}"
                log.info("%s: %s (checked in every row; %s)", name, settings["kind"], distinct)
                if name.lower() in LABELS:
                    log.warning("%s may be a label too: dataset.ignore=[%s] leaves it out", name, name)
            if settings.get("min_count", 0) is None:
                settings["min_count"] = self.min_count
            if self.unseen is not None and settings["kind"] == "category" and settings["buckets"] is None:
                settings["buckets"] = self.buckets
            rare = settings["kind"] == "hash" or settings.get("buckets") is None or settings["min_count"] > 1
            hint = (
                "every value has an id, and nothing would train the buckets; give a min_count from 2, or the kind hash"
            )
            require(rare, f"dataset.fields.{name}: with min_count 1 {hint}")
        return described

    def splitter(self, files: Sequence[Path], there: pl.DataFrame, prefix: str = "") -> Splitter:
        """The split that the settings describe. UserError for one that does not exist, or lacks its column.

        A split by time reads its column under that name with a ``prefix``.
        """

        def column() -> str:
            require(
                self.split_column is not None, f"dataset.split={self.split} goes by a column: give dataset.split_column"
            )
            name = str(self.split_column)
            require_known(name, dict.fromkeys(there.columns), f"dataset.split_column: no column {name!r}")
            return name

        def by_value() -> Splitter:
            written = pl.col(KEPT + column()).cast(pl.String).fill_null("")
            return splits.by_value(column(), self.split_values or {}, written)

        def by_time() -> Splitter:
            key = time_key(there[column()].alias(prefix + column()))
            return splits.by_time(column(), key, self.ratios, check_moments(column(), prefix=prefix))

        makers: dict[str, Callable[[], Splitter]] = {
            "random": lambda: splits.random_rows(self.split_seed, self.ratios),
            "chronological": lambda: splits.chronological(self.ratios),
            "time": by_time,
            "column": by_value,
            "files": lambda: splits.by_file([part_of(file) for file in files]),
            "paper": lambda: splits.paper(self.split_seed),
        }
        return choose(makers, self.split, "dataset.split")()


class Kdd12(Table):
    """Sponsored search, a sample of track 2 of the KDD Cup 2012 as OpenML has it: a table with a name of its own."""

    name = "kdd12"


def types_of(names: Iterable[str], files: Sequence[Path], there: pl.DataFrame) -> dict[str, list[Dtype]]:
    """The types that the files give to each column, those of the first rows first; parts may differ."""
    others = files if len(files) > 1 else []
    schemas = [source.schema_of(file) for file in others if source.is_columnar(file)]
    text = [pl.String()] if any(not source.is_columnar(file) for file in others) else []
    return {name: [there[name].dtype, *(schema[name] for schema in schemas if name in schema), *text] for name in names}


def check_columns(
    there: Sequence[str],
    roles: Mapping[str, str | None],
    fields: Mapping[str, Any],
    only: Sequence[str] | None,
    ignore: Sequence[str],
) -> None:
    """UserError for a setting that names a column that is not there, or one in two roles that exclude each other.

    ``roles`` are the columns that a setting names alone: label, split_column, weight; None where it names none.
    """
    known, label = dict.fromkeys(there), roles["label"]
    alone = {key: [name] for key, name in roles.items() if name is not None}
    for key, names in {**alone, "fields": fields, "only": only or [], "ignore": ignore}.items():
        for name in names:
            require_known(name, known, f"dataset.{key}: no column {name!r}")
    for key, column in roles.items():
        require(key == "label" or column != label, f"dataset.{key}: {label} is the label")
    require(label not in fields, f"dataset.fields: {label} is the label; as a field it would give the answer away")
    weight = roles["weight"]
    require(weight is None or weight not in fields, f"dataset.fields: {weight} is the weight, which is no field")
    require(weight is None or weight != roles["split_column"], f"dataset.weight: the split goes by {weight}")
    for name in fields:
        require(name not in ignore, f"dataset.ignore leaves out {name}, which dataset.fields describes")
        require(only is None or name in only, f"dataset.only leaves out {name}, which dataset.fields describes")
    for name in there:
        regular = name == "*" or (name.startswith("^") and name.endswith("$"))  # polars would read it as a pattern
        require(not regular, f"column {name!r}: rename it, a name like this stands for other columns")


def says_truth(values: pl.Series) -> bool:
    """Whether a column of labels holds words such as true and no, not numbers."""
    return values.dtype == pl.String and not reads_as(values, pl.Float64) and _words(values) <= TRUTH.keys()


def _words(values: pl.Series) -> set[str]:
    return set(values.drop_nulls().str.strip_chars().str.to_lowercase())


def part_of(file: Path) -> str:
    """The split that a file's name begins with, or else that its folder is called; dev and val are valid."""
    names = {"train": "train", "valid": "valid", "val": "valid", "dev": "valid", "test": "test"}
    begins = re.match(r"train|valid|test|(?:val|dev)(?![a-z])", file.name.lower())
    name = begins[0] if begins else file.parent.name.lower()
    if name in names:
        return names[name]
    raise UserError(f"dataset.split=files: {file} should begin with train, valid or test, or lie in such a folder")
