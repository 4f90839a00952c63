"""DCNv2 (Wang et al., "DCN V2: Improved Deep & Cross Network", WWW 2021)."""

from collections.abc import Sequence
from typing import Literal, get_args

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from eulernet.errors import require, require_count, require_option
from eulernet.features import FieldEmbedding, FieldSize
from eulernet.layers.head import Head
from eulernet.layers.mlp import MLP
from eulernet.models.base import CTRModel

Structure = Literal["stacked", "parallel", "cross"]


class DCNv2(CTRModel):
    """Cross layers x_{l+1} = x_0 * (W_l x_l + b_l) + x_l (Eq. 1), then one of three structures (Fig. 1).

    * stacked: logit = w' MLP(x_L) + b;
    * parallel: logit = w' [x_L, MLP(x_0)] + b;
    * cross: logit = w' x_L + b, without an MLP.

    With ``rank`` each W is a product U V' of that rank (Eq. 2), without the mixture of experts; None is full rank.
    """

    def __init__(
        self,
        field_sizes: Sequence[FieldSize],
        *,
        embedding_dim: int,
        structure: Structure,
        cross_layers: int,
        rank: int | None,
        hidden_units: Sequence[int],
        activation: str,
        norm: str,
        dropout: float,
    ) -> None:
        super().__init__()
        require_count(embedding_dim, "embedding_dim")
        require_count(cross_layers, "cross_layers")
        require_option(structure, get_args(Structure), "structure")
        require(
            structure != "cross" or not hidden_units, "model.structure=cross has no MLP: give model.hidden_units=[]"
        )
        n = len(field_sizes) * embedding_dim
        n_deep = [n, *hidden_units][-1]
        self.structure = structure
        self.embedding = FieldEmbedding(field_sizes, embedding_dim)
        self.cross = nn.ModuleList(make_cross(n, rank) for _ in range(cross_layers))
        self.deep = MLP(n, hidden_units, activation=activation, norm=norm, dropout=dropout)
        self.head = Head(n + n_deep if structure == "parallel" else n_deep, 1)

    def forward(self, x: Int[Tensor, "B C"]) -> Float[Tensor, " B"]:
        x0 = crossed = self.embedding(x).flatten(1)
        for w in self.cross:
            crossed = x0 * w(crossed) + crossed
        if self.structure == "parallel":
            return self.head(torch.cat([crossed, self.deep(x0)], dim=1)).squeeze(1)
        return self.head(self.deep(crossed)).squeeze(1)


def make_cross(n: int, rank: int | None) -> nn.Module:
    """W x + b, or U V' x + b."""
    if rank is None:
        return nn.Linear(n, n)
    require_count(rank, "rank")
    return nn.Sequential(nn.Linear(n, rank, bias=False), nn.Linear(rank, n))
