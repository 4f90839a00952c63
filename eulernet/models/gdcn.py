"""GDCN (Wang et al., "Towards Deeper, Lighter and Interpretable Cross Network for CTR Prediction", CIKM 2023)."""

from collections.abc import Sequence
from typing import Literal, get_args

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from eulernet.errors import require_count, require_option
from eulernet.features import FieldEmbedding, FieldSize
from eulernet.layers.head import Head
from eulernet.layers.mlp import MLP
from eulernet.models.base import CTRModel

Structure = Literal["stacked", "parallel"]


class GDCN(CTRModel):
    """Gated cross layers c_{l+1} = c_0 * (W_c c_l + b) * sigmoid(W_g c_l) + c_l, and an MLP.

    stacked: logit = w' MLP(c_L) + b; parallel: logit = w' [c_L, MLP(c_0)] + b.
    """

    def __init__(
        self,
        field_sizes: Sequence[FieldSize],
        *,
        embedding_dim: int,
        structure: Structure,
        cross_layers: int,
        hidden_units: Sequence[int],
        activation: str,
        norm: str,
        dropout: float,
    ) -> None:
        super().__init__()
        require_count(embedding_dim, "embedding_dim")
        require_count(cross_layers, "cross_layers")
        require_option(structure, get_args(Structure), "structure")
        n = len(field_sizes) * embedding_dim
        n_deep = [n, *hidden_units][-1]
        self.structure = structure
        self.embedding = FieldEmbedding(field_sizes, embedding_dim)
        self.cross = nn.ModuleList(nn.Linear(n, n) for _ in range(cross_layers))  # W_c, b
        self.gates = nn.ModuleList(nn.Linear(n, n, bias=False) for _ in range(cross_layers))  # W_g
        self.deep = MLP(n, hidden_units, activation=activation, norm=norm, dropout=dropout)
        self.head = Head(n + n_deep if structure == "parallel" else n_deep, 1)

    def forward(self, x: Int[Tensor, "B C"]) -> Float[Tensor, " B"]:
        c0 = c = self.embedding(x).flatten(1)
        for w, gate in zip(self.cross, self.gates, strict=True):
            c = c0 * w(c) * torch.sigmoid(gate(c)) + c
        if self.structure == "parallel":
            return self.head(torch.cat([c, self.deep(c0)], dim=1)).squeeze(1)
        return self.head(self.deep(c)).squeeze(1)
