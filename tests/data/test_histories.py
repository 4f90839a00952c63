"""Histories: lists in the row, and lists computed from the log, against loops over its rows."""

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tables import DEFAULTS, exported, prepared

from eulernet.data import encoding, histories
from eulernet.data.dataset import Dataset, field_sizes
from eulernet.data.in_memory import table_in_memory
from eulernet.data.preprocessor import Preprocessor
from eulernet.data.sets.table import Table
from eulernet.errors import UserError
from eulernet.features import History
from eulernet.python.classifier import CTRClassifier

LOG = {"kind": "history", "by": "user", "of": "item", "order": "time", "length": 3}


def log_of(rows, seed, users=5, times=6):
    """A log in no order, in which times are often equal, some users and items are missing, and items are numbers."""
    draw = np.random.default_rng(seed)
    user = pl.Series(draw.integers(users, size=rows)).replace_strict(range(users), [None, *"abcdefghi"[: users - 1]])
    item = pl.Series(draw.integers(-1, 7, size=rows))
    return pl.DataFrame(
        {
            "user": user,
            "item": item.replace({-1: None}),
            "time": draw.integers(times, size=rows),
            "click": np.arange(rows) % 2,
        }
    )


def brute_force(log, length, clicked=False):
    """The items that a row's user had strictly before it, in order of time and then of rows: the last ``length``."""
    rows, lists = log.rows(named=True), []
    for row in rows:
        before = [
            (other["time"], i, other["item"])
            for i, other in enumerate(rows)
            if row["user"] is not None and other["user"] == row["user"] and other["time"] < row["time"]
            and other["item"] is not None and (other["click"] or not clicked)
        ]  # fmt: skip
        lists.append([item for _, _, item in sorted(before)][-length:])
    return lists


def prepare(log, folder, fields, **changes):
    """The store of a log, and of each row the items that its ids of the field ``seen`` stand for."""
    folder.mkdir(parents=True, exist_ok=True)
    log.write_parquet(folder / "log.parquet")
    store = Table(**{**DEFAULTS, "fields": fields, **changes})([folder / "log.parquet"], folder / "data", 2.0)
    return store, lists_of(Dataset.open(store), np.load(store / "x.npy"), Preprocessor.open(store).coders)


def lists_of(data, x, coders):
    coder = coders[-1]
    names = coder.names(list(range(coder.settings()["size"])))
    lists = [[None if names[i] == "rare or missing" else int(names[i]) for i in row if i >= 0] for row in x[:, 2:]]
    assert [bool(len(row) == 0) for row in lists] == [bool(row[2] < 0) for row in x]
    return lists


@pytest.mark.parametrize("clicked", [False, True])
def test_a_computed_history_is_the_brute_force_loop(tmp_path, clicked, monkeypatch):
    """Whatever the order of the rows, the blocks, the files of people and the slices that are encoded."""
    log = log_of(400, seed=1)
    fields = {"seen": {**LOG, "clicked": clicked}}
    split = {"split": "time", "split_column": "time", "ratios": [0.5, 0.25, 0.25]} if clicked else {}
    store, lists = prepare(log, tmp_path / "whole", fields, **split)
    assert lists == brute_force(log, 3, clicked)
    x = (store / "x.npy").read_bytes()
    monkeypatch.setattr(histories, "SORTING", 2**22)  # as many files as there are people, and more
    monkeypatch.setattr(encoding, "IDS_AT_ONCE", 100)
    monkeypatch.setattr(histories, "GATHERED", 16)
    parts = [log[:7], log[7:9], log[9:]]
    (tmp_path / "parts").mkdir()
    for i, part in enumerate(parts):
        part.write_parquet(tmp_path / "parts" / f"{i}.parquet")
    table = Table(**{**DEFAULTS, "fields": fields, **split})
    again = table([tmp_path / "parts"], tmp_path / "data", 2.0)
    assert (again / "x.npy").read_bytes() == x
    rows = {f"{part}.npy" for part in ("train", "valid", "test")}  # of a split that is not by ranges
    left = {path.name for path in again.iterdir()} - rows
    assert left == {"meta.json", "summary.json", "vocab", "x.npy", "y.npy"}
    data = table_in_memory(table, {"train": log}, tmp_path / "memory")
    assert data.x.numpy().tobytes() == np.load(store / "x.npy").tobytes()


@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.integers(0, 2**32), st.integers(1, 40), st.integers(1, 6), st.integers(1, 4))
def test_stretches_of_sorted_items_are_the_brute_force_lists(seed, rows, users, length):
    log = log_of(rows, seed, users)
    typed = pl.concat([histories.LogKeys(pl.col("user"), pl.col("time")).typed(log, "k", str), log], how="horizontal")
    taken = histories.rows_of(typed, "k", typed["item"].fill_null(-1).to_numpy(), 0)
    found = np.empty((rows, length), dtype=np.int32)
    made = histories.in_memory(taken, length)
    made.fill(0, found)
    wanted = brute_force(log, length)
    assert [[i for i in row if i >= 0] for row in found.tolist()] == wanted
    assert made.empty(rows) == sum(not row for row in wanted)


@pytest.mark.parametrize(
    "times",
    [
        pl.Series([0.5, -0.25, 3.0, 3.0, -1e9, 0.0, -0.0]),
        pl.Series([2**64 - 1, 2**63, 5, 5, 0, 3, 3], dtype=pl.UInt64),
        pl.Series([5, -3, 0, 0, 2**62, -(2**62), 1]),
        pl.Series([18000, -5, 3, 3, 0, 1, 1]).cast(pl.Date),
        pl.Series([5, -3, 0, 0, 2**62, 1, 1]).cast(pl.Datetime("ns")),
    ],
    ids=["floats", "unsigned", "whole", "dates", "moments"],
)
def test_times_of_any_type_keep_their_order(times):
    found = histories.whole(times, "seen").to_list()
    values = times.to_physical().to_list()
    for i, one in enumerate(values):
        assert [found[i] < other for other in found] == [one < other for other in values]


def test_times_may_be_text_and_must_be_there(tmp_path):
    log = log_of(60, seed=2)
    text = log.with_columns(time=pl.format("2026-01-0{} 10:00", pl.col("time") + 1))
    assert prepare(text, tmp_path / "text", {"seen": LOG})[1] == brute_force(log, 3)
    for value, message in (("soon", "time is 'soon'; history seen wants"), (None, "time is missing; history seen")):
        wrong = text.with_columns(time=pl.when(pl.int_range(pl.len()) == 40).then(pl.lit(value)).otherwise("time"))
        with pytest.raises(UserError, match=message):
            prepare(wrong, tmp_path / f"{value}", {"seen": LOG})


def test_a_history_knows_nothing_of_a_label_and_nothing_of_what_comes_later(tmp_path):
    """Other labels, other later rows and other rows of that moment leave a row's list as it is, whatever the split."""
    log = log_of(200, seed=3, times=30)
    first = prepare(log, tmp_path / "one", {"seen": LOG})[1]
    assert prepare(log.with_columns(click=1 - pl.col("click")), tmp_path / "labels", {"seen": LOG})[1] == first
    later = log.with_columns(item=pl.when(pl.col("time") >= 15).then(6 - pl.col("item")).otherwise("item"))
    now = prepare(later, tmp_path / "later", {"seen": LOG})[1]
    assert [one for one, time in zip(now, log["time"], strict=True) if time <= 15] == [
        one for one, time in zip(first, log["time"], strict=True) if time <= 15
    ]
    for split in ("random", "time"):
        changes = dict(split=split, split_column="time" if split == "time" else None)
        assert prepare(log, tmp_path / split, {"seen": LOG}, **changes)[1] == first


@pytest.mark.parametrize(
    ("items", "kind", "form"),
    [
        ([1, 2, 3], "category", "parquet"),
        ([1, 2, 3], {"kind": "hash", "buckets": 50}, "parquet"),
        (["a", "b", "c"], "category", "csv"),
        (["1", "2", "03"], "category", "csv"),
        (["1", "2", "03"], {"kind": "hash", "buckets": 50}, "csv"),
    ],
    ids=["whole", "whole_hashed", "text", "digits", "digits_hashed"],
)
def test_members_have_the_ids_of_the_field_that_they_are_the_same_as(items, kind, form, tmp_path):
    """As a list or as text in the row, in a frame, in dictionaries and in the exported encoder."""
    seen = ["", f"{items[0]}", f"{items[2]}|{items[0]}|{items[1]}"]
    frame = pl.DataFrame({"item": items, "seen": seen})
    fields = {"item": kind, "seen": {"kind": "history", "same_as": "item", "length": 2}}
    encoder, stored = prepared(frame, tmp_path, fields=fields, form=form)
    of = dict(zip(items, stored[:, 0].tolist(), strict=True))
    wanted = [[-1, -1], [of[items[0]], -1], [of[items[0]], of[items[1]]]]  # the last two
    assert stored[:, 1:].tolist() == wanted
    rows = [{"item": item, "seen": text} for item, text in zip(items, seen, strict=True)]
    lists = [{**row, "seen": [part for part in row["seen"].split("|") if part]} for row in rows]
    typed = [{**row, "seen": [items[[str(i) for i in items].index(part)] for part in row["seen"]]} for row in lists]
    module = exported(encoder, tmp_path / "scorer")
    assert ("seen" in module.VALUES, "item" in module.VALUES) == (False, kind == "category")
    for given_ in (rows, lists, typed):
        assert module.encode(given_).tolist() == stored.tolist()
        assert encoder.encode(pl.DataFrame(given_, strict=False)).tolist() == stored.tolist()
    strange = [{"item": items[0], "seen": ["never", items[1], None]}]
    assert (
        module.encode(strange)[0, 1:].tolist()
        == encoder.encode(pl.DataFrame({"item": items[:1], "seen": [["never", str(items[1]), None]]}))[0, 1:].tolist()
    )
    assert encoder.meta["fields"][1]["size"] == encoder.meta["fields"][0]["size"]
    size = field_sizes(encoder.meta)[1]
    assert (type(size), size.same_as, size.length) == (History, 0, 2)


def test_the_list_of_a_row_to_score_is_in_the_row(tmp_path):
    log = log_of(100, seed=4)
    store, lists = prepare(log, tmp_path, {"seen": LOG})
    encoder, stored = Preprocessor.open(store), np.load(store / "x.npy")
    rows = log.drop("time", "click").with_columns(seen=pl.Series(lists))
    assert encoder.encode(rows).tolist() == stored.tolist()
    rows.write_parquet(tmp_path / "rows.parquet")
    text = rows.with_columns(pl.col("seen").list.eval(pl.element().cast(pl.String)).list.join("|"))
    text.write_csv(tmp_path / "rows.csv")
    for file in ("rows.parquet", "rows.csv"):
        found = np.concatenate([encoder.encode(piece.frame()) for piece in encoder.read([tmp_path / file], 1 << 20)])
        assert found.tolist() == stored.tolist(), file
    assert [column for column in encoder.describe() if column["name"] == "seen"] == [
        {"name": "seen", "type": "a list or text", "required": True, "fields": ["seen"]}
    ]
    with pytest.raises(UserError, match="no column 'seen'"):  # not scored as if nobody had had anything
        encoder.encode(rows.drop("seen"))
    with pytest.raises(UserError, match="column item of type List"):
        encoder.encode(rows.with_columns(item="seen"))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"seen": {**LOG, "length": 0}}, r"fields\.seen\.length=0: should be a whole number from 1"),
        ({"seen": {**LOG, "length": 1 << 16}}, r"should be a whole number from 1, below 65536"),
        ({"seen": {**LOG, "by": "click"}}, r"fields\.seen\.by: click is the label; a history by it would give"),
        ({"seen": {**LOG, "order": "click"}}, r"fields\.seen\.order: click is the label"),
        ({"seen": {**LOG, "order": "tim"}}, r"fields\.seen\.order: no column 'tim'"),
        ({"seen": {**LOG, "by": "usr"}}, r"fields\.seen\.by: no column 'usr'"),
        ({"seen": {**LOG, "of": "itm"}}, r"fields\.seen\.of: 'itm' is no field of the kind category or hash"),
        ({"seen": {**LOG, "of": "item"}, "item": "number"}, r"fields\.seen\.of: 'item' is no field"),
        ({"seen": {key: LOG[key] for key in LOG if key != "order"}}, "takes by, of and order; give order"),
        ({"seen": {**LOG, "same_as": "user"}}, "its items are those of item, so same_as cannot be user"),
        ({"seen": {**LOG, "kind": "bag"}}, "by, of and order go with kind: history"),
        ({"user": LOG}, "there is a column user; give a history from the log another name"),
        ({"user": {"kind": "history", "same_as": "nothing"}}, r"fields\.user\.same_as: 'nothing' is no field"),
        ({"seen": {**LOG, "lenght": 3}}, "no setting 'lenght'.*length"),
        ({"seen": "history"}, "no column 'seen'"),
        ({"seen": {**LOG, "order": "user"}}, "user is '.*'; history seen wants a number, or a time"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(fields, message, tmp_path):
    with pytest.raises(UserError, match=message) as refused:
        prepare(log_of(30, seed=5).fill_null("a"), tmp_path, fields)
    assert "\n" not in str(refused.value)
    assert list((tmp_path / "data").rglob("x.npy")) == []


def test_a_classifier_takes_lists_in_a_column():
    log = log_of(40, seed=7)
    rows = log.select("user", pl.col("item").cast(pl.String), seen=pl.Series([["1", "2", "3"], [], None, ["3"]] * 10))
    kind = {"kind": "history", "same_as": "item", "length": 2}
    made = CTRClassifier("lr", fields={"seen": kind}, max_epochs=1).fit(rows, log["click"])
    assert made.predict_proba(rows).shape == (40, 2)
    last = pl.DataFrame({"user": ["a"] * 4, "item": ["2", "3", "1", "1"], "seen": rows["seen"][:4]})
    ids = made.predictor_.encode(last)
    assert ids[:, 2:].tolist() == [[ids[0, 1], ids[1, 1]], [-1, -1], [-1, -1], [ids[1, 1], -1]]
    with pytest.raises(UserError, match="a history from the log is no column of X"):
        CTRClassifier("lr", fields={"seen": LOG}, max_epochs=1).fit(log.drop("click"), log["click"])


@pytest.mark.parametrize("split", ["random", "paper"])
def test_clicked_histories_want_a_split_that_a_label_cannot_cross(split, tmp_path):
    """A shuffled split would show a training row whether an earlier test row was a click."""
    with pytest.raises(UserError, match=rf"clicked=true with dataset.split={split}: training rows would know"):
        prepare(log_of(30, seed=6), tmp_path, {"seen": {**LOG, "clicked": True}}, split=split)


def test_clicked_histories_go_with_frames_of_their_own_for_each_split(tmp_path):
    """Nothing is shuffled then; but whoever gave them may have split the log so that training rows come last."""
    log = log_of(60, seed=6).sort("time")
    parts = {"train": log[:40], "valid": log[40:50], "test": log[50:]}
    table = Table(**{**DEFAULTS, "fields": {"seen": {**LOG, "clicked": True}}, "split": "random"})
    data = table_in_memory(table, parts, tmp_path)
    assert [len(data.splits[part]) for part in parts] == [40, 10, 10]
    with pytest.raises(UserError, match="training rows come after others in time and would know their labels"):
        table_in_memory(table, {"train": log[20:], "valid": log[:10], "test": log[10:20]}, tmp_path)
    with pytest.raises(UserError, match=r"give dataset.split=time dataset.split_column=time"):
        prepare(log_of(60, seed=6), tmp_path, table.fields, split="chronological")
