"""Weights and moments that are as good as zero become zero: many processors are slow with numbers so small."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from eulernet.distributed.ranks import local_shard

# So small a number is as good as zero: added to 1e-22 or more it changes no bit, and its square is 0 in fp32. (A second
# moment of 1e-30 adds 1e-15 to the 1e-8 by which Adam divides.)
TINY = 1e-30
# How the names of weights end whose sign counts, however small they are: with a tiny positive bias ReLU lets the
# gradient of a dead unit through, with 0 it does not; a negative modulus of EulerNet turns a phase by pi.
SIGNED = ("bias", "modulus")


@torch.no_grad()
def clear_tiny(tensors: Iterable[Tensor]) -> None:
    """Set to 0, in place, every number that is at most ``TINY`` from it. NaN stays NaN.

    Decay drives the weights of a unit that died out towards 0, and moments without a gradient shrink step by step.
    Below 1.2e-38 numbers are subnormal, and Intel's processors are slow with them: a matrix product with one weight in
    ten subnormal takes 160 times as long, an epoch of QNN-alpha on MovieLens-1M took 136 s instead of 12 (docs/log.md).
    ``torch.set_flush_denormal`` is no remedy: it is for the calling thread alone. ``TINY`` is far above 1.2e-38, so
    that what is on its way there is cleared as well.

    >>> weights = torch.tensor([0.5, -2e-31, 3e-39])
    >>> clear_tiny([weights])
    >>> weights
    tensor([0.5000, 0.0000, 0.0000])
    """
    for tensor in map(local_shard, tensors):
        torch.hardshrink(tensor, TINY, out=tensor)


def unsigned_weights(model: nn.Module) -> list[Tensor]:
    """The weights of ``model`` that may be cleared, with their moments: all but the ``SIGNED`` ones."""
    return [weight for name, weight in model.named_parameters() if not name.endswith(SIGNED)]
