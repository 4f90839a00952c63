"""Ids, coders and stores: laws on any values, and what a store holds."""

import json
import os
import subprocess
import sys
import threading
from functools import partial
from itertools import pairwise

import numpy as np
import polars as pl
import pytest
import reference
from conftest import REPOSITORY
from hypothesis import given
from hypothesis import strategies as st

from eulernet.data import disk, kinds, splits, store
from eulernet.data.build import build
from eulernet.data.dataset import Dataset
from eulernet.data.kinds import Bag, Category, Number, Quantiles
from eulernet.data.lines import Format
from eulernet.data.raw import Piece
from eulernet.data.recipe import Recipe
from eulernet.data.threads import in_order
from eulernet.data.values import TRANSFORMS, Label, Raw
from eulernet.errors import UserError

values = st.lists(st.none() | st.sampled_from(["a", "b", "c", "d", "é", ""]), min_size=1, max_size=60)


def fitted(field, column):
    """The coder of a field over one column, and the column encoded by it."""
    frame = pl.DataFrame({"value": column})
    coder = field.fit(frame.lazy(), "streaming")
    return coder, kinds.encode([coder], frame)[0]


@given(values, st.integers(1, 4))
def test_ids_equal_the_reference(column, min_count):
    want = reference.encode(column, min_count)
    column = pl.Series(column, dtype=pl.String)
    if max(want) == 0:
        with pytest.raises(UserError, match=r"field f (has no value that occurs|is missing in every row)"):
            fitted(Category("f", Raw("f"), min_count), column)
        return
    coder, x = fitted(Category("f", Raw("f"), min_count), column)
    assert x[:, 0].tolist() == want
    assert x.dtype == np.int32
    assert coder.settings()["size"] == max(want) + 1


@given(values.filter(any), st.randoms())
def test_ids_do_not_depend_on_the_order_of_the_rows(column, random):
    shuffled = list(column)
    random.shuffle(shuffled)
    one, two = (fitted(Category("f", Raw("f")), pl.Series(c, dtype=pl.String))[0].vocabulary.values.to_list()
                for c in (column, shuffled))  # fmt: skip
    assert one == two


numbers = st.lists(st.none() | st.floats(-1e6, 1e6), min_size=1, max_size=60).filter(
    lambda column: any(v is not None for v in column)
)


@given(numbers, st.integers(2, 8))
def test_quantile_classes_hold_at_most_their_share_and_keep_the_order(column, classes):
    coder, x = fitted(Quantiles("f", Raw("f"), classes), pl.Series(column, dtype=pl.Float64))
    ids = x[:, 0].tolist()
    assert [i == 0 for i in ids] == [v is None for v in column]
    known = sorted((v, i) for v, i in zip(column, ids, strict=True) if v is not None)
    assert [i for _, i in known] == sorted(i for _, i in known)
    assert all(a == b for (u, a), (v, b) in pairwise(known) if u == v)
    assert {i for _, i in known} == set(range(1, coder.settings()["size"]))  # no class is empty
    for i in range(1, coder.settings()["size"]):  # what lies below a class's largest value is less than its bound
        below = sum(v < max(w for w, j in known if j == i) for v, _ in known)
        assert below < np.ceil(i * len(known) / classes) + len(known) * (coder.settings()["size"] - 1 < classes)


def test_quantiles_of_distinct_numbers_are_equally_large():
    _, x = fitted(Quantiles("f", Raw("f"), 4), pl.Series(np.random.default_rng(0).permutation(1000) / 7))
    assert np.bincount(x[:, 0]).tolist() == [0, 250, 250, 250, 250]


@given(numbers)
def test_numbers_are_standardised_and_missing_ones_are_the_mean(column):
    _, x = fitted(Number("f", Raw("f"), standardise=True), pl.Series(column, dtype=pl.Float64))
    z, known = x.view(np.float32)[:, 0], np.array([v for v in column if v is not None])
    want = (known - known.mean()) / (known.std() or 1)
    assert z[[v is None for v in column]].tolist() == [0.0] * (len(column) - len(known))
    if known.std() > 1e-6 * np.abs(known).max():
        np.testing.assert_allclose(z[[v is not None for v in column]], want, atol=1e-3)
    _, same = fitted(Number("f", Raw("f"), standardise=False), pl.Series(column, dtype=pl.Float64))
    assert same.view(np.float32)[:, 0].tolist() == [np.float32(v or 0) for v in column]


@given(st.lists(st.none() | st.lists(st.sampled_from("abc"), max_size=5), min_size=1, max_size=20), st.integers(1, 3))
def test_bags_are_the_ids_of_their_first_members(column, min_count):
    flat = [member for bag in column for member in bag or []]
    frame = pl.Series(column, dtype=pl.List(pl.String))
    if max(reference.encode(flat, min_count), default=0) == 0:
        with pytest.raises(UserError):
            fitted(Bag("f", Raw("f"), min_count, 3, "mean"), frame)
        return
    _, x = fitted(Bag("f", Raw("f"), min_count, 3, "mean"), frame)
    id_of = dict(zip(flat, reference.encode(flat, min_count), strict=True))
    want = [([id_of[m] for m in bag or []] + [-1] * 3)[:3] for bag in column]
    assert x.tolist() == want


@pytest.mark.parametrize("rows", [10, 101, 5000])
def test_split_membership_and_order_equal_pythons_shuffle(rows):
    cut = splits.paper(2021).cut(splits.Rows(rows, [rows], pl.LazyFrame()))
    train, valid, test = reference.paper_split(list(range(rows)), 2021)
    for part, wanted in {"train": train, "valid": valid, "test": test}.items():
        assert cut[part].tolist() == wanted


SPLITTERS = {
    "random": splits.random_rows(3, (0.6, 0.3, 0.1)),
    "random, no test": splits.random_rows(3, (0.6, 0.4, 0)),
    "time": splits.by_time("t", pl.col("t"), (0.5, 0.2, 0.3)),
    "value": splits.by_value("t", {"train": list(range(6)), "valid": [6, 7], "test": [8, 9]}, pl.col("t")),
}


@pytest.mark.parametrize("name", SPLITTERS)
def test_row_numbers_are_the_same_in_files_and_in_pieces(name, tmp_path, monkeypatch):
    draw = np.random.default_rng(0).integers(0, 10, 1000)
    keys = pl.LazyFrame({splits.KEY: [str(n) for n in draw] if name == "value" else draw})
    splitter, rows = SPLITTERS[name], splits.Rows(1000, [1000], keys)
    whole = splitter.cut(rows)
    monkeypatch.setattr(splits, "CHUNK", 97)
    monkeypatch.setattr("eulernet.data.store.CHUNK", 97)
    cut = splitter.cut(splits.Rows(1000, [1000], keys, tmp_path))
    said = store.write_split(tmp_path, {part: cut[part] for part in splitter.parts}, 1000)
    if not name.startswith("random"):
        code = np.searchsorted([6, 8], draw, side="right") if name == "value" else code_of(draw)
        assert all((whole[part] == np.flatnonzero(code == i)).all() for i, part in enumerate(splits.PARTS))
    y = np.arange(1000) % 2 == 0
    for part, file in said.items():
        found = np.load(tmp_path / file)
        assert found.dtype == np.int32
        assert found.tolist() == whole[part].tolist()
        weights = draw.astype(np.float32)
        want = [len(found), y[found].sum(), (weights[found] > 0).sum(), (y & (weights > 0))[found].sum()]
        assert store.counts_in(y, weights, found) == want
    assert store.counts_in(y, None, (3, 500)) == [497, 248, 497, 248]


def code_of(times):
    """Which part each row goes to: those of one time go together, where the first of them falls."""
    first = np.searchsorted(np.sort(times), times)
    return (first >= 500).astype(int) + (first >= 700)


def make_recipe(min_count=1, protocol="none", version=1):
    def scan(files, memory):
        table = pl.read_csv(files[0])
        for start in range(0, len(table), 25):  # in pieces
            piece = table[start : start + 25]
            where = partial(lambda start, row: f"{files[0]}, line {start + 2 + row}", start)
            yield Piece(partial(lambda piece: piece, piece), where, 0, min(start + 25, len(table)) / len(table))

    return Recipe(
        name="toy",
        version=version,
        protocol=protocol,
        scan=scan,
        form=Format({"click": pl.Int64, "a": pl.String, "b": pl.Int64}, ",", header=True),
        label=Label("click"),
        fields=(Category("a", Raw("a"), min_count), Category("b", Raw("b", "third"))),
    )


@pytest.fixture
def toy(tmp_path, monkeypatch):
    monkeypatch.setitem(TRANSFORMS, "third", lambda value: value % 3)
    rows = "\n".join(f"{i % 2},{'xyz'[i % 3]},{i}" for i in range(60))
    file = tmp_path / "toy.csv"
    file.write_text(f"click,a,b\n{rows}\n")
    return file


CHOICES = dict(vocabulary="all", split=splits.paper(2021), origin="test", memory=2.0)


def test_a_store_is_made_once_and_a_changed_recipe_or_source_makes_another(toy, tmp_path):
    def built(**changes):
        return build(make_recipe(**changes), [toy], tmp_path / "data", **CHOICES)

    one = built()
    made = (one / "meta.json").stat().st_mtime_ns
    assert built() == one
    assert (one / "meta.json").stat().st_mtime_ns == made
    others = {built(min_count=2), built(protocol="other"), built(version=2)}
    others.add(build(make_recipe(), [toy], tmp_path / "data", **{**CHOICES, "split": splits.paper(7)}))
    toy.write_text(toy.read_text() + "1,x,7\n")
    others.add(built())
    assert len(others | {one}) == 6


def test_what_a_store_holds(toy, tmp_path):
    folder = build(make_recipe(), [toy], tmp_path / "data", **CHOICES)
    meta, x, y = store.read_meta(folder), np.load(folder / "x.npy"), np.load(folder / "y.npy")
    assert meta["fields"] == [
        {"name": name, "kind": "category", "size": 4, "column": name, "transform": transform, "missing": 0.0}
        for name, transform in (("a", "as_is"), ("b", "third"))
    ]
    assert meta["source"]["files"] == disk.checksums([toy], tmp_path)
    assert (x.dtype, y.dtype, x.shape) == (np.int32, np.uint8, (60, 2))
    assert sum(meta["clicks"].values()) == y.sum() == 30
    letters = dict(pl.read_parquet(folder / "vocab" / "a.parquet").iter_rows())
    assert x[:, 0].tolist() == [letters["xyz"[row % 3]] for row in range(60)]
    data = Dataset.open(folder)
    for part, rows in zip(("train", "valid", "test"), reference.paper_split(list(range(60)), 2021), strict=True):
        (batch,) = data.splits[part].batches(100)
        assert batch[0].tolist() == x[rows].tolist()
        assert batch[1].tolist() == y[rows].tolist()


@pytest.mark.parametrize("split", [splits.paper(3), splits.chronological([0.5, 0.25, 0.25])])
def test_a_training_vocabulary_ignores_other_rows(toy, tmp_path, split):
    lines = toy.read_text().splitlines()
    toy.write_text("\n".join(f"{line.split(',')[0]},v{i // 2},{i}" if i else line for i, line in enumerate(lines)))
    folder = build(make_recipe(), [toy], tmp_path / "data", **{**CHOICES, "vocabulary": "train", "split": split})
    data = Dataset.open(folder)
    raw = pl.read_csv(toy)["a"].to_list()
    ((train, _),) = data.train.batches(100)
    numbers = data.train.order.tolist() if data.train.order is not None else list(range(30))
    assert set(pl.read_parquet(folder / "vocab" / "a.parquet")["value"]) == {raw[row] for row in numbers}
    assert (train[:, 0] > 0).all()
    ((test, _),) = data.test.batches(100)
    assert (test[:, 0] == 0).any()


def test_a_failed_build_leaves_nothing(toy, tmp_path):
    toy.write_text("click,a,b\n" + "1,x,1\n" * 50)
    with pytest.raises(UserError, match="every row of the train split is a click"):
        build(make_recipe(), [toy], tmp_path / "data", **CHOICES)
    assert list(tmp_path.iterdir()) == [toy]


def test_a_label_other_than_0_and_1_is_named(toy, tmp_path):
    toy.write_text("click,a,b\n" + "1,x,1\n" * 40 + "2,x,1\n" * 10)
    with pytest.raises(UserError, match=r"toy.csv, line 42: the label is 2, it should be 0 or 1"):
        build(make_recipe(), [toy], tmp_path / "data", **CHOICES)


def test_a_threshold_that_leaves_a_field_empty_is_named(toy, tmp_path):
    with pytest.raises(UserError, match="field a has no value that occurs 21 times; lower min_count"):
        build(make_recipe(min_count=21), [toy], tmp_path / "data", **CHOICES)


def test_two_builders_of_one_store_do_not_disturb_each_other(toy, tmp_path):
    folders = []

    def one():
        folders.append(build(make_recipe(), [toy], tmp_path / "data", **CHOICES))

    threads = [threading.Thread(target=one) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(folders) == 4
    assert len(set(folders)) == 1
    assert [file.name for file in folders[0].parent.iterdir()] == [folders[0].name]
    Dataset.open(folders[0])


def test_what_a_killed_builder_left_is_removed_and_a_living_one_is_not(tmp_path):
    folder = tmp_path / "data" / "store"
    with disk.writing(folder, mark="meta.json") as living:
        dead = folder.with_name(".store.dead.new")  # nobody holds its lock
        dead.mkdir()
        (dead / "x.npy").write_text("half")
        with disk.writing(folder, mark="meta.json") as new:
            (new / "meta.json").write_text(json.dumps({"format": store.FORMAT}))
        assert living.is_dir()
        assert not dead.exists()
        (living / "meta.json").write_text(json.dumps({"format": store.FORMAT}))
    assert [file.name for file in folder.parent.iterdir()] == ["store"]


WRITER = """
import sys
from pathlib import Path
from eulernet.data import disk
for i in range(60):
    with disk.writing(Path(sys.argv[1]) / "set" / f"store{i % 7}", mark="meta.json") as new:
        (new / "meta.json").write_text("whole")
        assert (new / "meta.json").read_text() == "whole"
"""


def test_many_processes_write_into_one_folder(tmp_path):
    (tmp_path / "set").mkdir()
    command = [sys.executable, "-c", WRITER, str(tmp_path)]
    writers = [subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(REPOSITORY)}) for _ in range(3)]
    assert [writer.wait() for writer in writers] == [0, 0, 0]
    assert sorted(file.name for file in (tmp_path / "set").iterdir()) == [f"store{i}" for i in range(7)]


def test_the_order_of_the_files_makes_another_store(toy, tmp_path):
    other = toy.with_name("other.csv")
    other.write_text(toy.read_text().replace("0,x", "1,x"))
    recipe = make_recipe()
    names = {build(recipe, files, tmp_path / "data", **CHOICES).name for files in ([toy, other], [other, toy])}
    assert len(names) == 2


@pytest.mark.parametrize("ratios", [(0.7, 0.2, 0.1), (0.8, 0.1, 0.1), (0.6, 0.3, 0.1)])
def test_shares_are_those_that_are_written(ratios):
    cut = splits.chronological(ratios).cut(splits.Rows(1000, [1000], pl.LazyFrame()))
    assert [stop - start for start, stop in cut.values()] == [round(1000 * ratio) for ratio in ratios]


def test_results_come_in_order_and_an_error_where_it_belongs():
    def items():
        yield from (3, 1, 2)
        raise OSError("broken")

    results = in_order(lambda n: n * 10, items(), threads=2, ahead=5)
    assert [next(results) for _ in range(3)] == [30, 10, 20]
    with pytest.raises(OSError, match="broken"):
        next(results)
    assert list(in_order(str, range(50), threads=3, ahead=4)) == [str(i) for i in range(50)]
