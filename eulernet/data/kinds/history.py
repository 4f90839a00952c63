"""Histories: what somebody had before, in order; their vectors are pooled, or attended to."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import polars as pl

from eulernet.data.kinds.bag import ids_of_lists
from eulernet.data.kinds.category import CategoryCoder, id_of
from eulernet.data.kinds.hashed import HashedCoder, hashed
from eulernet.data.kinds.vocabulary import Engine, Vocabulary
from eulernet.data.values import Raw
from eulernet.errors import require

Members = CategoryCoder | HashedCoder


@dataclass(frozen=True)
class HistoryCoder:
    """Ids of the last ``columns`` members, the last one last, then -1; ``members`` gives the ids.

    With ``same_as`` it is the coder of that field. ``computed`` says that preparing made the lists out of the log.
    """

    kind: ClassVar[str] = "history"
    name: str
    members: Members
    columns: int
    pooling: Literal["mean", "sum"]
    same_as: str | None = None
    computed: bool = False

    @property
    def vocabulary(self) -> Vocabulary | None:
        """The values that have ids; None where they are hashed, or another field's."""
        return self.members.vocabulary if self.same_as is None else None

    def encode(self, values: pl.Series) -> np.ndarray:
        return ids_of_lists(values.list.tail(self.columns), self.columns, self.ids)

    def ids(self, values: pl.Series) -> np.ndarray:
        """int32 ids of members, which are text: of whole numbers where the other field holds these."""
        known = self.members.vocabulary
        if known is not None and (dtype := known.values.dtype).is_integer():
            values = values.str.strip_chars().str.replace(r"\.0*$", "").cast(dtype, strict=False)
        return self.members.encode(values)

    def settings(self) -> dict[str, Any]:
        shared = {} if self.same_as is None else {"same_as": self.same_as}
        made = {"computed": True} if self.computed else {}
        return {**self.members.settings(), "length": self.columns, "pooling": self.pooling, **shared, **made}

    @classmethod
    def read(cls, described: Mapping[str, Any], folder: Path) -> "HistoryCoder":
        same_as, name = described.get("same_as"), described["name"]
        right = described["pooling"] in ("mean", "sum") and described["length"] in range(1, 1 << 16)
        require(right and isinstance(same_as, str | None), f"field {name} is described wrongly")
        reader: type[Members] = HashedCoder if "buckets" in described else CategoryCoder
        members = reader.read({**described, "name": same_as or name}, folder)
        computed = bool(described.get("computed", False))
        return cls(name, members, described["length"], described["pooling"], same_as, computed)

    def names(self, ids: list[int]) -> list[str]:
        return self.members.names(ids)


@dataclass(frozen=True)
class Log:
    """Where the lists of a history come from if preparing computes them: the log itself.

    For each row they are the values ``of`` a field, of the rows with the same value ``by`` a column that stand strictly
    before it in ``order``, a column of times; with ``clicked`` only of those that were clicks. Whatever split a row is
    in: a list tells what had happened by then, and but for ``clicked`` nothing of a label.
    """

    by: str
    of: str
    order: str
    clicked: bool = False


@dataclass(frozen=True)
class History:
    """A field of a list with an order: the last ``length`` members are kept, their embeddings are pooled.

    With ``same_as`` the members have the ids and the vectors of that field. With ``log`` no column holds the lists of
    training: they are computed. Rows that are scored bring theirs. An empty list pools to the zero vector.
    """

    coder: ClassVar[type[HistoryCoder]] = HistoryCoder
    of: ClassVar[str] = "bag"
    settings: ClassVar[dict[str, Any]] = {
        "length": 50, "pooling": "mean", "separator": "|", "same_as": None, "min_count": None,
        "by": None, "of": None, "order": None, "clicked": False,
    }  # fmt: skip
    name: str
    raw: Raw
    min_count: int
    length: int
    pooling: Literal["mean", "sum"]
    same_as: str | None = None
    log: Log | None = None

    def fit(self, typed: pl.LazyFrame, engine: Engine) -> HistoryCoder:
        """With a vocabulary of its own."""
        vocabulary = Vocabulary.of(typed.select(pl.col("value").explode()), self.name, self.min_count, engine)
        return HistoryCoder(self.name, CategoryCoder(self.name, vocabulary), self.length, self.pooling)

    def share(self, members: Members) -> HistoryCoder:
        """With the ids of the field that it is ``same_as``."""
        return HistoryCoder(self.name, members, self.length, self.pooling, self.same_as, self.log is not None)


def history(field: Mapping[str, Any], value: Any, ids: Any) -> list[Any]:  # the plain twin, for exported folders
    last, found = list(value or [])[-field["length"] :], []
    for member in last:
        if "buckets" in field:
            found += hashed(field, member, ids)
        elif ids and isinstance(next(iter(ids)), int):
            whole = re.sub(r"\.0*$", "", member.strip())
            found.append(id_of(field, int(whole), ids) if re.fullmatch(r"[+-]?[0-9]{1,20}", whole) else 0)
        else:
            found.append(id_of(field, member, ids))
    return found + [-1] * (field["length"] - len(found))
