"""Text out of whatever it is packed in: gzip, bzip2, xz, zstd, zip and tar, also one within another."""

import bz2
import gzip
import io
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any

import polars as pl

from eulernet.errors import UserError, require

PACKINGS = (".gz", ".bz2", ".xz", ".zst", ".zip", ".tar", ".tgz", ".tbz2", ".txz")
DEPTH = 4  # how often a text may be packed
UNREAD = {
    b"FEA1": "Feather of version 1", b"ORC": "ORC", b"Obj\x01": "Avro", b"\x89HDF": "HDF5", b"SQLite": "SQLite",
    b"\xff\xfe": "UTF-16 text", b"\xfe\xff": "UTF-16 text", b"7z\xbc\xaf": "7z", b"Rar!": "RAR",
}  # fmt: skip
STREAMS: dict[bytes, Callable[[IO[bytes]], Any]] = {
    b"\x1f\x8b": lambda stream: gzip.GzipFile(fileobj=stream, mode="rb"),
    b"BZh": bz2.BZ2File,
    b"\xfd7zXZ\x00": lzma.LZMAFile,
}
ZSTD = b"\x28\xb5\x2f\xfd"


@contextmanager
def opened(file: Path, member: str | None) -> Iterator[tuple[IO[bytes], Callable[[], int]]]:
    """A stream of the text in ``file``, out of whatever it is packed in, and how far the file itself has been read.

    An archive may hold several files where one of them is called ``member``, but for its suffixes; else it must hold
    one, beside documents such as a README and hidden files. UserError for all that cannot be read.
    """
    with file.open("rb") as raw, ExitStack() as stack:
        try:
            if begins_with(file, ZSTD):
                yield _zstd(file)
                return
            stream: IO[bytes] = raw
            for _ in range(DEPTH):
                inner = _layer(file, stream, member, stack)
                if inner is stream:
                    break
                stream = io.BufferedReader(inner, 1 << 16)  # type: ignore[type-var]
            else:
                raise UserError(f"{file} is packed more than {DEPTH - 1} times; unpack it first")
            yield stream, raw.tell
            stack.close()  # looks for files of an archive that were not read
        except (EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, tarfile.TarError) as error:
            raise UserError(f"{file} is truncated or damaged ({error}); get it again") from None
        except OSError as error:
            require(error.errno is not None, f"{file} is truncated or damaged ({error}); get it again")
            raise
        except (RuntimeError, NotImplementedError) as error:  # zipfile, of a password or a rare method
            raise UserError(f"{file} cannot be unpacked ({error}); unpack it first") from None


def _layer(file: Path, stream: IO[bytes], member: str | None, stack: ExitStack) -> IO[bytes]:
    """What is packed in ``stream``, or ``stream`` itself if it is not packed."""
    head = stream.peek(512)[:512]  # type: ignore[attr-defined]
    for magic, what in UNREAD.items():
        require(not head.startswith(magic), f"{file} is {what}, which is not read; write it as UTF-8 CSV or as Parquet")
    require(not head.startswith(ZSTD), f"{file} holds a zstd file; unpack it first")
    if head.startswith(b"PK\x03\x04"):
        return _zip(file, stream, member, stack)
    if head[257:262] == b"ustar":
        return stack.enter_context(_tar(file, stream, member))
    make = next((make for magic, make in STREAMS.items() if head.startswith(magic)), None)
    return stream if make is None else stack.enter_context(make(stream))


def _zip(file: Path, stream: IO[bytes], member: str | None, stack: ExitStack) -> IO[bytes]:
    require(stream.seekable(), f"{file} holds a zip; unpack it first")
    archive = stack.enter_context(zipfile.ZipFile(stream))
    inside = [name for name in archive.namelist() if not name.endswith("/") and holds_rows(name)]
    chosen = [name for name in inside if stem(name) == member] or inside
    require(len(chosen) == 1, f"{file} holds {', '.join(inside) or 'nothing'}; unpack the one to read")
    return stack.enter_context(archive.open(chosen[0]))


@contextmanager
def _tar(file: Path, stream: IO[bytes], member: str | None) -> Iterator[IO[bytes]]:
    """The one file of an archive, which is read once from begin to end: another one is found after the first."""
    with tarfile.open(fileobj=stream, mode="r|") as archive:
        entries = (entry for entry in archive if entry.isfile() and holds_rows(entry.name))
        first = next((entry for entry in entries if member is None or stem(entry.name) == member), None)
        if first is None:
            raise UserError(f"{file}: no {member or 'file'} in that archive")
        require(not first.issparse(), f"{file}: {first.name} is sparse, with holes for text; pack the file as it is")
        text = archive.extractfile(first)
        assert text is not None
        yield text
        if member is None and not text.read(1) and (other := next(entries, None)) is not None:
            raise UserError(f"{file} holds {first.name}, {other.name}; unpack it and give the folder")


def _zstd(file: Path) -> tuple[IO[bytes], Callable[[], int]]:
    """The lines of a zstd file as polars unpacks it; how far the file has been read is estimated."""
    size, text = file.stat().st_size, 0

    def chunks() -> Iterator[bytes]:
        nonlocal text
        for frame in pl.scan_lines(file, glob=False).collect_batches(maintain_order=True, chunk_size=1 << 14):
            lines = "\n".join(frame["line"].fill_null("").to_list()).encode() + b"\n"
            text += len(lines)
            yield lines

    return io.BufferedReader(_Chunks(file, chunks()), 1 << 16), lambda: min(size, text // 4)


class _Chunks(io.RawIOBase):
    """Pieces of bytes as one stream."""

    def __init__(self, file: Path, chunks: Iterator[bytes]) -> None:
        self.file, self.chunks, self.rest = file, chunks, memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        try:
            while not self.rest and (chunk := next(self.chunks, None)) is not None:
                self.rest = memoryview(chunk)
        except pl.exceptions.PolarsError as error:
            reason = str(error).splitlines()[0]
            raise UserError(f"{self.file} is truncated, damaged or not UTF-8 text ({reason}); get it again") from None
        part = self.rest[: len(buffer)]
        buffer[: len(part)] = part
        self.rest = self.rest[len(part) :]
        return len(part)


DOCUMENTS = ("readme", "license", "licence", "changelog", "sha256sums", "md5sums", "checksums")


def holds_rows(name: str) -> bool:
    """Whether a file of this name, in a folder or an archive, may hold rows: not if it is hidden or a document."""
    parts = Path(name).parts
    hidden = any(part.startswith((".", "_")) and part not in (".", "..") for part in parts)
    return not hidden and stem(name).lower() not in DOCUMENTS


def stem(name: str) -> str:
    """The name of a file without its suffixes."""
    return Path(name).name.split(".")[0]


def begins_with(file: Path, magic: bytes) -> bool:
    with file.open("rb") as stream:
        return stream.read(len(magic)) == magic
