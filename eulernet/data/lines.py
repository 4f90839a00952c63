"""Delimited text: blocks of whole lines, lines to columns, and which line is wrong.

polars parses a block; only when it refuses one is the line looked for, by bisection.
"""

import csv
import io
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import polars as pl

from eulernet.errors import UserError, require, require_known

Dtype = pl.DataType | type[pl.DataType]
BOM, LINE_END = b"\xef\xbb\xbf", b"\n"


@dataclass(frozen=True)
class Format:
    """How lines become columns. ``columns`` are those that are wanted, with their types.

    With ``header`` the first line of every file names its columns, in any order and with others between. Without one
    ``names`` does; None means that ``columns`` are all there are, in the order of the file. Empty cells and the words
    in ``missing`` are null.
    """

    columns: Mapping[str, Dtype]
    separator: str
    header: bool
    quote: str | None = None
    missing: tuple[str, ...] = ()
    names: Sequence[str] | None = None
    member: str | None = None  # the file to take from an archive with several, without its suffixes


def blocks(file: Path, stream: IO[bytes], size: int, form: Format) -> Iterator[bytes]:
    """Whole lines, about ``size`` bytes at a time. A line end between quotes ends no line."""
    rest = b""
    while block := stream.read(size):
        block = rest + block
        end = block.rfind(b"\n") + 1
        if form.quote and block.count(form.quote.encode(), 0, end) % 2:
            inside = True  # walk back over line ends until one has an even number of quotes before it
            while end and inside:
                previous = block.rfind(b"\n", 0, end - 1) + 1
                inside ^= block.count(form.quote.encode(), previous, end) % 2 == 1
                end = previous
        kept = len(block[:end].rstrip(b"\r\n"))  # empty lines go to the next block: those that end a file are no rows
        end = min(end, kept + 1 + block.startswith(b"\r\n", kept))
        lines, rest = block[:end], block[end:]
        require(len(rest) <= 1 << 28, f"{file}: no line ends in 256 MB; is it text, and is every quote closed?")
        if lines.strip(b"\r\n"):
            yield lines
        else:
            rest = lines + rest
    if rest.strip(b"\r\n"):
        yield rest.rstrip(b"\r\n") + b"\n"


def header_of(file: Path, stream: IO[bytes], separator: str, quote: str | None) -> list[str]:
    line = stream.readline(1 << 20).removeprefix(BOM)
    try:
        names = next(csv.reader([line.decode().rstrip("\r\n")], delimiter=separator, quotechar=quote or "\0"), [])
    except UnicodeDecodeError as error:
        raise UserError(f"{file}, line 1: not UTF-8 text at byte {error.start + 1}") from None
    names = [name.strip() for name in names]
    require(any(names), f"{file}, line 1: no header")
    return [name or f"(unnamed {i})" for i, name in enumerate(names)]  # as pandas leaves the column of its index


def require_columns(file: Path, wanted: Mapping[str, Any], there: Sequence[str]) -> None:
    known = Counter(there)
    missing = not any(name in known for name in wanted)
    require(not missing, f"{file}, line 1 has none of the columns {', '.join(wanted)}: is its header missing?")
    for name in wanted:
        require_known(name, known, f"{file}: no column {name!r}")
    twice = {name for name, times in known.items() if times > 1}
    require(not twice, f"{file}, line 1: column {', '.join(sorted(twice))} is there twice")


def parse_block(file: Path, block: bytes, line: int, names: Sequence[str], form: Format) -> pl.DataFrame:
    """The frame of a block that starts at ``line`` of ``file``, or a UserError that names the line that is wrong."""
    if line == 1:
        block = block.removeprefix(BOM)

    def parse(lines: bytes) -> pl.DataFrame:
        frame = pl.read_csv(
            lines,
            separator=form.separator,
            has_header=False,
            schema={name: form.columns.get(name, pl.String) for name in names},
            columns=[names.index(name) for name in form.columns],
            quote_char=form.quote,
            null_values=list(form.missing) or None,
        )
        # polars fills a line that is too short with nulls, and refuses one that is too long: the total tells.
        require(separators(lines, form) == len(frame) * (len(names) - 1), "")
        # An empty cell is missing, in quotes too.
        return frame.with_columns(pl.col(pl.String).replace("", None)) if form.quote and b'""' in lines else frame

    try:
        return parse(block)
    except (pl.exceptions.PolarsError, UserError) as error:
        reason = " ".join(str(error).split())
    lines = rows_of(block, form)
    wrong = first_failure(len(lines), lambda start, stop: parse(b"".join(lines[start:stop])))
    raise UserError(
        f"{line_of(file, block, line, form, wrong)}: {complaint(lines[wrong], names, form) or reason[:200]}"
    )


def complaint(line: bytes, names: Sequence[str], form: Format) -> str | None:
    """What is wrong with one line."""
    try:
        text = line.decode().rstrip("\r\n")
    except UnicodeDecodeError as error:
        return f"not UTF-8 text at byte {error.start + 1}"
    quoting: Any = {"quotechar": form.quote} if form.quote else {"quoting": csv.QUOTE_NONE}
    try:
        cells = next(csv.reader(io.StringIO(text), delimiter=form.separator, **quoting), [])
    except csv.Error as error:
        return f"cannot be cut into columns ({error})"
    if len(cells) != len(names):
        return f"{len(cells)} columns where {len(names)} belong"
    for name, cell in zip(names, cells, strict=True):
        dtype, given = form.columns.get(name, pl.String), cell != "" and cell not in form.missing
        if given and dtype != pl.String and pl.Series([cell]).cast(dtype, strict=False).null_count():
            return f"{name} is {cell!r}, not {kind_of(dtype)}"
    if form.quote and form.quote in text:
        return f"a {form.quote} that does not stand around a whole cell; dataset.quote=null takes it as a character"
    return None


def kind_of(dtype: Dtype) -> str:
    return "a whole number" if dtype.is_integer() else "a number" if dtype.is_float() else f"of type {dtype}"


def separators(lines: bytes, form: Format) -> int:
    if form.quote and form.quote.encode() in lines:
        quote = re.escape(form.quote.encode())
        lines = re.sub(quote + b"[^" + quote + b"]*" + quote, b"", lines)
    return lines.count(form.separator.encode())


def rows_of(block: bytes, form: Format) -> list[bytes]:
    """The rows of a block; one between whose quotes a line ends is several lines of the file."""
    lines = [line + LINE_END for line in block.removesuffix(LINE_END).split(LINE_END)]
    if not (form.quote and form.quote.encode() in block):
        return lines
    rows, parts, inside = [], [], False
    for line in lines:
        parts.append(line)
        inside ^= line.count(form.quote.encode()) % 2 == 1
        if not inside:
            rows.append(b"".join(parts))
            parts = []
    return [*rows, b"".join(parts)] if parts else rows


def line_of(file: Path, block: bytes, first: int, form: Format, row: int) -> str:
    return f"{file}, line {first + b''.join(rows_of(block, form)[:row]).count(LINE_END)}"


def first_failure(count: int, work: Callable[[int, int], object]) -> int:
    """The first i for which ``work(i, i + 1)`` raises, in log(count) calls, given that ``work(0, count)`` does."""
    low, high = 0, count
    while high - low > 1:
        middle = (low + high) // 2
        try:
            work(low, middle)
            low = middle
        except (pl.exceptions.PolarsError, UserError):
            high = middle
    return low
