"""Text out of whatever it is packed in."""

import gzip
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from eulernet.errors import UserError, require


@contextmanager
def opened(file: Path, member: str | None) -> Iterator[tuple[IO[bytes], Callable[[], int]]]:
    """A stream of the text in ``file``, out of whatever it is packed in, and how far the file itself has been read."""
    with file.open("rb") as raw:
        try:
            if begins_with(file, b"\x1f\x8b"):
                with gzip.open(file) as packed:
                    tar = packed.peek(512)[257:262] == b"ustar"
                if tar:
                    with tarfile.open(fileobj=raw, mode="r|gz") as archive:
                        for entry in archive:
                            if entry.isfile() and (member is None or stem(entry.name) == member):
                                yield archive.extractfile(entry), raw.tell  # type: ignore[misc]
                                return
                    raise UserError(f"{file}: no {member or 'file'} in that archive")
                yield gzip.GzipFile(fileobj=raw), raw.tell  # type: ignore[misc]
            elif begins_with(file, b"PK\x03\x04"):
                with zipfile.ZipFile(raw) as archive:
                    inside = [name for name in archive.namelist() if not name.endswith("/") and "__MACOSX" not in name]
                    chosen = [name for name in inside if stem(name) == member] or inside
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


def stem(name: str) -> str:
    """The name of a file without its suffixes."""
    return Path(name).name.split(".")[0]


def begins_with(file: Path, magic: bytes) -> bool:
    with file.open("rb") as stream:
        return stream.read(len(magic)) == magic
