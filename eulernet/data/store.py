"""The encoded store: one folder with a dataset as integers, written once, whole or not at all.

    x.npy      int32 [rows, F]    ids; 0 is rare or missing
    y.npy      uint8 [rows]       1 = click
    vocab/     <field>.parquet    value -> id
    meta.json  names, sizes, protocol, source, row ranges of the splits

A store lives at ``<data_dir>/<dataset>/<digest>/``, where the digest covers the recipe and the raw files: a changed
recipe or source makes a new store, an unchanged one is reused.
"""

import hashlib
import json
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from eulernet.errors import UserError, require

FORMAT = 1
CHUNK = 1 << 20  # rows checked at a time: bounds memory whatever the size of the store
PARTS = ("train", "valid", "test")


def digest(description: Mapping[str, Any]) -> str:
    """A short name for everything that a store depends on."""
    text = json.dumps({"format": FORMAT, **description}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def checksums(files: Iterable[Path]) -> dict[str, str]:
    """sha256 by file name."""
    sums = {}
    for file in files:
        with file.open("rb") as stream:
            sums[file.name] = hashlib.file_digest(stream, "sha256").hexdigest()
    return sums


@contextmanager
def writing(folder: Path, *, mark: str) -> Iterator[Path]:
    """A hidden folder that becomes ``folder`` when the block ends, or vanishes when it raises.

    If another process finished the same folder meanwhile, which the file ``mark`` shows, that one stays: both hold the
    same bytes.
    """
    made = [parent for parent in folder.parents if not parent.exists()]
    folder.parent.mkdir(parents=True, exist_ok=True)
    for stale in folder.parent.glob(f".{folder.name}.*"):  # of a process that was killed
        if time.time() - stale.stat().st_mtime > 86_400:
            shutil.rmtree(stale, ignore_errors=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        yield temporary
        temporary.chmod(0o755)
        try:
            temporary.rename(folder)
        except OSError:
            if not (folder / mark).is_file():
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        for parent in made:
            with suppress(OSError):  # what holds the new folder, or anybody else's, stays
                parent.rmdir()


def require_space(folder: Path, rows: int, fields: int) -> None:
    """UserError unless the disk of ``folder`` has room for the arrays: a memory-mapped file crashes on a full one."""
    needed, free = rows * (4 * fields + 1) / 1e6, shutil.disk_usage(folder).free / 1e6
    short = f"the store needs {needed:,.1f} MB, {free:,.1f} MB are free; give another data_dir="
    require(needed < free, f"{folder.parent}: {short}")


def write_vocabulary(folder: Path, field: str, values: pl.Series) -> None:
    """Store the values of a field; the i-th has id i + 1."""
    (folder / "vocab").mkdir(exist_ok=True)
    table = pl.DataFrame({"value": values, "id": pl.int_range(1, len(values) + 1, dtype=pl.Int32, eager=True)})
    table.write_parquet(folder / "vocab" / f"{field}.parquet")


def seal(
    folder: Path,
    *,
    name: str,
    protocol: str,
    fields: Sequence[str],
    field_sizes: Sequence[int],
    split: Mapping[str, tuple[int, int]],
    source: Mapping[str, Any],
    **extra: Any,
) -> None:
    """Check the arrays in ``folder`` once and for all, then write ``meta.json``, which makes it a store.

    Raises UserError for a label other than 0 and 1, and for a split that is empty or has one class only.
    """
    x, y = np.load(folder / "x.npy", mmap_mode="r"), np.load(folder / "y.npy", mmap_mode="r")
    assert (x.shape, x.dtype, y.dtype) == ((len(y), len(fields)), np.int32, np.uint8)
    for start in range(0, len(y), CHUNK):
        rows = slice(start, start + CHUNK)
        require(bool((y[rows] <= 1).all()), f"{name}: a label is neither 0 nor 1")
        # With one table for all fields, an id beyond its field's size would silently read a neighbour's row.
        assert ((x[rows] >= 0) & (x[rows] < np.asarray(field_sizes))).all()
    clicks = {}
    for part in PARTS:
        start, stop = split[part]
        require(stop > start, f"{name}: the {part} split is empty ({len(y)} rows in all)")
        clicks[part] = sum(int(y[i : min(i + CHUNK, stop)].sum()) for i in range(start, stop, CHUNK))
        one_class = "a click" if clicks[part] else "no click"
        require(
            0 < clicks[part] < stop - start, f"{name}: every row of the {part} split is {one_class}; AUC needs both"
        )
    meta = {
        "format": FORMAT,
        "name": name,
        "protocol": protocol,
        "rows": len(y),
        "fields": list(fields),
        "field_sizes": list(field_sizes),
        "split": {part: list(split[part]) for part in PARTS},
        "clicks": clicks,
        "source": dict(source),
        **extra,
    }
    (folder / "meta.json").write_text(json.dumps(meta, indent=2) + "\n")


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
    missing = {"name", "protocol", "rows", "fields", "field_sizes", "split", "clicks", "source"} - meta.keys()
    require(not missing, f"store {folder}: meta.json lacks {', '.join(sorted(missing))}; {again}")
    for field in meta["fields"]:
        require((folder / "vocab" / f"{field}.parquet").is_file(), f"store {folder}: no vocab/{field}.parquet; {again}")
    return meta


def open_array(folder: Path, file: str, shape: tuple[int, ...], dtype: type) -> np.ndarray:
    """Memory-map ``file`` of a store; UserError unless it is whole and of the shape that meta.json says.

    Copy-on-write, because torch wants writable memory: what is written here never reaches the file.
    """
    try:
        array = np.load(folder / file, mmap_mode="c")
        require(array.shape == shape, f"shape {array.shape}, expected {shape}")
        require(array.dtype == dtype, f"{array.dtype}, expected {np.dtype(dtype)}")
    except (OSError, ValueError, EOFError) as error:
        raise UserError(
            f"store {folder}: {file} is truncated or damaged ({error}); "
            f"delete that folder and run again (rm -r {folder})"
        ) from None
    return array
