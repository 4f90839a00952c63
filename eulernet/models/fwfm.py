"""FwFM (Pan et al., "Field-weighted Factorization Machines for CTR Prediction in Display Advertising", WWW 2018)."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from eulernet.errors import require_count
from eulernet.features import FieldEmbedding, FieldSize
from eulernet.layers.products import InnerProducts
from eulernet.models.base import CTRModel


class FwFM(CTRModel):
    """logit = w_0 + sum_i <e_i, w_i> + sum_{i<j} r_ij <e_i, e_j>: a strength r for each pair of fields.

    The linear term is the one the paper recommends, FiLV: a vector w for each field instead of a weight for each id.
    r starts at 1, where the second-order term is FM's, and w at 0.
    """

    def __init__(self, field_sizes: Sequence[FieldSize], *, embedding_dim: int) -> None:
        super().__init__()
        require_count(embedding_dim, "embedding_dim")
        fields = len(field_sizes)
        self.embedding = FieldEmbedding(field_sizes, embedding_dim)
        self.bias = nn.Parameter(torch.zeros(()))
        self.linear = nn.Parameter(torch.zeros(fields, embedding_dim))  # w
        self.strength = nn.Parameter(torch.ones(fields * (fields - 1) // 2))  # r
        self.inner_products = InnerProducts(fields)

    def forward(self, x: Int[Tensor, "B C"]) -> Float[Tensor, " B"]:
        e = self.embedding(x)
        return self.bias + (e * self.linear).sum((1, 2)) + self.inner_products(e) @ self.strength
