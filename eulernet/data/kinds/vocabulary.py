"""The values of a field and their ids: what categories and bags share."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import polars as pl

from eulernet.data.spelling import Spelling
from eulernet.data.store import vocabulary_file
from eulernet.errors import UserError, require

if TYPE_CHECKING:
    import pandas as pd

Engine = Literal["in-memory", "streaming"]  # of polars: for a few rows in memory it takes a third of the time


def counted(values: pl.LazyFrame, schema: Mapping[str, Any] | None = None) -> pl.LazyFrame:
    """How many ``rows`` each ``value`` is in; counts of some rows each, which have a column ``rows``, are added up."""
    there = values.collect_schema() if schema is None else schema
    return values.group_by("value").agg(rows=pl.col("rows").sum() if "rows" in there else pl.len())


@dataclass(frozen=True)
class Vocabulary:
    """The i-th of ``values``, whole numbers or text, has id i + 1, anything else id 0.

    ``seen`` is the last day each was seen, where the log has days. ``spelled`` is how the first of them are spelled, if
    all together no longer show it.
    """

    values: pl.Series
    seen: pl.Series | None = None
    spelled: Spelling | None = None

    def __len__(self) -> int:
        return len(self.values)

    @cached_property
    def spelling(self) -> Spelling:
        return self.spelled or Spelling.of(self.values)

    @property
    def said(self) -> dict[str, Any]:
        """For meta.json, beside the size."""
        return {} if self.spelled is None else {"spelling": asdict(self.spelled)}

    @cached_property
    def index(self) -> "tuple[pd.Index[Any], int]":
        """pandas' hash table of whole numbers, made once, and the seed of those that text is hashed to.

        A join makes its own table at every call, and a request of one row would wait for that.
        """
        import pandas as pd

        seed = 0
        while not (index := pd.Index(self._numbers(self.values, seed).to_numpy())).is_unique:
            seed += 1  # two texts of one hash
        index.get_indexer(index[:1])  # makes the table now, before threads ask for it
        return index, seed

    @staticmethod
    def _numbers(values: pl.Series, seed: int) -> pl.Series:
        return values if values.dtype.is_integer() else values.hash(seed)

    def ids(self, values: pl.Series) -> np.ndarray:
        """int32 ids of ``values``, which are of the same type; missing ones are 0.

        Text that is unknown as it stands is looked up once more in the field's spelling: 3.0 for 3, True for true.
        """
        ids = self._ids(values)
        if values.dtype == pl.String:
            unknown = np.flatnonzero(ids == 0)
            if len(unknown) > values.null_count():
                ids[unknown] = self._ids(self.spelling.respell(values.gather(unknown)))
        return ids

    def _ids(self, values: pl.Series) -> np.ndarray:
        import pandas as pd

        index, seed = self.index
        missing = values.null_count()  # polars takes .1 ms for a fill_null, 39 times in a request of Criteo's
        if missing == len(values):
            return np.zeros(len(values), dtype=np.int32)
        numbers = self._numbers(values, seed)
        numbers = numbers.fill_null(0) if missing else numbers
        ids = index.get_indexer(pd.Index(numbers.to_numpy())).astype(np.int32) + 1
        if not values.dtype.is_integer():  # unknown text may have the hash of a known one, and so may a missing value
            ids[~self.values.gather(np.maximum(ids - 1, 0)).eq_missing(values).to_numpy()] = 0
        elif missing:
            ids[values.is_null().to_numpy()] = 0
        return ids

    @classmethod
    def of(
        cls, values: pl.LazyFrame, name: str, min_count: int, engine: Engine, *, as_text: bool | None = None
    ) -> "Vocabulary":
        """The values of a field seen at least ``min_count`` times, most frequent first, equal counts in order of value.

        So ids do not depend on threads, on the size of blocks or on hash seeds. Spellings of one value count together.
        ``as_text`` puts whole numbers in the order of their text, 10 before 9, in which a text file has them.
        """
        schema = values.collect_schema()
        counts = counted(values, schema).drop_nulls()
        if schema["value"] == pl.String:
            # Where a few show that nothing is to be merged, rare values need not be in memory all at once.
            first = values.drop_nulls().head(1000)
            if engine == "in-memory" or Spelling.merges(first.collect(engine=engine)["value"]):
                counts = Spelling.merged(counts.collect(engine=engine)).lazy()
        ties = pl.col("value").cast(pl.String) if as_text else pl.col("value")
        kept = counts.filter(pl.col("rows") >= min_count).sort("rows", ties, descending=[True, False])
        ordered = kept.collect(engine=engine)["value"]
        many = f"has no value that occurs {min_count} times; lower min_count or"
        require(len(ordered) > 0, f"field {name} {many if min_count > 1 else 'is missing in every row;'} leave it out")
        return cls(ordered)

    def sink(self, file: Path) -> pl.LazyFrame:
        """A query that writes ``file``, a Parquet file of value and id, and the last day where that is known."""
        ids = pl.int_range(1, len(self) + 1, dtype=pl.Int32, eager=True)
        days = {} if self.seen is None else {"seen": self.seen}
        return pl.LazyFrame({"value": self.values, "id": ids, **days}).sink_parquet(file, lazy=True)

    @classmethod
    def read(cls, described: Mapping[str, Any], folder: Path) -> "Vocabulary":
        """UserError for a file that is not what meta.json says."""
        file = folder / vocabulary_file(described["name"])
        try:
            scan = pl.scan_parquet(file, glob=False)
            rows = scan.select(pl.len()).collect().item()
            require(rows == described["size"] - 1, f"{file} has {rows} values, meta.json says {described['size'] - 1}")
            table = scan.collect()
            numbered = table["id"].equals(pl.int_range(1, rows + 1, dtype=pl.Int32, eager=True))
            require(numbered and table["value"].null_count() == 0, f"{file} does not number its values 1, 2, ...")
            plain = table["value"].dtype == pl.String or table["value"].dtype.is_integer()
            require(plain, f"{file} holds {table['value'].dtype}, not text or whole numbers")
        except (OSError, pl.exceptions.PolarsError) as error:
            raise UserError(f"{file} cannot be read ({str(error).splitlines()[0]})") from None
        said = described.get("spelling")
        spelled = None if said is None else Spelling(**{**said, "words": tuple(said["words"])})
        return cls(table["value"], table["seen"] if "seen" in table.columns else None, spelled)

    def names(self, ids: list[int]) -> list[str]:
        """What ids stand for."""
        return ["rare or missing" if i == 0 else str(self.values[i - 1]) for i in ids]
