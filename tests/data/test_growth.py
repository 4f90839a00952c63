"""A vocabulary that grows: against a loop over rows, and what it keeps."""

import json
from datetime import date, timedelta

import numpy as np
import polars as pl
import pytest

from eulernet.data import kinds
from eulernet.data.growth import DAY, grow, kept_ids, kept_of, with_days
from eulernet.data.kinds import Category, CategoryCoder, HistoryCoder, NumberCoder
from eulernet.data.kinds.vocabulary import Vocabulary
from eulernet.data.values import Raw

FIRST = date(2026, 1, 1)


def by_hand(known, rows, min_count, retire_after, seen):
    """The values in the order of their ids, and the last day of each, by a loop over (value, day)."""
    values, seen, counts, latest = list(known), list(seen), {}, {}
    for value, day in rows:
        if value is None:
            continue
        counts[value] = counts.get(value, 0) + 1
        latest[value] = max(latest.get(value, day), day)
    for place, value in enumerate(values):
        seen[place] = max(seen[place], latest.get(value, seen[place]))
    new = sorted((v for v in counts if v not in values and counts[v] >= min_count), key=lambda v: (-counts[v], v))
    today = max(day for _, day in rows)
    late = [place for place in range(len(values)) if (today - seen[place]).days > retire_after]
    for value in new:
        if late:
            place = min(late, key=lambda place: (seen[place], place))
            late.remove(place)
            values[place], seen[place] = value, latest[value]
        else:
            values.append(value)
            seen.append(latest[value])
    return values, seen


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("min_count", [1, 3])
@pytest.mark.parametrize("retire_after", [2, 10_000])
def test_day_by_day_it_is_what_a_loop_over_the_rows_makes(whole, min_count, retire_after):
    draw = np.random.default_rng(7)
    known = Vocabulary(pl.Series([5, 3], dtype=pl.Int64) if whole else pl.Series(["v5", "v3"]))
    known = Vocabulary(known.values, pl.Series([FIRST, FIRST]))
    values, seen = known.values.to_list(), known.seen.to_list()
    for day in range(1, 12):
        numbers = draw.integers(day, day + 12, 40)
        drawn = [None if draw.random() < 0.1 else int(n) if whole else f"v{n}" for n in numbers]
        days = [FIRST + timedelta(days=day + int(late)) for late in draw.integers(0, 2, len(drawn))]
        typed = pl.LazyFrame({"value": pl.Series(drawn, dtype=known.values.dtype), DAY: days})
        values, seen = by_hand(values, list(zip(drawn, days, strict=True)), min_count, retire_after, seen)
        known = grow(known, typed, min_count, retire_after)
        assert known.values.to_list() == values
        assert known.seen.to_list() == seen


def test_known_values_keep_their_ids_whatever_container_they_come_in(tmp_path):
    known = Vocabulary.of(pl.LazyFrame({"value": ["00037", "00005", "00005"]}), "code", 1, "in-memory")
    grown = grow(known, pl.LazyFrame({"value": ["37", "5.0", "12", None, "12"]}), 1)
    assert grown.values.to_list() == ["00005", "00037", "00012"]
    assert grow(grown, pl.LazyFrame({"value": ["12", "37", "00005"]}), 1).values.equals(grown.values)
    longer = grow(grown, pl.LazyFrame({"value": ["123456"]}), 1)  # its values no longer have one width
    kinds.write([CategoryCoder("code", longer)], tmp_path)
    described = kinds.describe(CategoryCoder("code", longer))
    assert described["spelling"]["width"] == 5
    for coder in (CategoryCoder("code", longer), kinds.read(json.loads(json.dumps(described)), tmp_path)):
        assert coder.encode(pl.Series(["37", "12.0", "123456", "1234567"])).tolist() == [2, 3, 4, 0]


def test_members_of_bags_count_by_themselves():
    typed = pl.LazyFrame({"value": [["a", "b"], ["c"], None, ["c", "a"]]})
    assert grow(Vocabulary(pl.Series(["b"])), typed, 1).values.to_list() == ["b", "a", "c"]
    assert grow(Vocabulary(pl.Series(["b"])), typed, 3).values.to_list() == ["b"]


def test_days_are_written_and_read(tmp_path):
    typed = pl.LazyFrame({"value": ["a", "b", "a"], DAY: [FIRST, FIRST, FIRST + timedelta(days=3)]})
    coder = with_days(Category("city", Raw("city")).fit(typed, "in-memory"), typed)
    assert coder.vocabulary.seen.to_list() == [FIRST + timedelta(days=3), FIRST]
    kinds.write([coder], tmp_path)
    read = CategoryCoder.read({"name": "city", "size": 3}, tmp_path)
    assert read.vocabulary.seen.equals(coder.vocabulary.seen)
    assert read.vocabulary.values.equals(coder.vocabulary.values)


def test_values_of_a_log_without_days_count_as_seen_on_the_first_new_day():
    days = [FIRST + timedelta(days=i) for i in range(3)]
    typed = pl.LazyFrame({"value": ["x", "y", "z"], DAY: days})
    grown = grow(Vocabulary(pl.Series(["a"])), typed, 1, 1)
    assert grown.values.to_list() == ["x", "y", "z"]  # a was seen two days before the last
    assert grow(Vocabulary(pl.Series(["a"])), typed, 1, 2).values.to_list() == ["a", "x", "y", "z"]


def test_ids_that_mean_what_they_meant():
    old, new = (CategoryCoder("c", Vocabulary(pl.Series(v))) for v in (["a", "b", "c"], ["a", "x", "c", "y"]))
    assert kept_ids(old, new).tolist() == [True, True, False, True]
    assert kept_ids(NumberCoder("n", 0.0, 1.0), NumberCoder("n", 5.0, 2.0)).tolist() == [True]
    before, now = ([coder, HistoryCoder("past", coder, 2, "mean", "c")] for coder in (old, new))
    assert [kept.tolist() for kept in kept_of(before, now)] == [[True, True, False, True]] * 2
