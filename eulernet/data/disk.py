"""What raw files and stores have to do with a disk: checksums, room, and folders that are whole or not there."""

import fcntl
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import polars as pl
from tqdm import tqdm

from eulernet.errors import UserError, require

LARGE = 1 << 26  # bytes of raw files whose checksums are worth remembering


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
