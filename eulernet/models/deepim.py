"""DeepIM (Yu et al., "Deep Interaction Machine: A Simple but Effective Model", CIKM 2020)."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from eulernet.errors import require_count
from eulernet.features import FieldEmbedding, FieldSize
from eulernet.layers.head import Head
from eulernet.layers.mlp import LogitMLP
from eulernet.layers.products import sums_of_products
from eulernet.models.base import CTRModel


class DeepIM(CTRModel):
    """logit = w' [s_1 .. s_order] + h' MLP([e_1 .. e_F]) + b, s_t = sum_{i_1<..<i_t} e_{i_1} * .. * e_{i_t}.

    ``hidden_units=null`` leaves the MLP out: the Interaction Machine, IM, alone.
    """

    def __init__(
        self,
        field_sizes: Sequence[FieldSize],
        *,
        embedding_dim: int,
        order: int,
        hidden_units: Sequence[int] | None,
        activation: str,
        norm: str,
        dropout: float,
    ) -> None:
        super().__init__()
        require_count(embedding_dim, "embedding_dim")
        require_count(order, "order")
        self.order = order
        self.embedding = FieldEmbedding(field_sizes, embedding_dim)
        self.head = Head(order * embedding_dim, 1)
        self.deep = None
        if hidden_units is not None:
            n_in = len(field_sizes) * embedding_dim
            self.deep = LogitMLP(n_in, hidden_units, activation=activation, norm=norm, dropout=dropout, bias=False)

    def forward(self, x: Int[Tensor, "B C"]) -> Float[Tensor, " B"]:
        e = self.embedding(x)
        logit = self.head(torch.cat(sums_of_products(e, self.order), dim=1)).squeeze(1)
        return logit if self.deep is None else logit + self.deep(e.flatten(1))
