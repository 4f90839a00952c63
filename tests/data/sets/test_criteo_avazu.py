"""Criteo and Avazu: the real samples row for row, in every form the files come in, and bad input."""

import gzip
import io
import os
import subprocess
import sys
import tarfile
import zipfile
from collections import Counter
from itertools import islice

import polars as pl
import pytest
import reference
from conftest import REPOSITORY, rows_of

from eulernet.data import raw
from eulernet.data.dataset import Dataset
from eulernet.data.sets import criteo
from eulernet.data.sets.avazu import make_avazu
from eulernet.data.sets.criteo import make_criteo
from eulernet.errors import UserError

SETTINGS = dict(vocabulary="all", split="paper", split_seed=2021)
CRITEO = dict(**SETTINGS, accept_terms=False)


def assert_equals_transcription(data, rows, thresholds):
    """Membership, order and labels equal the reference's; ids are a bijection of the values that are not rare."""
    parts = dict(zip(("train", "valid", "test"), reference.paper_split(rows, 2021), strict=True))
    for part, wanted in parts.items():
        assert data.splits[part].labels.tolist() == [label for _, label in wanted]
    columns = [rows_of(data.splits[part]).T.tolist() for part in parts]
    for f, (threshold, size) in enumerate(zip(thresholds, data.field_sizes, strict=True)):
        counts = Counter(values[f] for values, _ in rows)
        pairs = set()
        for wanted, ids in zip(parts.values(), columns, strict=True):
            pairs.update(zip((values[f] for values, _ in wanted), ids[f], strict=True))
        known = {value for value, count in counts.items() if value is not None and count >= threshold}
        assert {value for value, got in pairs if got} == known
        assert sorted(got for _, got in pairs if got) == list(range(1, size))
        assert len(known) == size - 1
        assert not {value for value, got in pairs if not got} & known


@pytest.mark.parametrize("rows", [20_000, pytest.param(137_139, marks=pytest.mark.slow)])
def test_criteo_equals_the_row_by_row_transcription(criteo_sample, tmp_path, rows):
    """The first ``rows`` of the real sample; the second number is all of it."""
    file = tmp_path / "train.txt"
    with criteo_sample.open("rb") as sample:
        file.write_bytes(b"".join(islice(sample, rows)) if rows < 137_139 else sample.read())
    data = Dataset.open(make_criteo([file], tmp_path, 2.0, min_count=8, **CRITEO))
    assert data.meta["rows"] == rows
    assert data.fields == criteo.COUNTS + criteo.CATEGORIES
    assert_equals_transcription(data, reference.criteo_rows(file), [1] * 13 + [8] * 26)


def test_avazu_equals_the_row_by_row_transcription(avazu_sample, tmp_path):
    data = Dataset.open(make_avazu([avazu_sample], tmp_path, 2.0, min_count=5, **SETTINGS))
    assert data.meta["rows"] == 20_000
    assert data.fields[:4] == ["weekday", "hour", "C1", "banner_pos"]
    assert_equals_transcription(data, reference.avazu_rows(avazu_sample), [5] * 23)


def test_the_size_of_blocks_changes_nothing(criteo_sample, tmp_path, monkeypatch):
    monkeypatch.setattr(raw, "SMALLEST_BLOCK", 1 << 16)
    stores = [
        make_criteo([criteo_sample], tmp_path / str(memory), memory, min_count=8, **CRITEO) for memory in (2.0, 0.01)
    ]
    assert stores[0].name == stores[1].name
    for file in ["x.npy", "y.npy", "train.npy", *(f"vocab/{field}.parquet" for field in criteo.CATEGORIES)]:
        assert (stores[0] / file).read_bytes() == (stores[1] / file).read_bytes()


def test_the_number_of_threads_changes_nothing(avazu_sample, tmp_path):
    stores = []
    for threads in ("1", "3"):
        command = [
            sys.executable,
            "-m",
            "eulernet.prepare",
            "dataset=avazu",
            f"raw={avazu_sample}",
            f"data_dir={threads}",
        ]
        env = {**os.environ, "POLARS_MAX_THREADS": threads, "PYTHONPATH": str(REPOSITORY)}
        subprocess.run(command, cwd=tmp_path, env=env, check=True, capture_output=True)
        stores += (tmp_path / threads / "avazu").iterdir()
    assert stores[0].name == stores[1].name
    for file in ["x.npy", "y.npy", "train.npy", *(f"vocab/{file.name}" for file in (stores[0] / "vocab").iterdir())]:
        assert (stores[0] / file).read_bytes() == (stores[1] / file).read_bytes()


def line(label=0, i1="1", c26="aee52b6f"):
    return "\t".join([str(label), i1, *["3"] * 12, *["05db9164"] * 25, c26])


@pytest.fixture
def tiny(tmp_path):
    file = tmp_path / "train.txt"
    file.write_text("".join(line(i % 2, str(i % 5)) + "\n" for i in range(60)))
    return file


def make(files, folder, **changes):
    return make_criteo(files, folder / "data", 2.0, **{**CRITEO, "min_count": 8, **changes})


def pack(file, form):
    text = file.read_bytes()
    if form == "gz":
        packed = file.with_name("train.txt.gz")
        packed.write_bytes(gzip.compress(text))
    elif form == "zip":
        packed = file.with_name("criteo.zip")
        with zipfile.ZipFile(packed, "w") as archive:
            archive.writestr("readme.txt", "not wanted")
            archive.writestr("dac/train.txt", text)
    elif form == "zip of gz":
        packed = file.with_name("kaggle.zip")
        with zipfile.ZipFile(packed, "w") as archive:
            archive.writestr("test.gz", gzip.compress(b"not wanted"))
            archive.writestr("train.gz", gzip.compress(text))
    elif form == "tar.gz":
        packed = file.with_name("dac.tar.gz")
        with tarfile.open(packed, "w:gz") as archive:
            for name, content in {"readme.txt": b"not wanted", "test.txt": b"0\n", "train.txt": text}.items():
                entry = tarfile.TarInfo(name)
                entry.size = len(content)
                archive.addfile(entry, io.BytesIO(content))
    elif form == "parquet":
        packed = file.with_name("train.parquet")
        names = list(criteo.FORMAT.columns)
        pl.read_csv(file, separator="\t", has_header=False, new_columns=names).write_parquet(packed)
    elif form == "windows":
        packed = file.with_name("windows.txt")
        packed.write_bytes(b"\xef\xbb\xbf" + text.replace(b"\n", b"\r\n") + b"\r\n\r\n")
    return packed


@pytest.mark.parametrize("form", ["gz", "zip", "zip of gz", "tar.gz", "parquet", "windows"])
def test_every_form_of_the_file_gives_the_same_rows(tiny, tmp_path, form):
    plain, packed = make([tiny], tmp_path / "a"), make([pack(tiny, form)], tmp_path / "b")
    for file in ("x.npy", "y.npy", "test.npy", "vocab/C26.parquet"):
        assert (plain / file).read_bytes() == (packed / file).read_bytes()


def test_folders_lists_and_patterns_are_read_in_order(tiny, tmp_path):
    whole = make([tiny], tmp_path / "a")
    lines, folder = tiny.read_text().splitlines(keepends=True), tmp_path / "parts"
    folder.mkdir()
    for i, (start, stop) in enumerate([(0, 19), (19, 40), (40, 60)]):
        (folder / f"day_{i}.txt").write_text("".join(lines[start:stop]))
    (folder / ".hidden.txt").write_text("not wanted")
    for given in ([folder], [folder / "day_*.txt"], [folder / f"day_{i}.txt" for i in range(3)]):
        parts = make(given, tmp_path / "b")
        assert (parts / "x.npy").read_bytes() == (whole / "x.npy").read_bytes()


BAD = {
    "too few columns": (20, line().rpartition("\t")[0], r"train.txt, line 21: 39 columns where 40 belong"),
    "too many columns": (59, line() + "\tx", r"train.txt, line 60: 41 columns where 40 belong"),
    "one after an empty line": (3, "\nx", r"train.txt, line 5: 1 columns where 40 belong"),
    "bad hexadecimal": (30, line(c26="05dbg164"), r"train.txt, line 31: field C26: .*05dbg164"),
    "a count that is none": (31, line(i1="1.5"), r"train.txt, line 32: I1 is '1.5', not a whole number"),
    "a label of 2": (0, line(2), r"train.txt, line 1: the label is 2, it should be 0 or 1"),
    "a label that is a word": (7, line("click"), r"train.txt, line 8: label is 'click', not a whole number"),
    "no label": (8, line(""), r"train.txt, line 9: the label is missing, it should be 0 or 1"),
}


@pytest.mark.parametrize("what", BAD)
def test_bad_lines_are_named(tiny, tmp_path, what):
    number, text, message = BAD[what]
    lines = tiny.read_text().splitlines()
    lines[number] = text
    tiny.write_text("\n".join(lines) + "\n")
    with pytest.raises(UserError, match=message):
        make([tiny], tmp_path)
    assert not (tmp_path / "data").exists()


def test_invalid_utf8_is_named(tiny, tmp_path):
    lines = tiny.read_bytes().splitlines()
    lines[25] = lines[25].replace(b"aee52b6f", b"aee52b\xff\xfe")
    tiny.write_bytes(b"\n".join(lines))
    with pytest.raises(UserError, match=r"train.txt, line 26: not UTF-8 text at byte \d+"):
        make([tiny], tmp_path)


@pytest.mark.parametrize("form", ["gz", "zip", "tar.gz", "parquet"])
def test_a_truncated_file_is_named(tiny, tmp_path, form):
    packed = pack(tiny, form)
    packed.write_bytes(packed.read_bytes()[: packed.stat().st_size * 2 // 3])
    with pytest.raises(UserError, match=rf"{packed.name} is (truncated or )?damaged"):
        make([packed], tmp_path)
    assert not (tmp_path / "data").exists()


def test_an_empty_or_missing_file_is_named(tiny, tmp_path):
    tiny.write_text("")
    with pytest.raises(UserError, match=r"train.txt is empty"):
        make([tiny], tmp_path)
    tiny.write_text("\n\n")
    with pytest.raises(UserError, match=r"train.txt has no rows"):
        make([tiny], tmp_path)
    with pytest.raises(UserError, match=r"nowhere: no such file or folder; give train.txt"):
        make([tmp_path / "nowhere"], tmp_path)
    with pytest.raises(UserError, match=r"give raw=PATH, or accept_terms=true to download"):
        make([], tmp_path)
    with pytest.raises(UserError, match=r"give the raw files: raw=PATH \(train.csv or train.gz from Kaggle"):
        make_avazu([], tmp_path / "data", 2.0, min_count=1, **SETTINGS)
    (tmp_path / "folder").mkdir()
    with pytest.raises(UserError, match=r"no file there ends in .csv, .tsv, .txt, .gz"):
        make([tmp_path / "folder"], tmp_path)


def test_criteo_downloads_once_its_terms_are_accepted(tiny, tmp_path, monkeypatch):
    packed, calls = pack(tiny, "tar.gz"), []

    def fetch(sources, folder):
        calls.append(sources[0].url)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / packed.name).write_bytes(packed.read_bytes())
        return "Criteo"

    monkeypatch.setattr("eulernet.data.download.fetch", fetch)
    data = Dataset.open(make([], tmp_path, accept_terms=True))
    assert data.meta["source"]["origin"] == "Criteo"
    assert data.meta["rows"] == 60
    assert calls[0].startswith("https://go.criteo.net/")
    make([], tmp_path)  # it is there


def test_a_constant_label_is_refused(tiny, tmp_path):
    tiny.write_text("".join(line(0, str(i % 5)) + "\n" for i in range(60)))
    with pytest.raises(UserError, match="criteo: every row of the train split is no click; AUC needs both"):
        make([tiny], tmp_path)


def test_a_threshold_that_leaves_a_field_empty_is_refused(tiny, tmp_path):
    with pytest.raises(UserError, match="field C1 has no value that occurs 61 times; lower min_count or leave it out"):
        make([tiny], tmp_path, min_count=61)


def test_a_file_that_changes_while_it_is_read_is_refused(tiny, tmp_path, monkeypatch):
    blocks = raw.blocks

    def slow(file, *args, **given):
        for block in blocks(file, *args, **given):
            yield block
            with tiny.open("a") as stream:
                stream.write(line() + "\n")

    monkeypatch.setattr(raw, "blocks", slow)
    with pytest.raises(UserError, match=r"train.txt changed while it was read"):
        make([tiny], tmp_path)
    assert not (tmp_path / "data").exists()


@pytest.fixture
def small_disk(tmp_path):
    """A folder on a disk of its own with room for one megabyte."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], capture_output=True).returncode:
        pytest.skip("a disk of its own takes the right to mount one")
    yield folder
    subprocess.run(["umount", folder], check=True)


@pytest.mark.parametrize("phase", ["before", "meanwhile"])
def test_a_disk_that_fills_up_leaves_nothing(tiny, small_disk, monkeypatch, phase):
    tiny.write_text(tiny.read_text() * 150)
    if phase == "meanwhile":  # nobody knew: something else takes the room meanwhile
        monkeypatch.setattr(raw, "SMALLEST_BLOCK", 1 << 16)
        monkeypatch.setattr("eulernet.data.disk.require_space", lambda *_: None)
    with pytest.raises(UserError, match=r"data/criteo(/\w+)?: (the disk is full|preparing needs .* MB, .* are free)"):
        make([tiny], small_disk)
    assert list(small_disk.iterdir()) == []


def avazu_text(header="id,click,hour,C1,banner_pos,site_id,site_domain,site_category,app_id,app_domain,app_category,"
               "device_id,device_ip,device_model,device_type,device_conn_type,C14,C15,C16,C17,C18,C19,C20,C21",
               hour="14102123"):  # fmt: skip
    codes = ",".join(["1fbe01fe"] * 9)
    rows = [f"{i},{i % 2},{hour if i == 30 else '14102100'},1005,0,{codes},1,0,1,2,3,4,5,6,7,8" for i in range(60)]
    return "\n".join([header, *rows]) + "\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (avazu_text(hour="14133123"), r"train.csv, line 32: field weekday: .*date"),
        (
            avazu_text().split("\n", 1)[1],
            r"train.csv, line 1 has none of the columns click, hour, .*: is its header missing\?",
        ),
        (avazu_text().replace("site_id,", "siteid,", 1), r"no column 'site_id'; did you mean 'siteid'\?"),
        ("\n\n" + avazu_text(hour="14133123"), r"train.csv, line 34: field weekday: .*date"),
        (avazu_text().split("\n", 1)[1].replace(avazu_text().split("\n")[1], ","), r"train.csv, line 1: no header"),
    ],
)
def test_bad_avazu_files_are_named(tmp_path, text, message):
    file = tmp_path / "train.csv"
    file.write_text(text)
    with pytest.raises(UserError, match=message):
        make_avazu([file], tmp_path / "data", 2.0, min_count=1, **SETTINGS)
