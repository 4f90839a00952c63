"""Drawn files and settings through ``prepare`` and ``predict``: every row is accounted for, or one line says why not.

pytest -m slow tests/data/test_fuzz.py          # EULERNET_FUZZ=CASES, and EULERNET_FUZZ_FIRST for one of them
"""

import bz2
import gzip
import json
import lzma
import os
import shutil
import signal
import warnings
from collections import Counter
from datetime import date, datetime, timedelta

import numpy as np
import polars as pl
import pytest
import yaml
from conftest import REPOSITORY

from eulernet.data.prepare import prepare
from eulernet.errors import UserError
from eulernet.runs.predict import predict

pytestmark = pytest.mark.slow
CASES, FIRST = int(os.environ.get("EULERNET_FUZZ", "2000")), int(os.environ.get("EULERNET_FUZZ_FIRST", "0"))
SECONDS = 300  # after which a case hangs
TABLE = yaml.safe_load((REPOSITORY / "conf" / "dataset" / "table.yaml").read_text())
TEXT = [
    "a", "b", "", " ", "NA", "null", "nan", "NaN", "true", "True", "0", "1", "-1", "1.0", "1.5", " 2", "3 ", "1e400",
    "inf", "007", "x,y", "x;y", "x\ty", "x|y|z", 'q"q', '"', '""', "'", "\\", '\\"', "\n", "l\nl", "\r", "\r\n", "é",
    "名前", "\x00", "\ufeff", "9" * 25, "2026-01-31", "2026-01-31T10:00", "2026-02-30", "31/01/2026", "#", "*", "^a$",
    "2026-01-31 10:00:00+01:00", "x" * 3000, "-", "+", ".", "=1+1",
]  # fmt: skip
NAMES = [
    "click", "label", "y", "user", "item", "price", "t", "part", "a b", " c ", "名", "x" * 300, "", "len",
    "value", "key", "f0", "index", 'n"q', "l\nl", "a/b", "..", "kept user", "1", "true",
]  # fmt: skip


def column(draw, rows, wild=True):
    """A column of one type, or of text of all kinds."""
    gaps = draw.random(rows) < draw.choice([0, 0, 0.1, 1], p=[0.5, 0.2, 0.29, 0.01])
    whole = draw.integers(-3, 6, rows)
    start = datetime(2026, 1, 1)
    kind = draw.integers(0, 16) if wild else draw.choice([0, 1, 2, 3, 4, 6, 7, 8, 11, 14, 15])
    match kind:
        case 0:
            values = pl.Series([TEXT[i] for i in draw.integers(0, len(TEXT), rows)], dtype=pl.String)
        case 1 | 2:
            some = draw.choice(TEXT, 3)
            values = pl.Series([str(some[i]) for i in draw.integers(0, 3, rows)], dtype=pl.String)
        case 3 | 4:
            dtype = [pl.Int8, pl.Int64, pl.Float32, pl.Float64, pl.UInt64, pl.Decimal(10, 2), pl.Int128][
                draw.integers(0, 7)
            ]
            values = pl.Series(np.abs(whole)).cast(dtype, strict=False)
        case 5:
            values = pl.Series(draw.choice([0.1, -1e300, np.nan, np.inf, 2.0, 1e-9], rows))
        case 6:
            values = pl.Series(whole > 0)
        case 7:
            values = pl.Series([start + timedelta(hours=int(h)) for h in whole]).cast(
                pl.Datetime(str(draw.choice(["ms", "us", "ns"])))
            )
        case 8:
            values = pl.Series([date(2026, 1, 1 + abs(int(d))) for d in whole])
        case 9:
            values = pl.Series([[f"t{j}" for j in range(max(int(i), 0))] for i in whole], dtype=pl.List(pl.String))
        case 10:
            values = pl.Series([{"a": int(i)} for i in whole], dtype=pl.Struct({"a": pl.Int64}))
        case 11:
            values = pl.Series([f"c{i}" for i in whole], dtype=pl.String).cast(pl.Categorical)
        case 12:
            values = pl.Series([b"\xff" * max(int(i), 0) for i in whole], dtype=pl.Binary)
        case 13:
            values = pl.Series([None] * rows, dtype=pl.Null)
        case 14:
            values = pl.Series([["train", "valid", "test"][i % 3] for i in whole], dtype=pl.String)
        case _:
            values = pl.Series(
                [f"2026-01-{1 + abs(int(i)):02} 10:{j % 60:02}" for j, i in enumerate(whole)], dtype=pl.String
            )
    if values.dtype == pl.Null:
        return values
    return pl.select(pl.when(pl.Series(~gaps)).then(values)).to_series() if rows else values


def table(draw, rows, wild):
    names = [str(name) for name in draw.choice(NAMES, draw.integers(1, 6), replace=False)]
    frame = pl.DataFrame({name: column(draw, rows, wild) for name in names})
    if not wild or draw.random() < 0.9:
        label = draw.integers(0, 2, rows)
        dtype = [pl.Int64, pl.Int64, pl.Int64, pl.Float64, pl.Boolean, pl.String][draw.integers(0, 6)]
        frame = frame.with_columns(click=pl.Series(label).cast(dtype))
    return frame


def as_text(values):
    """A column that a text file can hold."""
    if isinstance(values.dtype, pl.List):
        return values.list.join("|")
    odd = values.dtype.is_nested() or values.dtype == pl.Binary
    return pl.Series(values.name, ["x"] * len(values)) if odd else values


def write(draw, frame, folder, number, wild=True):
    """One part, as text or typed, packed, perhaps damaged. Returns whether its rows are as they were."""
    stem = str(draw.choice(["part-", "day_", "train", "test", "a [x]"])) + str(number)
    if draw.random() < 0.3:
        kind = str(draw.choice(["parquet", "feather"]))
        file = folder / f"{stem}.{kind}"
        try:
            frame.write_parquet(file) if kind == "parquet" else frame.write_ipc(file)
        except (pl.exceptions.PolarsError, pl.exceptions.PanicException):
            file.unlink(missing_ok=True)
            return write(
                draw, pl.DataFrame([as_text(values).cast(pl.String) for values in frame]), folder, number, wild
            )
    else:
        flat = pl.DataFrame([as_text(values) for values in frame])
        style = str(draw.choice(["necessary", "necessary", "always", "non_numeric"]))
        text = flat.write_csv(
            separator=str(draw.choice([",", ",", "\t", ";", "|", " "])) if wild else ",", quote_style=style,
            include_header=bool(not wild or draw.random() < 0.9),
            line_terminator=str(draw.choice(["\n", "\n", "\r\n"])),
        )  # fmt: skip
        data = (b"\xef\xbb\xbf" if draw.random() < 0.1 else b"") + text.encode()
        if wild and draw.random() < 0.1:
            data = data.replace(b'""', b'\\"')
        packings = {"": bytes, ".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress}
        packing = str(draw.choice(list(packings), p=[0.7, 0.1, 0.1, 0.1]))
        file = folder / f"{stem}.csv{packing}"
        file.write_bytes(packings[packing](data))
    if wild and draw.random() < 0.2:
        damage(draw, file)
        return False
    return True


def damage(draw, file):
    data = bytearray(file.read_bytes())
    if not data:
        return
    at = int(draw.integers(0, len(data)))
    match draw.integers(0, 5):
        case 0:
            del data[at:]
        case 1:
            data[at : at + 1] = draw.choice([b'"', b"\n", b",", b"\xff", b"\r", b"\\", b"\x00"])
        case 2:
            data[at:at] = data[: int(draw.integers(0, 200))]
        case 3:
            del data[at : at + int(draw.integers(1, 50))]
        case _:
            data[at:at] = draw.bytes(int(draw.integers(1, 9)))
    file.write_bytes(data)


def settings(draw, names, wild):
    """Settings that fit, and some that do not."""
    name = lambda: str(draw.choice([*names, *names, "nothing"]))  # noqa: E731
    kind = lambda: str(draw.choice(["category", "number", "log_square", "quantiles", "bag", "hash", "numbr"]))  # noqa: E731
    given = {
        "label": name, "label_from": lambda: draw.choice([1, 0.5, -1, 1e400]).item(),
        "fields": lambda: {name(): kind() if draw.random() < 0.8 else {"kind": kind(), "min_count": 2}},
        "only": lambda: [name() for _ in range(3)], "ignore": lambda: [name()],
        "min_count": lambda: int(draw.integers(-1, 4)), "missing": lambda: [str(draw.choice(TEXT))],
        "columns": lambda: [*names] if draw.random() < 0.5 else [name(), name()],
        "separator": lambda: str(draw.choice([",", ";", "tab", "space", " ", "", "::", '"', "\n", "a", "é"])),
        "quote": lambda: [None, "'", "", ",", "ab", "\n", "\\"][draw.integers(0, 7)],
        "escape": lambda: ["\\", '"', "", ",", "ab", "\n"][draw.integers(0, 6)],
        "vocabulary": lambda: str(draw.choice(["train", "all", "some"])),
        "split_seed": lambda: int(draw.integers(-1, 9)),
        "ratios": lambda: [[0.6, 0.2, 0.2], [1, 0, 0], [1, 2], [float("nan")] * 3, [1 / 3] * 3][draw.integers(0, 5)],
    }  # fmt: skip
    chosen = {key: given[key]() for key in given if draw.random() < (0.12 if wild else 0.01)}
    split = str(draw.choice(["random", "chronological", "time", "column", "files", "paper", "weekly"]))
    if not wild:
        split = str(draw.choice(["random", "random", "chronological", "paper", "time", "column"]))
    if draw.random() < 0.7:
        chosen["split"] = split
    else:
        split = "random"
    if split in ("time", "column") and draw.random() < 0.9:
        chosen["split_column"] = name()
    if split == "column":
        odd = [None, 1.5, True, ["a"], {"a": 1}, "a", "", []]
        parts = {"train": ["train", "a", 0], "valid": ["valid", "b", 1], "test": ["test", True]}
        chosen["split_values"] = parts if draw.random() < 0.7 else {**parts, "test": odd[draw.integers(0, len(odd))]}
    return chosen


def outcome(work):
    """What ``work()`` gives, or the line of its UserError; anything else is a fault."""

    def hang(*_):
        raise TimeoutError("hangs")

    signal.signal(signal.SIGALRM, hang)
    signal.alarm(SECONDS)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", RuntimeWarning)
            return work(), None
    except UserError as error:
        return None, " ".join(str(error).split())  # as the command prints it
    finally:
        signal.alarm(0)


def run_cases(work, tmp_path):
    """``work(draw, folder)`` for every case; it returns a word for what happened."""
    counts, faults = Counter(), []
    for case in range(FIRST, FIRST + CASES):
        folder = tmp_path / str(case)
        folder.mkdir()
        try:
            counts[work(np.random.default_rng(case), folder)] += 1
        except BaseException as error:  # polars' panics are no Exceptions
            if isinstance(error, KeyboardInterrupt) or CASES == 1:
                raise
            faults.append(f"case {case}: {type(error).__name__}: {' '.join(str(error).split())[:300]}")
            print(faults[-1], flush=True)
        shutil.rmtree(folder)
    print(dict(counts), f"{len(faults)} faults")
    assert not faults, "\n".join(faults)
    if CASES > 100:
        assert min(counts["whole"], counts["refused"]) > CASES / 20


def test_prepare(tmp_path):
    def work(draw, folder):
        wild, raw = bool(draw.random() < 0.5), folder / "raw"
        rows = int(draw.choice([0, 1, 3, 40, 90, 200] if wild else [90, 200]))
        raw.mkdir()
        frame = table(draw, rows, wild)
        cuts = sorted(draw.integers(0, rows + 1, draw.integers(0, 3)).tolist())
        parts = [frame[a:b] for a, b in zip([0, *cuts], [*cuts, rows], strict=True)]
        sound = min([write(draw, part, raw, i, wild) for i, part in enumerate(parts)])
        given = settings(draw, frame.columns, wild)
        one = (
            [raw, sorted(raw.iterdir())[0], raw / "*.csv"][draw.integers(0, 3)] if wild and draw.random() < 0.3 else raw
        )
        dataset = {**TABLE, **given}
        cfg = {"dataset": dataset, "raw": [str(one)], "data_dir": str(folder / "data"), "memory": 1}
        store, refused = outcome(lambda: prepare(cfg))
        if refused is not None:
            assert len(refused) < 5000, f"a long line: {refused[:300]}"
            assert not (folder / "data").exists(), "something is left"
            return "refused"
        meta = json.loads((store / "meta.json").read_text())
        summary = json.loads((store / "summary.json").read_text())
        assert sum(summary["files"].values()) == meta["rows"] == sum(meta["rows_in"].values())
        assert len(np.load(store / "y.npy")) == len(np.load(store / "x.npy")) == meta["rows"]
        if sound and one == raw and not {"columns", "separator", "quote", "escape", "missing"} & given.keys():
            assert meta["rows"] in (rows, rows - len(parts), rows + len(parts)), f"{meta['rows']} of {rows} rows"
            return "whole"
        return "prepared"

    run_cases(work, tmp_path)


def test_predict(trained, tmp_path):
    from eulernet import Predictor

    whole = Predictor.load(trained.run).predict(trained.rows)

    def work(draw, folder):
        rows, raw = int(draw.choice([0, 1, 5, 60])), folder / "raw"
        raw.mkdir()
        start = int(draw.integers(0, 1900))
        frame, changed = trained.rows[start : start + rows], False
        for name in frame.columns:
            if draw.random() < 0.05:
                frame, changed = frame.with_columns(column(draw, rows).alias(name)), True
            if draw.random() < 0.02:
                frame, changed = frame.drop(name), True
        if draw.random() < 0.3:
            frame = frame.with_columns(column(draw, rows).alias(str(draw.choice(NAMES[3:]))))
            changed = True
        sound = write(draw, frame, raw, 0)
        keep = [str(name) for name in draw.choice([*frame.columns, "nothing"], draw.integers(0, 3))]
        output = folder / str(draw.choice(["out.csv", "out.csv.gz", "out.tsv", "out.parquet", "out.xls"]))
        cfg = {
            "run": str(trained.run), "input": str(raw), "output": str(output), "keep": keep,
            "batch_size": [1, 7, 8192, 0, "x"][draw.choice(5, p=[0.2, 0.2, 0.5, 0.05, 0.05])], "device": "cpu",
        }  # fmt: skip
        _, refused = outcome(lambda: predict(cfg))
        if refused is not None:
            assert len(refused) < 5000, f"a long line: {refused[:300]}"
            assert [file.name for file in folder.iterdir()] == ["raw"], "something is left"
            return "refused"
        name = output.name
        if name.endswith(".parquet"):
            found = pl.read_parquet(output)
        else:
            found = pl.read_csv(output, separator="\t" if "tsv" in name else ",", infer_schema=False)
        names = [name.replace('""', '"') for name in found.columns]  # polars leaves them so in a header
        assert names == [name.replace('""', '"') for name in (*keep, "probability")]
        assert found["probability"].null_count() == 0
        if sound and not changed:
            assert len(found) in (rows, rows - 1), f"{len(found)} of {rows} rows"
            if len(found) == rows:
                scores = found["probability"].cast(pl.Float64).to_numpy()
                np.testing.assert_allclose(scores, whole[start : start + rows], atol=1e-6)
            return "whole"
        return "scored"

    run_cases(work, tmp_path)
