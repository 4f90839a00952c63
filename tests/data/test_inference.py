"""The kind of a column is inferred from all of its values, whatever their order, and whatever part they come in."""

import re

import numpy as np
import polars as pl
import pytest
import yaml
from conftest import REPOSITORY
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from eulernet.data import inference
from eulernet.data.dataset import Dataset
from eulernet.data.sets import table
from eulernet.data.sets.table import Table

DEFAULTS = yaml.safe_load((REPOSITORY / "conf" / "dataset" / "table.yaml").read_text())
DEFAULTS.pop("name")


def make(files, folder, **changes):
    settings = {**DEFAULTS, "split": "chronological", "vocabulary": "all", **changes}
    return Dataset.open(Table(**settings)(files, folder / "data", 2.0))


def kind_of(words):
    """The rule, word by word."""
    words = [word.strip() for word in words if word not in ("", "NA")]

    def number(word):
        try:
            return float(word)
        except ValueError:
            return None

    if any(number(word) is None or re.fullmatch(r"[+-]?\d{16,}", word) for word in words):
        return "category"
    if any(2**53 <= abs(number(word)) <= 1e30 for word in words):
        return "category"
    whole = [bool(re.fullmatch(r"[+-]?\d+", word)) for word in words]
    written = [bool(re.fullmatch(r"[+-]?\d+\.0*", word)) for word in words]
    fraction = not all(a or b for a, b in zip(whole, written, strict=True))
    return "number" if fraction or (any(written) and not any(whole)) else "category"


WORDS = ["1", "-7", "2.5", "3.0", "4.", "1e5", " 6 ", "+8", "", "NA", "abc", "1.42e+19", "14340390157469404125"]
FEW = dict(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))


@given(words=st.lists(st.sampled_from(WORDS), max_size=9), cut=st.integers(0, 9))
def test_evidence_is_that_of_each_word(words, cut):
    values = pl.Series([None if word in ("", "NA") else word for word in words], dtype=pl.String)
    seen = inference.evidence_of(values[:cut], set())
    seen |= inference.evidence_of(values[cut:], seen)
    assert inference.kind_of(seen) == kind_of(words)


@settings(**FEW)
@given(words=st.lists(st.sampled_from(WORDS), min_size=1, max_size=6), data=st.data())
def test_the_order_of_rows_and_the_parts_do_not_matter(words, data, tmp_path_factory, monkeypatch):
    """Text in one file or in two, the rows in another order: always the kind that the rule says."""
    monkeypatch.setattr(table, "SAMPLE", 2)
    folder = tmp_path_factory.mktemp("order")
    rows = [*words, *["5"] * 20]  # the first rows are all that the guess knows
    for name, order in (("given", rows), ("drawn", data.draw(st.permutations(rows))), ("back", rows[::-1])):
        lines = [f'{i % 2},"{word}"\n' for i, word in enumerate(order)]
        cut = data.draw(st.integers(1, len(lines) - 1))
        for number, part in enumerate((lines[:cut], lines[cut:])):
            (folder / f"{name}_{number}.csv").write_text("click,k\n" + "".join(part))
        parts = make(sorted(folder.glob(f"{name}_*.csv")), folder)
        assert parts.meta["fields"][0]["kind"] == kind_of(rows), order
        assert sum(parts.meta["rows_in"].values()) == len(rows)


COLUMNS = {
    "whole": pl.Series([1, 2], dtype=pl.Int64),
    "narrow": pl.Series([3, 4], dtype=pl.UInt8),
    "floats": pl.Series([1.0, None]),
    "fractions": pl.Series([1.5, float("nan")], dtype=pl.Float32),
    "hashes": pl.Series([1.42e19, 2.0]),
    "text": pl.Series(["5", "6"]),
    "words": pl.Series(["5", "b"]),
    "truth": pl.Series([True, False]),
}


@settings(**FEW)
@given(names=st.permutations([*COLUMNS]), count=st.integers(1, 3))
def test_the_order_of_parquet_parts_does_not_matter(names, count, tmp_path_factory):
    kinds = []
    for some in (names[:count], names[:count][::-1]):
        folder = tmp_path_factory.mktemp("parts")
        for i, name in enumerate(some):
            frame = pl.DataFrame({"k": pl.concat([COLUMNS[name]] * 10)}).with_columns(click=pl.int_range(20) % 2)
            frame.write_parquet(folder / f"{i}.parquet")
        kinds.append(make([folder], folder).meta["fields"][0]["kind"])
    quantity = {"fractions"} & set(names[:count]) or set(names[:count]) == {"floats"}
    category = {"hashes", "words", "truth"} & set(names[:count])
    assert kinds == ["number" if quantity and not category else "category"] * 2


@pytest.mark.parametrize(("words", "odd", "kind"), [(["3", "4"], "2.5", "number"), (["1.5", "2"], "x", "category")])
def test_a_value_far_behind_the_first_rows_counts(tmp_path, monkeypatch, caplog, words, odd, kind):
    """The store is that of the kind said outright; it is found again without a look at all rows."""
    file, rows = tmp_path / "log.csv", 200_001
    column = pl.Series("k", words * (rows // 2) + [odd])
    pl.DataFrame({"click": np.arange(rows) % 2, "k": column, "v": ["a", *"b" * (rows - 1)]}).write_csv(file)
    found = make([file], tmp_path)
    shown = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert shown == [
        f"{file}, line {rows + 1}: k is {odd!r}, unlike the first 10,000 rows: kinds are inferred from all"
    ]
    said = make([file], tmp_path / "said", fields={"k": kind})
    assert found.meta["fields"][0]["kind"] == kind
    assert {**found.meta, "folder": 0} == {**said.meta, "folder": 0}
    assert found.digest == said.digest
    for name in ("x.npy", "y.npy"):
        assert (found.folder / name).read_bytes() == (said.folder / name).read_bytes()
    link = next(path for path in found.folder.parent.iterdir() if path.is_symlink())
    link.unlink()
    link.symlink_to("removed")  # as somebody may leave it
    assert make([file], tmp_path).folder == found.folder
    monkeypatch.setattr(inference.Judge, "look", None)
    assert make([file], tmp_path).folder == found.folder


def test_a_guess_that_holds_reads_the_rows_once(tmp_path, monkeypatch):
    monkeypatch.setattr(table, "SAMPLE", 10)
    monkeypatch.setattr(inference.Judge, "all", None)
    rows = {"i": range(1000), "f": np.arange(1000) / 2, "w": ["007"] * 1000, "e": [""] * 1000, "click": [0, 1] * 500}
    pl.DataFrame(rows).write_csv(tmp_path / "log.csv")
    found = make([tmp_path / "log.csv"], tmp_path, ignore=["e"])
    assert [field["kind"] for field in found.meta["fields"]] == ["category", "number", "category"]
