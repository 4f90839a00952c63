"""Work in threads, results in order."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def in_order(work: Callable[[T], R], items: Iterable[T], *, threads: int, ahead: int) -> Iterator[R]:
    """``work(item)`` of every item, in their order, while at most ``ahead`` more are made or wait to be taken.

    What an item or its work raises is raised where its result would have been. What is not taken is not begun.
    """
    items, coming = iter(items), deque[Future[R]]()
    with ThreadPoolExecutor(threads) as pool:
        try:
            coming.extend(pool.submit(work, item) for item in islice(items, ahead))
            while coming:
                result = coming.popleft().result()
                coming.extend(pool.submit(work, item) for item in islice(items, 1))
                yield result
        finally:
            for future in coming:
                future.cancel()
