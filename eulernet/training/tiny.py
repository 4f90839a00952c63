"""Numbers that no sum can feel, set to zero, because processors are slow with the least of them."""

from collections.abc import Iterable

import torch

from eulernet.distributed.ranks import local_shard

# Below it a number is as good as zero: its square is 0 in fp32, and in a sum with 1e-22 or more it changes no bit.
TINY = 1e-30


@torch.no_grad()
def clear_tiny(tensors: Iterable[torch.Tensor]) -> None:
    """Set to zero, in place, what is at most ``TINY`` from it. NaN stays.

    Decay drives the weights of units that died out below 1.2e-38, and moments that get no more gradient as well.
    fp32 has such numbers, the subnormal ones, but Intel's processors need a hundred times as long with each: an epoch
    of QNN-alpha on MovieLens-1M went from 12 s to 136 (docs/log.md). ``torch.set_flush_denormal`` would help only the
    thread that calls it. Never are they all cleared in time, so rather those are that would become subnormal soon.
    """
    for tensor in map(local_shard, tensors):
        torch.hardshrink(tensor, TINY, out=tensor)
