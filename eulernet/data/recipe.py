"""A dataset as a value: where its rows, its fields and its label come from. ``build`` turns it into a store."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from eulernet.data import raw as source
from eulernet.data.columns import describe_raw
from eulernet.data.histories import LogKeys
from eulernet.data.kinds import Field
from eulernet.data.lines import Format
from eulernet.data.raw import Piece
from eulernet.data.values import Label, value_of
from eulernet.errors import require

if TYPE_CHECKING:
    from eulernet.data.growth import Growth


# Settings of fields that came later. What is described is part of every digest: they are left out where unset.
NEWER = ("scaling", "as_text", "buckets", "vectors")


@dataclass(frozen=True)
class Recipe:
    """How raw files become rows: read and checked piece by piece, each row is fields and a label.

    ``form`` says what a raw row looks like; rows that are scored later have that form too, without the label.
    ``protocol`` says in words what the preprocessing does; it goes into the store and into every report.
    """

    name: str
    version: int  # raise it when scan or a transform changes: stores of other versions are not reused
    protocol: str
    form: Format
    label: Label
    fields: Sequence[Field]
    # (files, bytes of memory) -> rows in order, where the raw files are not of that form themselves
    scan: Callable[[Sequence[Path], int], Iterator[Piece]] | None = None
    rows: Sequence[int] | None = None  # how many rows each file should have, where that is known
    verify: bool = True  # whether other numbers are an error
    weight: str | None = None  # the raw column that says how much a row counts
    negatives_kept: float | None = None  # the share of rows that are no click which the log still has
    logs: Mapping[str, LogKeys] = field(default_factory=dict)  # of the histories that are computed
    growth: "Growth | None" = None  # of the run that goes on with these rows
    # A column, and the date of a raw row that it gives, where vocabularies are to know when a value was seen.
    day: tuple[str, pl.Expr] | None = None

    def __post_init__(self) -> None:
        require(bool(self.fields), f"{self.name}: there is no field to learn from")
        for one in self.fields:
            count = getattr(one, "min_count", 1)
            require(count >= 1, f"{one.name}: min_count must be at least 1, got {count}")

    def pieces(self, files: Sequence[Path], memory: int) -> Iterator[Piece]:
        return source.read(files, self.form, memory) if self.scan is None else self.scan(files, memory)

    @property
    def read_fields(self) -> dict[str, Field]:
        """The fields, as f0, f1, ..., but for those that are computed from the log."""
        return {f"f{i}": one for i, one in enumerate(self.fields) if getattr(one, "log", None) is None}

    def values(self) -> list[pl.Expr]:
        """What the coder of each of ``read_fields`` takes, from a raw row."""
        return [value_of(one.raw, one.of) for one in self.read_fields.values()]

    @property
    def scored_form(self) -> Format:
        """What a row to score looks like: it brings the lists that are computed for training."""
        lists = dict.fromkeys(self.logs, pl.String)
        return replace(self.form, columns={**self.form.columns, **lists}) if lists else self.form

    def describe(self) -> dict[str, Any]:
        """All that the encoded rows depend on, beside the raw files and the split, as plain values."""
        fields: list[tuple[str, dict[str, Any]]] = [(type(one).__name__, dict(vars(one))) for one in self.fields]
        for one, (_, said) in zip(self.fields, fields, strict=True):
            said["raw"] = one.raw.describe()
            if said.get("log"):
                said["log"] = asdict(said["log"])
            if said.get("vectors"):
                said["vectors"] = said["vectors"].describe()
            for newer in NEWER:
                if said.get(newer, "") is None:
                    del said[newer]
        own: dict[str, Any] = {"name": self.name, "version": self.version, "protocol": self.protocol}
        counts = {"weight": self.weight, "negatives_kept": self.negatives_kept}  # left out where unset, too
        later = {"growth": self.growth and self.growth.describe(), "day": self.day and self.day[0]}
        own |= {key: value for key, value in {**counts, **later}.items() if value is not None}
        return {**own, "raw": describe_raw(self.form, self.label), "fields": fields}
