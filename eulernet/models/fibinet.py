"""FiBiNET (Huang et al., "FiBiNET: Combining Feature Importance and Bilinear feature Interaction", RecSys 2019)."""

from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from eulernet.errors import choose, require_count
from eulernet.features import FieldEmbedding, FieldLinear, FieldSize
from eulernet.layers.mlp import LogitMLP
from eulernet.layers.products import Pairs
from eulernet.models.base import CTRModel
from eulernet.models.pieces import rows_in_cache


class SENet(nn.Module):
    """v_f = a_f e_f with the importances a = relu(W_2 relu(W_1 z)), z_f the mean of e_f over D."""

    def __init__(self, fields: int, reduction: int) -> None:
        super().__init__()
        reduced = max(1, fields // reduction)
        self.excite = nn.Sequential(
            nn.Linear(fields, reduced, bias=False), nn.ReLU(), nn.Linear(reduced, fields, bias=False), nn.ReLU()
        )

    def forward(self, e: Float[Tensor, "B F D"]) -> Float[Tensor, "B F D"]:
        return e * self.excite(e.mean(2)).unsqueeze(2)


class Bilinear(nn.Module):
    """(e_i W) * e_j of all pairs i < j: one W for all, one for each field i, or one for each pair.

    With one for each field, the last field has one as well, as in the paper's count; no pair uses it.
    """

    def __init__(self, fields: int, dim: int, matrices: Literal["all", "each", "interaction"]) -> None:
        super().__init__()
        count = choose(
            {"all": 1, "each": fields, "interaction": fields * (fields - 1) // 2}, matrices, "model.matrices"
        )
        self.per_pair = matrices == "interaction"
        self.weight = nn.Parameter(torch.empty(count, dim, dim))
        self.pairs = Pairs(fields)
        for matrix in self.weight.data:
            nn.init.xavier_normal_(matrix)

    def forward(self, e: Float[Tensor, "B F D"]) -> Float[Tensor, "B P D"]:
        left, right = self.pairs(e)
        if self.per_pair:
            return torch.einsum("bpd,pde->bpe", left, self.weight) * right
        turned = torch.einsum("bfd,fde->bfe", e, self.weight.expand(e.shape[1], -1, -1))
        return self.pairs(turned)[0] * right


class FiBiNET(CTRModel):
    """logit = w_0 + sum_i w_i + h' MLP([p, q]), p and q the bilinear products of the embeddings and of their SENet.

    The two sets of products have matrices of their own; the paper does not say whether they share them.
    """

    def __init__(
        self,
        field_sizes: Sequence[FieldSize],
        *,
        embedding_dim: int,
        reduction: int,
        matrices: Literal["all", "each", "interaction"],
        hidden_units: Sequence[int],
        activation: str,
        norm: str,
        dropout: float,
    ) -> None:
        super().__init__()
        require_count(embedding_dim, "embedding_dim")
        require_count(reduction, "reduction")
        fields = len(field_sizes)
        n_in = fields * (fields - 1) * embedding_dim
        self.piece = rows_in_cache(n_in)
        self.linear = FieldLinear(field_sizes)
        self.embedding = FieldEmbedding(field_sizes, embedding_dim)
        self.senet = SENet(fields, reduction)
        self.bilinear_p = Bilinear(fields, embedding_dim, matrices)
        self.bilinear_q = Bilinear(fields, embedding_dim, matrices)
        self.deep = LogitMLP(n_in, hidden_units, activation=activation, norm=norm, dropout=dropout, bias=False)

    def forward(self, x: Int[Tensor, "B C"]) -> Float[Tensor, " B"]:
        e = self.embedding(x)
        p, q = self.bilinear_p(e), self.bilinear_q(self.senet(e))
        return self.linear(x) + self.deep(torch.cat([p, q], dim=1).flatten(1))
