"""make_criteo.py: the same bytes from the same seed, in the real files' format, with the rates it promises."""

import gzip
import importlib.util
import re
import subprocess
import sys
from functools import cache

import numpy as np
import polars as pl
import pytest
from conftest import REPOSITORY

SCRIPT = REPOSITORY / "scripts" / "make_criteo.py"
ROWS = 150_000  # two whole chunks and a part of one


def load_script():
    spec = importlib.util.spec_from_file_location("make_criteo", SCRIPT)
    module = sys.modules["make_criteo"] = importlib.util.module_from_spec(spec)  # dataclasses look themselves up there
    spec.loader.exec_module(module)
    return module


make_criteo = load_script()


def run(*args):
    return subprocess.run([sys.executable, str(SCRIPT), *map(str, args)], capture_output=True, text=True, check=False)


@cache
def text(name, rows, seed=1):
    return b"".join(make_criteo.texts(name, rows, seed, compress=False, processes=1))


def table(name, rows):
    columns = make_criteo.FORMATS[name].columns.split()
    separator = make_criteo.FORMATS[name].separator
    return pl.read_csv(text(name, rows), separator=separator, has_header=False, new_columns=columns, infer_schema=False)


@pytest.fixture(scope="module")
def criteo():
    return table("criteo", ROWS)


@pytest.fixture(scope="module")
def avazu():
    return table("avazu", ROWS)


@pytest.mark.parametrize("name", ["criteo", "avazu"])
def test_same_bytes_whatever_the_number_of_processes(name, tmp_path):
    out = tmp_path / "three"
    done = run("--rows", ROWS, "--seed", 1, "--format", name, "--processes", 3, "--out", out)
    assert done.returncode == 0, done.stderr
    header = make_criteo.FORMATS[name].columns.replace(" ", ",").encode() + b"\n" if name == "avazu" else b""
    assert out.read_bytes() == header + text(name, ROWS)
    assert f"{ROWS:,} rows, {out.stat().st_size:,} bytes" in done.stdout
    assert text(name, 100, seed=2) != text(name, 100)
    assert list(tmp_path.iterdir()) == [out]


def test_gzip_holds_the_same_text(tmp_path):
    out = tmp_path / "rows.gz"
    assert run("--rows", 70_000, "--seed", 1, "--gzip", "--processes", 2, "--out", out).returncode == 0
    assert gzip.decompress(out.read_bytes()) == text("criteo", 70_000)


@pytest.mark.parametrize("rows", [1, 9_000, 65_536, 65_537])
def test_more_rows_begin_with_the_same_rows(rows, criteo):
    assert text("criteo", ROWS).startswith(text("criteo", rows))
    fewer, more = table("avazu", rows), table("avazu", ROWS).head(rows)
    assert fewer.drop("hour").equals(more.drop("hour"))


def test_criteo_lines_are_in_the_real_format():
    code, integer = "([0-9a-f]{8})?", "(0|[1-9][0-9]{0,7})?"
    line = re.compile(f"[01]\t{integer}\t(-[12]|{integer})(\t{integer}){{11}}(\t{code}){{26}}")
    lines = text("criteo", 20_000).decode("ascii").split("\n")
    assert lines.pop() == ""
    assert len(lines) == 20_000
    assert all(line.fullmatch(row) for row in lines)


def test_avazu_lines_are_in_the_real_format(avazu):
    code = "[0-9a-f]{8}"
    line = re.compile(f"[1-9][0-9]{{0,19}},[01],1410[0-9]{{4}},10[01][0-9],[0-7](,{code}){{9}}(,-?[0-9]+){{10}}")
    lines = text("avazu", 20_000).decode("ascii").splitlines()
    assert len(lines) == 20_000
    assert all(line.fullmatch(row) for row in lines)
    assert avazu["hour"].is_sorted()
    assert (avazu["hour"].n_unique(), avazu["hour"][0], avazu["hour"][-1]) == (240, "14102100", "14103023")
    assert avazu["id"].cast(pl.UInt64).n_unique() == ROWS


def test_ids_of_few_digits_lose_no_digit():
    values = np.array([1, 70, 9_999, 10_000, 500_000_001, 10**16, 12_345 * 10**12, 2**64 - 1], np.uint64)
    rows = np.stack(make_criteo.decimal(values), axis=1).tobytes()
    ids = [rows[at : at + 20].replace(b"\0", b"") for at in range(0, len(rows), 20)]
    assert ids == [str(value).encode() for value in values]


def test_rates_are_those_measured(criteo, avazu):
    """Within four standard errors of this many rows."""

    def near(rate, expected):
        return abs(rate - expected) < 4 * (expected * (1 - expected) / ROWS) ** 0.5

    assert near(criteo["label"].cast(pl.Int8).mean(), 0.25677)
    assert near(avazu["click"].cast(pl.Int8).mean(), 0.16981)
    missing = {c: rate for group, rate in make_criteo.MISSING.items() for c in group.split()}
    for column in criteo.columns:
        assert near(criteo[column].null_count() / ROWS, missing.get(column, 1e-12)), column
    assert criteo["C3"].is_null().equals(criteo["C24"].is_null().alias("C3"))
    assert avazu.null_count().sum_horizontal().item() == 0
    # the most frequent values' shares, as in the real samples
    for column, share in {"C1": 0.500434, "C3": 0.026168, "C9": 0.899970, "C20": 0.340274}.items():
        present = criteo[column].drop_nulls()
        assert present.value_counts(name="n")["n"].max() / len(present) == pytest.approx(share, rel=0.04)


def test_the_tail_is_long(criteo):
    """As in the real sample of 137,139 rows: 61,763 values of C3, of which 54,979 occur once."""
    counts = criteo["C3"].head(137_139).drop_nulls().value_counts(name="count")["count"]
    assert len(counts) == pytest.approx(61_763, rel=0.03)
    assert (counts == 1).sum() == pytest.approx(54_979, rel=0.03)


def test_labels_depend_on_the_columns(criteo):
    """The click rate differs between the values of a column that carries signal more than by chance."""
    rates = criteo.group_by("C14").agg(pl.col("label").cast(pl.Int8).mean(), pl.len()).filter(pl.col("len") > 1000)
    assert rates["label"].std() > 0.03
    noise = criteo.group_by("C20").agg(pl.col("label").cast(pl.Int8).mean(), pl.len()).filter(pl.col("len") > 1000)
    assert noise["label"].std() < 0.01


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("--rows", 0, "--seed", 1), "--rows must be at least 1, got 0"),
        (("--rows", 5, "--seed", -1), "--seed must not be negative, got -1"),
        (("--rows", "many", "--seed", 1), "argument --rows: invalid int value: 'many'"),
        (("--rows", 5, "--seed", 1, "--processes", 0), "--processes must be at least 1, got 0"),
    ],
)
def test_a_bad_argument_is_one_line(args, message, tmp_path):
    done = run(*args, "--out", tmp_path / "rows")
    assert done.returncode == 2
    assert done.stderr == f"make_criteo.py: error: {message}\n"
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path, monkeypatch, capsys):
    def full(*_):
        yield b"some text"
        raise OSError(28, "No space left on device")

    out = tmp_path / "rows"
    out.write_text("older")
    monkeypatch.setattr(make_criteo, "texts", full)
    monkeypatch.setattr(make_criteo.signal, "signal", lambda *_: None)
    monkeypatch.setattr(sys, "argv", ["make_criteo.py", "--rows", "100000", "--seed", "1", "--out", str(out)])
    with pytest.raises(SystemExit) as exit_:
        make_criteo.main()
    assert exit_.value.code == 1
    assert capsys.readouterr().err.endswith(f"error: cannot write {out}: No space left on device\n")
    assert (list(tmp_path.iterdir()), out.read_text()) == ([out], "older")
