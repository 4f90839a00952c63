"""What turns raw rows into ids, from ``meta.json`` and ``vocab/`` of a store or of a trained run."""

import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from eulernet.data import kinds, raw, store
from eulernet.data.columns import conform, raw_of
from eulernet.data.kinds import Coder
from eulernet.data.lines import Dtype, Format, kind_of
from eulernet.data.raw import Piece
from eulernet.data.sampling import correction, weights_in
from eulernet.data.values import Label, Raw, check_sizes, clicks, evaluate, value_of
from eulernet.errors import UserError, require, require_known, require_there


def row_number(first: int, row: int) -> str:
    return f"row {first + row + 1}"


row_of_frame = partial(row_number, 0)


@dataclass(frozen=True)
class Preprocessor:
    """Raw rows to ids by the lines that encoded those of training; nothing of it changes, so threads may share it."""

    meta: Mapping[str, Any]
    coders: tuple[Coder, ...]
    values: Mapping[str, pl.Expr]  # what each coder takes, by f0, f1, ...
    lists: Mapping[str, Mapping[str, pl.Expr]]  # the same of a column that holds lists, not text with a separator
    form: Format
    label: Label
    columns: Mapping[str, Dtype]  # that fields come from
    optional: frozenset[str]  # columns that were missing in some rows of training, and so may be in all of a frame

    @classmethod
    def open(cls, folder: Path) -> "Preprocessor":
        """UserError if something in ``folder`` is damaged, or of another format."""
        try:
            meta = store.read_meta(folder, "train again with this version")
            return cls.of(meta, [kinds.read(field, folder) for field in meta["fields"]])
        except (KeyError, TypeError, AttributeError, RecursionError) as error:
            raise UserError(f"{folder / 'meta.json'} is damaged ({error}); train again with this version") from None

    @classmethod
    def of(cls, meta: Mapping[str, Any], coders: Sequence[Coder]) -> "Preprocessor":
        """What ``meta``, a dataset's, describes, with the coder of each field."""
        (form, label), fields, values = raw_of(meta["raw"]), meta["fields"], {}
        lists: dict[str, dict[str, pl.Expr]] = {}
        for i, field in enumerate(fields):
            source = Raw(field["column"], field["transform"], field.get("separator"))
            values[f"f{i}"] = value_of(source, kinds.value_kind(field))
            if source.separator is not None:
                value = value_of(replace(source, separator=None), kinds.value_kind(field))
                lists.setdefault(source.column, {})[f"f{i}"] = value
        columns = {field["column"]: form.columns[field["column"]] for field in fields}
        needed = {field["column"] for field in fields if not field["missing"] or field.get("computed")}
        return cls(meta, tuple(coders), values, lists, form, label, columns, frozenset(set(columns) - needed))

    def write(self, folder: Path) -> None:
        """Put meta.json and the vocabularies into a new ``folder``, for ``open``."""
        folder.mkdir()
        kinds.write(self.coders, folder)
        (folder / "meta.json").write_text(json.dumps(self.meta, indent=2) + "\n")

    @cached_property
    def required(self) -> list[str]:
        return [name for name in self.columns if name not in self.optional]

    def describe(self) -> list[dict[str, Any]]:
        """The raw columns as plain values: name, type, whether each row must have it, and the fields that it feeds."""
        return [
            {
                "name": name,
                "type": self.type_of(name, dtype),
                "required": name not in self.optional,
                "fields": [field["name"] for field in self.meta["fields"] if field["column"] == name],
            }
            for name, dtype in self.columns.items()
        ]

    def type_of(self, name: str, dtype: Dtype) -> str:
        if isinstance(dtype, pl.List) or name in self.lists:
            return f"a list{' or text' * (name in self.lists)}"
        return "text" if dtype == pl.String else kind_of(dtype)

    def require_columns(self, there: Collection[str], what: str) -> None:
        """UserError unless ``there`` are all columns that each row must have."""
        require_there(self.required, there, what)

    def read(
        self, files: Sequence[Path], memory: int, keep: Sequence[str] = (), *, label: bool = False
    ) -> Iterator[Piece]:
        """The rows of ``files`` in order, with the columns that fields come from, for ``encode``.

        There are also the columns ``keep`` as they are written (KEPT + name), and the ``label`` if it is asked for.

        Pieces are sized so that a few at once stay below ``memory`` bytes. Text has the columns in any order under a
        header; where the files of training had none, these may have none either, with the label or without. UserError
        for what ``raw.read`` refuses; a part without rows, or without anything in it, is none.
        """
        total, before = sum(file.stat().st_size for file in files), 0
        for index, file in enumerate(files):
            require(len(files) > 1 or file.stat().st_size > 0, f"{file} is empty")
            if raw.has_rows(file):
                yield from raw.pieces(file, self.form_of(file, keep, label), memory, index, before, total)
            before += file.stat().st_size

    def form_of(self, file: Path, keep: Sequence[str], label: bool) -> Format:
        """How the lines, or Parquet's columns, of one file become columns; see ``read``."""
        types: Mapping[str, Dtype]
        if raw.is_columnar(file):
            types = raw.schema_of(file)
            form, names = self.form, list(types)
        else:
            form = replace(self.form, separator=raw.separator_of(file, self.form.quote, self.form.separator))
            names = raw.first_line(file, form)
            known = [*self.columns, self.label.column]
            header = form.header or any(name in known for name in names)
            if not header:
                names = self.names_without_header(file, len(names))
            form = replace(form, header=header, names=None if header else names)
            form = replace(form, escape=raw.escape_of(file, form))
            types = {name: self.form.columns.get(name, pl.Float64) for name in self.marks} | dict(self.columns)
            for name, dtype in self.columns.items():
                lists = isinstance(dtype, pl.List)
                require(not lists, f"{file}: {name} held lists in training, which text cannot: give a Parquet file")
        there, needed = dict.fromkeys(names), self.marks if label else []
        self.require_columns(there, f"{file}, line 1")
        require_there(needed, there, str(file))
        for name in keep:
            require_known(name, there, f"{file}: no column {name!r}")
        wanted = {name: types[name] for name in (*(name for name in self.columns if name in there), *needed)}
        if raw.is_columnar(file):
            wanted |= {name: types[name] for name in self.lists if isinstance(types.get(name), pl.List)}
        return replace(form, columns=wanted, kept=keep)

    def names_without_header(self, file: Path, cells: int) -> list[str]:
        """The columns of a file without a header, by how many there are: those of training, or all but the label.

        Where rows have weights, all or all but these two: with one column less nothing tells which of them is missing.
        """
        every = list(self.form.names or ())
        without = [name for name in every if name not in self.marks]
        for names in (every, without):
            if len(names) == cells:
                return names
        belong = f"{cells} columns where {len(every)} belong, or {len(without)} without {' and '.join(self.marks)}"
        raise UserError(f"{file}, line 1: no header, and {belong}; a header makes it clear")

    def encode(self, frame: pl.DataFrame, where: Callable[[int], str] = row_of_frame) -> np.ndarray:
        """int32 ids [rows, C] of raw rows. Columns may come in any order, with others between, of any fitting types.

        An empty or missing value, NaN among them, is what it was in training; unseen and rare values have id 0.
        UserError for a column that is not there though training had it in every row, and, with the row, for a value
        that cannot be.
        """
        self.require_columns(frame.schema, "rows")
        there, frame = frame.schema, self.completed(frame)
        listed = {name: there[name] for name in self.lists if isinstance(there.get(name), pl.List)}
        values = {**self.values, **{key: one for name in listed for key, one in self.lists[name].items()}}
        frame = conform(frame, {**self.columns, **listed}, self.form.missing, where, "rows")
        names = {key: f"field {coder.name}" for key, coder in zip(self.values, self.coders, strict=True)}
        typed = evaluate(frame, values, names, where)
        check_sizes(typed, names, where)
        return kinds.encode(self.coders, typed)[0]

    @cached_property
    def correction(self) -> float:
        """What is added to every logit of the model: negatives were left out of its training rows."""
        return correction(self.meta)

    @property
    def weight(self) -> str | None:
        """The raw column that says how much a labelled row counts."""
        return self.meta.get("weight")

    @property
    def marks(self) -> list[str]:
        """The raw columns that a labelled row has beside those of its fields."""
        return [self.label.column, *([] if self.weight is None else [self.weight])]

    def weights(self, frame: pl.DataFrame, where: Callable[[int], str] = row_of_frame) -> np.ndarray | None:
        """How much each raw row counts in a measure, float64 [rows]; None where all count alike."""
        if self.weight is None:
            return None
        frame = conform(frame, {self.weight: pl.Float64}, self.form.missing, where, "rows")
        return weights_in(frame, self.weight, where).cast(pl.Float64).to_numpy()

    def completed(self, frame: pl.DataFrame) -> pl.DataFrame:
        """``frame`` with the columns that it may lack, and lacks: nothing in any row."""
        there = frame.schema  # of all columns: polars makes it at every call
        absent = [pl.lit(None, dtype=dtype).alias(name) for name, dtype in self.columns.items() if name not in there]
        return frame.with_columns(absent) if absent else frame

    def labels(self, frame: pl.DataFrame, where: Callable[[int], str] = row_of_frame) -> tuple[np.ndarray, np.ndarray]:
        """The labels [rows] of raw rows, uint8, and which rows count: training leaves some ratings out."""
        name, without = self.label.column, self.label.without
        frame = conform(frame, {name: pl.String if self.label.words else pl.Float64}, self.form.missing, where, "rows")
        counts = np.ones(len(frame), dtype=bool) if without is None else (frame[name] != without).to_numpy()
        return clicks(frame, self.label, where).to_numpy(), counts
