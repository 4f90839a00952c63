"""Who does the work of preparing: threads of this process, or the workers of a Dask cluster.

Each pass is a function over many items (pieces, fields, slices of rows), which every worker can do by files that all
of them see. ``current`` is whoever does it now; ``working`` sets that for the time of a block.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any, Protocol, TypeVar

import polars as pl

from eulernet import memory
from eulernet.data.threads import Coming, in_order
from eulernet.errors import UserError, choose, require

T = TypeVar("T")
R = TypeVar("R")
C = TypeVar("C")

ENGINES = ("threads", "dask")
THREADS = pl.thread_pool_size()
MISSING = 'engine=dask needs {}: pip install "eulernet[dask]"'


class Workers(Protocol):
    """``here`` says whether they share the memory of this process."""

    here: bool

    def map(self, work: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
        """``work(item)`` of every item, in their order; see ``in_order`` for what is raised."""
        ...

    def submit(self, work: Callable[[T], R], item: T) -> Coming[R]:
        """``work(item)``, once."""
        ...

    def total(
        self, count: Callable[[T], C], items: Sequence[T], add: Callable[[list[C]], C], finish: Callable[[C], R]
    ) -> Coming[R]:
        """``finish`` of what ``count`` finds of each item, added up; adding must not depend on the order."""
        ...

    def require_seen(self, paths: Sequence[Path]) -> None:
        """UserError unless all of them see these files and folders as this process does."""
        ...

    def reset_peak(self) -> None:
        """Forget how much memory they have taken."""
        ...

    def peak(self) -> int:
        """Bytes that the process of them that took most has taken at once."""
        ...

    def share(self, room: int) -> int:
        """What sizes the pieces that are read, where reading may take ``room`` bytes; see ``raw.read``."""
        ...


class Threads:
    here = True

    def map(self, work: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
        return in_order(work, items, threads=THREADS, ahead=THREADS)

    def submit(self, work: Callable[[T], R], item: T) -> Coming[R]:
        done = Future[R]()
        done.set_result(work(item))
        return done

    def total(
        self, count: Callable[[T], C], items: Sequence[T], add: Callable[[list[C]], C], finish: Callable[[C], R]
    ) -> Coming[R]:
        return self.submit(finish, add([count(item) for item in items]))

    def require_seen(self, paths: Sequence[Path]) -> None:
        """They do."""

    def reset_peak(self) -> None:
        memory.reset_peak()

    def peak(self) -> int:
        return memory.peak_resident()

    def share(self, room: int) -> int:
        return room


_CURRENT: ContextVar[Workers] = ContextVar("workers", default=Threads())  # noqa: B039 (nothing in it changes)


def current() -> Workers:
    return _CURRENT.get()


def seconds_of(cfg: Mapping[str, Any]) -> float:
    """How long engine=dask waits for a worker. UserError unless it is a number from 0."""
    wait = cfg.get("worker_wait", 0)
    require(type(wait) in (int, float) and wait >= 0, f"worker_wait={wait}: give seconds, 0 or more")
    return float(wait)


@contextmanager
def working(engine: str, scheduler: str | None, wait: float) -> Iterator[Workers]:
    """Within it ``current`` are the workers of ``engine``: those of the Dask ``scheduler``, or of one that is started.

    UserError where Dask is not installed, the scheduler cannot be reached, or no worker was there for ``wait`` seconds.
    """
    choose(dict.fromkeys(ENGINES), engine, "engine")
    require(engine == "dask" or scheduler is None, f"scheduler={scheduler} goes with engine=dask")
    if engine == "threads":
        yield current()
        return
    try:
        from eulernet.data.cluster import joined
    except ImportError as missing:
        raise UserError(MISSING.format(missing.name)) from None
    with joined(scheduler, wait) as cluster:
        token = _CURRENT.set(cluster)
        try:
            yield cluster
        finally:
            _CURRENT.reset(token)
