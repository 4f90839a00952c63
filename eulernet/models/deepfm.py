"""DeepFM (Guo et al., "DeepFM: A Factorization-Machine based Neural Network for CTR Prediction", IJCAI 2017)."""

from collections.abc import Sequence

from jaxtyping import Float, Int
from torch import Tensor

from eulernet.errors import require_count
from eulernet.features import FieldEmbedding, FieldLinear, FieldSize
from eulernet.layers.mlp import LogitMLP
from eulernet.layers.products import sum_of_pairs
from eulernet.models.base import CTRModel


class DeepFM(CTRModel):
    """logit = sum_i w_i + sum_{i<j} <e_i, e_j> + h' MLP([e_1 .. e_F]) + b, FM and DNN on one embedding (Eq. 1-4)."""

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
        n_in = len(field_sizes) * embedding_dim
        self.linear = FieldLinear(field_sizes)
        self.embedding = FieldEmbedding(field_sizes, embedding_dim)
        self.deep = LogitMLP(n_in, hidden_units, activation=activation, norm=norm, dropout=dropout, bias=False)

    def forward(self, x: Int[Tensor, "B C"]) -> Float[Tensor, " B"]:
        e = self.embedding(x)
        return self.linear(x) + sum_of_pairs(e).sum(1) + self.deep(e.flatten(1))
