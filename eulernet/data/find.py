"""Which raw files a user means: paths, patterns and folders to files in natural order, and what is left out."""

import hashlib
import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from glob import glob
from pathlib import Path

from eulernet.data.rows import LINE_END
from eulernet.data.unpack import PACKINGS, holds_rows, opened, stem
from eulernet.errors import UserError, require

log = logging.getLogger(__name__)

TEXT = (".csv", ".tsv", ".txt")
SUFFIXES = (*TEXT, ".parquet", ".pq", ".feather", ".arrow", ".ipc", *PACKINGS)
HEAD = 1 << 16  # bytes of text by which files that may be equal are told apart at first


@dataclass(frozen=True)
class Found:
    """The files to read, in order, and those of the same folders that are left out, with the reason."""

    files: Sequence[Path]
    left_out: Mapping[str, str]


def find(
    raw: Sequence[Path], wanted: str, suffixes: tuple[str, ...] = SUFFIXES, member: str | None = None, key: str = "raw"
) -> Found:
    """The files that ``raw``, what the user gave as ``key``, names: files, patterns with ``*``, or folders.

    Of a folder all that end in one of ``suffixes``, or only those called ``member``, if there are any.
    """
    require(bool(raw), f"give the raw files: raw=PATH ({wanted}; data/README.md says where they come from)")
    files: list[Path] = []
    left_out: dict[str, str] = {}
    for path in raw:
        if path.is_dir():
            here, others = _in_folder(path, suffixes, member)
            require(bool(here), f"{key}={path}: no file there ends in {', '.join(suffixes)}")
            left_out.update(others)
        elif not path.exists() and any(letter in str(path) for letter in "*?["):
            here = sorted(_matching(path), key=natural)
            require(bool(here), f"{key}={path}: no file matches")
        else:
            here = [path]
            require(path.exists(), f"{key}={path}: no such file or folder; give {wanted}")
            require(path.is_file(), f"{key}={path} is a pipe or a device; write the rows into a file")
        files += here
    known: dict[Path, Path] = {}
    for file in files:
        other = known.setdefault(file.resolve(), file)
        require(other is file, f"{key}=: {file} is there twice" + (f", as {other} too" if other != file else ""))
    if left_out:
        shown = [f"{name} ({why})" for name, why in list(left_out.items())[:5]]
        log.warning("left out: %s%s", ", ".join(shown), f" and {len(left_out) - 5} more" * (len(left_out) > 5))
    if len(files) > 1:
        names = [file.name for file in files]
        if len(set(names)) < len(names):
            names = [f"{file.parent.name}/{file.name}" for file in files]
        shown = names if len(names) <= 6 else [*names[:4], "...", names[-1]]
        log.info("%d files in this order: %s", len(files), ", ".join(shown))
    return Found(files, left_out)


def _in_folder(folder: Path, suffixes: tuple[str, ...], member: str | None) -> tuple[list[Path], dict[str, str]]:
    here, left_out = [], {}
    for file in sorted(folder.rglob("*"), key=natural):
        name = str(file.relative_to(folder))
        if file.is_dir() or _hidden_or_made(file, folder):
            continue
        if not file.is_file():
            left_out[name] = "not a regular file"
        elif not file.name.lower().endswith(suffixes):
            left_out[name] = "another suffix"
        elif not holds_rows(name):
            left_out[name] = "a document by its name"
        else:
            here.append(file)
    if called := [file for file in here if stem(file.name) == member]:
        left_out |= {str(file.relative_to(folder)): f"not called {member}" for file in here if file not in called}
    return called or here, left_out


def _hidden_or_made(file: Path, folder: Path) -> bool:
    """Whether a file below ``folder`` is hidden, a marker of Spark's, or part of a store or a run."""
    path = file.relative_to(folder)
    inside = [folder / parent for parent in path.parents if parent.name]
    made = any((parent / name).is_file() for parent in inside for name in ("meta.json", "report.json"))
    return made or any(part.startswith((".", "_")) for part in path.parts)


def _matching(pattern: Path) -> Iterator[Path]:
    """The files that a pattern matches; folders above it that are there may be called ``[x]``."""
    base = next(parent for parent in pattern.parents if parent.is_dir())
    for name in glob(str(pattern.relative_to(base)), root_dir=base, recursive=True):  # noqa: PTH207
        if (base / name).is_file():
            yield base / name


def natural(path: Path) -> list[tuple[list[str | int], str]]:
    """A key that sorts day_9 before day_10, folder by folder; equal numbers (1, 01) by their text."""
    return [
        ([int(piece) if i % 2 else piece for i, piece in enumerate(re.split(r"([0-9]+)", part))], part)
        for part in path.parts
    ]


def require_distinct(files: Sequence[Path], member: str | None) -> None:
    """UserError where two files hold the same rows: a copy, or a file beside its packed form.

    Files are unpacked for it, but compared as a whole only if they begin alike. One of a single line is no copy: it
    may be the header of a part without rows.
    """
    alike: dict[bytes, list[Path]] = {}
    for file in files if len(files) > 1 else ():
        with opened(file, member) as (stream, _):
            head = stream.read(HEAD)
        if head.rstrip(b"\r\n").count(LINE_END):
            alike.setdefault(hashlib.sha256(head).digest(), []).append(file)
    for candidates in alike.values():
        known: dict[bytes, Path] = {}
        for file in candidates if len(candidates) > 1 else ():
            text = hashlib.sha256()
            with opened(file, member) as (stream, _):
                while block := stream.read(1 << 22):
                    text.update(block)
            other = known.setdefault(text.digest(), file)
            if other is not file:
                raise UserError(f"{file} holds the same rows as {other}: every row would count twice; leave one out")
