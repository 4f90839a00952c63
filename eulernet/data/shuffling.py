"""Training rows in random order without a permutation of all of them: blocks of adjoining rows, shuffled in windows.

The rows are cut into blocks. The blocks come in a random order, drawn anew in every epoch, and the rows of each window
of so many rows of that order are permuted. A window is read block by block, so a store that is larger than memory is
read nearly in sequence; in memory are the order of the blocks (8 bytes each) and two windows.

Several ranks read streams: the order is cut into as many consecutive parts, each with windows of its own, and a batch
takes its next rows from every stream. Where there is a rank for each stream, a rank reads no other rows than its own.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

BLOCK = 1 << 20  # bytes of a block, for which a disk takes far longer to read than to find
BLOCKS = 256  # ... but a window has at least so many: rows of one block are alike where the rows are sorted

Notice = Callable[[list[slice]], None]  # told which pieces of adjoining rows will soon be read


@dataclass(frozen=True)
class Blocks:
    """How to shuffle: ``window`` rows at a time, of all ``streams`` together."""

    window: int
    streams: int = 1


def window_rows(window: float, rows: int) -> int:
    """``train.shuffle_window`` of so many rows: up to 1 it is a share of them, above 1 a number.

    >>> window_rows(0.05, 1000), window_rows(200, 1000), window_rows(5000, 1000)
    (50, 200, 1000)
    """
    return max(1, min(rows, int(np.ceil(window * rows)) if window <= 1 else int(window)))


class Order:
    """All of ``rows`` in blocks of ``block``, the blocks in an order that ``generator`` draws."""

    def __init__(self, rows: int, block: int, generator: torch.Generator) -> None:
        self.block, self.rows = block, rows
        self.blocks = torch.randperm(-(-rows // block), generator=generator)
        self.seed = int(torch.randint(2**62, (), generator=generator))
        self.ends = (self.blocks * block + block).clamp_(max=rows).sub_(self.blocks * block).cumsum_(0)

    def pieces(self, start: int, stop: int) -> list[slice]:
        """Places ``start`` to ``stop`` of the order: pieces of adjoining rows."""
        found, i = [], int(torch.searchsorted(self.ends, start, right=True))
        while start < stop:
            end, first = int(self.ends[i]), int(self.blocks[i]) * self.block
            last = min(first + self.block, self.rows)
            upto = min(end, stop)
            found.append(slice(last - (end - start), last - (end - upto)))
            start, i = upto, i + 1
        return found

    def shuffled(self, pieces: list[slice], start: int) -> Int[Tensor, " n"]:
        """The rows of the window at place ``start``, permuted."""
        rows = torch.cat([torch.arange(piece.start, piece.stop) for piece in pieces])
        seed = int(np.random.SeedSequence([self.seed, start]).generate_state(1, np.uint64)[0] >> 1)
        return rows[torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed))]


def part_of(rows: int, number: int, parts: int) -> range:
    """Rows of one of several consecutive parts, whose sizes differ by at most one."""
    return range(rows * number // parts, rows * (number + 1) // parts)


def batches_of(
    rows: int, size: int, order: Order, blocks: Blocks, share: Callable[[int], slice], first: int, notice: Notice
) -> Iterator[Int[Tensor, " b"]]:
    """The row numbers of this rank's ``share`` of each batch from number ``first`` on."""
    mine = {n: range(n)[share(n)] for n in {size, rows % size}}
    streams = [
        (number, stream(rows, size, order, blocks, number, first, notice))
        for number in range(blocks.streams)
        if any(_overlap(mine[n], part_of(n, number, blocks.streams)) for n in mine)
    ]
    for step in range(first, -(-rows // size)):
        n = size if (step + 1) * size <= rows else rows % size
        taken = [torch.arange(0)]
        for number, source in streams:
            part = part_of(n, number, blocks.streams)
            read, cut = next(source), _overlap(mine[n], part)
            taken.append(read[cut.start - part.start : cut.stop - part.start] if cut else read[:0])
        yield torch.cat(taken)


def stream(
    rows: int, size: int, order: Order, blocks: Blocks, number: int, first: int, notice: Notice
) -> Iterator[Int[Tensor, " b"]]:
    """Row numbers of stream ``number``: its part of every batch from number ``first`` on."""
    whole, tail = (part_of(n, number, blocks.streams) for n in (size, rows % size))
    steps = rows // size
    begin = steps * whole.start + tail.start  # where this stream begins in the order: parts are consecutive
    end = begin + steps * len(whole) + len(tail)
    window = max(1, blocks.window // blocks.streams)
    place = begin + min(first * len(whole), end - begin)
    start = begin + (place - begin) // window * window
    coming = order.pieces(start, min(start + window, end))
    notice(coming)
    held = torch.arange(0)
    for step in range(first, -(-rows // size)):
        wanted = len(whole) if step < steps else len(tail)
        while len(held) < wanted:
            found = order.shuffled(coming, start)[max(0, place - start) :]
            start += window
            coming = order.pieces(start, min(start + window, end))
            notice(coming)  # the next window is read while this one is trained on
            held = torch.cat([held, found])
        yield held[:wanted]
        held = held[wanted:]


def _overlap(one: range, other: range) -> range:
    return range(max(one.start, other.start), min(one.stop, other.stop))
