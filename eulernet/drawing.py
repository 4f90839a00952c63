"""Starting values of tables, drawn in pieces: of a table that several processes share each keeps its own rows alone.

Every process draws all values in their order and throws away those of the others' rows. So each value is the one that a
single process draws, whatever the number of processes, for the price of time alone: some 9 ns for each number of the
whole table.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from jaxtyping import Float
from torch import Tensor

PIECE = 1 << 18  # numbers drawn at once, which fit into a cache; torch draws normal ones by sixteens

_held: ContextVar[Callable[[int], slice]] = ContextVar("held", default=lambda rows: slice(0, rows))


@contextmanager
def holding(rows_of: Callable[[int], slice]) -> Iterator[None]:
    """Within it, of a table of n rows that is made only the rows ``rows_of(n)`` are kept."""
    before = _held.set(rows_of)
    try:
        yield
    finally:
        _held.reset(before)


def rows_held(rows: int) -> slice:
    """Which rows of a table of so many this process keeps: all, unless ``holding`` says otherwise."""
    return _held.get()(rows)


def draw_rows(held: Float[Tensor, "n D"], first: int, rows: slice, draw: Callable[[Tensor], object]) -> None:
    """Fill the ``rows`` of a table with what ``draw``, normal_ or uniform_, makes of them, to the same bits.

    ``held`` has the n rows of the table from row ``first`` on; what is drawn for other rows is thrown away.
    """
    flat, dim = held.view(-1), held.shape[1]
    at, stop, own = rows.start * dim, rows.stop * dim, first * dim
    while at < stop:
        end = at + PIECE if stop - at >= 2 * PIECE else stop  # below 16 numbers torch draws in another way
        begin, last = max(at, own), min(end, own + len(flat))
        if (begin, last) == (at, end):
            draw(flat[at - own : end - own])
        else:
            piece = flat.new_empty(end - at)
            draw(piece)
            if begin < last:
                flat[begin - own : last - own] = piece[begin - at : last - at]
        at = end
