"""The encoded store: one folder with a dataset as integers, written once, whole or not at all.

    x.npy         int32 [rows, C]    ids, 0 is rare or missing; a number is float32 bits, a bag several columns
    y.npy         uint8 [rows]       1 = click
    train.npy ... int32 or int64     row numbers of a split, where it is not a range of rows
    vocab/        <field>.parquet    value -> id
    meta.json     fields and their sizes, protocol, source, splits
    summary.json  what preparing found and took

A store lives at ``<data_dir>/<dataset>/<digest>/``, where the digest covers the recipe and the raw files: a changed
recipe or source makes a new store, an unchanged one is reused.
"""

import fcntl
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import polars as pl
from tqdm import tqdm

from eulernet import memory
from eulernet.data.splits import PARTS, Cut
from eulernet.errors import UserError, require

FORMAT = 2
LARGE = 1 << 26  # bytes of raw files whose checksums are worth remembering


def digest(description: Mapping[str, Any]) -> str:
    """A short name for everything that a store depends on."""
    text = json.dumps({"format": FORMAT, **description}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def checksums(files: Sequence[Path], data_dir: Path, kind: str = "sha256") -> dict[str, str]:
    """The checksum of each file by its name (its path below their common folder, if there are several).

    ``data_dir``/checksums.json remembers those of large files whose size and time of change are what they were, so
    that a run on a prepared dataset does not read all of its raw text again.
    """
    base = Path(os.path.commonpath([file.absolute().parent for file in files]))
    note = data_dir / "checksums.json"
    try:
        known = dict(json.loads(note.read_text()))
    except (OSError, ValueError, TypeError):
        known = {}
    sums: dict[str, str] = {}
    news: dict[str, list[Any]] = {}
    total = sum(file.stat().st_size for file in files)
    with progress("checksums", "B", total) as bar:
        for file in files:
            stat = file.stat()
            key, stamp = f"{kind} {file.resolve()}", [stat.st_size, stat.st_mtime_ns]
            entry = known.get(key)
            if not (isinstance(entry, list) and entry[:2] == stamp):
                sum_ = hashlib.new(kind)
                with file.open("rb") as stream:
                    while block := stream.read(1 << 22):
                        sum_.update(block)
                        bar.update(len(block))
                entry = news[key] = [*stamp, sum_.hexdigest()]
            sums[file.absolute().relative_to(base).as_posix()] = entry[2]
    if total > LARGE and news:
        data_dir.mkdir(parents=True, exist_ok=True)
        temporary = note.with_name(f".{note.name}.{os.getpid()}")
        temporary.write_text(json.dumps({**known, **news}, indent=1) + "\n")
        temporary.replace(note)
    return sums


def progress(what: str, unit: str, total: int | None = None) -> "tqdm[Any]":
    """A bar with a rate and the time left, on a terminal, for what takes longer than two seconds."""
    return tqdm(
        total=total, desc=what, unit=unit, unit_scale=True, leave=False, delay=2, disable=None, dynamic_ncols=True
    )


@contextmanager
def writing(folder: Path, *, mark: str) -> Iterator[Path]:
    """A hidden folder that becomes ``folder`` when the block ends, or vanishes when it raises.

    If another process finished the same folder meanwhile, which the file ``mark`` shows, that one stays: both hold the
    same bytes. Every hidden folder is locked by its maker, so what a killed process left is told from what a living one
    makes, and removed. UserError when the disk is full.
    """
    made = [parent for parent in folder.parents if not parent.exists()]
    folder.parent.mkdir(parents=True, exist_ok=True)
    with locked(folder.parent):  # nobody sees a hidden folder that is not locked yet
        for left in folder.parent.glob(".*.new"):
            with suppress(OSError), locked(left, wait=False):
                shutil.rmtree(left)
        temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", suffix=".new", dir=folder.parent))
        mine = locked(temporary)
        mine.__enter__()
    try:
        yield temporary
        temporary.chmod(0o755)
        try:
            temporary.rename(folder)
        except OSError:
            if not (folder / mark).is_file():
                raise
    except (OSError, pl.exceptions.PolarsError) as error:  # numpy and polars say it in words of their own
        if "No space left" in str(error) or shutil.disk_usage(folder.parent).free < 1 << 20:
            raise UserError(f"{folder.parent}: the disk is full; free some space, or give another data_dir=") from None
        raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        mine.__exit__(None, None, None)
        for parent in made:
            with suppress(OSError):  # what holds the new folder, or anybody else's, stays
                parent.rmdir()


@contextmanager
def locked(folder: Path, *, wait: bool = True) -> Iterator[None]:
    """Hold a lock on ``folder``, which the system takes back if this process dies; OSError if it is taken, or gone."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        yield
    finally:
        os.close(descriptor)


def require_space(folder: Path, needed: int) -> None:
    """UserError unless the disk of ``folder`` has room for ``needed`` bytes."""
    free = shutil.disk_usage(folder).free
    short = f"preparing needs {needed / 1e6:,.1f} MB, {free / 1e6:,.1f} MB are free; give another data_dir="
    require(needed < free, f"{folder.parent}: {short}")


def vocabulary_file(field: str) -> str:
    """Where a store keeps the vocabulary of a field, whatever characters its name has."""
    return f"vocab/{quote(field, safe=' ()+,;=@&')}.parquet"


def write_split(folder: Path, cut: Cut, rows: int) -> dict[str, list[int] | str]:
    """What meta.json says of the splits: a range each, or the name of the file that its row numbers are written to."""
    split: dict[str, list[int] | str] = {}
    for part in PARTS:
        numbers = cut[part]
        if isinstance(numbers, tuple):
            split[part] = list(numbers)
        else:
            split[part] = f"{part}.npy"
            np.save(folder / f"{part}.npy", numbers.astype(np.int32 if rows < 2**31 else np.int64, copy=False))
    return split


def seal(
    folder: Path,
    *,
    name: str,
    protocol: str,
    fields: Sequence[Mapping[str, Any]],
    split: Mapping[str, list[int] | str],
    source: Mapping[str, Any],
    **extra: Any,
) -> dict[str, Any]:
    """Check the labels in ``folder``, then write and return ``meta.json``, which makes it a store.

    A field is its ``name``, its ``kind`` (category, number or bag), the ``size`` of its part of the embedding table,
    and what encodes it. Raises UserError for a split that is empty or has one class only.
    """
    y = np.load(folder / "y.npy", mmap_mode="r")
    clicks, rows = {}, {}
    for part in PARTS:
        where = split[part]
        labels = y[slice(*where)] if isinstance(where, list) else y[np.load(folder / where)]
        rows[part], clicks[part] = len(labels), int(np.count_nonzero(labels))
        require(rows[part] > 0, f"{name}: the {part} split is empty ({len(y)} rows in all)")
        one_class = "a click" if clicks[part] else "no click"
        require(0 < clicks[part] < rows[part], f"{name}: every row of the {part} split is {one_class}; AUC needs both")
    meta = {
        "format": FORMAT,
        "name": name,
        "protocol": protocol,
        "rows": len(y),
        "fields": [dict(field) for field in fields],
        "split": dict(split),
        "rows_in": rows,
        "clicks": clicks,
        "source": dict(source),
        **extra,
    }
    (folder / "meta.json").write_text(json.dumps(meta, indent=2) + "\n")
    return meta


def summarise(
    folder: Path,
    meta: Mapping[str, Any],
    missing: Sequence[int],
    zeros: Sequence[int],
    seconds: Mapping[str, float],
) -> None:
    """Write ``summary.json``: what is in a store, and what preparing took.

    ``missing`` and ``zeros`` count the rows of each field without a value and with id 0. A missing category has id 0
    too; what is left is rare, or unseen where ids come from training rows.
    """
    rows = meta["rows"]
    fields = {}
    for field, gone, zero in zip(meta["fields"], missing, zeros, strict=True):
        rare = zero - gone if field["kind"] == "category" else zero
        ids = None if field["kind"] == "number" else field["size"] - 1
        fields[field["name"]] = {"kind": field["kind"], "ids": ids, "missing": gone / rows, "rare": int(rare) / rows}
    splits = {
        part: {"rows": meta["rows_in"][part], "click_rate": meta["clicks"][part] / meta["rows_in"][part]}
        for part in PARTS
    }
    summary = {
        "rows": rows,
        "fields": fields,
        "splits": splits,
        "seconds": dict(seconds),
        "peak_memory_bytes": memory.peak_resident(),
        "bytes": sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()),
    }
    (folder / "summary.json").write_text(json.dumps(summary, indent=2) + "\n")


def read_meta(folder: Path) -> dict[str, Any]:
    """The checked ``meta.json`` of a store; UserError if it is damaged or of another format."""
    again = f"delete that folder and run again (rm -r {folder})"
    try:
        meta = json.loads((folder / "meta.json").read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"store {folder}: meta.json cannot be read ({error}); {again}") from None
    if not isinstance(meta, dict) or meta.get("format") != FORMAT:
        found = meta.get("format") if isinstance(meta, dict) else None
        raise UserError(f"store {folder}: format {found}, this version reads format {FORMAT}; {again}")
    missing = {"name", "protocol", "rows", "fields", "split", "rows_in", "clicks", "source"} - meta.keys()
    require(not missing, f"store {folder}: meta.json lacks {', '.join(sorted(missing))}; {again}")
    for field in meta["fields"]:
        file = vocabulary_file(field["name"])
        known = field["kind"] == "number" or "edges" in field or (folder / file).is_file()
        require(known, f"store {folder}: no {file}; {again}")
    return meta


def open_array(folder: Path, file: str, shape: tuple[int, ...], *dtypes: type) -> np.ndarray:
    """Memory-map ``file`` of a store; UserError unless it is whole and of the shape that meta.json says.

    Copy-on-write, because torch wants writable memory: what is written here never reaches the file.
    """
    try:
        array = np.load(folder / file, mmap_mode="c")
        require(array.shape == shape, f"shape {array.shape}, expected {shape}")
        require(array.dtype in dtypes, f"{array.dtype}, expected {np.dtype(dtypes[0])}")
    except (OSError, ValueError, EOFError) as error:
        raise UserError(
            f"store {folder}: {file} is truncated or damaged ({error}); "
            f"delete that folder and run again (rm -r {folder})"
        ) from None
    return array
