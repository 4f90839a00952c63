"""The portable form of a trained run: one folder, or one archive, that is enough to score rows elsewhere.

manifest.json      the version of this form, and the checksums of the files that a prediction depends on
config.json        the model, its hyperparameters and how it was trained
model.safetensors  the best weights; of a large model parts, model-000007-00001-of-00002.safetensors, with an index
preprocessor/      meta.json and vocab/: what turns raw rows into ids
calibration.json   the calibrator of a run that was calibrated
report.json        what training and evaluation found
README.md          the model card
"""

import gzip
import re
import shutil
import tarfile
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from eulernet.errors import UserError, require
from eulernet.files import locked_folder, replacing
from eulernet.runs.parts import FILES, PARTS, check_size

ARCHIVES = (".tar", ".tar.gz", ".tgz")
HEADER = 1 << 16  # bytes of a member's extended header, which is read into memory
RATIO, ALWAYS = 100, 1 << 28  # an archive may hold so many times its own bytes, or so many bytes, whichever is more
HEADERS = (
    tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK,
)  # fmt: skip


def is_archive(path: Path) -> bool:
    return path.name.lower().endswith(ARCHIVES)


@contextmanager
def unpacked(path: Path) -> Iterator[Path]:
    """The folder that ``path`` is, or one with the contents of the archive that it is, for as long as the block runs.

    UserError for an archive that ``unpack`` refuses. A folder that a killed process unpacked is removed by the next.
    """
    try:
        folder, file = path.is_dir(), path.is_file()
    except (OSError, ValueError) as error:  # a name that no file system takes
        raise UserError(f"{str(path)[:80]}: {getattr(error, 'strerror', error)}") from None
    if folder:
        yield path
        return
    require(file, f"{path}: no such folder or archive; give the folder of a finished run")
    require(is_archive(path), f"{path}: give the folder of a run, or an archive that ends in {', '.join(ARCHIVES)}")
    with locked_folder(Path(tempfile.gettempdir()) / "eulernet-run") as new:
        try:
            unpack(path, new)
        except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile, OSError, RecursionError) as error:
            raise UserError(f"{path} is truncated or damaged ({error}); get it again") from None
        yield new


def unpack(path: Path, folder: Path) -> None:
    """Write the archive ``path`` into ``folder`` member by member, each of them checked before it is read.

    UserError for anything but plain files with the names that a predictor has, and beyond the limits on how many they
    are, how large one is and how large all of them are.
    """
    most = max(RATIO * path.stat().st_size, ALWAYS)
    room, count = min(most, shutil.disk_usage(folder).free // 2), 0
    mode: Any = "r:" if path.name.lower().endswith(".tar") else "r:gz"
    with tarfile.open(path, mode, tarinfo=Member) as archive:
        for member in archive:
            count += 1
            require(count <= FILES, f"{path} holds more than {FILES:,} files, the limit")
            if member.isdir():
                continue
            inside, shown = re.sub(r"^(\./)?", "", member.name), repr(member.name[:80])
            known = member.isreg() and not member.issparse() and PARTS.fullmatch(inside) is not None
            require(known, f"{path} holds {shown}, which is no part of a predictor; it is refused")
            check_size(inside, member.size, f"{path}: {shown}")
            room -= member.size
            require(room > 0, f"{path} unpacks to more than {most >> 20:,} MiB, the limit, or half of the free disk")
            target, source = folder / inside, archive.extractfile(member)
            assert source is not None
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("xb") as stream:
                shutil.copyfileobj(source, stream)


class Member(tarfile.TarInfo):
    """Refuses long extended headers: tarfile would read them into memory, whatever size they say."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> "Member":
        member = super().frombuf(buf, encoding, errors)
        long = member.type in HEADERS and member.size > HEADER
        require(not long, f"the archive has a header of {member.size:,} bytes; the limit is {HEADER:,}")
        return member


@contextmanager
def packing(path: Path) -> Iterator[Path]:
    """An empty folder that becomes ``path``, a folder or an archive, when the block ends without an error."""
    require(not path.exists(), f"{path} is there already; remove it, or give another path")
    require(path.absolute().parent.is_dir(), f"{path}: there is no folder {path.absolute().parent}")
    with replacing(path.absolute(), place="path") as temporary:
        folder = temporary.with_name("predictor") if is_archive(path) else temporary
        folder.mkdir()
        yield folder
        if is_archive(path):
            with tarfile.open(temporary, "w" if path.name.lower().endswith(".tar") else "w:gz") as archive:
                for file in sorted(file for file in folder.rglob("*") if file.is_file()):
                    archive.add(file, file.relative_to(folder).as_posix(), filter=anonymous)


def anonymous(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """Who packed it, and when, is nobody's business, and would make equal predictors unequal."""
    member.uid = member.gid = member.mtime = 0
    member.uname = member.gname = ""
    member.mode = 0o644
    return member
