"""DLRM (Naumov et al., "Deep Learning Recommendation Model for Personalization and Recommendation Systems", 2019)."""

from collections.abc import Sequence

from jaxtyping import Float, Int
from torch import Tensor

from eulernet.errors import require_count
from eulernet.features import FieldEmbedding, FieldSize
from eulernet.layers.mlp import LogitMLP
from eulernet.layers.products import InnerProducts
from eulernet.models.base import CTRModel


class DLRM(CTRModel):
    """logit = LogitMLP(<e_i, e_j> of all pairs i < j), the top MLP on the dot products.

    The paper's bottom MLP makes one more vector of all numeric features; here each field has its own vector.
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
        pairs = len(field_sizes) * (len(field_sizes) - 1) // 2
        self.embedding = FieldEmbedding(field_sizes, embedding_dim)
        self.inner_products = InnerProducts(len(field_sizes))
        self.deep = LogitMLP(pairs, hidden_units, activation=activation, norm=norm, dropout=dropout, bias=True)

    def forward(self, x: Int[Tensor, "B C"]) -> Float[Tensor, " B"]:
        return self.deep(self.inner_products(self.embedding(x)))
