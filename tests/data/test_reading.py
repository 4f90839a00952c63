"""Raw files as people have them: none of their rows is lost or doubled without a word, and each mistake is one line."""

import bz2
import gzip
import io
import json
import lzma
import os
import runpy
import shutil
import tarfile
import zipfile

import numpy as np
import polars as pl
import pytest
import torch
import yaml
from conftest import REPOSITORY, rows_of

from eulernet.data import raw, splits
from eulernet.data.dataset import Dataset
from eulernet.data.find import find, natural
from eulernet.data.frames import frame_of
from eulernet.data.in_memory import table_in_memory
from eulernet.data.lines import Format
from eulernet.data.preprocessor import Preprocessor
from eulernet.data.rows import quoting
from eulernet.data.sets.table import Table, part_of
from eulernet.data.store import vocabulary_file
from eulernet.errors import UserError

DEFAULTS = yaml.safe_load((REPOSITORY / "conf" / "dataset" / "table.yaml").read_text())
DEFAULTS.pop("name")


def make(given, tmp_path, **settings):
    files = given if isinstance(given, list) else [given]
    return Dataset.open(Table(**{**DEFAULTS, "split": "chronological", **settings})(files, tmp_path / "data", 2.0))


def written(data, field):
    """What a field of text says in every row, in the order of the files."""
    word_of = {i: word for word, i in pl.read_parquet(data.folder / vocabulary_file(field)).iter_rows()}
    column = data.fields.index(field)
    return [word_of.get(i) for i in torch.cat([rows_of(split) for split in data.splits.values()])[:, column].tolist()]


def summary(data):
    return json.loads((data.folder / "summary.json").read_text())


def csv(rows=200, start=0):
    return "click,word\n" + "".join(f"{i % 2},w{(i * 7 + start) % 11}\n" for i in range(start, start + rows))


@pytest.fixture
def plain(tmp_path):
    (tmp_path / "plain").mkdir()
    file = tmp_path / "plain" / "log.csv"
    file.write_text(csv())
    return file


# Quotes in cells, and rows counted twice.


def test_quotes_behind_a_backslash_as_spark_writes_them(tmp_path):
    words = ['a 5\\" disk', "plain", 'back \\\\ and \\"x\\", y', 'two\nlines \\"', "C:\\dir"]
    lines = [f'{i % 2},"{words[i % 5]}",1\n' for i in range(400)]
    (tmp_path / "log.csv").write_text("click,word,other\n" + "".join(lines))
    data = make(tmp_path / "log.csv", tmp_path, vocabulary="all")
    want = ['a 5" disk', "plain", 'back \\ and "x", y', 'two\nlines "', "C:\\dir"]
    assert written(data, "word") == [want[i % 5] for i in range(400)]
    assert data.meta["raw"]["escape"] == "\\"
    again = make(tmp_path / "log.csv", tmp_path / "b", vocabulary="all", escape="\\")
    assert again.digest == data.digest


def test_an_exported_encoder_reads_a_backslash_before_a_quote(tmp_path):
    lines = ['a,"x 5\\" y, z",C:\\d', '"b ""q""\\\\","\\\\",\\\\s']
    (tmp_path / "log.csv").write_text("\n".join(["p,q,r", *lines]) + "\n")
    form = Format(dict.fromkeys("pqr", pl.String), ",", header=True, quote='"', escape="\\")
    (piece,) = raw.read([tmp_path / "log.csv"], form, 1 << 30)
    described = {"separator": ",", "quote": '"', "escape": "\\", "names": None, "missing": []}
    (tmp_path / "fields.json").write_text(json.dumps({"raw": described, "fields": []}))
    (tmp_path / "vocabularies.json").write_text("{}")
    shutil.copy(REPOSITORY / "eulernet" / "exporting" / "encode.py", tmp_path)
    encode = runpy.run_path(str(tmp_path / "encode.py"))
    assert encode["read"](tmp_path / "log.csv") == piece.frame().to_dicts()
    assert piece.frame()["q"].to_list() == ['x 5" y, z', "\\"]


def test_a_backslash_before_a_quote_that_is_no_escape_stays(tmp_path):
    words = ['"C:\\"', '"he said \\"""', '"x"']
    (tmp_path / "log.csv").write_text("click,word\n" + "".join(f"{i % 2},{words[i % 3]}\n" for i in range(60)))
    data = make(tmp_path / "log.csv", tmp_path, vocabulary="all")
    assert written(data, "word") == [["C:\\", 'he said \\"', "x"][i % 3] for i in range(60)]
    assert "escape" not in data.meta["raw"]


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        ('"a 5\\" disk"', r"line 3: \\\" in a cell; dataset.escape='\\' reads that"),
        ('5" disk', r"line 3: a \" that does not stand around a whole cell; dataset.quote=null"),
        ('"a" b', r"line 3: a \" that does not stand around a whole cell"),
    ],
)
def test_a_quote_that_makes_two_lines_one_row_is_named(tmp_path, monkeypatch, cell, message):
    monkeypatch.setattr(raw, "escape_of", lambda file, form: None)
    (tmp_path / "log.csv").write_text("click,word\n" + f"1,x\n0,{cell}\n" * 100)
    with pytest.raises(UserError, match=f"log.csv, {message}"):
        make(tmp_path / "log.csv", tmp_path)
    assert not (tmp_path / "data").exists()


def test_the_scanner_counts_rows_as_pythons_csv_does():
    import csv as python

    draw = np.random.default_rng(0)
    for _ in range(300):
        cells = ["".join(draw.choice(list('ab,;"\n'), draw.integers(0, 5))) for _ in range(6)]
        stream = io.StringIO()
        python.writer(stream, lineterminator="\n").writerows([cells[:3], cells[3:]])
        text = stream.getvalue().encode()
        assert quoting(",", '"').count(text) == (2, 4)
        assert [text[a:b] for a, b in quoting(",", '"').rows(text, blank=True)] == [
            row.encode() for row in _rows_by_hand(stream.getvalue())
        ]


def _rows_by_hand(text):
    rows, row, inside = [], "", False
    for letter in text:
        row += letter
        inside ^= letter == '"'
        if letter == "\n" and not inside:
            rows.append(row)
            row = ""
    return rows


def test_a_blank_line_is_no_row_but_in_a_file_of_one_column(plain, tmp_path):
    want = written(make(plain, tmp_path), "word")
    text = csv()
    plain.write_text("\n" + text.replace("1,w7\n", "1,w7\n\n\r\n", 1) + "\n\n")
    assert written(make(plain, tmp_path), "word") == want
    form = Format({"c": pl.String}, ",", header=True, quote='"')
    (tmp_path / "one.csv").write_text("c\na\nb\n\n")
    (piece,) = raw.read([tmp_path / "one.csv"], form, 1 << 30)
    assert piece.frame()["c"].to_list() == ["a", "b", None]
    assert piece.where(2).endswith("one.csv, line 4")


def test_lines_are_numbered_with_blank_ones(tmp_path):
    (tmp_path / "log.csv").write_text("click,word\n\n1,x\n\n0,y\n2,z\n")
    with pytest.raises(UserError, match=r"log.csv, line 6: the label is 2"):
        make(tmp_path / "log.csv", tmp_path)


@pytest.mark.parametrize("number", [" 1.5", "1.5 ", "1.5"])
def test_blanks_around_numbers_are_none_of_them(tmp_path, number):
    lines = [f"{i % 2} ,{number if i == 5 else i}\n" for i in range(100)]
    (tmp_path / "log.csv").write_text("click,n\n" + "".join(lines))
    data = make(tmp_path / "log.csv", tmp_path, fields={"n": {"kind": "number", "standardise": False}})
    numbers = torch.cat([rows_of(split) for split in data.splits.values()])[:, 0].view(torch.float32)
    assert numbers.tolist() == [1.5 if i == 5 else i for i in range(100)]


# What files are packed in.


def pack(text, form, folder):
    """``text`` as a file of the form that its name says, inside ``folder``."""
    file = folder / form
    data = text.encode()
    if form.endswith((".zst", ".feather", ".arrow")):
        frame = pl.read_csv(data, schema_overrides={"click": pl.Int64})
        if form.endswith(".zst"):
            frame.lazy().sink_csv(file, compression="zstd", check_extension=False)
        else:
            frame.write_ipc(file, compression="lz4" if form.endswith("feather") else "uncompressed")
        return file
    if ".tar" in form or form.endswith((".tgz", ".txz")):
        with tarfile.open(file, {"tar": "w", "gz": "w:gz", "tgz": "w:gz", "bz2": "w:bz2", "txz": "w:xz"}[form.split(".")[-1]]) as archive:  # fmt: skip  # noqa: E501
            for name, content in (("._log.csv", b"x"), ("README.md", b"y\n"), ("log.csv", data), ("__MACOSX/l", b"z")):
                entry = tarfile.TarInfo(name)
                entry.size = len(content)
                archive.addfile(entry, io.BytesIO(content))
    elif form.endswith(".zip"):
        with zipfile.ZipFile(file, "w") as archive:
            for name, content in (
                (".DS_Store", b"x"),
                ("__MACOSX/._log.csv", b"y"),
                ("README", b"z"),
                ("log.csv", data),
            ):
                archive.writestr(name, content)
    else:
        for suffix in form.split(".")[2:]:
            data = {"gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress, "CSV": bytes}[suffix](data)
        file.write_bytes(data)
    return file


FORMS = [
    "log.csv.gz", "log.csv.bz2", "log.csv.xz", "log.csv.zst", "log.csv.gz.gz", "log.zip", "log.tar", "log.tar.gz",
    "log.tar.bz2", "log.txz", "log.tgz", "log.feather", "log.arrow", "log.x.CSV",
]  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_every_packing_gives_the_same_rows(plain, tmp_path, form):
    want = make(plain, tmp_path)
    data = make(pack(csv(), form, tmp_path), tmp_path)
    assert written(data, "word") == written(want, "word")
    assert summary(data)["files"] == {form: 200}


@pytest.mark.parametrize("form", ["log.csv.bz2", "log.csv.xz", "log.csv.zst", "log.tar.bz2", "log.feather"])
def test_a_truncated_file_is_named(tmp_path, form):
    file = pack("click,word\n" + "".join(f"{i % 2},{i * 7919}\n" for i in range(5000)), form, tmp_path)
    file.write_bytes(file.read_bytes()[: file.stat().st_size * 2 // 3])
    with pytest.raises(UserError, match=rf"{form} is (truncated|damaged)"):
        make(file, tmp_path)


@pytest.mark.parametrize("form", ["tar", "tar.gz", "zip"])
def test_an_archive_of_several_files_is_refused(tmp_path, form):
    file = tmp_path / f"b.{form}"
    if form == "zip":
        with zipfile.ZipFile(file, "w") as archive:
            for name in "ab":
                archive.writestr(f"{name}.csv", csv())
    else:
        with tarfile.open(file, "w:gz" if form == "tar.gz" else "w") as archive:
            for name in "ab":
                entry = tarfile.TarInfo(f"{name}.csv")
                entry.size = len(csv())
                archive.addfile(entry, io.BytesIO(csv().encode()))
    with pytest.raises(UserError, match=r"holds a.csv, b.csv; unpack"):
        make(file, tmp_path)


PAX = {"GNU.sparse.map": "0,8", "GNU.sparse.size": "1000"}


@pytest.mark.parametrize(
    "headers",
    [
        None,
        PAX,
        {**PAX, "GNU.sparse.major": "0", "GNU.sparse.minor": "1"},
        {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": "1000"},
    ],
    ids=["old", "0.0", "0.1", "1.0"],
)
def test_a_sparse_member_is_refused(tmp_path, headers):
    """As ``tar --sparse`` writes it: its holes would be read as text of zeros."""
    entry, text = tarfile.TarInfo("log.csv"), b"1\n0\n8\n" if headers and len(headers) == 3 else b"click,k\n"
    entry.size, entry.pax_headers = 512 + len(text), headers or {}
    entry.type = tarfile.REGTYPE if headers else tarfile.GNUTYPE_SPARSE
    head = entry.tobuf(tarfile.PAX_FORMAT if headers else tarfile.GNU_FORMAT)
    (tmp_path / "log.tar").write_bytes(head + text.ljust(512, b"\0") + text.ljust(512, b"\0") + bytes(1024))
    with pytest.raises(UserError, match=r"log\.csv is sparse"):
        make(tmp_path / "log.tar", tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"FEA1....", "is Feather of version 1, which is not read; write it as UTF-8 CSV or as Parquet"),
        (b"ORC....", "is ORC"),
        (b"Obj\x01....", "is Avro"),
        ("click,a\n1,2\n".encode("utf-16"), "is UTF-16 text"),
        (b"click,a\r1,2\r0,3\r", "lines end in CR alone"),
        (b"\xff\xfa,a\n1,2\n", "line 1: not UTF-8 text at byte 1"),
    ],
)
def test_a_form_that_is_not_read_is_named(tmp_path, content, message):
    (tmp_path / "log.csv").write_bytes(content)
    with pytest.raises(UserError, match=message):
        make(tmp_path / "log.csv", tmp_path)


def test_a_header_may_be_long_and_hold_separators_and_line_ends(tmp_path):
    long = "x" * 200_000
    header = f'id;"click";"price, in EUR,\ngross";"{long}"\n'
    (tmp_path / "log.csv").write_text(header + "".join(f"a{i % 5};{i % 2};{i / 8};q\n" for i in range(100)))
    data = make(tmp_path / "log.csv", tmp_path, ignore=["id"])
    assert data.fields == ["price, in EUR,\ngross", long]
    (tmp_path / "log.csv").write_text(header + "a;1;2;3\nb;7;2;3\n")
    with pytest.raises(UserError, match=r"log.csv, line 4: the label is 7"):
        make(tmp_path / "log.csv", tmp_path)


def test_a_header_that_is_missing_in_one_of_the_files_is_named(tmp_path):
    folder = tmp_path / "raw"
    folder.mkdir()
    pl.read_csv(csv().encode()).with_columns(user=pl.lit("u")).write_parquet(folder / "a.parquet")
    (folder / "b.csv").write_text("1,2\n")
    with pytest.raises(UserError, match=r"b.csv: no column 'user'"):
        make(folder, tmp_path, columns=["click", "word"])


def test_the_line_of_a_wrong_row_after_escaped_quotes(tmp_path):
    (tmp_path / "log.csv").write_text('click,word\n1,"a \\"\n\\" b"\n0,"c\nd"\n5,x\n')
    with pytest.raises(UserError, match=r"log.csv, line 6: the label is 5"):
        make(tmp_path / "log.csv", tmp_path, escape="\\")


# Which files, and in which order.


def test_files_are_read_in_natural_order_and_named_in_the_summary(tmp_path, caplog):
    caplog.set_level("INFO")
    folder = tmp_path / "raw"
    folder.mkdir()
    for day in range(1, 13):
        (folder / f"day_{day}.csv").write_text("click,word\n" + "".join(f"{i % 2},d{day}\n" for i in range(10)))
    data = make(folder, tmp_path, vocabulary="all")
    assert written(data, "word") == [f"d{day}" for day in range(1, 13) for _ in range(10)]
    assert list(summary(data)["files"].items()) == [(f"day_{day}.csv", 10) for day in range(1, 13)]
    assert "12 files in this order: day_1.csv, day_2.csv, day_3.csv, day_4.csv, ..., day_12.csv" in caplog.text
    names = ["a10/b", "a9/b", "a9/b01", "a9/b1", "A", "a"]
    assert sorted(map(type(folder), names), key=natural) == [
        *map(type(folder), ["A", "a", "a9/b", "a9/b01", "a9/b1", "a10/b"])
    ]


def test_what_a_folder_holds_besides_is_left_out_and_said(tmp_path, caplog, run_command):
    folder = tmp_path / "raw"
    (folder / "deeper").mkdir(parents=True)
    (folder / "a.csv").write_text(csv())
    (folder / "B.CSV").write_text(csv(start=200))
    (folder / "deeper" / "c.CSV.GZ").write_bytes(gzip.compress(csv(start=400).encode()))
    for name in ("README.txt", "notes.doc", ".hidden.csv", "_SUCCESS"):
        (folder / name).write_text("nothing")
    os.mkfifo(folder / "pipe.csv")
    data = make(folder, tmp_path)
    assert summary(data)["files"] == {"B.CSV": 200, "a.csv": 200, "deeper/c.CSV.GZ": 200}
    left_out = {"README.txt": "a document by its name", "notes.doc": "another suffix", "pipe.csv": "not a regular file"}
    assert summary(data)["left_out"] == left_out
    assert "left out: README.txt (a document by its name), notes.doc (another suffix), pipe.csv" in caplog.text
    ended = run_command("prepare", "dataset=table", f"raw={folder}", f"data_dir={tmp_path / 'data'}")
    assert ended.code == 0, ended.err
    assert "deeper/c.CSV.GZ" in ended.out
    assert "left out: not a regular file" in ended.out
    with pytest.raises(UserError, match=r"raw=.*pipe.csv is a pipe or a device; write the rows into a file"):
        make(folder / "pipe.csv", tmp_path)


@pytest.mark.parametrize("how", ["copy", "gz", "link", "xz of gz"])
def test_the_same_content_twice_is_refused(plain, tmp_path, how):
    other = plain.with_name("log_2.csv")
    if how == "copy":
        other.write_bytes(plain.read_bytes())
    elif how == "gz":
        other = plain.with_name("log.csv.gz")
        other.write_bytes(gzip.compress(plain.read_bytes()))
    elif how == "xz of gz":
        other = plain.with_name("log.csv.gz.xz")
        other.write_bytes(lzma.compress(gzip.compress(plain.read_bytes())))
    else:
        other.symlink_to(plain)
    with pytest.raises(UserError, match=r"holds the same rows as|is there twice"):
        make(plain.parent, tmp_path)
    assert not (tmp_path / "data").exists()


def test_parts_that_only_begin_alike_or_have_no_rows_are_no_copies(plain, tmp_path):
    header = "click,word\n"
    for name, text in {"b.csv": csv() + "1,w1\n", "c.csv": header, "d.csv": header, "e.csv": "", "f.csv": ""}.items():
        (plain.parent / name).write_text(text)
    counts = summary(make(plain.parent, tmp_path))["files"]
    assert counts == {"b.csv": 201, "c.csv": 0, "d.csv": 0, "e.csv": 0, "f.csv": 0, "log.csv": 200}


def test_a_pattern_below_a_folder_with_brackets(tmp_path):
    folder = tmp_path / "f [x]"
    folder.mkdir()
    for i in (10, 9):
        (folder / f"p{i}.csv").write_text(csv(start=i))
    assert [file.name for file in find([folder / "*.csv"], "").files] == ["p9.csv", "p10.csv"]


def test_the_separator_is_that_of_the_first_file_with_text(tmp_path):
    folder = tmp_path / "raw"
    folder.mkdir()
    (folder / "a.tsv").write_text("")
    (folder / "aa.tsv.gz").write_bytes(gzip.compress(b""))
    (folder / "b.tsv").write_text(csv().replace(",", "\t"))
    assert make(folder, tmp_path).fields == ["word"]


def test_a_parquet_part_without_rows_or_columns_is_passed_over(tmp_path):
    folder = tmp_path / "raw"
    folder.mkdir()
    pl.DataFrame().write_parquet(folder / "a.parquet")
    frame = pl.read_csv(csv().encode()).with_columns(nothing=pl.lit(None))
    frame.write_parquet(folder / "b.parquet")
    assert make(folder, tmp_path, ignore=["nothing"]).meta["rows"] == 200
    with pytest.raises(UserError, match="field nothing is missing in every row; leave it out"):
        make(folder, tmp_path)


# Splits, labels, settings.


@pytest.mark.parametrize(
    ("times", "order"),
    [
        (["2026-01-01T10:00", "2026-01-01 11:00", "2026-01-01 09:30:59.5"], [2, 0, 1]),
        (["2026-01-01T10:00:00+09:00", "2026-01-01T02:00:00+00:00", "2026-01-01 00:30Z"], [2, 0, 1]),
        (["2026-01-02", "2026-01-01 23", "2026-01-01"], [2, 1, 0]),
    ],
)
def test_times_of_several_forms_are_compared_as_times(tmp_path, times, order):
    rows = [[time] * 40 for time in times]
    frame = pl.DataFrame(
        {
            "t": [*rows[0], *rows[1], *rows[2]],
            "word": [*rows[0], *rows[1], *rows[2]],
            "click": [i % 2 for i in range(120)],
        }
    )
    frame.write_csv(tmp_path / "log.csv")
    thirds = [1 / 3, 1 / 3, 1 / 3]
    data = make(tmp_path / "log.csv", tmp_path, split="time", split_column="t", ratios=thirds, vocabulary="all")
    word_of = dict(pl.read_parquet(data.folder / "vocab" / "word.parquet").select("id", "value").iter_rows())
    parts = [{word_of[i] for i in rows_of(split)[:, 0].tolist()} for split in data.splits.values()]
    assert parts == [{times[i]} for i in order]


@pytest.mark.parametrize("odd", ["31/01/2026", "", "2026-02-30", "2026-01-31 10:00:00+00:00"])
def test_a_time_that_cannot_be_compared_is_named(tmp_path, odd):
    lines = [f"{i % 2},x,{odd if i == 70 else f'2026-01-{1 + i % 28:02} 10:00:00'}\n" for i in range(100)]
    (tmp_path / "log.csv").write_text("click,word,t\n" + "".join(lines))
    shown = repr(odd).replace("+", r"\+") if odd else "missing"
    with pytest.raises(UserError, match=rf"log.csv, line 72: t is {shown}; split=time wants a number, or a time"):
        make(tmp_path / "log.csv", tmp_path, split="time", split_column="t")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"train": 1.5, "valid": "b", "test": "c"}, r"part is 'a' in some rows; put it into dataset.split_values"),
        ({"train": "a", "valid": "b", "test": None}, r"split_values.test holds None, which is no value"),
        ({"train": "a", "valid": [["b"]], "test": "c"}, r"split_values.valid holds \['b'\], which is no value"),
        ({"train": ["a", "a"], "valid": "b", "test": "c"}, r"split_values: a is there twice"),
        ({"train": "a", "valid": "b"}, r"split_values must name train, valid, test"),
    ],
)
def test_values_of_a_split_that_cannot_be(tmp_path, values, message):
    lines = [f"{i % 2},w{i % 7},{'abc'[i % 3]}\n" for i in range(90)]
    (tmp_path / "log.csv").write_text("click,word,part\n" + "".join(lines))
    with pytest.raises(UserError, match=message):
        make(tmp_path / "log.csv", tmp_path, split="column", split_column="part", split_values=values)


@pytest.mark.parametrize("cells", [("true", "false", "NA"), ("True", "False", "007"), ("", "NaN", "1.5")])
def test_a_split_goes_by_what_is_written(tmp_path, cells):
    lines = [f"{i % 2},w{i % 7},{cells[i % 3]}\n" for i in range(90)]
    (tmp_path / "log.csv").write_text("click,word,part\n" + "".join(lines))
    given = {"true": True, "false": False, "True": True, "False": False, "1.5": 1.5}
    values = {part: [given.get(cell, cell)] for part, cell in zip(splits.PARTS, cells, strict=True)}
    data = make(tmp_path / "log.csv", tmp_path, split="column", split_column="part", split_values=values)
    assert [split.order.tolist() for split in data.splits.values()] == [list(range(i, 90, 3)) for i in range(3)]


def test_a_file_belongs_to_the_split_of_its_name_before_that_of_its_folder(tmp_path):
    names = ("train/train.csv", "train/valid.csv", "train/test.csv", "val/part-0.csv", "dev_2.csv", "training.csv")
    assert [part_of(tmp_path / name) for name in names] == ["train", "valid", "test", "valid", "valid", "train"]
    with pytest.raises(UserError, match="should begin with train, valid or test"):
        part_of(tmp_path / "value.csv")


@pytest.mark.parametrize("words", [("false", "true"), ("No", "YES"), ("f", "T"), ("0", "true")])
def test_labels_may_be_words(plain, tmp_path, words):
    want = make(plain, tmp_path)
    lines = csv().splitlines()[1:]
    plain.write_text("click,word\n" + "".join(f"{words[int(line[0])]}{line[1:]}\n" for line in lines))
    data = make(plain, tmp_path)
    for part, split in data.splits.items():
        assert torch.equal(split.labels, want.splits[part].labels)


@pytest.mark.parametrize("label", ["0.99999999", "-1", "2"])
def test_a_label_that_is_neither_0_nor_1_is_shown_with_the_remedy(plain, tmp_path, label):
    plain.write_text(csv() + f"{label},x\n")
    with pytest.raises(UserError, match=rf"line 202: the label is {label}, it should be 0 or 1; dataset.label_from="):
        make(plain, tmp_path)


def test_an_escape_that_is_the_quote_is_a_quote_written_twice(plain, tmp_path):
    plain.write_text("click,word\n" + '1,"a ""b"""\n0,""\n' * 100)
    assert make(plain, tmp_path, escape='"').digest == make(plain, tmp_path).digest
    for settings in ({"separator": '"'}, {"quote": "\n"}, {"escape": ",", "separator": ","}):
        with pytest.raises(UserError, match=r"dataset.separator, quote and escape: give different characters"):
            make(plain, tmp_path, **settings)


@pytest.mark.parametrize(("separator", "character"), [("space", " "), ("tab", "\t"), (" ", " ")])
def test_separators_that_a_command_line_swallows_have_names(plain, tmp_path, separator, character):
    plain.write_text(csv().replace(",", character))
    assert make(plain, tmp_path, separator=separator).fields == ["word"]
    with pytest.raises(UserError, match=r"dataset.separator=: give one character, tab or space"):
        make(plain, tmp_path, separator="")


def test_names_of_any_length_and_alphabet(tmp_path):
    names = ["名" * 28, "x" * 250, "x" * 251, "名" * 300]
    frame = pl.DataFrame(
        {"click": [i % 2 for i in range(100)], **{name: [f"v{i % 3}" for i in range(100)] for name in names}}
    )
    frame.write_csv(tmp_path / "log.csv")
    data = make(tmp_path / "log.csv", tmp_path)
    assert data.fields == names
    assert len(list((data.folder / "vocab").iterdir())) == 4
    data.copy_preprocessor(tmp_path / "run")


def test_no_message_is_built_while_all_is_well(tmp_path, monkeypatch):
    """300 columns took 14 s of looking for names that were right; the cost is linear now."""
    monkeypatch.setattr("difflib.get_close_matches", lambda *_: pytest.fail("looks for a name that is right"))
    names = [f"column_{i}" for i in range(60)]
    pl.DataFrame({"click": [0, 1] * 20, **{name: ["a", "b", "c", "d"] * 10 for name in names}}).write_csv(
        tmp_path / "log.csv"
    )
    assert make(tmp_path / "log.csv", tmp_path, fields=dict.fromkeys(names, "category"), only=names).fields == names


def test_the_cost_is_linear_in_the_columns(tmp_path, monkeypatch):
    """A frame's schema is made anew, of all its columns, at every call: asked for once a column the cost is squared."""
    made, made_by = [], pl.Schema.__init__

    def count(self, *args, **kwargs):
        made_by(self, *args, **kwargs)
        made.append(len(self))

    def costs(columns):
        frame = pl.DataFrame(
            {"click": [0, 1] * 20} | {f"column_{i}": ["a", "b", "c", "d"] * 10 for i in range(columns)}
        )
        frame.write_csv(tmp_path / f"{columns}.csv")
        made.clear()
        store = make(tmp_path / f"{columns}.csv", tmp_path).folder
        table_in_memory(Table(**DEFAULTS), {"train": frame}, tmp_path)
        prepare = Preprocessor.open(store)
        prepare.encode(frame_of(frame, list(prepare.columns), prepare.required))
        return sum(made)

    monkeypatch.setattr(pl.Schema, "__init__", count)
    assert costs(120) < 1.5 * 4 * costs(30)


@pytest.mark.slow
def test_1500_columns_are_prepared_in_seconds(tmp_path):
    import time

    names = [f"column_{i}" for i in range(1500)]
    draw = np.random.default_rng(0)
    frame = pl.DataFrame({"click": [0, 1] * 100, **{name: draw.integers(0, 9, 200) for name in names}})
    frame.write_csv(tmp_path / "log.csv")
    start = time.process_time()
    make(tmp_path / "log.csv", tmp_path)
    assert time.process_time() - start < 30
