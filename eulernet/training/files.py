"""Files of a run, which several ranks train: rank 0 writes them."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from safetensors import SafetensorError

from eulernet import files
from eulernet.distributed import launch
from eulernet.distributed.ranks import rank
from eulernet.errors import UserError
from eulernet.files import locked

PLACE = "hydra.run.dir="
ORPHANS = 60  # seconds in which a rank whose torchrun was killed notices that it is alone


def write_atomically(file: Path, write: Callable[[Path], object]) -> None:
    """``eulernet.files.write_atomically`` in rank 0, nothing in the other ranks."""
    if rank() == 0:
        files.write_atomically(file, write, place=PLACE)


@contextmanager
def writing(file: Path) -> Iterator[None]:
    """Within it, what torch and safetensors raise when they cannot write ``file`` becomes a UserError, or DiskFull.

    A Ctrl-C stays one: torch, left in the middle of a file, raises an error of its own over it.
    """
    try:
        yield
    except (RuntimeError, SafetensorError) as error:
        if isinstance(error.__context__, KeyboardInterrupt):
            raise KeyboardInterrupt from None
        raise files.unwritten(file, str(error).splitlines()[0], error) from None


@contextmanager
def locked_run(run: Path) -> Iterator[None]:
    """Hold the run folder ``run``, so that no second process trains in it. UserError if one does.

    Started again by torchrun it waits for a while: an orphan of before may still be there.

    The lock ends with its process. The folder is locked, as campaigns do, and a file in it: network file systems lock
    no folders.
    """
    mark, end = run / ".lock", time.monotonic() + (ORPHANS if launch.was_restarted() else 0)
    with ExitStack() as lock:
        while True:
            try:
                with ExitStack() as both:
                    both.enter_context(locked(run, wait=False))
                    mark.touch()
                    both.enter_context(locked(mark, wait=False))
                    lock.enter_context(both.pop_all())
                break
            except (BlockingIOError, FileNotFoundError):  # held by a process, or just being removed by one that ends
                why = f"{run}: another process trains there; wait for its end, or give another {PLACE}"
                if time.monotonic() >= end:
                    raise UserError(why) from None
                time.sleep(0.2)
        try:
            yield
        finally:
            mark.unlink(missing_ok=True)
