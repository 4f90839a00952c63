"""EDCN (Chen et al., "Enhancing Explicit and Implicit Feature Interactions via Information Sharing ...", CIKM 2021)."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from eulernet.errors import require, require_count, require_rate
from eulernet.features import FieldEmbedding, FieldSize
from eulernet.layers.cross import CrossLayer
from eulernet.layers.dropout import Dropout
from eulernet.layers.head import Head
from eulernet.models.base import CTRModel


class Regulation(nn.Module):
    """softmax(g / tau)_f v_f of every field f, with gates g of its own for the cross and for the deep part."""

    def __init__(self, fields: int, temperature: float) -> None:
        super().__init__()
        self.temperature = temperature
        self.gates = nn.Parameter(torch.ones(2, fields, 1))

    def forward(self, v: Float[Tensor, "B F D"]) -> tuple[Float[Tensor, "B K"], Float[Tensor, "B K"]]:
        for_cross, for_deep = torch.softmax(self.gates / self.temperature, dim=1)
        return (for_cross * v).flatten(1), (for_deep * v).flatten(1)


class EDCN(CTRModel):
    """DCN whose two parts meet after every layer: logit = w' [c_L, d_L, c_L * d_L] + b.

    Each layer scales its input by gates, into c for the cross part and d for the deep part. c goes through DCN's cross
    layer, whose x_0 is the c of the first layer, d through relu(W d + b). Their product c * d, one of the paper's
    "bridges", is the next layer's input. FuxiCTR's cross layer lacks the + c.
    """

    def __init__(
        self, field_sizes: Sequence[FieldSize], *, embedding_dim: int, layers: int, temperature: float, dropout: float
    ) -> None:
        super().__init__()
        require_count(embedding_dim, "embedding_dim")
        require_count(layers, "layers")
        require(temperature > 0, f"model.temperature must be above 0, got {temperature}")
        require_rate(dropout, "dropout")
        fields = len(field_sizes)
        n = fields * embedding_dim
        self.shape = (fields, embedding_dim)
        self.embedding = FieldEmbedding(field_sizes, embedding_dim)
        self.regulate = nn.ModuleList(Regulation(fields, temperature) for _ in range(layers))
        self.cross = nn.ModuleList(CrossLayer(n) for _ in range(layers))
        self.deep = nn.ModuleList(nn.Sequential(nn.Linear(n, n), nn.ReLU(), Dropout(dropout)) for _ in range(layers))
        self.head = Head(3 * n, 1)

    def forward(self, x: Int[Tensor, "B C"]) -> Float[Tensor, " B"]:
        v = self.embedding(x)
        for number, (regulate, cross, deep) in enumerate(zip(self.regulate, self.cross, self.deep, strict=True)):
            c, d = regulate(v)
            if number == 0:
                c0 = c
            c, d = cross(c0, c), deep(d)
            v = (c * d).unflatten(1, self.shape)
        return self.head(torch.cat([c, d, v.flatten(1)], dim=1)).squeeze(1)
