"""A value has one text and one id in whatever container it comes: files, frames, dictionaries, the exported encoder."""

import datetime
import decimal
import json
from dataclasses import asdict
from io import StringIO

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tables import DEFAULTS, exported, prepared

from eulernet.data import kinds
from eulernet.data.frames import frame_of, series
from eulernet.data.in_memory import table_in_memory
from eulernet.data.kinds.hashed import HashedCoder, hashed
from eulernet.data.preprocessor import Preprocessor
from eulernet.data.sets.table import Table
from eulernet.data.spelling import WORDS, Spelling, respelled, text_of, written
from eulernet.errors import UserError
from eulernet.python.frames import to_polars


def ids_of(prepare, values):
    """The ids of one column k given as a polars series."""
    return prepare.encode(values.alias("k").to_frame())[:, 0].tolist()


UTC = datetime.UTC
MOMENT = datetime.datetime(2026, 1, 31, 10, 30)
# (faults of the table, a column as Parquet may have it, the text of its values)
TEXTS = {
    "dictionary_with_missing_words_5": (pl.Series(["a", "", "NA", "a"], dtype=pl.Categorical), ["a", None, "NA", "a"]),
    "nan_6": (pl.Series([1.0, float("nan"), 2.5]), ["1", None, "2.5"]),
    "booleans_7": (pl.Series([True, False, None]), ["true", "false", None]),
    "whole_floats_8": (pl.Series([0.0, 1.0, None]), ["0", "1", None]),
    "microseconds_14": (pl.Series([MOMENT], dtype=pl.Datetime("us")), ["2026-01-31 10:30:00"]),
    "nanoseconds_14": (pl.Series([MOMENT], dtype=pl.Datetime("ns")), ["2026-01-31 10:30:00"]),
    "zone_14": (pl.Series([MOMENT.replace(tzinfo=UTC)]), ["2026-01-31 10:30:00+00:00"]),
    "date_14": (pl.Series([MOMENT.date()]), ["2026-01-31"]),
    "float32_18": (pl.Series([0.1, 3.0], dtype=pl.Float32), ["0.1", "3"]),
    "decimals": (pl.Series([decimal.Decimal("1.50"), decimal.Decimal("2.00")]), ["1.5", "2"]),
    "large_unsigned_27": (pl.Series([2**64 - 1], dtype=pl.UInt64), [str(2**64 - 1)]),
    "bytes": (pl.Series([b"ab", None]), ["ab", None]),
    "small": (pl.Series([1e-7, 1e17]), ["1e-07", "100000000000000000"]),
}


@pytest.mark.parametrize(("values", "texts"), TEXTS.values(), ids=TEXTS.keys())
def test_the_text_of_a_value(values, texts):
    assert text_of(values).to_list() == texts
    for value, text in zip(values.to_list(), texts, strict=True):
        if text is not None and not isinstance(value, bytes) and values.dtype != pl.Float32:
            assert written(value) == text  # the plain twin; a moment in Python says so itself


def test_lists_have_no_text():
    with pytest.raises(UserError, match="not text"):
        text_of(pl.Series("k", [[1]]))


@pytest.mark.parametrize("name", [name for name in TEXTS if name != "bytes"])
def test_a_parquet_column_and_its_text_have_the_same_ids(name, tmp_path):
    """Trained on a Parquet type, scored as text, as values and by the exported encoder."""
    values, texts = TEXTS[name]
    prepare, stored = prepared(values.alias("k").to_frame(), tmp_path, "category")
    words = pl.Series([None if text == "NA" else text for text in texts], dtype=pl.String)
    if not values.dtype.is_integer():
        assert ids_of(prepare, words) == stored[:, 0].tolist()
    assert ids_of(prepare, values) == stored[:, 0].tolist()
    assert stored[:, 0].tolist() == [0 if word is None else i for word, i in zip(words, stored[:, 0], strict=True)]
    assert (stored[[word is not None for word in words], 0] > 0).all()
    rows = [{"k": word} for word in words]
    assert exported(prepare, tmp_path / "scorer").encode(rows)[:, 0].tolist() == stored[:, 0].tolist()


def test_a_text_field_knows_numbers_and_truth_values_7(tmp_path):
    """CSV true and True; pandas, polars, dictionaries, JSON."""
    for words in (["true", "false"], ["True", "False"], ["TRUE", "FALSE"], ["1", "0"]):
        prepare, stored = prepared(pl.DataFrame({"k": words}), tmp_path / words[0], "category", form="csv")
        assert ids_of(prepare, pl.Series([True, False])) == stored[:, 0].tolist(), words
        encode = exported(prepare, tmp_path / words[0] / "scorer").encode
        assert encode([{"k": True}, {"k": False}])[:, 0].tolist() == stored[:, 0].tolist(), words
        for others in (["True", "False"], ["true", "false"], ["TRUE", "FALSE"]):
            assert ids_of(prepare, pl.Series(others)) == stored[:, 0].tolist(), (words, others)


def test_leading_zeros_are_put_back_where_a_reader_dropped_them_12(tmp_path):
    prepare, stored = prepared(pl.DataFrame({"k": ["00037", "12345", "00001"]}), tmp_path, "category", form="csv")
    wanted = stored[:, 0].tolist()
    assert min(wanted) > 0
    assert ids_of(prepare, pl.Series([37, 12345, 1])) == wanted
    assert ids_of(prepare, pl.Series([37.0, 12345.0, 1.0])) == wanted
    assert (
        exported(prepare, tmp_path / "scorer").encode([{"k": 37}, {"k": "12345"}, {"k": 1.0}])[:, 0].tolist() == wanted
    )


def test_spellings_of_one_whole_number_are_one_value_41(tmp_path):
    prepare, stored = prepared(pl.DataFrame({"k": ["3", "3.0", "4", "4.0"]}), tmp_path, "category", form="csv")
    assert stored[0] == stored[1]
    assert stored[2] == stored[3]
    assert len(set(stored[:, 0].tolist())) == 2
    assert ids_of(prepare, pl.Series(["3.0", "3"])) == [stored[0, 0]] * 2


@pytest.mark.parametrize(
    ("words", "values"),
    [
        (["True", "TRUE"], 1),
        (["true", "TRUE", "False"], 2),
        (["True", "FALSE"], 2),
        (["tRuE", "False"], 2),
        (["True", "False"], 2),
        (["true", "TRUE", "maybe"], 3),
        (["true"], 1),
    ],
)
def test_spellings_of_one_truth_value_are_one_value_41(tmp_path, words, values):
    prepare, stored = prepared(pl.DataFrame({"k": words}), tmp_path, "category", form="csv")
    assert sorted(set(stored[:, 0].tolist())) == list(range(1, values + 1))
    if "maybe" not in words:
        truth = [word.lower() == "true" for word in words]
        assert ids_of(prepare, pl.Series(truth)) == stored[:, 0].tolist()
        rows = [{"k": value} for value in truth]
        assert exported(prepare, tmp_path / "scorer").encode(rows)[:, 0].tolist() == stored[:, 0].tolist()


def test_a_count_is_no_truth_value(tmp_path):
    prepare, _ = prepared(pl.DataFrame({"k": ["0", "1", "2"]}), tmp_path, "category", form="csv")
    assert ids_of(prepare, pl.Series(["true", "false"])) == [0, 0]


def test_what_is_whole_only_at_first_is_not_merged(tmp_path):
    """The first 1,000 values say whether it is worth looking at all; all of them decide."""
    words = [str(i) for i in range(1500)] + ["5.0", "beta"]
    for name, some, values in (("other", words, 1502), ("whole", words[:-1], 1500)):
        prepare, _ = prepared(pl.DataFrame({"k": some}), tmp_path / name, "category", form="csv")
        assert prepare.meta["fields"][0]["size"] == values + 1


def test_digits_of_other_scripts_are_no_numbers():
    words = pl.Series(["\u0663.0", "\u0663"])
    assert Spelling().respell(words).to_list() == words.to_list() == [respelled(w, False, 0, WORDS[0]) for w in words]
    assert Spelling.merged(pl.DataFrame({"value": words, "rows": [1, 1]}))["value"].to_list() == words.to_list()


def test_whole_floats_as_a_bag_8(tmp_path):
    frame = pl.DataFrame({"k": [0.0, 1.0, 2.0, None]})
    prepare, stored = prepared(frame, tmp_path, "bag")
    assert stored[:, 0].tolist() == [1, 2, 3, -1]
    module = exported(prepare, tmp_path / "scorer")
    for values in ([0.0, 1.0, 2.0, None], [0, 1, 2, None], ["0", "1", "2", None], ["0.0", "1.0", "2.0", ""]):
        assert prepare.encode(pl.DataFrame({"k": values})).tolist() == stored.tolist(), values
        assert module.encode([{"k": value} for value in values]).tolist() == stored.tolist(), values


@pytest.mark.parametrize("kind", ["log_square", "category"])
@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_a_whole_float_is_a_whole_number_30(kind, form, tmp_path):
    """Where training read whole numbers: in files and frames, by predict and by the exported folder."""
    numbers = [1, 70, 3]
    prepare, stored = prepared(pl.DataFrame({"k": numbers}), tmp_path, kind, form=form)
    (tmp_path / "rows.csv").write_text(
        "k,v\n1.0,a\n70.,a\n3,a\n" if kind == "log_square" else "k,v\n1.0,a\n70.0,a\n3,a\n"
    )
    pieces = [prepare.encode(piece.frame()) for piece in prepare.read([tmp_path / "rows.csv"], 1 << 20)]
    assert np.concatenate(pieces).tolist() == stored.tolist()
    module = exported(prepare, tmp_path / "scorer")
    for values in (numbers, [1.0, 70.0, 3.0], ["1", "70", "3"], ["1.0", "70.0", "3"]):
        found = module.encode([{"k": value} for value in values])
        assert found.tolist() == stored.tolist(), values
        if not isinstance(values[0], str):
            assert prepare.encode(pl.DataFrame({"k": values})).tolist() == stored.tolist(), values
    if kind == "log_square" or form == "parquet":
        (tmp_path / "rows.csv").write_text("k,v\n1.5,a\n")
        with pytest.raises(UserError, match="whole number"):
            [piece.frame() for piece in prepare.read([tmp_path / "rows.csv"], 1 << 20)]
        with pytest.raises(ValueError, match="whole number"):
            module.encode([{"k": "1.5"}])


MOMENTS = [datetime.date(2026, 1, 1), datetime.datetime(2026, 1, 1, 5)]


@pytest.mark.parametrize(
    ("values", "wanted"),
    [
        ([np.int64(3), 2.5], [3, 2.5]),  # polars would cut 2.5 to 2
        ([np.int64(3), np.float64(2.5), None], [3, 2.5, None]),
        ([np.bool_(True), 2], [1, 2]),
        (["a", np.bool_(True), True, 5.0, np.int64(7)], ["a", "true", "true", "5", "7"]),
        (["a", decimal.Decimal("1.50")], ["a", "1.5"]),
        (["a", b"x", None, float("nan"), pd.NA, pd.NaT], ["a", "x", None, None, None, None]),
        ([1, MOMENTS[0]], ["1", "2026-01-01"]),
        (MOMENTS, ["2026-01-01", "2026-01-01 05:00:00"]),
        ([["a"], [1], None], [["a"], ["1"], None]),
    ],
)
def test_values_of_several_types_in_one_column(values, wanted):
    assert series("k", values).to_list() == wanted


LARGE = [2**53, 2**53 + 2, 10**16, 2**62, 2**63 - 2**10]


@pytest.mark.parametrize("kind", ["category", {"kind": "hash", "buckets": 99_991}])
@pytest.mark.parametrize("trained", ["ints", "floats", "digits", "exponents"])
def test_a_whole_number_beyond_2_53_is_one_value(tmp_path, kind, trained):
    """As an integer, as a float, and as text of either, in any container: the same id wherever training had it."""
    same = {
        "ints": pl.Series(LARGE),
        "floats": pl.Series(LARGE, dtype=pl.Float64, strict=False),
        "digits": pl.Series(map(str, LARGE)),
        "exponents": pl.Series([str(float(value)) for value in LARGE]),
    }
    form = "parquet" if trained in ("ints", "floats") else "csv"
    prepare, stored = prepared(same[trained].alias("k").to_frame(), tmp_path, kind, form=form)
    wanted = stored[:, 0].tolist()
    assert len(set(wanted)) == len(LARGE)
    encode = exported(prepare, tmp_path / "scorer").encode
    for name, values in same.items():
        if name != "exponents" or trained != "ints":  # there whole numbers are read, and 1e+16 is refused
            assert ids_of(prepare, values) == wanted, name
            assert encode([{"k": value} for value in values])[:, 0].tolist() == wanted, name


def test_a_version_is_no_number(tmp_path):
    """Where a field has other text too, 5 and 5.0 stay two values."""
    _, stored = prepared(pl.DataFrame({"k": ["5", "5.0", "beta"]}), tmp_path, "category", form="csv")
    assert len(set(stored[:, 0].tolist())) == 3


def test_parts_of_signed_and_unsigned_numbers_are_text_44(tmp_path):
    for name, dtype, values in (("a", pl.Int64, [-1, 5]), ("b", pl.UInt64, [2**63 + 5, 5])):
        rows = pl.DataFrame({"k": pl.Series(values * 20, dtype=dtype)}).with_columns(click=pl.int_range(40) % 2)
        rows.write_parquet(tmp_path / f"{name}.parquet")
    store = Table(**{**DEFAULTS, "fields": {"k": "category"}})([tmp_path], tmp_path / "data", 2.0)
    assert ids_of(Preprocessor.open(store), pl.Series(["-1", "5", str(2**63 + 5)])) == [2, 1, 3]


@pytest.mark.parametrize("order", [1, -1])
def test_a_hash_is_no_quantity_whatever_the_order_43(tmp_path, order):
    words = ["14340390157469404125", "1.42e+19", "3"][::order]
    prepare, _ = prepared(pl.DataFrame({"k": words}), tmp_path, form="csv")
    assert prepare.meta["fields"][0]["kind"] == "category"


def test_numbers_that_are_none_are_missing_in_the_export_too_10(tmp_path):
    prepare, stored = prepared(pl.DataFrame({"k": ["1.5", "NAN", "2.5", "Nan"]}), tmp_path, "number", form="csv")
    assert stored[1] == stored[3] == 0
    encode = exported(prepare, tmp_path / "scorer").encode
    assert encode([{"k": "NAN"}, {"k": "Nan"}, {"k": float("nan")}])[:, 0].tolist() == [0, 0, 0]
    with pytest.raises(ValueError, match="not a number to learn from"):
        encode([{"k": "1e300"}])


def test_a_list_is_no_text_11_21_22(tmp_path):
    frame = pl.DataFrame({"k": [["a", "b"], None, ["c"]]})
    prepare, stored = prepared(frame, tmp_path)
    encode = exported(prepare, tmp_path / "scorer").encode
    assert encode([{"k": ["a", "b"]}, {"k": None}, {"k": ["c"]}]).tolist() == stored.tolist()
    with pytest.raises(ValueError, match="not a list"):
        encode([{"k": "ab"}])
    (tmp_path / "rows.csv").write_text("k\na|b\n")
    with pytest.raises(UserError, match="list"):
        list(prepare.read([tmp_path / "rows.csv"], 1 << 20))
    rows = pd.DataFrame({"k": [np.array(["a", "b"], dtype=object), None, np.array(["c"], dtype=object)]})
    assert prepare.encode(frame_of(rows, ["k"], [])).tolist() == stored.tolist()


def test_the_exported_reader_reads_headers_and_blank_lines_as_training_does_9_17_45(tmp_path):
    file = tmp_path / "log.csv"
    file.write_text("click, k, v\n" + "".join(f"{i % 2},a{i % 3},{i}\n" for i in range(60)))
    store = Table(**DEFAULTS)([file], tmp_path / "data", 2.0)
    prepare = Preprocessor.open(store)
    module = exported(prepare, tmp_path / "scorer")
    assert [list(row) for row in module.read(file)[:1]] == [["click", "k", "v"]]
    assert module.encode(module.read(file)).tolist() == np.load(store / "x.npy").tolist()
    file.write_text("click, k, v\n1," + "x" * 200_000 + ",3\n")
    assert module.encode(module.read(file))[0, 0] == 0
    file.write_text("click, k, v\n1,a0,3,9\n")
    with pytest.raises(ValueError, match="4 columns where 3 belong"):
        module.read(file)
    one, _ = prepared(pl.DataFrame({"k": ["a", "b"]}), tmp_path / "one", "category", form="csv")
    (tmp_path / "one.csv").write_text("k\na\nb\n\n")
    assert len(exported(one, tmp_path / "one" / "scorer").read(tmp_path / "one.csv")) == 3


@pytest.mark.parametrize(
    ("words", "others"),
    [(["True", "False"], [True, False]), (["00037", "12345"], [37, 12345]), (["3.0", "4.0"], [3, 4]), (["3"], [3.0])],
)
def test_a_hash_is_one_for_all_spellings_of_a_value(tmp_path, words, others):
    kind = {"kind": "hash", "buckets": 99_991}
    prepare, stored = prepared(pl.DataFrame({"k": words}), tmp_path, kind, form="csv")
    assert ids_of(prepare, pl.Series(others)) == stored[:, 0].tolist()
    rows = [{"k": value} for value in others]
    assert exported(prepare, tmp_path / "scorer").encode(rows)[:, 0].tolist() == stored[:, 0].tolist()


@pytest.mark.parametrize("lists", [[[0.0, 1.0], [1.0]], [[True, False], [True]], [[1, 2], [2]], [MOMENTS[:1], []]])
def test_the_members_of_a_list_have_one_text(tmp_path, lists):
    prepare, stored = prepared(pl.DataFrame({"k": lists}), tmp_path, "bag")
    rows = [{"k": members} for members in lists]
    assert prepare.encode(frame_of(rows, ["k"], [])).tolist() == stored.tolist()
    assert exported(prepare, tmp_path / "scorer").encode(rows).tolist() == stored.tolist()
    if lists[0][0] == 1 and lists[0][0] is not True:
        floats = pl.DataFrame({"k": [[float(member) for member in members] for members in lists]})
        assert prepare.encode(floats).tolist() == stored.tolist()


def test_hash_ids_are_those_of_plain_python():
    """One public hash: BLAKE2b of the text, for unicode and for 64-bit numbers of either sign."""
    draw = np.random.default_rng(0)
    texts = ["", "ä", "日本", "a\x00b", "😀", *map(str, draw.integers(-(2**63), 2**63 - 1, 2000))]
    coder = HashedCoder("k", 1009)
    wanted = [hashed({"buckets": 1009}, text, None)[0] for text in texts]
    assert coder.encode(pl.Series(texts)).tolist() == wanted
    numbers = pl.Series([-(2**63), 0, 2**63 - 1])
    assert coder.encode(numbers).tolist() == [hashed({"buckets": 1009}, n, None)[0] for n in numbers.to_list()]
    assert hashed({"buckets": 2**31 - 2}, "eulernet", None) == [1 + 14181028335258263659 % (2**31 - 2)]
    assert min(wanted) >= 1
    assert max(wanted) <= 1009


def test_a_hash_field_needs_no_vocabulary(tmp_path):
    prepare, stored = prepared(pl.DataFrame({"k": ["a", "b", None]}), tmp_path, {"kind": "hash", "buckets": 97})
    assert stored[2] == 0
    assert prepare.meta["fields"][0]["size"] == 98
    assert not (tmp_path / "data" / "table" / "vocab" / "k.parquet").exists()
    known = exported(prepare, tmp_path / "scorer").encode([{"k": "a"}, {"k": "b"}, {"k": None}, {"k": "new"}])
    assert known[:3].tolist() == stored.tolist()
    assert known[3, 0] > 0


@pytest.mark.parametrize(("scaling", "wanted"), [("minmax", [0, 0.25, 1]), ("none", [2, 4, 10]), ("standard", None)])
def test_a_number_is_scaled(tmp_path, scaling, wanted):
    values = np.array([2.0, 4.0, 10.0])
    prepare, stored = prepared(pl.DataFrame({"k": values}), tmp_path, {"kind": "number", "scaling": scaling})
    wanted = (values - values.mean()) / values.std() if wanted is None else wanted
    np.testing.assert_allclose(stored[:, 0].view(np.float32), wanted, rtol=1e-6)
    encode = exported(prepare, tmp_path / "scorer").encode
    np.testing.assert_array_equal(encode([{"k": 2}, {"k": "4"}, {"k": 10.0}]), stored)


KINDS_TRIED = {
    "category": ["a", "b"],
    "hash": ["a", "b"],
    "number": [1.5, 2.5],
    "quantiles": [1.5, 2.5],
    "log_square": [1, 70],
    "bag": ["a|b", "b"],
    "history": ["a|b", "b"],
}


@pytest.mark.parametrize("kind", KINDS_TRIED)
def test_every_kind_in_the_exported_encoder(kind, tmp_path):
    frame = pl.DataFrame({"k": KINDS_TRIED[kind]})
    prepare, stored = prepared(frame, tmp_path, kind)
    assert set(KINDS_TRIED) == set(kinds.KINDS)
    rows = frame.to_dicts()
    assert exported(prepare, tmp_path / "scorer").encode(rows).tolist() == stored.tolist()


TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\r\n\x00\x1f"), max_size=6)
VALUES = {
    "text": TEXT,
    "digits": st.from_regex(r"\A0{0,2}[0-9]{1,4}\Z"),
    "whole": st.integers(-(2**63), 2**63 - 1),
    "small": st.integers(-5, 5),
    "floats": st.floats(allow_nan=True, allow_infinity=False, width=64).filter(lambda v: not abs(v) > 1e29),
    "halves": st.integers(-6, 6).map(lambda v: v / 2),
    "truth": st.booleans(),
    "dates": st.dates(datetime.date(1970, 1, 1), datetime.date(2100, 1, 1)),
}


def containers(values, kind):
    """The same column, as everything that can hold it."""
    rows = [{"k": value} for value in values.to_list()]
    largest = max((abs(value) for value in values.drop_nulls() if values.dtype.is_numeric()), default=0)
    exact = not values.dtype.is_integer() or all(int(float(value)) == value for value in values.drop_nulls())
    yield "polars", pl.DataFrame({"k": values})
    if values.dtype == pl.String:
        yield "categorical", pl.DataFrame({"k": values.cast(pl.Categorical)})
    if values.dtype.is_integer() and values.null_count() == 0:
        if largest < 2**31:
            yield "narrow", pl.DataFrame({"k": values.cast(pl.Int32)})
        if exact:
            yield "floats", pl.DataFrame({"k": values.cast(pl.Float64)})
    yield "dictionaries", rows
    if kind != "dates":
        yield "JSON", json.loads(json.dumps(rows))
    if exact or values.null_count() == 0:  # beside None pandas makes floats of whole numbers
        yield "pandas", pd.DataFrame(rows)
    yield "pandas objects", pd.DataFrame(rows, dtype=object)
    yield "pandas' own types", pd.DataFrame(rows).convert_dtypes() if largest < 2**53 else None
    if kind in ("small", "halves", "truth"):  # of other text pandas makes what nobody can read back
        yield "read by pandas", pd.read_csv(StringIO(pl.DataFrame({"k": values, "other": 1}).write_csv()))
    yield "text", pl.DataFrame({"k": text_of(values)})


@pytest.mark.parametrize("kind", VALUES)
@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_equal_ids_in_every_container(kind, data, tmp_path_factory):
    """Trained on one container: the ids of all others, from the preprocessor and from the exported encoder."""
    every_container_has_the_same_ids(kind, data, tmp_path_factory.mktemp("values"))


@pytest.mark.slow
@pytest.mark.parametrize("kind", VALUES)
@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_equal_ids_in_every_container_many(kind, data, tmp_path_factory):
    every_container_has_the_same_ids(kind, data, tmp_path_factory.mktemp("values"))


FIELDS = ("category", {"kind": "hash", "buckets": 99_991}, {"kind": "bag", "separator": "\x1f"})


def every_container_has_the_same_ids(kind, data, folder):
    values = data.draw(st.lists(st.none() | VALUES[kind], min_size=1, max_size=8))
    values = [None if value in ("NA", "nan", "") else value for value in values]
    series = pl.Series("k", values, strict=True)
    if series.drop_nulls().len() == 0 or series.dtype == pl.Null or text_of(series).drop_nulls().len() == 0:
        return
    form, field = data.draw(st.sampled_from(["parquet", "csv"])), data.draw(st.sampled_from(FIELDS))
    trained = series if form == "parquet" else text_of(series)
    prepare, stored = prepared(trained.to_frame(), folder, field, form=form)
    wanted = stored[:, 0].tolist()
    assert [i <= 0 for i in wanted] == text_of(series).is_null().to_list()
    for name, rows in containers(series, kind):
        if rows is not None and not (name in ("text", "categorical") and stored_as_numbers(prepare)):
            found = prepare.encode(frame_of(rows, ["k"], []))[:, 0].tolist()
            assert found == wanted, (name, form, field, values)
    module = exported(prepare, folder / "scorer")
    for same in (series, text_of(series)):
        rows = [{"k": value} for value in same.to_list()]
        assert module.encode(rows)[:, 0].tolist() == wanted, (form, field, values)


def stored_as_numbers(prepare):
    """A column of Parquet's whole numbers takes text of whole numbers only: floats of others are refused."""
    return prepare.columns["k"] != pl.String


def columns_to_train_on(values):
    """The same column as those who train have it."""
    yield "polars", values
    yield "narrow", values.cast(pl.Int8) if values.dtype.is_integer() and values.max() < 128 else None
    yield "unsigned", values.cast(pl.UInt64) if values.dtype.is_integer() and values.min() >= 0 else None
    yield "floats", values.cast(pl.Float64) if values.dtype.is_integer() else None
    yield "single floats", values.cast(pl.Float32) if values.dtype.is_float() else None
    yield "decimals", values.cast(pl.Decimal(20, 2)) if values.dtype.is_numeric() else None
    yield "categorical", values.cast(pl.Categorical) if values.dtype == pl.String else None
    yield "text", text_of(values)


def test_whole_numbers_that_occur_equally_often_have_the_same_ids_in_every_container(tmp_path):
    """10 comes before 9, as it does where a file is text."""
    assert ties_have_the_same_ids([9, 10, 11, 9, 10, -3, 100, 2**31, 5], tmp_path)[:3, 0].tolist() == [2, 1, 5]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["small", "halves", "truth", "dates", "digits", "text"])
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_values_that_occur_equally_often_have_the_same_ids_in_every_container(kind, data, tmp_path_factory):
    many = st.integers(-20, 120) if kind == "small" else VALUES[kind]
    drawn = data.draw(st.lists(many, min_size=2, max_size=12, unique=True))
    drawn = [value for value in drawn if value not in ("NA", "nan", "")] or [1, 2]
    repeated = [value for value in drawn for _ in range(data.draw(st.integers(1, 2)))]
    ties_have_the_same_ids(repeated, tmp_path_factory.mktemp("ties"))


def ties_have_the_same_ids(values, folder):
    """Trained on text, on each type of Parquet, on each frame: the same ids of ``values``, which are returned."""
    values, table = pl.Series("k", values), Table(**{**DEFAULTS, "fields": {"k": "category"}})
    _, wanted = prepared(values.to_frame(), folder / "csv", "category", form="csv")
    for name, column in columns_to_train_on(values):
        if column is not None:
            _, stored = prepared(column.to_frame(), folder / name, "category")
            assert stored.tolist() == wanted.tolist(), (name, values)
            frame = pl.concat([column.to_frame()] * 20)
            frame = frame.with_columns(click=pl.int_range(len(frame)) % 2)
            for rows in (frame, to_polars(pd.DataFrame(frame.to_dict(as_series=False)))):
                found = table_in_memory(table, {"train": rows}, folder).x[: len(values)]
                assert found.tolist() == wanted.tolist(), (name, type(rows), values)
    return wanted


SPELT = (
    r"\A(0{0,2}[0-9]{1,3}(\.0)?|[a-c]|[Tt]rue|False|[1-9][0-9]{16,18}(\.0)?|[1-9](\.[1-9]{1,15})?e\+[0-3][0-9]{1,2})\Z"
)


@given(st.lists(st.from_regex(SPELT), min_size=1), st.text(max_size=4))
def test_a_spelling_equals_its_plain_twin(values, other):
    spelling = Spelling.of(pl.Series(values))
    words = [*values, other, "7", "7.0", "TRUE", "-3.0", "1e+16", "10000000000000000", "1e+999", "9" * 400]
    plain = [respelled(word, **asdict(spelling)) for word in words]
    assert spelling.respell(pl.Series(words)).to_list() == plain
