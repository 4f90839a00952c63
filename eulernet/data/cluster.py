"""The workers of a Dask cluster (https://distributed.dask.org). Dask is imported here alone, by who asks for it.

The raw files and ``data_dir`` must lie where all workers see them under the same paths: results of tasks are files
there, which appear whole, or counts. So a task may run twice, and Dask repeats those of a worker that died.
"""

import logging
import platform
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import CancelledError
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Generic, TypeVar

import dask
import polars as pl
from distributed import Client, Future, LocalCluster
from distributed.comm.core import CommClosedError
from distributed.scheduler import KilledWorker

from eulernet import __version__, memory
from eulernet.data.raw import stamp_of
from eulernet.data.threads import taken
from eulernet.errors import UserError, require

log = logging.getLogger(__name__)

T = TypeVar("T")
R = TypeVar("R")
C = TypeVar("C")

REACHED = 10  # seconds in which a scheduler answers
PATIENCE = 30  # seconds without a result after which we look whether there are workers
FAN_IN = 8  # counts that a task of a tree adds up
AHEAD = 3  # tasks for each thread that are made before their results are taken


@dataclass(frozen=True)
class Task(Generic[R]):
    """A result that is being made on the cluster."""

    future: "Future[R]"
    cluster: "Cluster"

    def result(self) -> R:
        """UserError where no worker is left, nor comes within the time that the cluster waits."""
        while True:
            try:
                return self.future.result(timeout=PATIENCE)
            except TimeoutError:
                if self.future.done():
                    raise  # the work's own
                self.cluster.require_workers()

    def cancel(self) -> None:
        with suppress(Exception):  # nobody is there to hear it
            self.future.cancel()


@dataclass(frozen=True)
class Cluster:
    client: Client
    own: bool  # started here, for this process alone
    wait: float  # seconds for a worker to come, where there is none
    here = False

    @property
    def threads(self) -> list[int]:
        """Of each worker."""
        return list(self.client.nthreads().values()) or [1]

    def map(self, work: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
        return taken(partial(self.submit, work), items, AHEAD * sum(self.threads))

    def submit(self, work: Callable[[T], R], item: T) -> Task[R]:
        return Task(self.future(work, item), self)

    def future(self, work: Callable[..., R], item: Any) -> "Future[R]":
        """``item`` may be a future, or a list of them: the work gets what they become."""
        return self.client.submit(work, item, pure=False)

    def total(
        self, count: Callable[[T], C], items: Sequence[T], add: Callable[[list[C]], C], finish: Callable[[C], R]
    ) -> Task[R]:
        """Added up in a tree, on the workers."""
        found = [self.future(count, item) for item in items]
        while len(found) > 1:
            found = [self.future(add, found[i : i + FAN_IN]) for i in range(0, len(found), FAN_IN)]
        return Task(self.future(finish, found[0]), self)

    def reset_peak(self) -> None:
        memory.reset_peak()
        self.client.run(memory.reset_peak, on_error="ignore")

    def peak(self) -> int:
        return max(memory.peak_resident(), *self.client.run(memory.peak_resident, on_error="ignore").values())

    def share(self, room: int) -> int:
        """Each worker may take ``room`` bytes; those that were started here take it together."""
        return room * pl.thread_pool_size() // (sum(self.threads) if self.own else max(self.threads))

    def require_workers(self) -> None:
        """Wait for a worker, if there is none. UserError if none comes in time."""
        if not self.client.nthreads() and self.wait:  # 0 would be no end for Dask
            log.warning("no worker is there; waiting for one, for %g s", self.wait)
            with suppress(TimeoutError):
                self.client.wait_for_workers(1, timeout=self.wait)
        there = bool(self.client.nthreads())
        require(there, f"engine=dask: no worker has come within {self.wait:g} s; start dask worker, then run again")

    def require_seen(self, paths: Sequence[Path]) -> None:
        """UserError unless each worker sees the same files and folders as this process."""
        stamps = [(path, stamp_of(path) if path.is_file() else None) for path in paths]
        for worker, unseen in self.client.run(first_unseen, stamps, on_error="ignore").items():
            why = "all workers must see the raw files and data_dir under the same paths"
            require(unseen is None, f"engine=dask: the worker {worker} does not see {unseen} as it is here; {why}")

    def require_alike(self) -> None:
        """UserError unless each worker has the versions of this process, by which ids do not depend on the worker."""
        try:
            found = self.client.run(versions)
        except ImportError as error:
            raise UserError(f"engine=dask: a worker has no {error.name}; install the same eulernet on all") from None
        for worker, theirs in found.items():
            same = "install the same on all"
            require(
                theirs == versions(), f"engine=dask: the worker {worker} has {theirs}, here is {versions()}; {same}"
            )


def versions() -> str:
    python = ".".join(platform.python_version_tuple()[:2])
    return f"eulernet {__version__}, polars {pl.__version__}, Python {python}"


def first_unseen(stamps: Sequence[tuple[Path, tuple[int, int] | None]]) -> str | None:
    """The first path that is not there, or is another file."""
    for path, stamp in stamps:
        if not path.exists() or (stamp is not None and stamp_of(path) != stamp):
            return str(path)
    return None


@contextmanager
def joined(scheduler: str | None, wait: float) -> Iterator[Cluster]:
    """The cluster of ``scheduler``, an address or the file that ``dask scheduler --scheduler-file`` wrote.

    None is one of this machine, a process for each core, which ends with the block. UserError where it cannot be
    reached, has other versions or had no worker for ``wait`` seconds, and where it is lost.
    """
    what = "engine=dask" if scheduler is None else f"scheduler={scheduler}"
    place = None if scheduler is None else place_of(scheduler)
    for chatty in ("distributed", "distributed.client", "asyncio"):  # what is lost is said below, in a line
        logging.getLogger(chatty).setLevel(logging.CRITICAL)
    with ExitStack() as opened:
        try:
            client = opened.enter_context(Client(**(place or {"address": started(opened)})))
        except (OSError, ValueError, TypeError) as error:
            raise UserError(f"{what}: cannot be reached ({reason_of(error)}); is a Dask scheduler there?") from None
        try:
            cluster = Cluster(client, scheduler is None, wait)
            cluster.require_workers()
            cluster.require_alike()
            yield cluster
        except KilledWorker as error:
            died = f"{error.allowed_failures + 1} workers died of one task"
            raise UserError(f"{what}: {died}; were they out of memory? memory= bounds what a task takes") from None
        except (CancelledError, CommClosedError):
            raise UserError(f"{what}: the scheduler was lost; nothing is half-written, run again") from None


def place_of(scheduler: str) -> dict[str, Any]:
    """What Client takes. UserError for an address that is none, and a file that is not there."""
    is_file = "://" not in scheduler and ("/" in scheduler or scheduler.endswith(".json"))
    require(not is_file or Path(scheduler).is_file(), f"scheduler={scheduler}: no such file")
    whole = is_file or re.fullmatch(r"inproc://.+|(\w+://)?[^/]+:\d+", scheduler)
    require(bool(whole), f"scheduler={scheduler}: give an address, as tcp://host:8786, or a scheduler file")
    place = {"scheduler_file" if is_file else "address": scheduler}
    return {**place, "timeout": REACHED, "set_as_default": False}


def started(opened: ExitStack) -> LocalCluster:
    """A cluster of this machine, a process of one thread for each core."""
    opened.enter_context(dask.config.set({"distributed.nanny.pre-spawn-environ.POLARS_MAX_THREADS": 1}))
    cluster = LocalCluster(
        n_workers=pl.thread_pool_size(),
        threads_per_worker=1,
        memory_limit=0,
        dashboard_address=":0",
        silence_logs=logging.CRITICAL,
    )
    return opened.enter_context(cluster)


def reason_of(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
