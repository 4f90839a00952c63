"""Anybody's log: what is inferred, what can be said, how it is split, and what is refused."""

import gzip
import json

import numpy as np
import polars as pl
import pytest
import torch
import yaml
from conftest import REPOSITORY, rows_of

from eulernet.data.dataset import Dataset
from eulernet.data.prepare import prepare_quietly
from eulernet.data.sets.table import Kdd12, Table
from eulernet.errors import UserError
from eulernet.features import Bag, Number

DEFAULTS = yaml.safe_load((REPOSITORY / "conf" / "dataset" / "table.yaml").read_text())
DEFAULTS.pop("name")
ROWS = 200


@pytest.fixture
def frame():
    """A log with a column of every kind, in time order."""
    draw = np.random.default_rng(0)
    return pl.DataFrame(
        {
            "time": [f"2026-01-{1 + i // 10:02}" for i in range(ROWS)],
            "user": [f"0{i % 7}" for i in range(ROWS)],  # text: the zero counts
            "shop": [None if i % 10 == 0 else i % 4 for i in range(ROWS)],
            "price": [None if i % 9 == 0 else round(float(draw.normal(10, 2)), 3) for i in range(ROWS)],
            "views": (draw.pareto(1, ROWS) * 10).astype(int),
            "tags": [None if i % 5 == 0 else "|".join("abc"[: i % 4]) for i in range(ROWS)],
            "click": draw.integers(0, 2, ROWS),
        }
    )


@pytest.fixture
def log(frame, tmp_path):
    file = tmp_path / "log.csv"
    frame.write_csv(file)
    return file


def make(raw, **settings):
    files = raw if isinstance(raw, list) else [raw]
    return Dataset.open(Table(**{**DEFAULTS, **settings})(files, files[0].parent / "data", 2.0))


def test_kdd12_is_a_table_with_a_name_of_its_own(tmp_path):
    """Quoted ids, and a hash in both of its spellings: every column but the label is a category."""
    file, columns = tmp_path / "clicks.csv", ["click", "impression", "url_hash", "ad_id", "depth", "user_id"]
    rows = [[i % 2, 1 + i % 3, "10710025208886284288" if i % 2 else "1.42e+19", i, 3, i % 4] for i in range(40)]
    lines = [",".join(f'"{cell}"' for cell in row) for row in [columns, *rows]]
    file.write_text("\n".join(lines) + "\n")
    settings = yaml.safe_load((REPOSITORY / "conf" / "dataset" / "kdd12.yaml").read_text())
    assert settings.pop("defaults") == ["table", "_self_"]
    assert settings.pop("name") == "kdd12"
    data = Dataset.open(Kdd12(**{**DEFAULTS, **settings})([file], tmp_path / "data", 2.0))
    assert data.name == "kdd12"
    assert {field["name"]: field["kind"] for field in data.meta["fields"]} == dict.fromkeys(columns[1:], "category")
    assert sum(len(split) for split in data.splits.values()) == 40


def test_types_are_inferred_and_shown(log, caplog):
    caplog.set_level("INFO")
    data = make(log)
    kinds = {field["name"]: field["kind"] for field in data.meta["fields"]}
    assert kinds == {
        "time": "category", "user": "category", "shop": "category", "price": "number", "views": "category",
        "tags": "category",
    }  # fmt: skip
    assert "price: number (" in caplog.text
    assert data.field_sizes[1] == 8
    caplog.clear()
    cfg = {"dataset": {**DEFAULTS, "name": "table"}, "raw": str(log), "data_dir": str(log.parent / "b"), "memory": 2.0}
    assert prepare_quietly(cfg).name == data.folder.name
    assert [record.message.split()[0] for record in caplog.records] == ["prepared"]  # and no kinds, where many are made
    vocabulary = pl.read_parquet(data.folder / "vocab" / "user.parquet")["value"]
    assert set(vocabulary) == {f"0{i}" for i in range(7)}


def test_every_kind_can_be_said(log, frame):
    fields = {
        "user": {"kind": "category", "min_count": 29},
        "shop": "category",
        "price": {"kind": "number", "standardise": False},
        "views": "log_square",
        "tags": {"kind": "bag", "length": 2, "pooling": "sum"},
    }
    data = make(log, fields=fields, only=list(fields), split="chronological", vocabulary="all")
    assert data.fields == list(fields)
    assert data.field_sizes[2:3] + data.field_sizes[4:] == [Number(), Bag(4, 2, "sum")]
    x = torch.cat([rows_of(split) for split in data.splits.values()])
    user = frame["user"].to_list()
    assert [i == 0 for i in x[:, 0].tolist()] == [user.count(value) < 29 for value in user]
    assert [i == 0 for i in x[:, 1].tolist()] == [value is None for value in frame["shop"]]
    numbers = x[:, 2].view(torch.float32).tolist()
    assert numbers == [np.float32(value or 0) for value in frame["price"]]
    pairs = {(v if v <= 2 else int(np.ceil(np.log(v) ** 2 + 1)), i) for v, i in zip(frame["views"], x[:, 3].tolist(),
                                                                                  strict=True)}  # fmt: skip
    assert len(pairs) == len({bucket for bucket, _ in pairs}) == len({i for _, i in pairs})
    id_of = dict(pl.read_parquet(data.folder / "vocab" / "tags.parquet").iter_rows())
    bags = [[id_of[tag] for tag in (tags or "").split("|") if tag][:2] for tags in frame["tags"]]
    assert x[:, 4:].tolist() == [bag + [-1] * (2 - len(bag)) for bag in bags]


def test_quantiles_are_cut_on_training_rows(log, frame):
    data = make(log, fields={"price": {"kind": "quantiles", "classes": 4}}, only=["price"], split="chronological")
    x = rows_of(data.train)[:, 0]
    assert np.bincount(x)[0] == frame["price"][: len(x)].null_count()
    assert np.ptp(np.bincount(x)[1:]) <= 1


@pytest.mark.parametrize("form", ["tsv", "semicolons", "gz", "parquet", "folder of parquet", "no header", "quoted"])
def test_every_form_gives_the_same_rows(log, frame, form, tmp_path):
    plain, settings = make(log), {}
    folder = tmp_path / "other"
    folder.mkdir()
    other = folder / "log.csv"
    if form == "tsv":
        frame.write_csv(other, separator="\t")
    elif form == "semicolons":
        frame.write_csv(other, separator=";")
    elif form == "gz":
        other = folder / "log.csv.gz"
        other.write_bytes(gzip.compress(log.read_bytes()))
    elif form == "parquet":
        other = folder / "log.parquet"
        frame.write_parquet(other)
    elif form == "folder of parquet":
        other = folder
        for i in range(4):
            frame[i * 50 : (i + 1) * 50].write_parquet(folder / f"part-{i}.parquet")
        (folder / "_SUCCESS").touch()
    elif form == "no header":
        frame.write_csv(other, include_header=False)
        settings = {"columns": frame.columns}
    elif form == "quoted":
        frame.write_csv(other, quote_style="always")
    data = make(other, **settings)
    for part, split in data.splits.items():
        assert torch.equal(split.labels, plain.splits[part].labels)
        for got, want in zip(rows_of(split).T.tolist(), rows_of(plain.splits[part]).T.tolist(), strict=True):
            # Parquet's whole numbers are not text: equally frequent ones may be numbered in another order.
            assert len(set(zip(got, want, strict=True))) == len(set(got)) == len(set(want))


def test_a_cell_may_hold_separators_quotes_and_line_ends(tmp_path, monkeypatch):
    """Whatever the cells hold and wherever a block ends, rows come out as they went in."""
    from eulernet.data import raw

    monkeypatch.setattr(raw, "SMALLEST_BLOCK", 64)
    words = ["plain", "with, comma", 'with "quotes"', "two\nlines", "", "é\n,\n", "\n\n"]
    frame = pl.DataFrame({"click": [i % 2 for i in range(300)], "word": [words[i % 7] for i in range(300)]})
    file = tmp_path / "log.csv"
    frame.write_csv(file)
    data = Dataset.open(Table(**{**DEFAULTS, "split": "chronological"})([file], tmp_path / "data", 1e-9))
    word_of = {i: word for word, i in pl.read_parquet(data.folder / "vocab" / "word.parquet").iter_rows()}
    x = torch.cat([rows_of(split) for split in data.splits.values()])[:, 0].tolist()
    assert [word_of.get(i, "") for i in x] == frame["word"].to_list()


def test_a_rating_becomes_a_click_and_booleans_are_labels(frame, tmp_path):
    frame = frame.with_columns(stars=pl.col("click") * 3 + 1, seen=pl.col("click") == 1)
    frame.write_parquet(tmp_path / "log.parquet")
    a = make(tmp_path / "log.parquet", only=["user"])
    b = make(tmp_path / "log.parquet", only=["user"], label="stars", label_from=4.0)
    c = make(tmp_path / "log.parquet", only=["user"], label="seen")
    for part in a.splits:
        assert torch.equal(a.splits[part].labels, b.splits[part].labels)
        assert torch.equal(a.splits[part].labels, c.splits[part].labels)


def test_a_split_by_time_never_trains_on_what_comes_later(frame, tmp_path):
    shuffled = frame.sample(fraction=1, shuffle=True, seed=3)
    shuffled.write_csv(tmp_path / "log.csv")
    data = make(tmp_path / "log.csv", split="time", split_column="time", ratios=[0.7, 0.15, 0.15])
    assert "time" not in data.fields
    days = {part: shuffled["time"].gather(data.splits[part].order.numpy()) for part in data.splits}
    assert max(days["train"]) < min(days["valid"]) <= max(days["valid"]) < min(days["test"])
    assert len(days["train"]) == 140
    assert len(days["valid"]) == 30
    numbers = shuffled.with_columns(time=pl.col("time").str.slice(8).cast(pl.Int32))  # 9 before 10, not after "1"
    (tmp_path / "b").mkdir()
    numbers.write_csv(tmp_path / "b" / "log.csv")
    again = make(tmp_path / "b" / "log.csv", split="time", split_column="time", ratios=[0.7, 0.15, 0.15])
    assert torch.equal(again.train.order, data.train.order)


def test_a_split_by_a_columns_values(log, frame):
    values = {"train": ["00", "01", "02", "03"], "valid": ["04"], "test": ["05", "06"]}
    data = make(log, split="column", split_column="user", split_values=values)
    for part, users in values.items():
        assert set(frame["user"].gather(data.splits[part].order.numpy())) == set(users)
    with pytest.raises(UserError, match=r"user is '06' in some rows; put it into dataset.split_values"):
        make(log, split="column", split_column="user", split_values={**values, "test": ["05"]})


def test_a_split_by_files(frame, tmp_path):
    folder = tmp_path / "parts"
    folder.mkdir()
    for name, rows in {"test": (0, 50), "train_1": (50, 100), "train_2": (100, 150), "val": (150, 200)}.items():
        frame[rows[0] : rows[1]].write_csv(folder / f"{name}.csv")
    data = Dataset.open(Table(**{**DEFAULTS, "split": "files"})([folder], tmp_path / "data", 2.0))
    assert {part: len(split) for part, split in data.splits.items()} == {"train": 100, "valid": 50, "test": 50}
    labels = frame["click"].to_list()
    assert data.train.labels.tolist() == labels[50:150]
    assert data.test.labels.tolist() == labels[:50]


def test_a_random_split_has_about_the_shares_that_were_asked_for(frame, tmp_path):
    pl.concat([frame] * 50).write_csv(tmp_path / "log.csv")
    data = make(tmp_path / "log.csv", ratios=[0.6, 0.3, 0.1])
    shares = [len(split) / (50 * ROWS) for split in data.splits.values()]
    assert shares == pytest.approx([0.6, 0.3, 0.1], abs=0.02)
    rows = torch.cat([split.order for split in data.splits.values()])
    assert sorted(rows.tolist()) == list(range(50 * ROWS))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (dict(label="clik"), r"dataset.label: no column 'clik'; did you mean 'click'\?"),
        (dict(ignore=["prize"]), r"dataset.ignore: no column 'prize'; did you mean 'price'\?"),
        (dict(fields={"prize": "number"}), r"dataset.fields: no column 'prize'"),
        (dict(fields={"price": "numeric"}), r"unknown kind of dataset.fields.price 'numeric'; did you mean 'number'\?"),
        (dict(fields={"price": {"kind": "number", "scale": 1}}), r"fields.price: no setting 'scale'"),
        (dict(fields={"price": {"classes": 5}}), r"fields.price: give a kind"),
        (dict(fields={"price": {"kind": "quantiles", "classes": 1}}), r"classes=1: should be a whole number from 2"),
        (dict(fields={"tags": {"kind": "bag", "pooling": "max"}}), r"pooling=max: should be mean or sum"),
        (dict(fields={"user": {"kind": "number"}, "tags": "number"}), r"log.csv, line \d+: tags is '.*', not a number"),
        (dict(fields={"price": "log_square"}), r"log.csv, line 3: price is '.*', not a whole number"),
        (dict(split="time"), r"dataset.split=time goes by a column: give dataset.split_column"),
        (dict(split="time", split_column="tme"), r"dataset.split_column: no column 'tme'; did you mean 'time'"),
        (dict(split_column="time"), r"dataset.split=random goes by no column; give dataset.split=time"),
        (dict(split_values={"train": ["a"]}), r"dataset.split_values goes with dataset.split=column"),
        (dict(split="time", split_column="click"), r"dataset.split_column: click is the label"),
        (dict(split="time", split_column="clock"), r"dataset.split_column: no column 'clock'; did you mean 'click'\?"),
        (dict(split="weekly"), r"unknown dataset.split 'weekly'"),
        (dict(split="column", split_column="user"), r"dataset.split_values must name train, valid, test"),
        (dict(split="files"), r"should begin with train, valid or test"),
        (dict(ratios=[0.5, 0.5]), r"dataset.ratios must be three shares"),
        (dict(vocabulary="some"), r"unknown dataset.vocabulary 'some'"),
        (dict(label="shop"), r"log.csv, line 2: the label is missing, it should be 0 or 1"),
        (dict(min_count=0), r"min_count must be at least 1, got 0"),
        (dict(only=[]), r"there is no field to learn from"),
        (dict(columns=["a", "b"]), r"log.csv, line 1: 7 columns where 2 belong"),
        (dict(columns=["a"] * 7), r"dataset.columns: a name is there twice"),
        (dict(fields={"click": "category"}), r"click is the label; as a field it would give the answer away"),
        (dict(fields={"user": "category"}, ignore=["user"]), r"dataset.ignore leaves out user, which dataset.fields"),
        (dict(fields={"user": "category"}, only=["shop"]), r"dataset.only leaves out user, which dataset.fields"),
        (dict(separator="::"), r"dataset.separator=::: give one character"),
        (dict(split_seed=-1), r"dataset.split_seed must not be negative"),
        (dict(split="time", split_column="user", ratios=[1, 0, 0]), r"three shares"),
        (
            dict(split="time", split_column="tags"),
            r"log.csv, line 2: tags is missing; split=time wants a number, or a time",
        ),
    ],
)
def test_impossible_settings(log, settings, message):
    with pytest.raises(UserError, match=message):
        make(log, **settings)
    assert not (log.parent / "data").exists()


def test_files_with_other_columns_are_refused(frame, tmp_path):
    folder = tmp_path / "parts"
    folder.mkdir()
    frame.write_csv(folder / "train.csv")
    frame.reverse().write_csv(folder / "valid.csv")
    frame.drop("price").write_csv(folder / "test.csv")
    with pytest.raises(UserError, match=r"test.csv: no column 'price'"):
        Table(**{**DEFAULTS, "split": "files"})([folder], tmp_path / "data", 2.0)
    frame.select(reversed(frame.columns)).write_csv(folder / "test.csv")  # another order is no harm
    Table(**{**DEFAULTS, "split": "files"})([folder], tmp_path / "data", 2.0)


NAMES = [
    "len",
    "training",
    "label",
    "key",
    "value",
    "f0",
    "a/b",
    "../up",
    "名前",
    "a b",
    "rows",
    "id",
    "%",
    "split key",
]


def test_columns_may_be_called_anything(tmp_path):
    """Names of our own making, of polars' and of paths: each is a field like any other."""
    frame = pl.DataFrame({name: [f"v{(i + j) % 5}" for i in range(100)] for j, name in enumerate(NAMES)})
    frame = frame.with_columns(done=pl.Series([i % 2 for i in range(100)]))
    frame.write_csv(tmp_path / "log.csv")
    data = make(tmp_path / "log.csv", label="done")
    assert data.fields == NAMES
    assert data.field_sizes == [6] * len(NAMES)
    assert {file.parent.name for file in data.folder.rglob("*.parquet")} == {"vocab"}
    assert not list(tmp_path.rglob("up*"))


@pytest.mark.parametrize("name", ["*", "^u.*$"])
def test_a_name_that_is_a_pattern_is_refused(tmp_path, name):
    pl.DataFrame({"click": [0, 1], name: ["a", "b"]}).write_csv(tmp_path / "log.csv")
    with pytest.raises(UserError, match="a name like this stands for other columns"):
        make(tmp_path / "log.csv")


def test_the_column_of_a_split_by_time_may_be_a_field_too(tmp_path):
    """As a field it is a category; the split compares numbers: 9 comes before 10."""
    order = np.random.default_rng(1).permutation(200)
    pl.DataFrame({"time": order, "click": order % 2}).write_csv(tmp_path / "log.csv")
    data = make(tmp_path / "log.csv", split="time", split_column="time", fields={"time": "category"}, vocabulary="all")
    times = [order[split.order] for split in data.splits.values()]
    assert times[0].max() < times[1].min() <= times[1].max() < times[2].min()
    assert data.field_sizes == [201]


def test_a_table_of_numbers_only_trains(tmp_path, frame):
    frame.select("price", "click").write_csv(tmp_path / "log.csv")
    data = make(tmp_path / "log.csv")
    data.copy_preprocessor(tmp_path / "run")
    assert (tmp_path / "run" / "meta.json").is_file()


@pytest.mark.parametrize("price", ["inf", "-inf", "1e39"])
def test_a_number_out_of_bounds_is_named_wherever_it_is(frame, tmp_path, price):
    frame.select("price", "click").write_csv(tmp_path / "log.csv")
    with (tmp_path / "log.csv").open("a") as stream:
        stream.write(f"{price},1\n")  # the last row: no training row of this split
    with pytest.raises(
        UserError, match=r"log.csv, line 202: field price: -?(inf|1e\+39) is not a number to learn from"
    ):
        make(tmp_path / "log.csv", split="chronological")


def test_a_constant_number_stays_harmless(tmp_path):
    pl.DataFrame({"n": [1234567.8] * 99 + [1234568.8], "click": [0, 1] * 50}).write_csv(tmp_path / "log.csv")
    data = make(tmp_path / "log.csv", split="chronological")
    assert rows_of(data.test)[:, 0].view(torch.float32).abs().max() <= 1.0


def test_empty_parts_are_left_out_and_empty_words_are_missing_in_parquet_too(frame, tmp_path):
    folder = tmp_path / "parts"
    folder.mkdir()
    frame = frame.with_columns(user=pl.Series(["", "NA", None, "x"] * 50))
    frame.head(0).write_parquet(folder / "part-0.parquet")
    frame.write_parquet(folder / "part-1.parquet")
    (folder / "part-2.parquet").touch()
    data = Dataset.open(Table(**{**DEFAULTS, "only": ["user"]})([folder], tmp_path / "data", 2.0))
    assert data.field_sizes == [2]


def test_wholeness_is_asked_of_parquet_numbers_as_of_text(frame, tmp_path):
    frame.with_columns(views=pl.Series([1.0] * 150 + [1.5] * 50)).write_parquet(tmp_path / "log.parquet")
    with pytest.raises(UserError, match=r"log.parquet, row 151: views is 1.5, not a whole number"):
        make(tmp_path / "log.parquet", fields={"views": "log_square"})


def test_a_line_after_cells_with_line_ends_is_counted_in_lines(tmp_path):
    rows = ['"two\nlines",1', "plain,0"] * 30
    (tmp_path / "log.csv").write_text("\n".join(["word,click", *rows, "word,7"]) + "\n")
    with pytest.raises(UserError, match=r"log.csv, line 92: the label is 7"):
        make(tmp_path / "log.csv")


@pytest.mark.parametrize("cell", ['"never closed', '5" screen', '27" a 24" b'])
def test_a_stray_quote_is_named_or_taken_as_a_character(tmp_path, cell):
    lines = ["word,click", *(f"plain,{i % 2}" for i in range(3000))]
    lines[52] = f"{cell},1"
    (tmp_path / "log.csv").write_text("\n".join(lines) + "\n")
    data = make(tmp_path / "log.csv", quote=None, vocabulary="all")
    assert cell in pl.read_parquet(data.folder / "vocab" / "word.parquet")["value"].to_list()
    if cell.startswith("27"):  # two in the midst of a cell are characters anyway
        make(tmp_path / "log.csv")
        return
    with pytest.raises(UserError, match=r"log.csv, line 53: ") as refused:
        make(tmp_path / "log.csv")
    assert len(str(refused.value)) < 400


def test_a_folder_is_read_without_what_eulernet_left_in_it(frame, tmp_path):
    frame.write_csv(tmp_path / "log.csv")
    first = Table(**DEFAULTS)([tmp_path], tmp_path / "data", 2.0)
    assert Table(**DEFAULTS)([tmp_path], tmp_path / "data", 2.0) == first
    (tmp_path / "odd [1].csv").write_bytes((tmp_path / "log.csv").read_bytes())
    Table(**DEFAULTS)([tmp_path / "odd [1].csv"], tmp_path / "data [2]", 2.0)
    with pytest.raises(UserError, match="is there twice"):
        Table(**DEFAULTS)([tmp_path / "log.csv", tmp_path / "log.csv"], tmp_path / "data", 2.0)


def test_digits_are_a_category_however_many(tmp_path):
    ids = [str(2**63 + i % 9) for i in range(100)]
    pl.DataFrame({"id": ids, "click": [i % 2 for i in range(100)]}).write_csv(tmp_path / "log.csv")
    assert make(tmp_path / "log.csv").field_sizes == [10]


@pytest.mark.parametrize(
    "times", [["2026-01-01T10:00:00+09:00", "2026-01-01T10:00:00"], ["1/10/2026"], [float("nan"), 1.0, 2.0]]
)
def test_times_that_do_not_sort_are_refused(tmp_path, times):
    rows = [times[i % len(times)] for i in range(60)]
    pl.DataFrame({"t": rows, "user": rows, "click": [i % 2 for i in range(60)]}).write_parquet(tmp_path / "log.parquet")
    with pytest.raises(
        UserError, match=r"log.parquet, row \d: t is .*; split=time wants a number, or a time as others of the column"
    ):
        make(tmp_path / "log.parquet", split="time", split_column="t", fields={"user": "category"})


def test_empty_bags_count_as_missing(tmp_path):
    tags = [["a", "b"], [], None, ["a"]] * 25
    pl.DataFrame({"tags": tags, "click": [i % 2 for i in range(100)]}).write_parquet(tmp_path / "log.parquet")
    data = make(tmp_path / "log.parquet", split="chronological")
    summary = json.loads((data.folder / "summary.json").read_text())
    assert summary["fields"]["tags"]["missing"] == 0.5


def test_a_part_is_one_value_or_several(log, frame):
    values = {"train": ["00", "01", "02", "03", "04"], "valid": "05", "test": "06"}
    data = make(log, split="column", split_column="user", split_values=values)
    assert set(frame["user"].gather(data.valid.order.numpy())) == {"05"}


def test_parts_may_differ_in_the_width_of_their_numbers(tmp_path):
    folder = tmp_path / "parts"
    folder.mkdir()
    for name, dtype, start in (("a", pl.Int32, 0), ("b", pl.Int64, 2**40)):
        frame = pl.DataFrame({"item": pl.Series([start + i % 5 for i in range(50)], dtype=dtype), "click": [0, 1] * 25})
        frame.write_parquet(folder / f"{name}.parquet")
    data = Dataset.open(Table(**{**DEFAULTS, "vocabulary": "all"})([folder], tmp_path / "data", 2.0))
    assert data.field_sizes == [11]
