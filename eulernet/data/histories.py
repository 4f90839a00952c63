"""Histories computed from a log: what somebody had strictly before each row, in bounded memory.

Every row is (whose, when, id of the item). The rows go to files, each person's to one of them; a file is sorted by
person and time in memory. Then what a person had before a moment is a stretch of consecutive items, so that for each
row its end and its length are all that is kept: 20 bytes on disk, and 4 for the item. Rows of one time do not see one
another, and stand in a list in the order of the files. Nothing depends on threads or on the size of blocks.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from eulernet.data.times import Check
from eulernet.data.values import evaluate
from eulernet.errors import require

ROW = np.dtype([("by", "u8"), ("by_2", "u8"), ("order", "i8"), ("row", "i8"), ("item", "i4")])
SORTING = 160  # bytes that a row takes while its file is sorted
GATHERED = 1 << 22  # ids that are gathered at once
Part = tuple[np.ndarray, np.ndarray, np.ndarray]  # numbers of rows, rising; where their lists end in the items; lengths


@dataclass(frozen=True)
class LogKeys:
    """Whose a raw row is and when it was; ``check`` complains about a row whose time cannot be used."""

    by: pl.Expr
    order: pl.Expr
    check: Check | None = None

    def typed(self, frame: pl.DataFrame, place: str, where: Callable[[int], str]) -> pl.DataFrame:
        """Of raw rows: two hashes of whose they are, null where nobody says, and the time as a whole number.

        Two people of one pair of hashes, 128 bits, would be taken for one.
        """
        names = {"by": "the field's by", "order": "the field's order"}
        found = evaluate(frame, {"by": self.by, "order": self.order}, names, where)
        if self.check is not None:
            self.check(frame, found["order"], where)
        by, known = found["by"], found["by"].is_not_null()
        hashes = {f"by{seed} {place}": by.hash(seed) for seed in (1, 2)}
        frame = pl.DataFrame({**hashes, f"order {place}": whole(found["order"], place), "known": known})
        return frame.select(pl.when("known").then(pl.all().exclude("known")))


def whole(times: pl.Series, name: str) -> pl.Series:
    """Int64 in the order of ``times``: numbers, dates or moments. UserError, for the field ``name``, for all else."""
    if times.dtype.is_temporal() or times.dtype.is_integer():
        times = times.to_physical()
        return times.cast(pl.Int64) if times.dtype != pl.UInt64 else (times ^ (1 << 63)).reinterpret(signed=True)
    what = f"the column holds {times.dtype}; give one of numbers or times"
    require(times.dtype.is_numeric(), f"dataset.fields.{name}.order: {what}")
    bits = (times.cast(pl.Float64).fill_null(0.0).to_numpy() + 0.0).view(np.int64)  # + 0.0: -0.0 is 0.0
    return pl.Series(times.name, bits ^ ((bits >> 63) & np.int64(2**63 - 1)))


@dataclass(frozen=True)
class Histories:
    """The lists of all rows: row ``rows[i]`` of a part has the ``counts[i]`` of ``items`` before ``ends[i]``."""

    items: np.ndarray  # int32
    parts: Sequence[Part]

    def fill(self, first: int, out: np.ndarray) -> None:
        """The lists of the rows from ``first`` on into ``out`` [rows, length], the last item last, then -1."""
        rows, length = out.shape
        ends, counts = np.zeros(rows, dtype=np.int64), np.zeros(rows, dtype=np.int64)
        for numbers, end, count in self.parts:
            start, stop = np.searchsorted(numbers, [first, first + rows])
            here = numbers[start:stop] - first
            ends[here], counts[here] = end[start:stop], count[start:stop]
        step = max(GATHERED // length, 1)
        for start in range(0, rows, step):
            end, count = ends[start : start + step, None], counts[start : start + step, None]
            place = np.arange(length)
            there = place < count
            ids = np.full(there.shape, -1, dtype=np.int32)
            ids[there] = self.items[(end - count + place)[there]]
            out[start : start + step] = ids

    def empty(self, rows: int) -> int:
        """How many of ``rows`` rows have an empty list."""
        return rows - sum(int(np.count_nonzero(count)) for _, _, count in self.parts)


def arrange(log: np.ndarray, length: int, before: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The items of ``log`` (ROW, in the order of the rows) by person and time; of each row the end of its list, and
    its length, at most ``length``. ``before`` items are counted before. An item of -1 is in no list.
    """
    order = np.lexsort((log["order"], log["by_2"], log["by"]))  # stable: equal times stay in the order of the rows
    by, by_2, time, item = (log[name][order] for name in ("by", "by_2", "order", "item"))
    person = np.ones(len(log), dtype=bool)
    person[1:] = (by[1:] != by[:-1]) | (by_2[1:] != by_2[:-1])
    moment = person.copy()
    moment[1:] |= time[1:] != time[:-1]
    listed = item >= 0
    earlier: np.ndarray = np.cumsum(listed) - listed  # items before each row
    at = np.arange(len(log))
    ends = np.empty(len(log), dtype=np.int64)
    counts = np.empty(len(log), dtype=np.int32)
    end: np.ndarray = earlier[np.maximum.accumulate(np.where(moment, at, 0))]
    ends[order] = end + before
    counts[order] = np.minimum(end - earlier[np.maximum.accumulate(np.where(person, at, 0))], length)
    return item[listed], ends, counts


def rows_of(typed: pl.DataFrame, place: str, ids: np.ndarray, first: int) -> np.ndarray:
    """Typed rows, the first of which is row ``first``, as ROW, without those that are nobody's."""
    log = np.empty(len(typed), dtype=ROW)
    known = typed[f"by1 {place}"].is_not_null().to_numpy()
    for key, name in (("by", f"by1 {place}"), ("by_2", f"by2 {place}"), ("order", f"order {place}")):
        log[key] = typed[name].fill_null(0).to_numpy()
    log["row"] = np.arange(first, first + len(typed))
    log["item"] = ids
    return log if known.all() else log[known]


def in_memory(log: np.ndarray, length: int) -> Histories:
    """The lists of the rows of ``log``."""
    items, ends, counts = arrange(log, length, 0)
    return Histories(items, [(log["row"], ends, counts)])


def out_of_core(logs: Iterator[np.ndarray], rows: int, length: int, folder: Path, memory: int) -> Histories:
    """The lists of ``rows`` rows, which ``logs`` brings in order, by files in the new ``folder``.

    People are dealt out to as many files as it takes for one, when it is sorted, to stay below ``memory`` bytes.
    """
    folder.mkdir()
    files = [folder / f"{i}.log" for i in range(max(1, -(-rows * SORTING // memory)))]
    streams = [file.open("wb") for file in files]
    try:
        for log in logs:
            where = (log["by"] >> np.uint64(40)) % np.uint64(len(files))
            for i, stream in enumerate(streams):
                log[where == i].tofile(stream)
    finally:
        for stream in streams:
            stream.close()
    parts: list[Part] = []
    before = 0
    with (folder / "items").open("wb") as stream:
        for file in files:
            log = np.fromfile(file, dtype=ROW)
            file.unlink()
            items, ends, counts = arrange(log, length, before)
            items.tofile(stream)
            before += len(items)
            rows_, ends_, counts_ = (file.with_suffix(f".{what}.npy") for what in ("rows", "ends", "counts"))
            parts.append((kept(rows_, log["row"]), kept(ends_, ends), kept(counts_, counts)))
    items = np.memmap(folder / "items", dtype=np.int32, mode="r") if before else np.zeros(0, dtype=np.int32)
    return Histories(items, parts)


def kept(file: Path, values: np.ndarray) -> np.ndarray:
    """``values``, on disk."""
    np.save(file, values)
    return np.load(file, mmap_mode="r")


def fillers(made: Mapping[str, Histories], first: int) -> dict[str, Callable[[np.ndarray], None]]:
    """What writes the lists of the rows from ``first`` on, by field."""

    def filler(lists: Histories) -> Callable[[np.ndarray], Any]:
        return lambda out: lists.fill(first, out)

    return {name: filler(lists) for name, lists in made.items()}
