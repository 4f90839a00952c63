"""Products of the field vectors e_1 .. e_F, each of R^D: of all pairs, and of all subsets of an order."""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn


class Pairs(nn.Module):
    """The vectors of all P = F(F-1)/2 pairs i < j, as (e_i, e_j)."""

    left: Int[Tensor, " P"]
    right: Int[Tensor, " P"]

    def __init__(self, fields: int) -> None:
        super().__init__()
        left, right = torch.triu_indices(fields, fields, offset=1)
        self.register_buffer("left", left, persistent=False)
        self.register_buffer("right", right, persistent=False)

    def forward(self, e: Float[Tensor, "B F D"]) -> tuple[Float[Tensor, "B P D"], Float[Tensor, "B P D"]]:
        return e.index_select(1, self.left), e.index_select(1, self.right)


class InnerProducts(nn.Module):
    """<e_i, e_j> of all P pairs i < j."""

    cells: Int[Tensor, " P"]

    def __init__(self, fields: int) -> None:
        super().__init__()
        left, right = torch.triu_indices(fields, fields, offset=1)
        self.register_buffer("cells", left * fields + right, persistent=False)

    def forward(self, e: Float[Tensor, "B F D"]) -> Float[Tensor, "B P"]:
        return (e @ e.mT).flatten(1).index_select(1, self.cells)


def sum_of_pairs(e: Float[Tensor, "B F D"]) -> Float[Tensor, "B D"]:
    """sum_{i<j} e_i * e_j = 1/2 ((sum_i e_i)^2 - sum_i e_i^2), elementwise: Rendle's linear-time identity."""
    return 0.5 * (e.sum(1).square() - e.square().sum(1))


def sums_of_products(e: Float[Tensor, "B F D"], order: int) -> list[Float[Tensor, "B D"]]:
    """s_t = sum_{i_1 < .. < i_t} e_{i_1} * .. * e_{i_t}, elementwise, for t = 1 .. order.

    From the power sums p_i = sum_f e_f^i by Newton's identities, t s_t = sum_{i=1..t} (-1)^(i-1) s_{t-i} p_i.
    """
    powers = [e]
    for _ in range(1, order):
        powers.append(powers[-1] * e)
    p = [power.sum(1) for power in powers]
    s = [torch.ones_like(p[0])]
    for t in range(1, order + 1):
        s.append(torch.stack([(-1) ** (i - 1) * s[t - i] * p[i - 1] for i in range(1, t + 1)]).sum(0) / t)
    return s[1:]
