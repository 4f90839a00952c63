"""Pre-split benchmark sets, on hand-written files: FuxiCTR's ids and buckets; files that are not the published ones."""

import hashlib
from dataclasses import replace

import pytest
import torch
from conftest import rows_of

from eulernet.data.dataset import Dataset
from eulernet.data.sets import DATASETS, presplit
from eulernet.errors import UserError
from eulernet.features import Bag, Number


def write(folder, name, rows):
    """Three files with the columns of the set ``name``: ``rows`` gives the values of some, the others are 1."""
    folder.mkdir(exist_ok=True)
    columns = list(presplit.BENCHMARKS[name].columns)
    for part, given in rows.items():
        lines = [",".join(columns)]
        count = len(next(iter(given.values())))
        for i in range(count):
            lines.append(",".join(str(given[column][i]) if column in given else "1" for column in columns))
        (folder / f"{part}.csv").write_text("\n".join(lines) + "\n")
    return folder


def make(folder, name, **settings):
    given = {"min_count": 1, "vocabulary": "train", "verify": False, **settings}
    return Dataset.open(DATASETS[name]([folder], folder.parent / "data", 2.0, **given))


def parts(label, **columns):
    """The same rows in each part, but for columns given as (train, valid, test)."""
    label_name, values = label
    return {
        part: {label_name: values, **{name: column[i] for name, column in columns.items()}}
        for i, part in enumerate(("train", "valid", "test"))
    }


def test_ids_come_from_training_rows_and_count_in_order(tmp_path):
    users = ([5, 5, 9, 5], [5, 7, 9, 9], [7, 7, 9, 5])
    data = make(write(tmp_path / "raw", "frappe_x1", parts(("label", [0, 1, 0, 1]), user=users)), "frappe_x1")
    got = [rows_of(data.splits[part])[:, 0].tolist() for part in ("train", "valid", "test")]
    assert got == [[1, 1, 2, 1], [1, 0, 2, 2], [0, 0, 2, 1]]
    assert "values below 1 training rows are id 0; ids from training rows only" in data.meta["protocol"]


def test_criteo_x4_buckets_as_fuxictr(tmp_path):
    """floor(ln(v)^2) above 2; 0 shares the id of missing values, since FuxiCTR fills those with 0 and drops it."""
    counts = ["", 0, 1, 2, 3, 4, 5, -1, 1000, 1001]
    want = [None, None, 1, 2, 1, 1, 2, -1, 47, 47]
    labels = [0, 1] * 5
    rows = parts(("Label", labels), I2=(counts,) * 3, **{f"C{i}": (["0a1b2c3d"] * 10,) * 3 for i in range(1, 27)})
    data = make(write(tmp_path / "raw", "criteo_x4", rows), "criteo_x4")
    ids = rows_of(data.train)[:, 1].tolist()
    assert [i == 0 for i in ids] == [value is None for value in want]
    pairs = {(value, i) for value, i in zip(want, ids, strict=True) if value is not None}
    assert len(pairs) == len({value for value, _ in pairs}) == len({i for _, i in pairs}) == 4


def test_criteo_x1_numbers_stay_numbers(tmp_path):
    numbers = [0.25, -1, 3e4, 0]
    rows = parts(("label", ["0.0", "1.0", "0", "1"]), I1=(numbers,) * 3, C1=([2.0, 3, 2, 2],) * 3)
    data = make(write(tmp_path / "raw", "criteo_x1", rows), "criteo_x1")
    assert data.field_sizes == [Number()] * 13 + [3] + [2] * 25
    x = rows_of(data.train)
    assert x[:, 0].view(torch.float32).tolist() == [0.25, -1.0, 3e4, 0.0]
    assert x[:, 13].tolist() == [1, 2, 1, 1]


def test_avazu_x4_has_hour_weekday_and_weekend(tmp_path):
    """14102100 is a Tuesday; FuxiCTR counts from Sunday, 0."""
    hours = ["14102100", "14102523", "14102607", "14102107"]
    data = make(write(tmp_path / "raw", "avazu_x4", parts(("click", [0, 1, 0, 1]), hour=(hours,) * 3)), "avazu_x4")
    assert data.fields == ["hour", *presplit.AVAZU, "weekday", "weekend"]
    import polars as pl

    def decoded(field):
        value_of = {i: v for v, i in pl.read_parquet(data.folder / "vocab" / f"{field}.parquet").iter_rows()}
        return [value_of[i] for i in rows_of(data.train)[:, data.fields.index(field)].tolist()]

    assert decoded("hour") == [0, 23, 7, 7]
    assert decoded("weekday") == [2, 6, 0, 2]
    assert decoded("weekend") == [0, 1, 1, 0]


def test_kkbox_has_two_bags_and_ages_in_decades(tmp_path):
    rows = parts(
        ("label", [0, 1, 0, 1, 0]),
        genre_ids=(["465 458 465 9", "", "465", "458", "465"],) * 3,
        bd=(["17", "0", "96", "70", ""],) * 3,
        isrc=(["TWAB1", "TWXX", "", "US1", "TW"],) * 3,
    )
    data = make(write(tmp_path / "raw", "kkbox_x1", rows), "kkbox_x1")
    at = data.fields.index("genre_ids")
    assert data.field_sizes[at] == Bag(4, 3, "sum")  # 9 is counted, though the fourth
    x = rows_of(data.train)
    assert x[:, at : at + 3].tolist() == [[1, 2, 1], [-1, -1, -1], [1, -1, -1], [2, -1, -1], [1, -1, -1]]
    assert [i == 0 for i in x[:, -1].tolist()] == [False, True, True, False, True]  # 1 to 95 is an age
    assert x[:, -2].tolist() == [1, 1, 0, 2, 1]


@pytest.fixture
def frappe(tmp_path):
    return write(tmp_path / "raw", "frappe_x1", parts(("label", [0, 1, 0, 1])))


def test_other_files_than_the_published_are_refused_or_taken_with_a_warning(frappe, caplog):
    with pytest.raises(UserError, match=r"train.csv: md5 \w+, the published file of frappe_x1 has ba7306e6"):
        make(frappe, "frappe_x1", verify=True)
    assert not (frappe.parent / "data").exists()
    make(frappe, "frappe_x1")
    assert "the published file of frappe_x1 has ba7306e6" in caplog.text
    assert "[4, 4, 4] rows in its files, the published ones have [202027, 57722, 28860]" in caplog.text


def test_the_published_files_are_taken_in_silence(frappe, caplog, monkeypatch):
    md5 = tuple(hashlib.md5((frappe / f"{part}.csv").read_bytes()).hexdigest() for part in ("train", "valid", "test"))
    spec = replace(presplit.BENCHMARKS["frappe_x1"], md5=md5, rows=(4, 4, 4))
    monkeypatch.setitem(presplit.BENCHMARKS, "frappe_x1", spec)
    given = dict(min_count=1, vocabulary="train", verify=True)
    presplit.make_benchmark("frappe_x1")([frappe], frappe.parent / "data", 2.0, **given)
    assert not [record for record in caplog.records if record.levelname == "WARNING"]
    monkeypatch.setitem(presplit.BENCHMARKS, "frappe_x1", replace(spec, rows=(4, 4, 5)))
    with pytest.raises(UserError, match=r"\[4, 4, 4\] rows in its files, the published ones have \[4, 4, 5\]"):
        presplit.make_benchmark("frappe_x1")([frappe], frappe.parent / "other", 2.0, **given)


def test_a_missing_part_or_a_column_with_another_name_is_named(frappe):
    text = (frappe / "test.csv").read_text()
    (frappe / "test.csv").write_text(text.replace("city", "town"))
    with pytest.raises(UserError, match=r"test.csv: no column 'city'; the columns are .*town$"):
        make(frappe, "frappe_x1")
    (frappe / "test.csv").unlink()
    with pytest.raises(UserError, match=r"0 files called test.csv there; give the folder of one set"):
        make(frappe, "frappe_x1")
