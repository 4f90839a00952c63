"""DCN (Wang et al., "Deep & Cross Network for Ad Click Predictions", ADKDD 2017)."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from eulernet.errors import require_count
from eulernet.features import FieldEmbedding, FieldSize
from eulernet.layers.cross import CrossLayer
from eulernet.layers.head import Head
from eulernet.layers.mlp import MLP
from eulernet.models.base import CTRModel


class DCN(CTRModel):
    """logit = w' [x_L, MLP(x_0)] + b: cross layers x_{l+1} = x_0 x_l' w_l + b_l + x_l beside an MLP (Eq. 3-5)."""

    def __init__(
        self,
        field_sizes: Sequence[FieldSize],
        *,
        embedding_dim: int,
        cross_layers: int,
        hidden_units: Sequence[int],
        activation: str,
        norm: str,
        dropout: float,
    ) -> None:
        super().__init__()
        require_count(embedding_dim, "embedding_dim")
        require_count(cross_layers, "cross_layers")
        n = len(field_sizes) * embedding_dim
        self.embedding = FieldEmbedding(field_sizes, embedding_dim)
        self.cross = nn.ModuleList(CrossLayer(n) for _ in range(cross_layers))
        self.deep = MLP(n, hidden_units, activation=activation, norm=norm, dropout=dropout)
        self.head = Head(n + [n, *hidden_units][-1], 1)

    def forward(self, x: Int[Tensor, "B C"]) -> Float[Tensor, " B"]:
        x0 = crossed = self.embedding(x).flatten(1)
        for layer in self.cross:
            crossed = layer(x0, crossed)
        return self.head(torch.cat([crossed, self.deep(x0)], dim=1)).squeeze(1)
