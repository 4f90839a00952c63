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
OURS = ("torch", "eulernet")  # whose modules several threads may run at once

Score = Callable[[Int[Tensor, "B C"]], Float[Tensor, " B"]]


def one_by_one(model: nn.Module, most: int = PIECE) -> Score:
    """``model`` for any number of rows, one piece of at most ``most`` rows after the other, each on all threads."""
    rows = min(getattr(model, "piece", PIECE), most)
    return lambda x: torch.cat([model(piece) for piece in x.split(rows)])


def rows_in_cache(numbers: int) -> int:
    """Rows whose widest tensor, of so many ``numbers`` a row, stays in a processor's cache: 256, 512 or 1,024.

    >>> rows_in_cache(39 * 16), rows_in_cache(2 * 39**2)
    (1024, 256)
    """
    return max(256, min(PIECE, 1 << (2**20 // max(1, numbers)).bit_length() - 1))


def side_by_side(model: nn.Module, most: int = PIECE) -> Score:
    """``model`` for any number of rows without gradients: each of torch's threads scores a share of them, by itself.

    One piece comes after the other where ``may_be_shared`` does not hold, and where several processes run together:
    their look-ups wait for each other.
    """
    threads, alone = torch.get_num_threads(), one_by_one(model, most)
    several = torch.distributed.is_available() and torch.distributed.is_initialized()
    if threads == 1 or several or not may_be_shared(model):
        return alone
    twins: list[Score] = []

    def score(x: Tensor) -> Tensor:
        shares = x.split(share_of(len(x), threads))
        if len(shares) == 1:
            return alone(x)
        twins.extend(one_by_one(twin_of(model, {}), most) for _ in range(len(twins), len(shares)))
        try:
            scored = pool(os.getpid(), threads).map(in_modes_of_here(), twins, shares)
        except RuntimeError:  # no thread may begin: the interpreter ends, or there is a limit
            return alone(x)
        return torch.cat([*scored])

    return score


def share_of(rows: int, threads: int) -> int:
    """Rows for each thread: whole pieces if it is more than one, so that the number of threads does not divide them.

    >>> share_of(8192, 2), share_of(8192, 3), share_of(1024, 2), share_of(100, 2)
    (4096, 3072, 512, 512)
    """
    share = -(-rows // threads)
    return max(LEAST, share) if share <= PIECE else -(-share // PIECE) * PIECE


def in_modes_of_here() -> Callable[[Score, Tensor], Tensor]:
    """What scores in another thread, without gradients, in the precision of this one: torch's modes are a thread's."""
    rounded, dtype = torch.is_autocast_enabled("cpu"), torch.get_autocast_dtype("cpu")

    def scored(score: Score, x: Tensor) -> Tensor:
        with torch.inference_mode(), torch.autocast("cpu", enabled=rounded, dtype=dtype, cache_enabled=False):
            return score(x)

    return scored


def may_be_shared(model: nn.Module) -> bool:
    """Whether ``model`` consists of modules of torch and of this package, without a user's hooks.

    Hooks see the rows in their order. Others' modules may keep what ``twin_of`` does not part: rows in one list, say.
    """
    return not any(
        part._forward_hooks or part._forward_pre_hooks or type(part).__module__.partition(".")[0] not in OURS
        for part in model.modules()
    )


def twin_of(module: nn.Module, made: dict[int, nn.Module]) -> nn.Module:
    """``module`` again, with the same weights: what its ``forward`` writes into itself, no other thread reads.

    ``made`` has the twins of the modules that were met before. A twin is not compiled.
    """
    if id(module) not in made:
        twin = made[id(module)] = object.__new__(type(module))
        copies = {name: module.__dict__[name].copy() for name in ("_parameters", "_buffers", "_modules")}
        twin.__dict__.update({**module.__dict__, **copies, "_compiled_call_impl": None})
        for name, child in copies["_modules"].items():
            copies["_modules"][name] = None if child is None else twin_of(child, made)
    return made[id(module)]


@contextmanager
def one_thread() -> Iterator[None]:
    """Within it an operation of this thread takes one thread; in threads that begin meanwhile as many as before.

    For a thread that waits for others: the second thread of its last operation would wait for the next one, busily, on
    a processor that they could have.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    give_new_threads(before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def give_new_threads(count: int) -> None:
    """Let operations of threads that begin later take ``count`` threads: what any thread has set last."""
    last = threading.Thread(target=torch.set_num_threads, args=(count,))
    last.start()
    last.join()


@cache
def pool(process: int, threads: int) -> ThreadPoolExecutor:
    """``threads`` threads of this process, in each of which an operation takes one thread alone."""
    ready, before = threading.Barrier(threads), torch.get_num_threads()

    def alone() -> None:
        ready.wait()  # until all are there: so each of them runs this once
        torch.get_num_threads()  # in a new thread, its first call takes over the number of all
        torch.set_num_threads(1)
        ready.wait()

    made = ThreadPoolExecutor(threads, thread_name_prefix="score")
    try:
        for begun in [made.submit(alone) for _ in range(threads)]:
            begun.result()
    except BaseException:  # not all could begin: those that did wait no longer
        ready.abort()
        made.shutdown(wait=False)
        raise
    finally:
        torch.set_num_threads(before)
        give_new_threads(threads)
    return made
