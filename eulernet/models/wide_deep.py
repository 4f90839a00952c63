"""Wide & Deep (Cheng et al., "Wide & Deep Learning for Recommender Systems", DLRS 2016)."""

from collections.abc import Sequence

from jaxtyping import Float, Int
from torch import Tensor

from eulernet.errors import require_count
from eulernet.features import FieldEmbedding, FieldLinear, FieldSize
from eulernet.layers.mlp import LogitMLP
from eulernet.models.base import CTRModel


class WideDeep(CTRModel):
    """logit = w_wide' x + w_deep' MLP([e_1 .. e_F]) + b (Eq. 3).

    The paper's hand-made cross products phi(x) are not part of the model: whoever wants them makes fields of them.
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
        n_in = len(field_sizes) * embedding_dim
        self.wide = FieldLinear(field_sizes)
        self.embedding = FieldEmbedding(field_sizes, embedding_dim)
        self.deep = LogitMLP(n_in, hidden_units, activation=activation, norm=norm, dropout=dropout, bias=False)

    def forward(self, x: Int[Tensor, "B C"]) -> Float[Tensor, " B"]:
        return self.wide(x) + self.deep(self.embedding(x).flatten(1))
