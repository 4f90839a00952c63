"""FmFM (Sun et al., "FM²: Field-matrixed Factorization Machines for Recommender Systems", WWW 2021)."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from eulernet.errors import require_count
from eulernet.features import FieldEmbedding, FieldLinear, FieldSize
from eulernet.layers.products import Pairs
from eulernet.models.base import CTRModel
from eulernet.models.pieces import rows_in_cache


class FmFM(CTRModel):
    """logit = w_0 + sum_i w_i + sum_{i<j} <e_i M_ij, e_j>: a matrix for each pair of fields.

    The matrices start as the identity, where the model is FM.
    """

    def __init__(self, field_sizes: Sequence[FieldSize], *, embedding_dim: int) -> None:
        super().__init__()
        require_count(embedding_dim, "embedding_dim")
        fields = len(field_sizes)
        self.linear = FieldLinear(field_sizes)
        self.embedding = FieldEmbedding(field_sizes, embedding_dim)
        self.pairs = Pairs(fields)
        self.piece = rows_in_cache(fields**2 // 2 * embedding_dim)
        self.matrices = nn.Parameter(torch.eye(embedding_dim).repeat(fields * (fields - 1) // 2, 1, 1))  # M [P, D, D]

    def forward(self, x: Int[Tensor, "B C"]) -> Float[Tensor, " B"]:
        left, right = self.pairs(self.embedding(x))
        turned = torch.einsum("bpd,pde->bpe", left, self.matrices)
        return self.linear(x) + (turned * right).sum((1, 2))
