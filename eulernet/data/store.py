"""The encoded store: one folder with a dataset as integers, written once, whole or not at all.

    x.npy         int32 [rows, C]    ids, 0 is rare or missing; a number is float32 bits, a bag several columns
    y.npy         uint8 [rows]       1 = click
    weight.npy    float32 [rows]     how much a row counts, where that is not 1 for all
    train.npy ... int32 or int64     row numbers of a split, where it is not a range of rows
    vocab/        <field>.parquet    value -> id
    vectors/      <field>.npy        float32 [ids, K], of fields with vectors before training; NaN for an id without
    meta.json     fields and their sizes, protocol, source, splits
    summary.json  what preparing found and took

A store lives at ``<data_dir>/<dataset>/<digest>/``, where the digest covers the recipe and the raw files: a changed
recipe or source makes a new store, an unchanged one is reused.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

from eulernet.data.splits import CHUNK, Cut
from eulernet.errors import UserError, require

FORMAT = 3
LONGEST_NAME = 200  # characters of a file name; file systems take 255 bytes


def digest(description: Mapping[str, Any]) -> str:
    """A short name for everything that a store depends on."""
    text = json.dumps({"format": FORMAT, **description}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def file_name(field: str) -> str:
    """What a file of a field is called, whatever characters its name has, and however many."""
    name = quote(field, safe=" ()+,;=@&")
    if len(name) > LONGEST_NAME:
        name = f"{name[: LONGEST_NAME - 17]}~{hashlib.sha256(field.encode()).hexdigest()[:16]}"
    return name


def vocabulary_file(field: str) -> str:
    """Where a store keeps the vocabulary of a field."""
    return f"vocab/{file_name(field)}.parquet"


def vectors_file(field: str) -> str:
    """Where a store keeps the vectors that the ids of a field have before training."""
    return f"vectors/{file_name(field)}.npy"


def write_split(folder: Path, cut: Cut, rows: int) -> dict[str, list[int] | str]:
    """What meta.json says of the splits: a range each, or the name of the file that its row numbers are written to."""
    split: dict[str, list[int] | str] = {}
    for part, numbers in cut.items():
        if isinstance(numbers, tuple):
            split[part] = list(numbers)
            continue
        split[part], file = f"{part}.npy", folder / f"{part}.npy"
        if isinstance(numbers, np.memmap) and str(numbers.filename) == str(file):
            numbers.flush()
        else:
            file.unlink(missing_ok=True)  # never under the rows of which some were taken
            np.save(file, numbers.astype(np.int32 if rows < 2**31 else np.int64, copy=False))
    return split


def seal(folder: Path, *, split: Mapping[str, list[int] | str], **about: Any) -> dict[str, Any]:
    """Check the labels in ``folder``, then write and return ``meta.json``, which makes it a store; see ``describe``."""
    y = np.load(folder / "y.npy", mmap_mode="r")
    weight = np.load(folder / "weight.npy", mmap_mode="r") if (folder / "weight.npy").exists() else None
    members = {
        part: where if isinstance(where, list) else np.load(folder / where, mmap_mode="r")
        for part, where in split.items()
    }
    meta = describe(y, members, weights=weight, split=split, **about)
    (folder / "meta.json").write_text(json.dumps(meta, indent=2) + "\n")
    return meta


def describe(
    y: np.ndarray,
    members: Mapping[str, Sequence[int] | np.ndarray],
    *,
    weights: np.ndarray | None = None,
    name: str,
    protocol: str,
    fields: Sequence[Mapping[str, Any]],
    split: Mapping[str, list[int] | str],
    source: Mapping[str, Any],
    raw: Mapping[str, Any],
    **extra: Any,
) -> dict[str, Any]:
    """What meta.json says of rows with labels ``y``; ``members`` are the rows of each part: numbers, or first and end.

    A field is its ``name``, its ``kind`` (category, number, bag or history), the ``size`` of its part of the embedding
    table, the raw ``column`` that it comes from and what encodes that; ``raw`` describes raw rows. Raises UserError for
    a split that is empty or has one class only, among the rows that have a weight above 0.
    """
    clicks, rows = {}, {}
    for part, where in members.items():
        rows[part], clicks[part], weighing, clicked = counts_in(y, weights, where)
        require(rows[part] > 0, f"{name}: the {part} split is empty ({len(y)} rows in all)")
        require(weighing > 0, f"{name}: every row of the {part} split has the weight 0")
        one_class = "a click" if clicked else "no click"
        require(0 < clicked < weighing, f"{name}: every row of the {part} split is {one_class}; AUC needs both")
    return {
        "format": FORMAT,
        "name": name,
        "protocol": protocol,
        "rows": len(y),
        "fields": [dict(field) for field in fields],
        "split": dict(split),
        "rows_in": rows,
        "clicks": clicks,
        "source": dict(source),
        "raw": dict(raw),
        **extra,
    }


def counts_in(y: np.ndarray, weights: np.ndarray | None, where: Sequence[int] | np.ndarray) -> list[int]:
    """Rows and clicks in a part, and both again among the rows that have a weight above 0."""
    counts = np.zeros(4, dtype=np.int64)
    first, end = (0, len(where)) if isinstance(where, np.ndarray) else where
    for start in range(first, end, CHUNK):
        some = slice(start, min(start + CHUNK, end))
        inside = where[some] if isinstance(where, np.ndarray) else some
        labels = y[inside]
        weighing = labels if weights is None else labels[weights[inside] > 0]
        found = [len(labels), np.count_nonzero(labels), len(weighing), np.count_nonzero(weighing)]
        counts += np.array(found, dtype=np.int64)
    return list(counts.tolist())


def summarise(
    folder: Path,
    meta: Mapping[str, Any],
    missing: Sequence[int],
    zeros: Sequence[int],
    seconds: Mapping[str, float],
    files: Mapping[str, int],
    left_out: Mapping[str, str],
    shared: Mapping[str, Mapping[str, int]],
    peak: int,
) -> None:
    """Write ``summary.json``: what is in a store, and what preparing took.

    ``missing`` and ``zeros`` count the rows of each field without a value and with id 0. A missing category has id 0
    too; what is left is rare, or unseen where ids come from training rows. ``files`` are the rows of each raw file, in
    the order in which they were read, ``left_out`` the reason why another one was not. ``shared`` are the values, the
    buckets and the used buckets of hashed fields: a value collides that finds its bucket taken. ``peak`` are the bytes
    of memory that a process took.
    """
    rows = meta["rows"]
    fields = {}
    for field, absent, zero in zip(meta["fields"], missing, zeros, strict=True):
        rare = zero if field["kind"] in ("number", "bag", "history") else zero - absent
        ids = None if field["kind"] == "number" else field["size"] - 1
        fields[field["name"]] = {"kind": field["kind"], "ids": ids, "missing": absent / rows, "rare": int(rare) / rows}
        if (of := shared.get(field["name"])) and of["values"]:
            fields[field["name"]] |= {"hashed": of["values"], "collisions": 1 - of["used"] / of["values"]}
        if "vectors" in field and field["kind"] == "category":
            fields[field["name"]]["vectors"] = field["vectors"]
    splits = {
        part: {"rows": rows_of, "click_rate": meta["clicks"][part] / rows_of}
        for part, rows_of in meta["rows_in"].items()
    }
    summary = {
        "rows": rows,
        "files": dict(files),
        "left_out": dict(left_out),
        "fields": fields,
        "splits": splits,
        "seconds": dict(seconds),
        "peak_memory_bytes": peak,
        "bytes": sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()),
    }
    (folder / "summary.json").write_text(json.dumps(summary, indent=2) + "\n")


def read_meta(folder: Path, again: str | None = None) -> dict[str, Any]:
    """The checked ``meta.json`` of a store, or of a run's preprocessor, where ``again`` says what to do.

    UserError if it is damaged or of another format.
    """
    again = again or f"delete that folder and run again (rm -r {folder})"
    try:
        meta = json.loads((folder / "meta.json").read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"store {folder}: meta.json cannot be read ({error}); {again}") from None
    found = meta.get("format") if isinstance(meta, dict) else None
    newer = isinstance(found, int) and found > FORMAT
    todo = "it was made by a newer eulernet: update this one" if newer else again
    require(found == FORMAT, f"store {folder}: format {found}, this version reads format {FORMAT}; {todo}")
    missing = {"name", "protocol", "rows", "fields", "split", "rows_in", "clicks", "source", "raw"} - meta.keys()
    require(not missing, f"store {folder}: meta.json lacks {', '.join(sorted(missing))}; {again}")
    for field in meta["fields"]:
        file, without = vocabulary_file(field.get("same_as", field["name"])), {"edges", "buckets"} & field.keys()
        known = field["kind"] not in ("category", "bag", "history") or without or (folder / file).is_file()
        require(known, f"store {folder}: no {file}; {again}")
    return meta


def open_array(folder: Path, file: str, shape: tuple[int, ...], *dtypes: type, mapped: bool = True) -> np.ndarray:
    """Memory-map ``file`` of a store, or read it; UserError unless it is whole and of the shape that meta.json says.

    Copy-on-write, because torch wants writable memory: what is written here never reaches the file.
    """
    try:
        array = np.load(folder / file, mmap_mode="c" if mapped else None)
        require(array.shape == shape, f"shape {array.shape}, expected {shape}")
        require(array.dtype in dtypes, f"{array.dtype}, expected {np.dtype(dtypes[0])}")
    except (OSError, ValueError, EOFError) as error:
        raise UserError(
            f"store {folder}: {file} is truncated or damaged ({error}); "
            f"delete that folder and run again (rm -r {folder})"
        ) from None
    return array
