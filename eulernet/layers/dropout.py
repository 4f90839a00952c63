"""Dropout whose masks are cheap on a CPU."""

import math

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn


class Dropout(nn.Module):
    """nn.Dropout with the same law: zero each element with probability p, scale the others by 1 / (1 - p).

    On a CPU torch draws a mask number by number, which is a quarter of an EulerNet step. Here 16 random bits an element
    come from numpy's SFC64, seeded by one draw from torch's generator: masks follow ``torch.manual_seed`` and a
    restored random state as they would with nn.Dropout. The rate is exact to 1 / 65536.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Float[Tensor, "*K"]) -> Float[Tensor, "*K"]:
        if not self.training or self.p == 0:
            return x
        if x.device.type != "cpu":
            return F.dropout(x, self.p)
        return x * draw_mask(x.shape, self.p, x.dtype)

    def extra_repr(self) -> str:
        return f"p={self.p}"


def draw_mask(shape: torch.Size, p: float, dtype: torch.dtype) -> Tensor:
    """0 with probability round(65536 p) / 65536, else the factor that keeps the mean at 1."""
    dropped = min(round(65536 * p), 65535)
    seed = int(torch.randint(2**62, ()))
    words = np.random.Generator(np.random.SFC64(seed)).integers(2**64, size=math.prod(shape) // 4 + 1, dtype=np.uint64)
    bits = torch.from_numpy(words.view(np.int16))[: math.prod(shape)].view(shape)
    kept = torch.ge(bits, dropped - 32768, out=torch.empty(shape, dtype=dtype))  # a detour by bool costs more than this
    return kept.mul_(65536 / (65536 - dropped))
