"""What moment a value of a log means."""

from datetime import UTC, datetime

import polars as pl
import pytest

from eulernet.data.times import micros_of


def micros(*parts):
    return int(datetime(*parts, tzinfo=UTC).timestamp()) * 1_000_000


@pytest.mark.parametrize(
    ("values", "wanted"),
    [
        ([20240131, 20240201], [micros(2024, 1, 31), micros(2024, 2, 1)]),
        (["20240131", "20240201"], [micros(2024, 1, 31), micros(2024, 2, 1)]),
        ([20240131.0, None], [micros(2024, 1, 31), None]),
        ([20240131, 20240201, 20240230], [micros(2024, 1, 31), micros(2024, 2, 1), None]),  # no such day
        ([1706659200, 1706659201], [micros(2024, 1, 31), micros(2024, 1, 31, 0, 0, 1)]),
        ([1706659200000], [micros(2024, 1, 31)]),
        (["2024-01-31", "2024-02-01 10:00"], [micros(2024, 1, 31), micros(2024, 2, 1, 10)]),
        ([0, 86400], [0, 86_400_000_000]),
    ],
)
def test_numbers_are_seconds_milliseconds_or_days(values, wanted):
    column = pl.Series("at", values)
    assert column.to_frame().select(micros_of(column)).to_series().to_list() == wanted


def test_a_number_that_is_no_day_says_no_time_where_the_first_ones_are_days():
    first, column = pl.Series("at", [20240131]), pl.Series("at", [20240131, 20241399, 5])
    assert column.to_frame().select(micros_of(first)).to_series().to_list() == [micros(2024, 1, 31), None, None]
