"""Work in threads, results in order."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def in_order(work: Callable[[T], R], items: Iterable[T], *, threads: int, ahead: int) -> Iterator[R]:
    """``work(item)`` of every item, in their order, while at most ``ahead`` more are made or wait to be taken.

    What an item or its work raises is raised where its result would have been, after the results before it.
    """
    items, coming, failed = iter(items), deque[Future[R]](), None
    with ThreadPoolExecutor(threads) as pool:
        try:
            while True:
                while failed is None and len(coming) <= ahead:
                    try:
                        coming.append(pool.submit(work, next(items)))
                    except StopIteration:
                        break
                    except Exception as error:
                        failed = error
                if not coming:
                    break
                yield coming.popleft().result()
            if failed is not None:
                raise failed
        finally:
            for future in coming:
                future.cancel()
