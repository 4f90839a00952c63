"""Raw files of any size, plain or packed, text or Parquet, as typed frames of bounded size.

Text is read in blocks of whole lines, so that memory does not depend on the size of a file, whatever it is packed in.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from glob import glob
from pathlib import Path
from typing import Any

import polars as pl

from eulernet.data.columns import conform
from eulernet.data.lines import LINE_END, Dtype, Format, blocks, header_of, line_of, parse_block, require_columns
from eulernet.data.unpack import begins_with, opened, stem
from eulernet.errors import UserError, require

log = logging.getLogger(__name__)

SUFFIXES = (".csv", ".tsv", ".txt", ".gz", ".zip", ".parquet", ".pq")
SMALLEST_BLOCK = 1 << 20  # bytes of text


@dataclass(frozen=True)
class Piece:
    """Consecutive rows of a raw file, not parsed yet: ``frame`` does that, in whatever thread calls it."""

    frame: Callable[[], pl.DataFrame]
    where: Callable[[int], str]  # file and line of the i-th row, for messages
    index: int  # which of the files
    done: float  # share of all bytes that has been read, this piece included


def find(
    raw: Sequence[Path], wanted: str, suffixes: tuple[str, ...], member: str | None = None, key: str = "raw"
) -> list[Path]:
    """The files that ``raw``, what the user gave as ``key``, names: files, patterns with ``*``, or folders.

    Of a folder all that end in one of ``suffixes``, or only those called ``member``, if there are any.
    """
    require(bool(raw), f"give the raw files: raw=PATH ({wanted}; data/README.md says where they come from)")
    found: list[Path] = []
    for path in raw:
        if path.is_dir():
            here = [file for file in sorted(path.rglob("*")) if file.name.endswith(suffixes) and file.is_file()]
            here = [file for file in here if not _ours_or_hidden(file, path)]
            here = [file for file in here if stem(file.name) == member] or here
            require(bool(here), f"{key}={path}: no file there ends in {', '.join(suffixes)}")
        elif not path.exists() and any(letter in str(path) for letter in "*?["):
            here = [Path(file) for file in sorted(glob(str(path), recursive=True)) if Path(file).is_file()]  # noqa: PTH207
            require(bool(here), f"{key}={path}: no file matches")
        else:
            here = [path]
            require(path.is_file(), f"{key}={path}: no such file or folder; give {wanted}")
        found += here
    for file in found:
        require(found.count(file) == 1, f"{key}=: {file} is there twice")
    return found


def _ours_or_hidden(file: Path, folder: Path) -> bool:
    """Whether a file below ``folder`` is hidden, a marker of Spark's, or part of a store or a run."""
    path = file.relative_to(folder)
    inside = [folder / parent for parent in path.parents if parent.name]
    made = any((parent / name).is_file() for parent in inside for name in ("meta.json", "report.json"))
    return made or any(part.startswith((".", "_")) for part in path.parts)


def read(files: Sequence[Path], form: Format, memory: int) -> Iterator[Piece]:
    """The rows of ``files`` in order. Pieces are sized so that a few at once stay below ``memory`` bytes.

    Raises, itself or as a piece is parsed, UserError for a file that is empty, damaged or changes while it is read, for
    columns that are missing, and, with file and line, for a line with other columns than it should have, a value of
    another type, or invalid UTF-8.
    """
    total, before, any_rows = sum(file.stat().st_size for file in files), 0, False
    for index, file in enumerate(files):
        size, rows = file.stat().st_size, False
        for piece in pieces(file, form, memory, index, before, total):
            yield piece
            rows = any_rows = True
        if not rows:
            require(len(files) > 1, f"{file} {'has no rows' if size else 'is empty'}")
            log.info("%s has no rows", file)  # as a part that a cluster wrote may
        before += size
    require(any_rows, f"{files[0].parent}: none of {len(files)} files has rows")


def pieces(file: Path, form: Format, memory: int, index: int, before: int, total: int) -> Iterator[Piece]:
    """The rows of one file, the ``index``-th, before which there are ``before`` of ``total`` bytes."""
    stat = file.stat()
    if stat.st_size == 0:
        return
    for frame, where, position in (_parquet if is_parquet(file) else _text)(file, form, memory):
        now = file.stat()
        same = (now.st_size, now.st_mtime_ns) == (stat.st_size, stat.st_mtime_ns)
        require(same, f"{file} changed while it was read; run again when nobody writes to it")
        yield Piece(frame, where, index, (before + max(position, 1)) / total)


def first_line(file: Path, form: Format) -> list[str]:
    """The cells of the first line of a text file, which may be a header."""
    with opened(file, form.member) as (stream, _):
        return header_of(file, stream, form.separator, form.quote)


def parquet_schema(file: Path) -> dict[str, Dtype]:
    """The columns of a Parquet file with their types."""
    return dict(_refused(file, pl.scan_parquet(file, glob=False).collect_schema))


def sample(files: Sequence[Path], form: Format, rows: int) -> pl.DataFrame:
    """The first rows of the first file that has some, all columns: as text, or of the types that Parquet gives them."""
    for file in files:
        if is_parquet(file):
            frame = _refused(file, pl.scan_parquet(file, glob=False).head(rows).collect)
            if len(frame):
                return frame
        elif file.stat().st_size:
            names = form.names
            if names is None:
                with opened(file, None) as (stream, _):
                    names = header_of(file, stream, form.separator, form.quote)
            for parse, _, _ in _text(file, replace(form, columns=dict.fromkeys(names, pl.String)), 1 << 24):
                return parse().head(rows)
    raise UserError(f"{files[0]} has no rows" if len(files) == 1 else f"{files[0].parent}: no file has rows")


def separator_of(file: Path, expected: str = "") -> str:
    """What the first line of a text file has most of: a tab, a comma, a semicolon or a bar; for Parquet a comma.

    Or the ``expected`` one, where there is one and the line has it.
    """
    if is_parquet(file) or file.stat().st_size == 0:
        return ","
    with opened(file, None) as (stream, _):
        line = stream.readline(1 << 20).decode(errors="replace")
    return expected if expected and expected in line else max(",\t;|", key=line.count)


# How to parse some rows, where the i-th of them stands, and how many bytes have been read.
Part = tuple[Callable[[], pl.DataFrame], Callable[[int], str], int]


def _parquet(file: Path, form: Format, memory: int) -> Iterator[Part]:
    scan = pl.scan_parquet(file, glob=False)
    require_columns(file, form.columns, list(parquet_schema(file)))
    rows = _refused(file, scan.select(pl.len()).collect).item()
    step, size = max(memory // (4096 * pl.thread_pool_size()), 1024), file.stat().st_size
    for start in range(0, rows, step):
        where = partial(_row_of, file, start + 1)
        yield partial(_slice, file, start, step, form, where), where, size * min(start + step, rows) // rows


def _row_of(file: Path, first: int, row: int) -> str:
    return f"{file}, row {first + row}"


def _slice(file: Path, start: int, rows: int, form: Format, where: Callable[[int], str]) -> pl.DataFrame:
    """Some rows of a Parquet file, with the types that are wanted."""
    frame = _refused(file, pl.scan_parquet(file, glob=False).select(list(form.columns)).slice(start, rows).collect)
    return conform(frame, form.columns, form.missing, where, str(file))


def _text(file: Path, form: Format, memory: int) -> Iterator[Part]:
    with opened(file, form.member) as (stream, position):
        names, line = list(form.names or form.columns), 1
        if form.header:
            names, line = header_of(file, stream, form.separator, form.quote), 2
            require_columns(file, form.columns, names)
        size = max(memory // (16 * pl.thread_pool_size()), SMALLEST_BLOCK)
        for block in blocks(file, stream, size, form):
            yield (
                partial(parse_block, file, block, line, names, form),
                partial(line_of, file, block, line, form),
                position(),
            )
            line += block.count(LINE_END)


def is_parquet(file: Path) -> bool:
    return begins_with(file, b"PAR1")


def _refused(file: Path, work: Callable[[], Any]) -> Any:
    try:
        return work()
    except pl.exceptions.PolarsError as error:
        raise UserError(f"{file} is damaged or not Parquet ({str(error).splitlines()[0]})") from None
