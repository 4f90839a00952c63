"""Raw files of any size, text (plain or packed), Parquet or Arrow, as typed frames of bounded size.

Text is read in blocks of whole lines, so that memory does not depend on the size of a file, whatever it is packed in.
A block of plain text is a place in its file: who parses it, in this process or in another one, reads it there.
"""

import io
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import IO, Any

import polars as pl

from eulernet.data.columns import conform
from eulernet.data.lines import (
    BOM,
    KEPT,
    Dtype,
    Format,
    blocks,
    header_of,
    line_of,
    parse_block,
    require_columns,
)  # fmt: skip
from eulernet.data.rows import LINE_END
from eulernet.data.unpack import begins_with, opened
from eulernet.errors import UserError, require

log = logging.getLogger(__name__)

SMALLEST_BLOCK = 1 << 20  # bytes of text
FIRST_BLOCK = 1 << 24  # bytes of text that separators, escapes and types are inferred from
SCANS: dict[bytes, Callable[[Path], pl.LazyFrame]] = {  # by what such a file begins with
    b"PAR1": lambda file: pl.scan_parquet(file, glob=False),
    b"ARROW1": lambda file: pl.scan_ipc(file, glob=False),
}


@dataclass(frozen=True)
class Block:
    """Whole lines of a text file, the first of which is line ``line``: ``length`` bytes from ``start`` on.

    ``packed`` are these bytes themselves, where they come out of something packed.
    """

    file: Path
    stamp: tuple[int, int]  # the size and the time of change that the file should have
    start: int
    length: int
    line: int
    packed: bytes | None

    def text(self, form: Format) -> bytes:
        """UserError where the file is no longer what it was."""
        text = self.packed
        if text is None:
            with self.file.open("rb") as stream:
                stream.seek(self.start)
                text = stream.read(self.length)
            require_unchanged(self.file, self.stamp)
        return form.quoting.unescape(text.removeprefix(BOM) if self.line == 1 else text)

    def frame(self, names: Sequence[str], form: Format) -> pl.DataFrame:
        return parse_block(self.file, self.text(form), self.line, names, form)

    def where(self, form: Format, blank: bool, row: int) -> str:
        return line_of(self.file, self.text(form), self.line, form, blank, row)


@dataclass(frozen=True)
class Piece:
    """Consecutive rows of a raw file, not parsed yet: ``frame`` does that, in whatever thread or process calls it."""

    frame: Callable[[], pl.DataFrame]
    where: Callable[[int], str]  # file and line of the i-th row, for messages
    index: int  # which of the files
    done: float  # share of all bytes that has been read, this piece included


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
    stamp = stamp_of(file)
    if stamp[0] == 0:
        return
    for frame, where, position in (_columnar if is_columnar(file) else _text)(file, form, memory):
        require_unchanged(file, stamp)
        yield Piece(frame, where, index, (before + max(position, 1)) / total)


def stamp_of(file: Path) -> tuple[int, int]:
    """The size of a file and when it changed."""
    stat = file.stat()
    return stat.st_size, stat.st_mtime_ns


def require_unchanged(file: Path, stamp: tuple[int, int]) -> None:
    same = stamp_of(file) == stamp
    require(same, f"{file} changed while it was read; run again when nobody writes to it")


def first_line(file: Path, form: Format) -> list[str]:
    """The cells of the first line of a text file, which may be a header."""
    with opened(file, form.member) as (stream, _):
        return header_of(file, stream, form)[0]


def schema_of(file: Path) -> dict[str, Dtype]:
    """The columns of a Parquet or Arrow file with their types."""
    return dict(_refused(file, _scan(file).collect_schema))


def sample(files: Sequence[Path], form: Format, rows: int) -> pl.DataFrame:
    """The first rows of the first file that has some, all columns: as text, or of the types that Parquet gives them."""
    for file in files:
        if is_columnar(file):
            frame = _refused(file, _scan(file).head(rows).collect)
            if len(frame):
                return frame
        elif has_text(file):
            names = form.names or first_line(file, form)
            for parse, _, _ in _text(file, replace(form, columns=dict.fromkeys(names, pl.String)), FIRST_BLOCK):
                if len(frame := parse()):
                    return frame.head(rows)
    raise UserError(f"{files[0]} has no rows" if len(files) == 1 else f"{files[0].parent}: no file has rows")


def has_rows(file: Path) -> bool:
    """Whether a Parquet or Arrow file has rows, or a text file any text, if only a header."""
    return _refused(file, _scan(file).select(pl.len()).collect).item() > 0 if is_columnar(file) else has_text(file)


def has_text(file: Path) -> bool:
    """Whether there is anything in a file, or in what is packed there."""
    if file.stat().st_size == 0:
        return False
    with opened(file, None) as (stream, _):
        return stream.read(FIRST_BLOCK).strip(b"\r\n") != b""


def separator_of(file: Path, quote: str | None, expected: str = "") -> str:
    """What the first line of a text file has most of between its cells: a tab, a comma, a semicolon or a bar.

    Or the ``expected`` one, where there is one and the line has it. Quoted text does not count; for Parquet a comma.
    """
    if is_columnar(file) or file.stat().st_size == 0:
        return ","
    with opened(file, None) as (stream, _):
        line = b"\n"
        while line and not line.strip(b"\r\n"):
            line = stream.readline(1 << 20)
    between = line.decode(errors="replace")
    if quote:
        between = "".join(between.split(quote)[::2])
    return expected if expected and expected in between else max(",\t;|", key=between.count)


def escape_of(file: Path, form: Format) -> str | None:
    r"""A backslash, where the first block of a text file is whole rows if ``\"`` is a quote, as Spark writes it."""
    if form.escape or not form.quote or is_columnar(file):
        return form.escape
    with opened(file, form.member) as (stream, _):
        if f"\\{form.quote}".encode() not in stream.read(FIRST_BLOCK):
            return None
    for escape in (None, "\\"):
        try:
            sample([file], replace(form, escape=escape), 1)
            return escape
        except UserError:
            pass
    return None


# How to parse some rows, where the i-th of them stands, and how many bytes have been read.
Part = tuple[Callable[[], pl.DataFrame], Callable[[int], str], int]


def _columnar(file: Path, form: Format, memory: int) -> Iterator[Part]:
    rows = _refused(file, _scan(file).select(pl.len()).collect).item()
    if rows:  # a part without rows may have no columns either
        require_columns(file, [*form.columns, *form.kept], list(schema_of(file)))
    step, size = max(memory // (4096 * pl.thread_pool_size()), 1024), file.stat().st_size
    for start in range(0, rows, step):
        stop, where = min(start + step, rows), partial(_row_of, file, start + 1)
        yield partial(_slice, file, start, stop, form, where), where, size * stop // rows


def _row_of(file: Path, first: int, row: int) -> str:
    return f"{file}, row {first + row}"


def _slice(file: Path, start: int, stop: int, form: Format, where: Callable[[int], str]) -> pl.DataFrame:
    """Some rows of a Parquet or Arrow file, with the types that are wanted."""
    kept = [pl.col(name).alias(KEPT + name) for name in form.kept]
    frame = _refused(file, _scan(file).select(*form.columns, *kept).slice(start, stop - start).collect)
    require(len(frame) == stop - start, f"{file} has fewer rows than it says; it is damaged or changes")
    typed = conform(frame, form.columns, form.missing, where, str(file))
    return typed.hstack(frame.select(KEPT + name for name in form.kept))


def _text(file: Path, form: Format, memory: int) -> Iterator[Part]:
    texts = {name: pl.String if dtype == pl.Unknown else dtype for name, dtype in form.columns.items()}
    form = replace(form, columns=texts)
    with opened(file, form.member) as (stream, position):
        names, line = list(form.names or form.columns), 1
        if not stream.peek(1):  # type: ignore[attr-defined]
            return  # nothing is packed there
        if form.header:
            names, header = header_of(file, stream, form)
            line += header
        require_columns(file, [*form.columns, *form.kept], names)
        plain, stamp = is_plain(stream), stamp_of(file)
        start = stream.tell() if plain else 0
        size, blank = max(memory // (16 * pl.thread_pool_size()), SMALLEST_BLOCK), len(names) == 1
        for lines in blocks(file, stream, size, form, blank=blank):
            block = Block(file, stamp, start, len(lines), line, None if plain else lines)
            yield partial(block.frame, names, form), partial(block.where, form, blank), position()
            start += len(lines)
            line += lines.count(LINE_END)


def _scan(file: Path) -> pl.LazyFrame:
    return next(scan for magic, scan in SCANS.items() if begins_with(file, magic))(file)


def is_columnar(file: Path) -> bool:
    """Whether a file is Parquet or Arrow (Feather), which has types, and not text."""
    return any(begins_with(file, magic) for magic in SCANS)


def is_packed(file: Path, member: str | None) -> bool:
    """Whether a file is neither columnar nor plain text."""
    if is_columnar(file) or file.stat().st_size == 0:
        return False
    with opened(file, member) as (stream, _):
        return not is_plain(stream)


def is_plain(stream: IO[bytes]) -> bool:
    """Whether what ``opened`` gives is the file itself."""
    return isinstance(stream.raw, io.FileIO)  # type: ignore[attr-defined]


def _refused(file: Path, work: Callable[[], Any]) -> Any:
    try:
        return work()
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:  # which polars' readers also raise
        raise UserError(f"{file} is damaged ({str(error).splitlines()[0]})") from None
