"""What raw files and stores have to do with a disk: checksums, room, and folders that are whole or not there."""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eulernet.bars import bar
from eulernet.errors import require
from eulernet.files import locked, replacing, write_atomically

if TYPE_CHECKING:
    from tqdm import tqdm

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
        text = json.dumps({**known, **news}, indent=1) + "\n"
        write_atomically(note, lambda temporary: temporary.write_text(text), place="data_dir=")
    return sums


def progress(what: str, unit: str, total: int | None = None) -> "tqdm[Any]":
    """A bar for what takes longer than two seconds."""
    return bar(what, unit, total, delay=2)


@contextmanager
def writing(folder: Path, *, mark: str) -> Iterator[Path]:
    """A new folder that becomes ``folder`` when the block ends, or vanishes when it raises.

    If another process finished the same folder meanwhile, which the file ``mark`` shows, that one stays: both hold the
    same bytes. What killed processes left beside it is removed. UserError when the disk is full.
    """
    made = [parent for parent in folder.parents if not parent.exists()]
    folder.parent.mkdir(parents=True, exist_ok=True)
    for left in folder.parent.glob(".*.new"):
        with suppress(OSError), locked(left, wait=False):
            shutil.rmtree(left)
    try:
        with replacing(folder, place="data_dir=") as temporary:
            temporary.mkdir()
            yield temporary
    except OSError:
        if not (folder / mark).is_file():
            raise
    finally:
        for parent in made:
            with suppress(OSError):  # what holds the new folder, or anybody else's, stays
                parent.rmdir()


def require_space(folder: Path, needed: int) -> None:
    """UserError unless the disk of a new ``folder`` (see ``writing``) has room for ``needed`` bytes."""
    free = shutil.disk_usage(folder).free
    short = f"preparing needs {needed / 1e6:,.1f} MB, {free / 1e6:,.1f} MB are free; give another data_dir="
    require(needed < free, f"{folder.parents[1]}: {short}")
