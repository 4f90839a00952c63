"""Delimited text: blocks of whole lines, lines to columns, and which line is wrong.

polars parses a block; only when it refuses one, or finds other rows than the scanner of ``rows``, is the line looked
for, by bisection.
"""

import csv
import io
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import polars as pl

from eulernet.data.rows import LINE_END, Quoting, quoting
from eulernet.errors import UserError, require, require_there

Dtype = pl.DataType | type[pl.DataType]
BOM = b"\xef\xbb\xbf"
LONGEST_HEADER = 1 << 24  # bytes
LONGEST_ROW = 1 << 28
KEPT = "\x1fkept "  # before the name of a column that is also wanted as it is written


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
    escape: str | None = None  # before a quote within a quoted cell, where it is not written twice
    kept: Sequence[str] = ()  # columns that are wanted as they are written too, as KEPT + name

    @property
    def quoting(self) -> Quoting:
        return quoting(self.separator, self.quote, self.escape)


def blocks(file: Path, stream: IO[bytes], size: int, form: Format, *, blank: bool) -> Iterator[bytes]:
    """Whole lines, about ``size`` bytes at a time. A line end between quotes ends no line.

    Blocks of blank lines alone come only where a ``blank`` line is a row.
    """
    rest, quoting = b"", form.quoting
    while block := stream.read(size):
        block = rest + block
        end = block.rfind(LINE_END) + 1
        if quoting.quotes(block, 0, end) % 2:
            inside = True  # walk back over line ends until one has an even number of quotes before it
            while end and inside:
                previous = block.rfind(LINE_END, 0, end - 1) + 1
                inside ^= quoting.quotes(block, previous, end) % 2 == 1
                end = previous
        lines, rest = block[:end], block[end:]
        require(len(rest) <= LONGEST_ROW, f"{file}: no line ends in 256 MB; is it text, and is every quote closed?")
        if lines.strip(b"\r\n") or (blank and lines):
            yield lines
        else:
            rest = lines + rest
    if rest.strip(b"\r\n") or (blank and rest):
        yield rest


def header_of(file: Path, stream: IO[bytes], form: Format) -> tuple[list[str], int]:
    """The cells of the first line that is not blank, and how many lines of the file that takes."""
    line, blank = stream.readline(LONGEST_HEADER).removeprefix(BOM), 0
    while line.endswith(LINE_END) and not line.strip(b"\r\n"):
        line, blank = stream.readline(LONGEST_HEADER), blank + 1
    while form.quoting.quotes(line, 0, len(line)) % 2 and (more := stream.readline(LONGEST_HEADER)):
        line += more
        require(len(line) <= LONGEST_HEADER, f"{file}, line {blank + 1}: a quote that no other one closes")
    where = f"{file}, line {blank + 1}"
    require(b"\r" not in line.rstrip(b"\r\n") or LINE_END in line, f"{file}: lines end in CR alone; end them with LF")
    try:
        text = form.quoting.unescape(line.rstrip(b"\r\n")).decode()
        cells = pl.read_csv(
            text.encode(), separator=form.separator, quote_char=form.quote, has_header=False, infer_schema=False
        )
        names = [(name or "").strip() for name in cells.row(0)] if len(cells) else []
    except UnicodeDecodeError as error:
        raise UserError(f"{where}: not UTF-8 text at byte {error.start + 1}") from None
    except pl.exceptions.NoDataError:
        names = []
    except pl.exceptions.PolarsError as error:
        raise UserError(f"{where}: cannot be cut into columns ({str(error).splitlines()[0][:100]})") from None
    require(any(names), f"{where}: no header")
    names = [name or f"(unnamed {i})" for i, name in enumerate(names)]  # as pandas leaves the column of its index
    return names, blank + 1 + line.rstrip(b"\r\n").count(LINE_END)


def require_columns(file: Path, wanted: Collection[str], there: Sequence[str]) -> None:
    count = Counter(there)
    if wanted and not any(name in count for name in wanted):
        shown = ", ".join([*wanted][:10]) + (", ..." if len(wanted) > 10 else "")
        raise UserError(f"{file}, line 1 has none of the columns {shown}: is its header missing?")
    require_there(wanted, count, str(file))
    twice = sorted(name for name in count if count[name] > 1)
    require(not twice, f"{file}, line 1: column {', '.join(twice)} is there twice")


def parse_block(file: Path, block: bytes, line: int, names: Sequence[str], form: Format) -> pl.DataFrame:
    """The frame of a block that starts at ``line`` of ``file``, or a UserError that names the line that is wrong."""
    try:
        return parse(block, names, form)
    except (pl.exceptions.PolarsError, UserError) as error:
        reason = " ".join(str(error).split())
    spans = quoting(form.separator, form.quote).rows(block, blank=len(names) == 1)
    lines = [block[start:stop] for start, stop in spans]  # without blank ones

    def parse_some(start: int, stop: int) -> pl.DataFrame:
        return parse(b"".join(lines[start:stop]), names, form, strip=True)

    try:
        return parse_some(0, len(lines))
    except (pl.exceptions.PolarsError, UserError) as error:
        reason = " ".join(str(error).split())
    wrong = first_failure(len(lines), parse_some)
    number = line + block.count(LINE_END, 0, spans[wrong][0])
    raise UserError(f"{file}, line {number}: {complaint(lines[wrong], names, form) or reason[:200]}")


def parse(lines: bytes, names: Sequence[str], form: Format, *, strip: bool = False) -> pl.DataFrame:
    """The wanted columns of whole lines, which are counted by the scanner and by polars. UserError if these differ.

    With ``strip`` blanks around numbers are none of them, and 5.0 is a whole number.
    """
    if not lines:
        return pl.DataFrame(schema={**form.columns, **{KEPT + name: pl.String for name in form.kept}})
    position = {name: i for i, name in enumerate(names)}

    def read(columns: Mapping[str, Dtype], missing: Sequence[str]) -> pl.DataFrame:
        return pl.read_csv(
            lines,
            separator=form.separator,
            has_header=False,
            schema={name: columns.get(name, pl.String) for name in names},
            columns=[position[name] for name in columns],
            quote_char=form.quote,
            null_values=list(missing) or None,
        )

    frame = read(dict.fromkeys(form.columns, pl.String) if strip else form.columns, form.missing)
    if form.quote and b'""' in lines:  # an empty cell is missing, in quotes too
        frame = frame.with_columns(pl.col(pl.String).replace("", None))
    if strip:
        frame = frame.select(number_of(name, dtype) for name, dtype in form.columns.items())
    if form.kept:
        kept = read(dict.fromkeys(form.kept, pl.String), ())
        frame = frame.hstack(kept.rename({name: KEPT + name for name in form.kept}))
    # polars fills a line that is too short with nulls, and refuses one that is too long: the total tells.
    count = quoting(form.separator, form.quote).count(lines)
    require(count is not None, "a quote at the start of a cell that none at its end closes")
    require(count == (len(frame), len(frame) * (len(names) - 1)), "other rows than its lines have")
    return frame


def complaint(line: bytes, names: Sequence[str], form: Format) -> str | None:
    """What is wrong with one line."""
    try:
        text = line.decode().rstrip("\r\n")
    except UnicodeDecodeError as error:
        return f"not UTF-8 text at byte {error.start + 1}"
    if form.quote and not form.escape and f"\\{form.quote}" in text:
        return f"\\{form.quote} in a cell; dataset.escape='\\' reads that, or write a quote in a cell twice"
    quotes: Any = {"quotechar": form.quote} if form.quote else {"quoting": csv.QUOTE_NONE}
    try:
        cells = next(csv.reader(io.StringIO(text), delimiter=form.separator, **quotes), [])
    except csv.Error as error:
        return f"cannot be cut into columns ({error})"
    if len(cells) != len(names):
        return f"{len(cells)} columns where {len(names)} belong"
    for name, cell in zip(names, cells, strict=True):
        dtype, given = form.columns.get(name, pl.String), cell != "" and cell not in form.missing
        if given and dtype != pl.String and not is_number(cell, dtype):
            return f"{name} is {cell!r}, not {kind_of(dtype)}"
    if form.quote and form.quote in text:
        return f"a {form.quote} that does not stand around a whole cell; dataset.quote=null takes it as a character"
    return None


def number_of(name: str, dtype: Dtype) -> pl.Expr:
    """The column ``name`` of text as a number, or as it is if text is wanted."""
    if dtype == pl.String:
        return pl.col(name)
    text = pl.col(name).str.strip_chars()
    return (text.str.replace(r"\.0*$", "") if dtype.is_integer() else text).cast(dtype)


def is_number(cell: str, dtype: Dtype) -> bool:
    try:
        return pl.DataFrame({"cell": [cell]}).select(number_of("cell", dtype)).item() is not None
    except pl.exceptions.PolarsError:
        return False


def kind_of(dtype: Dtype) -> str:
    return "a whole number" if dtype.is_integer() else "a number" if dtype.is_float() else f"of type {dtype}"


def line_of(file: Path, block: bytes, first: int, form: Format, blank: bool, row: int) -> str:
    """Where the i-th row of a block stands."""
    start, _ = quoting(form.separator, form.quote).rows(block, blank=blank)[row]
    return f"{file}, line {first + block.count(LINE_END, 0, start)}"


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
