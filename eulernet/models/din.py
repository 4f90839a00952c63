"""DIN (Zhou et al., "Deep Interest Network for Click-Through Rate Prediction", KDD 2018, arXiv 1706.06978)."""

from collections.abc import Sequence

from jaxtyping import Float, Int
from torch import Tensor

from eulernet.errors import require_count, require_counts
from eulernet.features import FieldSize
from eulernet.layers.mlp import LogitMLP
from eulernet.layers.pooling import attentive
from eulernet.models.base import CTRModel


class DIN(CTRModel):
    """logit = MLP(e_1, ..., e_F), where e_f of a history is the sum of its members' vectors times a(member, target).

    The target of a history is the field that it is the same as (``same_as``, or ``of`` where it is computed from the
    log); a is an activation unit, an MLP of ``attention_units`` (layers/pooling.py). Other bags are pooled as they say.
    Without a history it is an MLP on embeddings. ``dice`` is the paper's activation (eq. 9); its regularisation of the
    rows that a batch looks up (eq. 6) is ``train.embedding_l2``.
    """

    def __init__(
        self,
        field_sizes: Sequence[FieldSize],
        *,
        embedding_dim: int,
        attention_units: Sequence[int],
        attention_activation: str,
        hidden_units: Sequence[int],
        activation: str,
        norm: str,
        dropout: float,
    ) -> None:
        super().__init__()
        require_count(embedding_dim, "embedding_dim")
        require_counts(attention_units, "attention_units")
        self.embedding = attentive(field_sizes, embedding_dim, attention_units, attention_activation)
        n_in = len(field_sizes) * embedding_dim
        self.deep = LogitMLP(n_in, hidden_units, activation=activation, norm=norm, dropout=dropout, bias=True)

    def forward(self, x: Int[Tensor, "B C"]) -> Float[Tensor, " B"]:
        return self.deep(self.embedding(x).flatten(1))
