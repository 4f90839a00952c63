"""FM (Rendle, "Factorization Machines", ICDM 2010)."""

from collections.abc import Sequence

from jaxtyping import Float, Int
from torch import Tensor

from eulernet.errors import require_count
from eulernet.features import FieldEmbedding, FieldLinear, FieldSize
from eulernet.layers.products import sum_of_pairs
from eulernet.models.base import CTRModel


class FM(CTRModel):
    """logit = w_0 + sum_i w_i + sum_{i<j} <e_i, e_j> (Eq. 1)."""

    def __init__(self, field_sizes: Sequence[FieldSize], *, embedding_dim: int) -> None:
        super().__init__()
        require_count(embedding_dim, "embedding_dim")
        self.linear = FieldLinear(field_sizes)
        self.embedding = FieldEmbedding(field_sizes, embedding_dim)

    def forward(self, x: Int[Tensor, "B C"]) -> Float[Tensor, " B"]:
        return self.linear(x) + sum_of_pairs(self.embedding(x)).sum(1)
