"""Hashed ids: one public hash in polars, plain Python and the exported encoder; rare values that share buckets."""

import json
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from tables import exported, prepared

from eulernet.data.growth import kept_ids
from eulernet.data.kinds import CategoryCoder, HashedCoder
from eulernet.data.kinds.hashed import hashed
from eulernet.data.kinds.vocabulary import Vocabulary
from eulernet.data.prepare import summary_table
from eulernet.data.preprocessor import Preprocessor
from eulernet.errors import UserError

DRAW = np.random.default_rng(7)
BUCKETS = 2**31 - 2  # so many that a difference shows
COUNTS = [pytest.param(100_000, marks=pytest.mark.slow), 3_000]


def words(count):
    """Text of one to twelve characters of any script, surrogates aside."""
    codes = DRAW.integers(1, 0x10FFFF, (count, 12))
    codes = np.where((codes >= 0xD800) & (codes < 0xE000), 0x4E00, codes)
    return pl.Series(
        ["".join(map(chr, line[:n].tolist())) for line, n in zip(codes, DRAW.integers(1, 13, count), strict=True)]
    )


def numbers(count):
    ends = [-(2**63), 2**63 - 1, 0, -1, 1]
    return pl.Series([*ends, *DRAW.integers(-(2**63), 2**63 - 1, count - len(ends), dtype=np.int64).tolist()])


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("made", [words, numbers])
def test_hashes_are_equal_in_polars_plain_python_and_the_exported_encoder(made, count, tmp_path):
    values = made(count)
    kind = {"kind": "hash", "buckets": BUCKETS}
    coder = HashedCoder("k", BUCKETS)
    prepare = Preprocessor.of(meta_of(tmp_path, kind, values.dtype), [coder])
    ids = coder.encode(values)
    encode = exported(prepare, tmp_path / "scorer").encode
    field = {"buckets": BUCKETS}
    assert ids.tolist() == [hashed(field, value, None)[0] for value in values.to_list()]
    there = values if values.dtype != pl.String else values.filter(~values.is_in(["", *prepare.form.missing]))
    assert encode([{"k": value} for value in there.to_list()])[:, 0].tolist() == coder.encode(there).tolist()
    assert len(np.unique(ids)) > 0.9999 * values.n_unique()


def meta_of(folder, kind, dtype):
    given = ["a", "b"] if dtype == pl.String else [1, 2]
    return prepared(pl.DataFrame({"k": given}), folder, kind)[0].meta


def test_with_unseen_hash_rare_and_new_values_share_buckets_and_others_keep_an_id(tmp_path):
    """Buckets come before the values, in every place that encodes; a missing value has id 0."""
    values = ["often"] * 6 + ["twice"] * 2 + ["once", "one", None, "7.0"] * 1
    prepare, stored = prepared(
        pl.DataFrame({"k": values}), tmp_path, {"kind": "category", "min_count": 40, "buckets": 5}
    )
    (coder,), ids = prepare.coders, stored[:, 0].tolist()
    assert isinstance(coder, CategoryCoder)
    assert (coder.tail, coder.settings()["size"]) == (5, 8)
    wanted = {value: hashed({"buckets": 5}, value, None)[0] for value in ("once", "one", "7", "new", "3.0")}
    assert ids == [6] * 6 + [7] * 2 + [wanted["once"], wanted["one"], 0, wanted["7"]]
    rows = [{"k": value} for value in ("often", "twice", "new", "3.0", None, "one")]
    encoded = [6, 7, wanted["new"], wanted["3.0"], 0, wanted["one"]]
    assert prepare.encode(pl.DataFrame(rows, strict=False))[:, 0].tolist() == encoded
    assert exported(prepare, tmp_path / "scorer").encode(rows)[:, 0].tolist() == encoded
    grown = replace(coder, vocabulary=Vocabulary(pl.Series(["often", "other", "more"])))
    assert kept_ids(coder, grown).tolist() == [True] * 7 + [False]
    assert grown.encode(pl.Series(["often", "more", "new"])).tolist() == [6, 8, wanted["new"]]
    assert coder.names([0, 3, 6, 7]) == ["missing", "bucket 3", "often", "twice"]


def test_unseen_hash_is_for_all_categories_and_the_summary_says_what_collides(tmp_path):
    draw = np.random.default_rng(1)
    frame = pl.DataFrame({"k": draw.integers(0, 400, 2000), "h": [f"v{i}" for i in draw.integers(0, 300, 2000)]})
    prepare, stored = prepared(
        frame,
        tmp_path,
        fields={"h": {"kind": "hash", "buckets": 64}, "k": "category"},
        unseen="hash",
        buckets=50,
        min_count=120,
    )
    fields = json.loads((prepare_folder(tmp_path) / "summary.json").read_text())["fields"]
    k, rare = prepare.coders[0], frame["k"].value_counts().filter(pl.col("count") < 6)["k"]
    assert (k.tail, fields["k"]["hashed"], fields["h"]["hashed"]) == (50, len(rare), frame["h"].n_unique())
    for name, values, buckets in (("k", rare, 50), ("h", frame["h"].unique(), 64)):
        taken = {hashed({"buckets": buckets}, value, None)[0] for value in values.to_list()}
        assert fields[name]["collisions"] == pytest.approx(1 - len(taken) / len(values))
    shown = summary_table(json.loads((prepare_folder(tmp_path) / "summary.json").read_text()), "")
    assert "300 values hashed, 78" in shown
    assert stored[:, 0].max() == k.settings()["size"] - 1


def prepare_folder(folder):
    (store,) = (folder / "data" / "table").iterdir()
    return store


@pytest.mark.parametrize(
    ("kind", "settings", "words"),
    [
        ({"kind": "hash", "buckets": 0}, {}, "dataset.fields.k.buckets=0: should be a whole number from 1"),
        ({"kind": "category", "buckets": 0}, {}, "dataset.fields.k.buckets=0: should be a whole number from 1"),
        ("category", {"unseen": "hash", "buckets": 0}, "dataset.buckets=0: should be a whole number from 1"),
        ("category", {"unseen": "hsah", "buckets": 8}, "dataset.unseen"),
        ("category", {"unseen": "hash", "buckets": 8}, "dataset.fields.k: with min_count 1 every value has an id"),
    ],
)
def test_buckets_that_cannot_be(tmp_path, kind, settings, words):
    with pytest.raises(UserError) as caught:
        prepared(pl.DataFrame({"k": ["a", "b"]}), tmp_path, kind, **settings)
    assert words in str(caught.value)
