"""The cross layer of DCN (Wang et al., "Deep & Cross Network for Ad Click Predictions", ADKDD 2017)."""

import torch
from jaxtyping import Float
from torch import Tensor, nn


class CrossLayer(nn.Module):
    """x_0 (w' x) + b + x: one degree more of the products of the entries of x_0, for 2 K weights (Eq. 3)."""

    def __init__(self, n: int) -> None:
        super().__init__()
        self.weight = nn.Linear(n, 1, bias=False)
        self.bias = nn.Parameter(torch.zeros(n))

    def forward(self, x0: Float[Tensor, "B K"], x: Float[Tensor, "B K"]) -> Float[Tensor, "B K"]:
        return x0 * self.weight(x) + self.bias + x
