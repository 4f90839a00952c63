"""Raw files of any size, plain or packed, as typed frames of bounded size; a line that is wrong is named.

Text is read in blocks of whole lines, so that memory does not depend on the size of a file, whatever it is packed in.
polars parses a block; only when it refuses one is the line looked for, by bisection.
"""

import csv
import gzip
import io
import logging
import re
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from glob import glob
from pathlib import Path
from typing import IO, Any

import polars as pl

from eulernet.errors import UserError, nearest, require

log = logging.getLogger(__name__)

Dtype = pl.DataType | type[pl.DataType]
BOM, LINE_END = b"\xef\xbb\xbf", b"\n"
SMALLEST_BLOCK = 1 << 20  # bytes of text


@dataclass(frozen=True)
class Piece:
    """Consecutive rows of a raw file, not parsed yet: ``frame`` does that, in whatever thread calls it."""

    frame: Callable[[], pl.DataFrame]
    where: Callable[[int], str]  # file and line of the i-th row, for messages
    index: int  # which of the files
    done: float  # share of all bytes that has been read, this piece included


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


def find(raw: Sequence[Path], wanted: str, suffixes: tuple[str, ...], member: str | None = None) -> list[Path]:
    """The files that ``raw`` names: files, patterns with ``*``, or folders.

    Of a folder all that end in one of ``suffixes``, or only those called ``member``, if there are any.
    """
    require(bool(raw), f"give the raw files: raw=PATH ({wanted}; data/README.md says where they come from)")
    found: list[Path] = []
    for path in raw:
        if path.is_dir():
            here = [file for file in sorted(path.rglob("*")) if file.name.endswith(suffixes) and file.is_file()]
            here = [file for file in here if not _ours_or_hidden(file, path)]
            here = [file for file in here if _stem(file.name) == member] or here
            require(bool(here), f"raw={path}: no file there ends in {', '.join(suffixes)}")
        elif not path.exists() and any(letter in str(path) for letter in "*?["):
            here = [Path(file) for file in sorted(glob(str(path), recursive=True)) if Path(file).is_file()]  # noqa: PTH207
            require(bool(here), f"raw={path}: no file matches")
        else:
            here = [path]
            require(path.is_file(), f"raw={path}: no such file or folder; give {wanted}")
        found += here
    for file in found:
        require(found.count(file) == 1, f"raw=: {file} is there twice")
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
        stat, rows = file.stat(), False
        if stat.st_size > 0:
            for frame, where, position in (_parquet if _is_parquet(file) else _text)(file, form, memory):
                now = file.stat()
                same = (now.st_size, now.st_mtime_ns) == (stat.st_size, stat.st_mtime_ns)
                require(same, f"{file} changed while it was read; run again when nobody writes to it")
                yield Piece(frame, where, index, (before + max(position, 1)) / total)
                rows = any_rows = True
        if not rows:
            require(len(files) > 1, f"{file} {'has no rows' if stat.st_size else 'is empty'}")
            log.info("%s has no rows", file)  # as a part that a cluster wrote may
        before += stat.st_size
    require(any_rows, f"{files[0].parent}: none of {len(files)} files has rows")


def sample(files: Sequence[Path], form: Format, rows: int) -> pl.DataFrame:
    """The first rows of the first file that has some, all columns: as text, or of the types that Parquet gives them."""
    for file in files:
        if _is_parquet(file):
            frame = _refused(file, pl.scan_parquet(file, glob=False).head(rows).collect)
            if len(frame):
                return frame
        elif file.stat().st_size:
            names = form.names
            if names is None:
                with _open(file, None) as (stream, _):
                    names = _header(file, stream, form.separator, form.quote)
            for parse, _, _ in _text(file, replace(form, columns=dict.fromkeys(names, pl.String)), 1 << 24):
                return parse().head(rows)
    raise UserError(f"{files[0]} has no rows" if len(files) == 1 else f"{files[0].parent}: no file has rows")


def separator_of(file: Path) -> str:
    """What the first line of a text file has most of: a tab, a comma, a semicolon or a bar; for Parquet a comma."""
    if _is_parquet(file) or file.stat().st_size == 0:
        return ","
    with _open(file, None) as (stream, _):
        line = stream.readline(1 << 20).decode(errors="replace")
    return max(",\t;|", key=line.count)


# How to parse some rows, where the i-th of them stands, and how many bytes have been read.
Part = tuple[Callable[[], pl.DataFrame], Callable[[int], str], int]


def _parquet(file: Path, form: Format, memory: int) -> Iterator[Part]:
    scan = pl.scan_parquet(file, glob=False)
    _require_columns(file, form.columns, list(_refused(file, scan.collect_schema)))
    rows = _refused(file, scan.select(pl.len()).collect).item()
    step, size = max(memory // (4096 * pl.thread_pool_size()), 1024), file.stat().st_size
    for start in range(0, rows, step):
        where = partial(_row_of, file, start + 1)
        yield partial(_slice, file, start, step, form, where), where, size * min(start + step, rows) // rows


def _row_of(file: Path, first: int, row: int) -> str:
    return f"{file}, row {first + row}"


def _slice(file: Path, start: int, rows: int, form: Format, where: Callable[[int], str]) -> pl.DataFrame:
    """Some rows of a Parquet file, with the types that are wanted; a list keeps its own."""
    frame = _refused(file, pl.scan_parquet(file, glob=False).select(list(form.columns)).slice(start, rows).collect)
    words = pl.col(pl.String)
    frame = frame.with_columns(pl.when(words.is_in(["", *form.missing])).then(None).otherwise(words).name.keep())
    for name, dtype in form.columns.items():
        values = frame[name]
        if values.dtype == dtype or isinstance(values.dtype, pl.List):
            continue
        cast = values.cast(dtype, strict=False)
        wrong = cast.is_null() & values.is_not_null()
        if values.dtype.is_float() and dtype.is_integer():
            wrong |= (values != values.floor()).fill_null(False)
        if wrong.any():
            row = int(wrong.arg_max() or 0)
            raise UserError(f"{where(row)}: {name} is {values[row]!r}, not {_kind(dtype)}")
        frame = frame.with_columns(cast)
    return frame


def _text(file: Path, form: Format, memory: int) -> Iterator[Part]:
    with _open(file, form.member) as (stream, position):
        names, line = list(form.names or form.columns), 1
        if form.header:
            names, line = _header(file, stream, form.separator, form.quote), 2
            _require_columns(file, form.columns, names)
        size = max(memory // (16 * pl.thread_pool_size()), SMALLEST_BLOCK)
        for block in _blocks(file, stream, size, form):
            yield (
                partial(_parse, file, block, line, names, form),
                partial(_line_of, file, block, line, form),
                position(),
            )
            line += block.count(LINE_END)


def _line_of(file: Path, block: bytes, first: int, form: Format, row: int) -> str:
    return f"{file}, line {first + b''.join(_lines(block, form)[:row]).count(LINE_END)}"


@contextmanager
def _open(file: Path, member: str | None) -> Iterator[tuple[IO[bytes], Callable[[], int]]]:
    """A stream of the text in ``file``, out of whatever it is packed in, and how far the file itself has been read."""
    with file.open("rb") as raw:
        try:
            if _begins_with(file, b"\x1f\x8b"):
                with gzip.open(file) as packed:
                    tar = packed.peek(512)[257:262] == b"ustar"
                if tar:
                    with tarfile.open(fileobj=raw, mode="r|gz") as archive:
                        for entry in archive:
                            if entry.isfile() and (member is None or _stem(entry.name) == member):
                                yield archive.extractfile(entry), raw.tell  # type: ignore[misc]
                                return
                    raise UserError(f"{file}: no {member or 'file'} in that archive")
                yield gzip.GzipFile(fileobj=raw), raw.tell  # type: ignore[misc]
            elif _begins_with(file, b"PK\x03\x04"):
                with zipfile.ZipFile(raw) as archive:
                    inside = [name for name in archive.namelist() if not name.endswith("/") and "__MACOSX" not in name]
                    chosen = [name for name in inside if _stem(name) == member] or inside
                    require(len(chosen) == 1, f"{file} holds {', '.join(inside) or 'nothing'}; unpack the one to read")
                    with archive.open(chosen[0]) as text:
                        nested = text.read(2) == b"\x1f\x8b"
                    with archive.open(chosen[0]) as text:
                        yield gzip.GzipFile(fileobj=text) if nested else text, raw.tell  # type: ignore[misc]
            else:
                yield raw, raw.tell
        except (EOFError, zlib.error, gzip.BadGzipFile, zipfile.BadZipFile, tarfile.TarError) as error:
            raise UserError(f"{file} is truncated or damaged ({error}); get it again") from None
        except (RuntimeError, NotImplementedError) as error:  # zipfile, of a password or a rare method
            raise UserError(f"{file} cannot be unpacked ({error}); unpack it first") from None


def _blocks(file: Path, stream: IO[bytes], size: int, form: Format) -> Iterator[bytes]:
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


def _header(file: Path, stream: IO[bytes], separator: str, quote: str | None) -> list[str]:
    line = stream.readline(1 << 20).removeprefix(BOM)
    try:
        names = next(csv.reader([line.decode().rstrip("\r\n")], delimiter=separator, quotechar=quote or "\0"), [])
    except UnicodeDecodeError as error:
        raise UserError(f"{file}, line 1: not UTF-8 text at byte {error.start + 1}") from None
    names = [name.strip() for name in names]
    require(any(names), f"{file}, line 1: no header")
    return [name or f"(unnamed {i})" for i, name in enumerate(names)]  # as pandas leaves the column of its index


def _require_columns(file: Path, wanted: Mapping[str, Any], there: Sequence[str]) -> None:
    missing = not any(name in there for name in wanted)
    require(not missing, f"{file}, line 1 has none of the columns {', '.join(wanted)}: is its header missing?")
    for name in wanted:
        require(name in there, f"{file}: no column {name!r}; {nearest(name, there)}")
    twice = {name for name in there if there.count(name) > 1}
    require(not twice, f"{file}, line 1: column {', '.join(sorted(twice))} is there twice")


def _parse(file: Path, block: bytes, line: int, names: Sequence[str], form: Format) -> pl.DataFrame:
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
        require(_separators(lines, form) == len(frame) * (len(names) - 1), "")
        # An empty cell is missing, in quotes too.
        return frame.with_columns(pl.col(pl.String).replace("", None)) if form.quote and b'""' in lines else frame

    try:
        return parse(block)
    except (pl.exceptions.PolarsError, UserError) as error:
        reason = " ".join(str(error).split())
    lines = _lines(block, form)
    wrong = first_failure(len(lines), lambda start, stop: parse(b"".join(lines[start:stop])))
    raise UserError(
        f"{_line_of(file, block, line, form, wrong)}: {_complaint(lines[wrong], names, form) or reason[:200]}"
    )


def _complaint(line: bytes, names: Sequence[str], form: Format) -> str | None:
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
            return f"{name} is {cell!r}, not {_kind(dtype)}"
    if form.quote and form.quote in text:
        return f"a {form.quote} that does not stand around a whole cell; dataset.quote=null takes it as a character"
    return None


def _kind(dtype: Dtype) -> str:
    return "a whole number" if dtype.is_integer() else "a number" if dtype.is_float() else f"of type {dtype}"


def _separators(lines: bytes, form: Format) -> int:
    if form.quote and form.quote.encode() in lines:
        quote = re.escape(form.quote.encode())
        lines = re.sub(quote + b"[^" + quote + b"]*" + quote, b"", lines)
    return lines.count(form.separator.encode())


def _lines(block: bytes, form: Format) -> list[bytes]:
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


def _stem(name: str) -> str:
    return Path(name).name.split(".")[0]


def _is_parquet(file: Path) -> bool:
    return _begins_with(file, b"PAR1")


def _begins_with(file: Path, magic: bytes) -> bool:
    with file.open("rb") as stream:
        return stream.read(len(magic)) == magic


def _refused(file: Path, work: Callable[[], Any]) -> Any:
    try:
        return work()
    except pl.exceptions.PolarsError as error:
        raise UserError(f"{file} is damaged or not Parquet ({str(error).splitlines()[0]})") from None
