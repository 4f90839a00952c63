"""Tomorrow's log: the ids of an earlier run stay what they are, and values that it has not seen get ids of their own.

A known value keeps its id. New values are added at the end, the most frequent first. With ``retire_after`` they first
take the ids of values that were not seen for more than so many days, the longest unseen first; a value whose id was
taken is unknown from then on. Until a new value needs it, it keeps its id.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from eulernet.data.columns import conform
from eulernet.data.kinds import CategoryCoder, Coder, Field, HistoryCoder, Number
from eulernet.data.kinds.vocabulary import Engine, Vocabulary
from eulernet.data.lines import KEPT, Dtype
from eulernet.data.preprocessor import Preprocessor
from eulernet.data.raw import Piece
from eulernet.errors import UserError
from eulernet.files import checksum

DAY = "day"  # the column of the typed rows that holds the day of each


class NothingNew(UserError):
    """The new rows are none: a run that goes on with them stays what it is."""


@dataclass(frozen=True)
class Growth:
    """What encoded the rows of an earlier run, and how it meets new rows.

    ``rescale``: numbers take the scaling of the new rows, and not the one they have. Classes of numbers keep their
    edges, and bags their length, since a row of the table stands for each.
    """

    earlier: Preprocessor
    digest: str  # names ``earlier``: stores that grew from another one are other stores
    rescale: bool = False
    retire_after: int | None = None

    @classmethod
    def of(cls, folder: Path) -> "Growth":
        """Of the preprocessor in ``folder``. UserError if it is damaged, or of another format."""
        earlier = Preprocessor.open(folder)
        files = [folder / "meta.json", *sorted((folder / "vocab").glob("*.parquet"))]
        sums = "".join(f"{file.name} {checksum(file)}\n" for file in files)
        return cls(earlier, hashlib.sha256(sums.encode()).hexdigest()[:16])

    def describe(self) -> dict[str, Any]:
        return {"earlier": self.digest, "rescale": self.rescale, "retire_after": self.retire_after}

    def fit(self, place: int, field: Field, typed: pl.LazyFrame, engine: Engine) -> Coder:
        """The coder of the field number ``place`` for the rows ``typed``: its values, and their days if they have."""
        coder = self.earlier.coders[place]
        if isinstance(field, Number):
            return field.fit(typed, engine) if self.rescale else coder
        if (known := coder.vocabulary) is None:
            return coder
        grown = grow(known, typed, getattr(field, "min_count", 1), self.retire_after)
        if isinstance(coder, CategoryCoder) and coder.given is not None:
            # Vectors are among the weights. New values have none; retired ones count as if they had as many as others.
            same = int((known.values == grown.values[: len(known)]).sum())
            given = replace(coder.given, covered=coder.given.covered * same / len(grown), matrix=None)
            coder = replace(coder, given=given)
        return coder if grown is known else with_vocabulary(coder, grown)

    def pieces(
        self, files: Sequence[Path], memory: int, columns: Mapping[str, Dtype], kept: Sequence[str]
    ) -> Iterator[Piece]:
        """The rows of ``files`` with the typed ``columns``, labels among them, and the columns ``kept`` as written."""

        def whole(piece: Piece) -> pl.DataFrame:
            frame, file = self.earlier.completed(piece.frame()), str(files[piece.index])
            typed = conform(frame, columns, self.earlier.form.missing, piece.where, file)
            return typed.hstack(frame.select(KEPT + name for name in kept))

        for piece in self.earlier.read(files, memory, kept, label=True):
            yield replace(piece, frame=partial(whole, piece))

    def require_rows(self, files: Sequence[Path]) -> None:
        """NothingNew unless one of the ``files`` has a row."""
        there = any(len(piece.frame()) for piece in self.earlier.read(files, 1 << 26))
        if not there:
            raise NothingNew(f"{files[0]}: no rows")


def with_vocabulary(coder: Coder, vocabulary: Vocabulary) -> Coder:
    """``coder`` with another vocabulary."""
    if isinstance(coder, HistoryCoder):
        return replace(coder, members=CategoryCoder(coder.members.name, vocabulary))
    return replace(coder, vocabulary=vocabulary)  # type: ignore[arg-type]  # it has one


def with_days(coder: Coder, typed: pl.LazyFrame) -> Coder:
    """A new coder with the last day of each of its values in the rows ``typed``."""
    if (known := coder.vocabulary) is None:
        return coder
    seen = pl.Series([None], dtype=pl.Date).new_from_index(0, len(known))
    return with_vocabulary(coder, _seen(replace(known, seen=seen), _counts(typed)))


def grow(known: Vocabulary, typed: pl.LazyFrame, min_count: int, retire_after: int | None = None) -> Vocabulary:
    """``known`` and the values of ``typed`` that it lacks and that occur ``min_count`` times there.

    A value is spelled as the field spells its values, and goes on to: 3.0 is 3 where whole numbers have no decimals.
    """
    counts = _counts(typed)
    assert counts.schema["value"] == known.values.dtype
    if DAY in counts.columns and known.seen is None:  # of what was before nobody knows more than that it was
        first = typed.select(pl.col(DAY).min()).collect(engine="streaming").item()
        known = replace(known, seen=pl.Series([first], dtype=pl.Date).new_from_index(0, len(known)))
    unknown = counts.filter(known.ids(counts["value"]) == 0)
    if unknown.schema["value"] == pl.String:
        spelled = unknown.with_columns(known.spelling.respell(unknown["value"]).alias("value"))
        unknown = spelled.group_by("value").agg(pl.col("rows").sum(), pl.col(spelled.columns[2:]).max())
    kept = unknown.filter(pl.col("rows") >= min_count).sort("rows", "value", descending=[True, False])
    if not len(kept) and DAY not in counts.columns:
        return known
    known = _seen(known, counts)
    values, seen, free = known.values, known.seen, []
    if retire_after is not None and seen is not None and len(kept):
        today = typed.select(pl.col(DAY).max()).collect(engine="streaming").item()
        order = pl.DataFrame({"seen": seen}).with_row_index("place")
        late = pl.col("seen") < today - timedelta(days=retire_after)
        free = order.filter(late).sort("seen", "place")["place"].to_list()[: len(kept)]
        # scatter changes what it is called on, and the values of the earlier run stay what they are
        values = values.clone().scatter(free, kept["value"][: len(free)])
        seen = seen.clone().scatter(free, kept[DAY][: len(free)])
    values = pl.concat([values, kept["value"][len(free) :]])
    if seen is not None:
        days = kept[DAY] if DAY in kept.columns else pl.Series([None], dtype=pl.Date).new_from_index(0, len(kept))
        seen = pl.concat([seen, days[len(free) :]])
    grown = Vocabulary(values, seen)
    return grown if grown.spelling == known.spelling else replace(grown, spelled=known.spelling)


def _counts(typed: pl.LazyFrame) -> pl.DataFrame:
    """The different values, the members of lists, in how many rows each is, and its last day if there are days."""
    schema = typed.collect_schema()
    if isinstance(schema["value"], pl.List):
        typed = typed.explode("value")
    days = [pl.col(DAY).max()] if DAY in schema else []
    return typed.group_by("value").agg(pl.len().alias("rows"), *days).drop_nulls("value").collect(engine="streaming")


def _seen(known: Vocabulary, counts: pl.DataFrame) -> Vocabulary:
    """``known`` with the days of ``counts``, where they are later."""
    if known.seen is None or DAY not in counts.columns:
        return known
    latest = pl.DataFrame({"id": known.ids(counts["value"]), DAY: counts[DAY]}).filter(pl.col("id") > 0)
    latest = latest.group_by("id").agg(pl.col(DAY).max())
    frame = pl.DataFrame({"id": np.arange(1, len(known) + 1, dtype=np.int32), "seen": known.seen})
    joined = frame.join(latest, on="id", how="left", maintain_order="left")
    return replace(known, seen=joined.select(pl.max_horizontal("seen", DAY)).to_series().alias("seen"))


def kept_of(before: Sequence[Coder], now: Sequence[Coder]) -> list[np.ndarray]:
    """``kept_ids`` of each field; a history that shares the ids of another field keeps those that this one keeps."""
    kept = {old.name: kept_ids(old, new) for old, new in zip(before, now, strict=True)}
    return [kept[getattr(old, "same_as", None) or old.name] for old in before]


def kept_ids(old: Coder, new: Coder) -> np.ndarray:
    """bool [ids of ``old``]: which of its ids mean in ``new`` what they meant. Id 0 and those of buckets always do."""
    size = old.settings()["size"]
    before, now = old.vocabulary, new.vocabulary
    if before is None or now is None:
        return np.ones(size, dtype=bool)
    buckets = np.ones(1 + getattr(old, "tail", 0), dtype=bool)
    return np.concatenate([buckets, (before.values == now.values[: len(before)]).to_numpy()])
