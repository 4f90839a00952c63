"""DNN: the deep part of most click models alone (Covington et al., "Deep Neural Networks for YouTube", RecSys 2016)."""

from collections.abc import Sequence

from jaxtyping import Float, Int
from torch import Tensor

from eulernet.errors import require_count
from eulernet.features import FieldEmbedding, FieldSize
from eulernet.layers.mlp import LogitMLP
from eulernet.models.base import CTRModel


class DNN(CTRModel):
    """logit = h' MLP([e_1 .. e_F]) + b."""

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
        self.embedding = FieldEmbedding(field_sizes, embedding_dim)
        self.deep = LogitMLP(n_in, hidden_units, activation=activation, norm=norm, dropout=dropout, bias=True)

    def forward(self, x: Int[Tensor, "B C"]) -> Float[Tensor, " B"]:
        return self.deep(self.embedding(x).flatten(1))
