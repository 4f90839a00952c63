"""FinalNet (Zhu et al., "FINAL: Factorized Interaction Layer for CTR Prediction", SIGIR 2023)."""

from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from typing import Literal, get_args

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from eulernet.errors import choose, require, require_count, require_counts, require_option, require_rate
from eulernet.features import FieldEmbedding, FieldSize
from eulernet.layers.dropout import Dropout
from eulernet.layers.head import Head
from eulernet.layers.mlp import ACTIVATIONS, NORMS
from eulernet.models.base import CTRModel, cross_entropy

Residual = Literal["concat", "sum"]


class FactorizedLayer(nn.Module):
    """(h, g) = W x + b, then h + g * h (sum), or [h, g * h] (concat): twice the degree of x."""

    def __init__(self, n_in: int, n_out: int, residual: Residual) -> None:
        super().__init__()
        require(residual == "sum" or n_out % 2 == 0, f"model.residual=concat needs even widths, got {n_out}")
        self.residual = residual
        self.linear = nn.Linear(n_in, 2 * n_out if residual == "sum" else n_out)

    def forward(self, x: Float[Tensor, "B N"]) -> Float[Tensor, "B M"]:
        h, g = self.linear(x).chunk(2, dim=1)
        return h + g * h if self.residual == "sum" else torch.cat([h, g * h], dim=1)


class FieldGate(nn.Module):
    """[e_f, (sum_g W_fg e_g + b_f) * e_f] of every field f; starts at W = 0, b = 1."""

    def __init__(self, fields: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(fields, fields))
        self.bias = nn.Parameter(torch.ones(fields, 1))

    def forward(self, e: Float[Tensor, "B F D"]) -> Float[Tensor, "B 2*F D"]:
        return torch.cat([e, (self.weight @ e + self.bias) * e], dim=1)


def factorized_block(
    n_in: int, hidden_units: Sequence[int], *, residual: Residual, activation: str, norm: str, dropout: float
) -> nn.Sequential:
    """Factorized layers, each with norm, activation and dropout, and the weights that make one number of them."""
    block = nn.Sequential()
    for n, m in pairwise([n_in, *hidden_units]):
        block.extend([FactorizedLayer(n, m, residual), NORMS[norm](m), ACTIVATIONS[activation](m), Dropout(dropout)])
    return block.append(Head([n_in, *hidden_units][-1], 1))


class FinalNet(CTRModel):
    """logit = (logit_1 + logit_2) / 2, each from a block of factorized layers; the first may see gated fields.

    The loss also teaches each block the mean: BCE(logit, y) + BCE(logit_1, s) + BCE(logit_2, s) with the constant
    s = sigmoid(logit).
    """

    def __init__(
        self,
        field_sizes: Sequence[FieldSize],
        *,
        embedding_dim: int,
        field_gate: bool,
        residual: Residual,
        hidden_units_1: Sequence[int],
        hidden_units_2: Sequence[int],
        activation: str,
        norm: str,
        dropout_1: float,
        dropout_2: float,
    ) -> None:
        super().__init__()
        require_count(embedding_dim, "embedding_dim")
        require_option(residual, get_args(Residual), "residual")
        require_counts(hidden_units_1, "hidden_units_1")
        require_counts(hidden_units_2, "hidden_units_2")
        require_rate(dropout_1, "dropout_1")
        require_rate(dropout_2, "dropout_2")
        choose(ACTIVATIONS, activation, "model.activation")
        choose(NORMS, norm, "model.norm")
        make_block = partial(factorized_block, residual=residual, activation=activation, norm=norm)
        fields = len(field_sizes)
        n = fields * embedding_dim
        self.embedding = FieldEmbedding(field_sizes, embedding_dim)
        self.gate = FieldGate(fields) if field_gate else nn.Identity()
        self.block_1 = make_block(2 * n if field_gate else n, hidden_units_1, dropout=dropout_1)
        self.block_2 = make_block(n, hidden_units_2, dropout=dropout_2)

    def logits(self, x: Int[Tensor, "B C"]) -> tuple[Float[Tensor, " B"], Float[Tensor, " B"]]:
        """Those of the two blocks."""
        e = self.embedding(x)
        return self.block_1(self.gate(e).flatten(1)).squeeze(1), self.block_2(e.flatten(1)).squeeze(1)

    def forward(self, x: Int[Tensor, "B C"]) -> Float[Tensor, " B"]:
        one, two = self.logits(x)
        return (one + two) / 2

    def calculate_loss(
        self, x: Int[Tensor, "B C"], y: Float[Tensor, " B"], weight: Float[Tensor, " B"] | None = None
    ) -> Float[Tensor, ""]:
        one, two = self.logits(x)
        mean = (one + two) / 2
        taught = torch.sigmoid(mean).detach()
        bce = partial(cross_entropy, weight=weight)
        return bce(mean, y) + bce(one, taught) + bce(two, taught)
