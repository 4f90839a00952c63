"""Progress bars: on a terminal and in a notebook, nowhere else, and gone when done."""

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tqdm import tqdm


_HIDDEN = ContextVar("hidden", default=False)


@contextmanager
def no_bars() -> Iterator[None]:
    """Within it no bar appears."""
    token = _HIDDEN.set(True)
    try:
        yield
    finally:
        _HIDDEN.reset(token)


def bar(what: str, unit: str, total: int | None = None, *, delay: float = 0, shown: bool = True) -> "tqdm[Any]":
    """A bar with a rate and the time left, which appears after ``delay`` seconds.

    >>> with bar("epoch 1", "row", total=1000) as shown: shown.update(1000)
    """
    with warnings.catch_warnings():  # a notebook without ipywidgets has the bar of a terminal
        warnings.simplefilter("ignore")
        from tqdm.auto import tqdm

    off = (
        not shown or _HIDDEN.get() or (None if "ipykernel" not in sys.modules else False)
    )  # None is off but on a terminal
    return tqdm(
        total=total, desc=what, unit=unit, unit_scale=True, leave=False, delay=delay, disable=off, dynamic_ncols=True
    )
