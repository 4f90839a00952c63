"""Dropout whose masks are cheap on a CPU."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn


class Dropout(nn.Module):
    """nn.Dropout with the same law: zero each element with probability p, scale the others by 1 / (1 - p)."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Float[Tensor, "*K"]) -> Float[Tensor, "*K"]:
        return x * draw_masks(x, [self.p])[0] if self.training and self.p > 0 else x

    def extra_repr(self) -> str:
        return f"p={self.p}"


def draw_masks(x: Float[Tensor, "*K"], rates: Sequence[float]) -> Float[Tensor, "n ..."]:
    """For each rate a mask: 0 with that probability, else the factor that keeps the mean at 1.

    Each has the shape of ``x``, all have its dtype and device. On a CPU torch draws a mask number by number, which
    is a quarter of an EulerNet step. Here 16 random bits an element come from numpy's SFC64, seeded by one draw from
    torch's generator: masks follow ``torch.manual_seed`` and a restored random state as they would with nn.Dropout.
    The rates are exact to 1 / 65536.
    """
    if not torch.compiler.is_compiling():
        return _draw_now(x, list(rates))
    # torch.compile merges identical calls on the same input, so each call gets an empty tensor of its own.
    return _draw(torch.empty(x.shape, dtype=x.dtype, device=x.device), list(rates))


def _draw_now(x: Tensor, rates: list[float]) -> Tensor:
    masks = torch.empty(len(rates), *x.shape, dtype=x.dtype, device=x.device)
    if x.device.type != "cpu":
        for mask, rate in zip(masks, rates, strict=True):
            mask.bernoulli_(1 - rate).div_(1 - rate)
        return masks
    size, seed = masks.numel(), int(torch.randint(2**62, ()))
    words = np.random.Generator(np.random.SFC64(seed)).integers(2**64, size=size // 4 + 1, dtype=np.uint64)
    bits = torch.from_numpy(words.view(np.int16))[:size].view(masks.shape)
    for mask, bit, rate in zip(masks, bits, rates, strict=True):
        dropped = min(round(65536 * rate), 65535)
        torch.ge(bit, dropped - 32768, out=mask)  # a detour by bool costs more than this
        mask.mul_(65536 / (65536 - dropped))
    return masks


# torch.compile cannot trace numpy. It sees one operation, marked as random: two calls give different masks.
_draw = torch.library.custom_op(
    "eulernet::draw_masks", _draw_now, mutates_args=(), tags=(torch.Tag.nondeterministic_seeded,)
)
_draw.register_fake(lambda x, rates: x.new_empty(len(rates), *x.shape))
