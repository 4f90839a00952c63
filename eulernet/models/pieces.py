"""Rows scored side by side on a CPU: each thread takes a share of them, and computes it alone, piece by piece.

What a model does with 1,024 rows are hundreds of operations of a few microseconds, too short to be shared by threads.
EulerNet scores 2.5 times as many rows of MovieLens on two threads in this way, of Criteo 1.36 times (docs/log.md).
"""

import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

PIECE = 1024  # rows that a thread scores at a time; fewer where a model makes much of a row (rows_in_cache)
LEAST = 512  # rows for which a thread is worth its while

Score = Callable[[Int[Tensor, "B C"]], Float[Tensor, " B"]]


def one_by_one(model: nn.Module) -> Score:
    """``model`` for any number of rows, one piece of them after the other, each on all threads of torch."""
    rows = getattr(model, "piece", PIECE)
    return lambda x: torch.cat([model(piece) for piece in x.split(rows)])


def rows_in_cache(numbers: int) -> int:
    """Rows whose widest tensor, of so many ``numbers`` a row, stays in a processor's cache: 256, 512 or 1,024.

    >>> rows_in_cache(39 * 16), rows_in_cache(2 * 39**2)
    (1024, 256)
    """
    return max(256, min(PIECE, 1 << (2**20 // max(1, numbers)).bit_length() - 1))


@contextmanager
def side_by_side(model: nn.Module) -> Iterator[Score]:
    """``model`` for any number of rows without gradients: each of torch's threads scores a share of them.

    So it is where ``keeps_nothing`` holds, in one process: look-ups of several wait for each other. Until the end the
    calling thread is one as well; its helpers would wait for the next operation, busily, where pieces are scored.
    """
    threads, several = torch.get_num_threads(), torch.distributed.is_initialized()
    if threads == 1 or several or not keeps_nothing(model):
        yield one_by_one(model)
        return
    made, alone = pool(os.getpid(), threads), one_by_one(model)

    def score(x: Tensor) -> Tensor:
        shares = x.split(share_of(len(x), threads))
        if len(shares) == 1:
            with torch_threads(threads):
                return alone(x)
        return torch.cat([*made.map(in_modes_of_here(alone), shares)])

    with torch_threads(1):
        yield score


def share_of(rows: int, threads: int) -> int:
    """Rows for each thread: whole pieces if it is more than one, so that the number of threads does not divide them.

    >>> share_of(8192, 2), share_of(8192, 3), share_of(1024, 2), share_of(100, 2)
    (4096, 3072, 512, 512)
    """
    share = -(-rows // threads)
    return max(LEAST, share) if share <= PIECE else -(-share // PIECE) * PIECE


def in_modes_of_here(score: Score) -> Score:
    """``score`` for other threads, without gradients, in the precision of this one: torch's modes are a thread's."""
    rounded, dtype = torch.is_autocast_enabled("cpu"), torch.get_autocast_dtype("cpu")

    def scored(x: Tensor) -> Tensor:
        with torch.inference_mode(), torch.autocast("cpu", enabled=rounded, dtype=dtype, cache_enabled=False):
            return score(x)

    return scored


def keeps_nothing(model: nn.Module) -> bool:
    """Whether ``model`` consists of modules of torch and of this package, which keep nothing from call to call.

    A model of a user's own may write down in itself what its next line reads: two threads would mix their rows.
    """
    return all(type(part).__module__.partition(".")[0] in ("torch", "eulernet") for part in model.modules())


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Within it an operation of this thread takes ``count`` threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@cache
def pool(process: int, threads: int) -> ThreadPoolExecutor:
    """Threads of this process, in each of which an operation takes one thread alone."""
    ready = threading.Barrier(threads)

    def alone() -> None:
        ready.wait()  # until all are there: so each of them runs this once
        torch.get_num_threads()  # in a new thread, its first call takes over the number of all
        torch.set_num_threads(1)
        ready.wait()

    with torch_threads(threads):
        made = ThreadPoolExecutor(threads, thread_name_prefix="score")
        for begun in [made.submit(alone) for _ in range(threads)]:
            begun.result()
    return made
