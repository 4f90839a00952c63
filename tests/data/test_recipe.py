"""Ids, splits and stores."""

import json

import numpy as np
import polars as pl
import pytest
import reference
from hypothesis import given
from hypothesis import strategies as st

from eulernet.data import splits, store
from eulernet.data.recipe import Field, Recipe, build, encode
from eulernet.errors import UserError

values = st.lists(st.none() | st.sampled_from(["a", "b", "c", "d", "é", ""]), min_size=1, max_size=60)


@given(values, st.integers(1, 4))
def test_ids_equal_the_reference(column, min_count):
    ids, vocabulary = encode(pl.Series(column, dtype=pl.String), min_count)
    assert ids.to_list() == reference.encode(column, min_count)
    assert ids.dtype == pl.Int32
    assert sorted(vocabulary) == sorted({v for v in column if v is not None and column.count(v) >= min_count})


@given(values, st.randoms())
def test_ids_do_not_depend_on_the_order_of_the_rows(column, random):
    shuffled = list(column)
    random.shuffle(shuffled)
    one, two = (encode(pl.Series(c, dtype=pl.String), 1)[1].to_list() for c in (column, shuffled))
    assert one == two


@given(values, st.data())
def test_train_vocabulary_ignores_other_rows(column, data):
    train = data.draw(st.lists(st.integers(0, len(column) - 1), unique=True))
    ids, vocabulary = encode(pl.Series(column, dtype=pl.String), 1, np.array(train, dtype=np.int64))
    seen = {column[row] for row in train} - {None}
    assert set(vocabulary) == seen
    assert all((i > 0) == (v in seen) for i, v in zip(ids, column, strict=True))


@pytest.mark.parametrize("rows", [10, 101, 5000])
def test_split_membership_and_order_equal_pythons_shuffle(rows):
    order, parts = splits.paper(pl.DataFrame({"a": range(rows)}), 2021)
    train, valid, test = reference.paper_split(list(range(rows)), 2021)
    for part, wanted in {"train": train, "valid": valid, "test": test}.items():
        assert order[slice(*parts[part])].tolist() == wanted


def make_recipe(min_count=1, protocol="none", version=1):
    return Recipe(
        name="toy",
        version=version,
        protocol=protocol,
        scan=lambda files: pl.read_csv(files[0]),
        label=pl.col("click"),
        fields=(Field("a", pl.col("a"), min_count), Field("b", pl.col("b") % 3)),
    )


@pytest.fixture
def toy(tmp_path):
    rows = "\n".join(f"{i % 2},{'xyz'[i % 3]},{i}" for i in range(60))
    file = tmp_path / "toy.csv"
    file.write_text(f"click,a,b\n{rows}\n")
    return file


CHOICES = dict(vocabulary="all", split="paper", split_seed=2021, origin="test")


def test_a_store_is_made_once_and_a_changed_recipe_or_source_makes_another(toy, tmp_path):
    def built(**changes):
        return build(make_recipe(**changes), [toy], tmp_path / "data", **CHOICES)

    one = built()
    made = (one / "meta.json").stat().st_mtime_ns
    assert built() == one
    assert (one / "meta.json").stat().st_mtime_ns == made
    others = {built(min_count=2), built(protocol="other"), built(version=2)}
    toy.write_text(toy.read_text() + "1,x,7\n")
    others.add(built())
    assert len(others | {one}) == 5


def test_what_a_store_holds(toy, tmp_path):
    folder = build(make_recipe(), [toy], tmp_path / "data", **CHOICES)
    meta, x, y = store.read_meta(folder), np.load(folder / "x.npy"), np.load(folder / "y.npy")
    assert meta["fields"] == ["a", "b"]
    assert meta["field_sizes"] == [4, 4]
    assert meta["source"]["files"] == store.checksums([toy])
    assert (x.dtype, y.dtype, x.shape) == (np.int32, np.uint8, (60, 2))
    assert sum(meta["clicks"].values()) == y.sum() == 30
    vocabulary = pl.read_parquet(folder / "vocab" / "a.parquet")
    order, _ = splits.paper(pl.DataFrame({"a": range(60)}), 2021)
    letters = dict(vocabulary.iter_rows())
    assert x[:, 0].tolist() == [letters["xyz"[row % 3]] for row in order]


def test_a_failed_build_leaves_nothing(toy, tmp_path):
    toy.write_text("click,a,b\n" + "1,x,1\n" * 50)
    with pytest.raises(UserError, match="every row of the train split is a click"):
        build(make_recipe(), [toy], tmp_path / "data", **CHOICES)
    assert list(tmp_path.iterdir()) == [toy]


def test_a_label_other_than_0_and_1_is_refused(toy, tmp_path):
    toy.write_text("click,a,b\n" + "2,x,1\n" * 50)
    with pytest.raises(UserError, match="neither 0 nor 1"):
        build(make_recipe(), [toy], tmp_path / "data", **CHOICES)


def test_two_builders_of_one_store_do_not_disturb_each_other(tmp_path):
    folder = tmp_path / "data" / "store"
    with store.writing(folder, mark="meta.json") as one, store.writing(folder, mark="meta.json") as two:
        for new in (one, two):
            (new / "meta.json").write_text(json.dumps({"format": store.FORMAT}))
    assert [file.name for file in folder.parent.iterdir()] == ["store"]
    assert json.loads((folder / "meta.json").read_text()) == {"format": store.FORMAT}
