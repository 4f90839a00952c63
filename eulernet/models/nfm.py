"""NFM (He and Chua, "Neural Factorization Machines for Sparse Predictive Analytics", SIGIR 2017)."""

from collections.abc import Sequence

from jaxtyping import Float, Int
from torch import Tensor

from eulernet.errors import require_count
from eulernet.features import FieldEmbedding, FieldLinear, FieldSize
from eulernet.layers.dropout import Dropout
from eulernet.layers.mlp import LogitMLP
from eulernet.layers.products import sum_of_pairs
from eulernet.models.base import CTRModel


class NFM(CTRModel):
    """logit = w_0 + sum_i w_i + h' MLP(sum_{i<j} e_i * e_j) (Eq. 2, 3, 7).

    Dropout acts on the pooled products and on the hidden layers, as in the paper.
    """

    def __init__(
        self,
        field_sizes: Sequence[FieldSize],
        *,
        embedding_dim: int,
        hidden_units: Sequence[int],
        activation: str,
        norm: str,
        dropout: float,
    ) -> None:
        super().__init__()
        require_count(embedding_dim, "embedding_dim")
        self.linear = FieldLinear(field_sizes)
        self.embedding = FieldEmbedding(field_sizes, embedding_dim)
        self.drop = Dropout(dropout)
        self.deep = LogitMLP(embedding_dim, hidden_units, activation=activation, norm=norm, dropout=dropout, bias=False)

    def forward(self, x: Int[Tensor, "B C"]) -> Float[Tensor, " B"]:
        return self.linear(x) + self.deep(self.drop(sum_of_pairs(self.embedding(x))))
