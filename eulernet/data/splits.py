"""Which row goes where: a ``Splitter`` says how rows fall to training, validation and test, and in which order."""

import math
import random
from array import array
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from eulernet.data.times import Check
from eulernet.errors import UserError, choose, require

PARTS = ("train", "valid", "test")
Cut = dict[str, tuple[int, int] | np.ndarray]  # a part is a range of rows, or row numbers in the order of training
CHUNK = 1 << 20
EIGHTY = (0.8, 0.1, 0.1)  # the shares of the published splits
KEY, LABEL, WEIGHT = "key", "label", "weight"  # columns of typed rows: Splitter.key, what a row counts for


@dataclass(frozen=True)
class Rows:
    """What a splitter may look at: how many rows there are, how many in each raw file, and the columns of each.

    Row numbers are written to ``folder``, as a store has them, where there is one; else they are in memory.
    """

    count: int
    in_files: Sequence[int]
    typed: pl.LazyFrame  # LABEL, KEY where the splitter has a key, WEIGHT where rows have weights, and the fields
    folder: Path | None = None

    @property
    def keys(self) -> pl.LazyFrame:
        return self.typed.select(KEY)

    def column(self, name: str) -> np.ndarray:
        return self.typed.select(name).collect(engine="streaming")[name].to_numpy()

    def room(self, part: str, numbers: int) -> np.ndarray:
        """Room for so many row numbers of ``part``."""
        kind = np.dtype(np.int32 if self.count < 2**31 else np.int64)
        if self.folder is None or not numbers:
            return np.empty(numbers, kind)
        return np.lib.format.open_memmap(self.folder / f"{part}.npy", "w+", kind, (numbers,))


@dataclass(frozen=True)
class Splitter:
    """``cut`` gives each of ``parts`` its rows; ``key`` is computed from the raw row, where the split goes by it.

    ``check`` looks at some raw rows and their keys, and raises UserError with the row whose key cannot be used.
    """

    describe: Mapping[str, Any]  # for the digest of a store, and for its protocol line
    cut: Callable[[Rows], Cut]
    key: pl.Expr | None = None
    check: Check | None = None
    parts: Sequence[str] = PARTS  # without test there is no test split


def paper(seed: int) -> Splitter:
    """The split of the authors' code: rows shuffled by ``random.seed(seed); random.shuffle(rows)``, then cut.

    The first tenth is the test split, the next the validation split, the rest the training split (bounds
    ``int(n * .1)`` and ``int(n * .2)``). Shuffling row numbers instead of rows gives the same membership and order.
    """

    def cut(rows: Rows) -> Cut:
        order = array("i" if rows.count < 2**31 else "q", range(rows.count))
        random.Random(seed).shuffle(order)
        test, valid = int(rows.count * 0.1), int(rows.count * 0.2)
        numbers = np.frombuffer(order, dtype=order.typecode)
        return {"train": numbers[valid:], "valid": numbers[test:valid], "test": numbers[:test]}

    return Splitter({"split": "paper", "seed": seed}, cut)


def published(name: str, seed: int, **more: Splitter) -> Splitter:
    """The choices of a dataset that the paper used: its own split, the last fifth of the rows held out, or ``more``."""
    choices = {"paper": paper(seed), "chronological": chronological(EIGHTY), **more}
    return choose(choices, name, "dataset.split")


def chronological(ratios: Sequence[float]) -> Splitter:
    """Rows as they come: the first ``ratios[0]`` of them train, then valid, then test. For data in time order."""
    parts = parts_of(ratios)

    def cut(rows: Rows) -> Cut:
        valid, test = bounds(rows.count, ratios)
        return {"train": (0, valid), "valid": (valid, test), "test": (test, rows.count)}

    return Splitter({"split": "chronological", "ratios": list(ratios)}, cut, parts=parts)


def random_rows(seed: int, ratios: Sequence[float]) -> Splitter:
    """Each row by a draw of its own, so that the parts have about the shares ``ratios``; rows keep their order."""
    parts, train = parts_of(ratios), ratios[0]
    ends = [train, train + ratios[1]] if ratios[2] else [train]
    require(seed >= 0, f"dataset.split_seed must not be negative, got {seed}")

    def cut(rows: Rows) -> Cut:
        draw, code = np.random.default_rng(seed), np.empty(rows.count, dtype=np.int8)
        for start in range(0, rows.count, CHUNK):
            draws = draw.random(min(CHUNK, rows.count - start))
            code[start : start + CHUNK] = np.searchsorted(ends, draws, side="right")
        return numbered(code, rows)

    return Splitter({"split": "random", "seed": seed, "ratios": list(ratios)}, cut, parts=parts)


def by_time(column: str, key: pl.Expr, ratios: Sequence[float], check: Check | None = None) -> Splitter:
    """The latest rows test, those before them validate; rows of one time go together, where the first of them falls."""
    parts = parts_of(ratios)

    def cut(rows: Rows) -> Cut:
        times = rows.keys.group_by(KEY).len().sort(KEY).collect(engine="streaming")
        before = times["len"].cum_sum() - times["len"]  # rows that are earlier than each time
        valid, test = bounds(rows.count, ratios)
        late = (before >= valid).cast(pl.Int8) + (before >= test).cast(pl.Int8)
        code = pl.DataFrame({KEY: times[KEY], "code": late})
        return by_code(rows, lambda keys: keys.join(code.lazy(), on=KEY, how="left", maintain_order="left"))

    return Splitter({"split": "time", "column": column, "ratios": list(ratios)}, cut, key, check, parts)


def by_value(column: str, values: Mapping[str, Any], key: pl.Expr) -> Splitter:
    """By what a column says: ``values`` names the values of each part. Every value must be in one of them."""
    form = "{train: [a, b], valid: [c], test: [d]}"
    require(set(values) == set(PARTS), f"dataset.split_values must name {', '.join(PARTS)}: {form}")
    code, named = dict[str, int](), dict[str, list[str]]()
    for i, part in enumerate(PARTS):
        given = values[part] if isinstance(values[part], list | tuple) else [values[part]]
        named[part] = [str(value) for value in given]
        for value in given:
            plain = isinstance(value, str | int | float)
            require(plain, f"dataset.split_values.{part} holds {value!r}, which is no value: {form}")
            spelled = [str(value), str(value).lower(), str(value).upper()] if isinstance(value, bool) else [str(value)]
            for text in dict.fromkeys(spelled):
                require(text not in code, f"dataset.split_values: {text} is there twice")
                code[text] = i

    def cut(rows: Rows) -> Cut:
        found = rows.keys.unique().collect(engine="streaming")[KEY].to_list()
        unknown = next((value for value in found if value not in code), None)
        if unknown is not None:
            hint = "put it into dataset.split_values, in quotes if it looks like a number or is true, null or empty"
            raise UserError(f"split=column: {column} is {unknown!r} in some rows; {hint}")
        return by_code(rows, lambda keys: keys.select(code=pl.col(KEY).replace_strict(code, return_dtype=pl.Int8)))

    return Splitter({"split": "column", "column": column, "values": named}, cut, key)


def by_file(parts: Sequence[str]) -> Splitter:
    """By the raw file: the i-th belongs to part ``parts[i]``; the files of a part follow each other.

    There need be none of test.
    """

    def cut(rows: Rows) -> Cut:
        starts, result, start = np.cumsum([0, *rows.in_files]), dict[str, tuple[int, int]](), 0
        for part in PARTS:
            stop = start + parts.count(part)
            result[part] = (int(starts[start]), int(starts[stop]))
            start = stop
        return dict(result)

    assert list(parts) == sorted(parts, key=PARTS.index)
    there = [part for part in PARTS if part != "test" or part in parts]
    return Splitter({"split": "files", "parts": list(parts)}, cut, parts=there)


def with_test(own: Splitter) -> Splitter:
    """The rows of the first file by ``own``, which has no test split; those of the second test."""
    assert "test" not in own.parts

    def cut(rows: Rows) -> Cut:
        first = rows.in_files[0]
        return {**own.cut(Rows(first, [first], rows.typed.head(first))), "test": (first, rows.count)}

    return Splitter({**own.describe, "test": "given"}, cut, own.key, own.check)


def by_code(rows: Rows, coded: Callable[[pl.LazyFrame], pl.LazyFrame]) -> Cut:
    """Row numbers by 0, 1 and 2, which ``coded`` makes of some keys; ranges where the rows of each part adjoin."""
    code = np.empty(rows.count, dtype=np.int8)
    for start in range(0, rows.count, CHUNK):
        code[start : start + CHUNK] = coded(rows.keys.slice(start, CHUNK)).select("code").collect()["code"].to_numpy()
    if pl.Series(code).is_sorted():
        starts = np.searchsorted(code, [0, 1, 2, 3]).tolist()
        return {part: (starts[i], starts[i + 1]) for i, part in enumerate(PARTS)}
    return numbered(code, rows)


def numbered(code: np.ndarray, rows: Rows) -> Cut:
    """The numbers of the rows of each part, in their order."""
    pieces = [(start, code[start : start + CHUNK]) for start in range(0, rows.count, CHUNK)]
    counts = sum((np.bincount(piece, minlength=len(PARTS)) for _, piece in pieces), np.zeros(len(PARTS), np.int64))
    found = {part: rows.room(part, count) for part, count in zip(PARTS, counts.tolist(), strict=True)}
    filled = [0] * len(PARTS)
    for start, piece in pieces:
        for i, numbers in enumerate(found.values()):
            here = start + np.flatnonzero(piece == i)
            numbers[filled[i] : filled[i] + len(here)] = here
            filled[i] += len(here)
    return dict(found)


def bounds(rows: int, ratios: Sequence[float]) -> tuple[int, int]:
    """Where validation and test begin; .7 + .2 is .9, whatever binary numbers make of it."""
    return int(round(rows * ratios[0], 6)), int(round(rows * (ratios[0] + ratios[1]), 6))


def parts_of(ratios: Sequence[float]) -> Sequence[str]:
    """The parts that have a share of the rows. UserError unless these are all, or all but test."""
    shares = len(ratios) == 3 and min(ratios[:2]) > 0 and ratios[2] >= 0 and math.isclose(sum(ratios), 1)
    what = "dataset.ratios must be three shares (train, valid, test; 0 for no test split) that sum to 1"
    require(shares, f"{what}, got {list(ratios)}")
    return PARTS if ratios[2] else PARTS[:2]
