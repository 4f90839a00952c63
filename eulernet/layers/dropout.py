"""Dropout whose masks are cheap on a CPU."""

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
        return x * draw_mask(x, self.p) if self.training and self.p > 0 else x

    def extra_repr(self) -> str:
        return f"p={self.p}"


def draw_mask(like: Float[Tensor, "*K"], p: float) -> Float[Tensor, "*K"]:
    """0 with probability p, else the factor that keeps the mean at 1; shape, dtype and device of ``like``.

    On a CPU torch draws a mask number by number, which is a quarter of an EulerNet step. Here 16 random bits an element
    come from numpy's SFC64, seeded by one draw from torch's generator: masks follow ``torch.manual_seed`` and a
    restored random state as they would with nn.Dropout. The rate is exact to 1 / 65536.
    """
    if not torch.compiler.is_compiling():
        return _draw_now(like, p)
    # The compiler takes operations on one input for one, this one too; two empty tensors are never one to it.
    return _draw(torch.empty(like.shape, dtype=like.dtype, device=like.device), p)


def _draw_now(like: Tensor, p: float) -> Tensor:
    if like.device.type != "cpu":
        return torch.empty_like(like).bernoulli_(1 - p).div_(1 - p)
    dropped, size = min(round(65536 * p), 65535), like.numel()
    seed = int(torch.randint(2**62, ()))
    words = np.random.Generator(np.random.SFC64(seed)).integers(2**64, size=size // 4 + 1, dtype=np.uint64)
    bits = torch.from_numpy(words.view(np.int16))[:size].view(like.shape)
    # A detour by bool costs more than this.
    kept = torch.ge(bits, dropped - 32768, out=torch.empty(like.shape, dtype=like.dtype))
    return kept.mul_(65536 / (65536 - dropped))


# The compiler cannot look into numpy: to it this is one operation, which gives something else each time.
_draw = torch.library.custom_op(
    "eulernet::draw_mask", _draw_now, mutates_args=(), tags=(torch.Tag.nondeterministic_seeded,)
)
_draw.register_fake(lambda like, p: torch.empty(like.shape, dtype=like.dtype, device=like.device))
