"""FFM (Juan et al., "Field-aware Factorization Machines for CTR Prediction", RecSys 2016)."""

from collections.abc import Sequence

from jaxtyping import Float, Int
from torch import Tensor

from eulernet.errors import require_count
from eulernet.features import FieldEmbedding, FieldLinear, FieldSize
from eulernet.models.base import CTRModel
from eulernet.models.pieces import rows_in_cache


class FFM(CTRModel):
    """logit = w_0 + sum_i w_i + sum_{i<j} <v_ij, v_ji>, v_ij the vector of field i for field j (Eq. 4).

    The paper leaves the linear term out, here it is FM's. Each id has F vectors, as in the paper's count; v_ii is not
    used.
    """

    def __init__(self, field_sizes: Sequence[FieldSize], *, embedding_dim: int) -> None:
        super().__init__()
        require_count(embedding_dim, "embedding_dim")
        self.vectors = (len(field_sizes), embedding_dim)
        self.piece = rows_in_cache(len(field_sizes) ** 2 * embedding_dim)
        self.linear = FieldLinear(field_sizes)
        self.embedding = FieldEmbedding(field_sizes, len(field_sizes) * embedding_dim)

    def forward(self, x: Int[Tensor, "B C"]) -> Float[Tensor, " B"]:
        v = self.embedding(x).unflatten(2, self.vectors)  # [B, F, F, D]
        all_pairs = (v * v.transpose(1, 2)).sum((1, 2, 3))
        itself = v.diagonal(dim1=1, dim2=2).square().sum((1, 2))
        return self.linear(x) + 0.5 * (all_pairs - itself)
