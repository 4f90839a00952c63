"""Files and folders that are there whole or not at all, and locks that end with their process."""

import errno
import fcntl
import hashlib
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from glob import escape
from pathlib import Path

from eulernet.errors import DiskFull, UserError

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
NO_LOCKS = (errno.EBADF, errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS)  # of file systems that have none


@contextmanager
def replacing(target: Path, *, place: str = "folder") -> Iterator[Path]:
    """A free path inside a hidden folder beside ``target``: the file or folder made there becomes ``target``.

    That happens when the block ends, and only after all bytes are on the disk. So a reader sees the old target or
    the new one, also after a power cut. When the block raises, ``target`` stays as it was. The hidden folder is
    locked while its process lives; those that killed processes left behind are removed here. DiskFull when the disk
    is full, UserError when the folder is read-only: both tell the user to give another ``place``. OSError, as it
    is, when a folder is to become ``target`` and that is there already, not empty.
    """
    try:
        with locked_folder(target) as hidden:
            temporary = hidden / target.name
            yield temporary
            sync(*temporary.rglob("*"), temporary)
            temporary.replace(target)
            sync(target.parent)
    except (UserError, FileExistsError):
        raise
    except Exception as error:
        if is_full(error, target.parent):
            raise DiskFull(f"{target}: the disk is full; free some space, or give another {place}") from None
        if isinstance(error, OSError) and _prefix(target) in str(error.filename) and error.errno != errno.ENOTEMPTY:
            raise UserError(f"{target} cannot be written ({error.strerror}); give another {place}") from None
        raise


def write_atomically(file: Path, write: Callable[[Path], object], *, place: str = "folder", mode: int = 0o644) -> None:
    """``replacing`` for a file that ``write(temporary)`` makes, readable by those whom ``mode`` lets."""
    with replacing(file, place=place) as temporary:
        write(temporary)
        temporary.chmod(mode)  # safetensors makes files that only their owner can read


def sync(*paths: Path) -> None:
    """Wait until the disk has these files, and the lists of names that these folders are."""
    if len(paths) <= 1:
        for path in paths:
            _sync(path)
    else:  # a disk writes what many threads ask for at once
        with ThreadPoolExecutor(min(len(paths), 16)) as pool:
            list(pool.map(_sync, paths))


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError:
        if not path.is_dir():  # some network file systems cannot sync a folder
            raise
    finally:
        os.close(descriptor)


def checksum(file: Path) -> str:
    """SHA-256 of its bytes."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@contextmanager
def locked(path: Path, *, wait: bool = True) -> Iterator[None]:
    """Hold a lock on ``path``, a file or a folder; the system takes it back when this process ends, however it ends.

    BlockingIOError if another process holds it and this one does not ``wait``; FileNotFoundError if ``path`` is
    missing, or was removed or replaced before the lock was there. A file system without locks gives none.
    """
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise
        if not os.path.samestat(os.fstat(descriptor), path.stat()):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
        yield
    finally:
        os.close(descriptor)


@contextmanager
def locked_folder(target: Path) -> Iterator[Path]:
    """A new hidden folder beside ``target``, locked, and removed at the end.

    Before that it removes those of the same ``target`` that nobody holds: killed processes left them.
    """
    remove_left(target.parent, _prefix(target))
    with ExitStack() as stack:
        while True:
            folder = Path(tempfile.mkdtemp(prefix=_prefix(target), suffix=".new", dir=target.parent))
            with suppress(FileNotFoundError):  # another process took it for left behind before it was locked
                stack.enter_context(locked(folder))
                break
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def remove_left(folder: Path, prefix: str = ".") -> None:
    """Remove from ``folder`` what ``locked_folder`` made there and nobody holds: killed processes left it."""
    for left in folder.glob(f"{escape(prefix)}*.new"):
        with suppress(OSError), locked(left, wait=False):
            shutil.rmtree(left)


def holders(folder: Path, name: str) -> list[Path]:
    """The folders, ``folder`` and all below it, that have a file ``name``, in order.

    Folders may vanish meanwhile, as those of a run that is being trained do: ``rglob`` would raise FileNotFoundError.
    """
    return sorted(Path(place) for place, _, files in os.walk(folder) if name in files)


def stamps(files: Iterable[Path]) -> dict[Path, tuple[int, int]]:
    """What tells each file from one that replaces it. The clock of the machine may jump: compare for equality only."""
    found = {}
    for file in files:
        with suppress(FileNotFoundError):  # just removed by another process
            stat = file.stat()
            found[file] = stat.st_ino, stat.st_mtime_ns
    return found


def _prefix(target: Path) -> str:
    return f".{target.name}."


def is_full(error: Exception, folder: Path) -> bool:
    """Whether ``error`` comes from a full disk: numpy, polars and torch say so in words of their own."""
    if getattr(error, "errno", None) in NO_ROOM or "No space left" in str(error):
        return True
    with suppress(OSError):
        return shutil.disk_usage(folder).free < 1 << 20
    return False


def unwritten(target: Path, why: str, error: Exception) -> UserError:
    """What to raise where another library could not write ``target``: DiskFull if ``error`` comes from that."""
    said = f"{target} cannot be written ({why})"
    if is_full(error, target.parent):
        return DiskFull(f"{said}: the disk is full; free some space")
    return UserError(f"{said}; is the disk full?")


def program(command: str) -> str:
    """What to type for ``eulernet.<command>`` of this Python: ``eulernet train`` where the shell finds it."""
    script = shutil.which("eulernet")
    if script is not None and Path(script).parent == Path(sys.executable).parent:
        return f"eulernet {command}"
    return f"{short(Path(sys.executable))} -m eulernet.{command}"


def short(path: Path) -> Path:
    """Relative to the working folder where it lies below it, as a user would type it."""
    return Path(os.path.relpath(path)) if path.absolute().is_relative_to(Path.cwd()) else path
