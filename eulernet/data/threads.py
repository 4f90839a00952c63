"""Work in threads, results in order."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol, TypeVar

T = TypeVar("T")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)


class Coming(Protocol[R_co]):
    """A result that is being made."""

    def result(self) -> R_co: ...

    def cancel(self) -> object: ...


def in_order(work: Callable[[T], R], items: Iterable[T], *, threads: int, ahead: int) -> Iterator[R]:
    """``work(item)`` of every item, in their order, while at most ``ahead`` more are made or wait to be taken.

    What an item or its work raises is raised where its result would have been, after the results before it.
    """
    with ThreadPoolExecutor(threads) as pool:
        yield from taken(lambda item: pool.submit(work, item), items, ahead)


def taken(submit: Callable[[T], Coming[R]], items: Iterable[T], ahead: int) -> Iterator[R]:
    """What comes of ``submit(item)`` of every item, see ``in_order``; what is left at the end is cancelled."""
    items, coming, failed = iter(items), deque[Coming[R]](), None
    try:
        while True:
            while failed is None and len(coming) <= ahead:
                try:
                    coming.append(submit(next(items)))
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
        for one in coming:
            one.cancel()
