"""xDeepFM (Lian et al., "xDeepFM: Combining Explicit and Implicit Feature Interactions", KDD 2018)."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from eulernet.errors import require, require_count, require_counts
from eulernet.features import FieldEmbedding, FieldLinear, FieldSize
from eulernet.layers.head import Head
from eulernet.layers.mlp import LogitMLP
from eulernet.models.base import CTRModel
from eulernet.models.pieces import rows_in_cache


class XDeepFM(CTRModel):
    """logit = w_linear' x + w_cin' p + w_dnn' MLP([e_1 .. e_F]) + b, p from the compressed interactions.

    CIN layer k has the rows X^k_h = sum_{i,j} W^k_hij X^{k-1}_i * X^0_j (Eq. 6), X^0 the embeddings; p holds the sum
    over D of every row of every layer. As in the paper's formula there is no bias and no activation, and all rows of
    a layer go on to the next. ``hidden_units=null`` leaves the MLP out: the linear term and CIN alone.
    """

    def __init__(
        self,
        field_sizes: Sequence[FieldSize],
        *,
        embedding_dim: int,
        cin_units: Sequence[int],
        hidden_units: Sequence[int] | None,
        activation: str,
        norm: str,
        dropout: float,
    ) -> None:
        super().__init__()
        require_count(embedding_dim, "embedding_dim")
        require_counts(cin_units, "cin_units")
        require(len(cin_units) > 0, "model.cin_units must name at least one layer")
        fields = len(field_sizes)
        self.piece = rows_in_cache(fields * max(fields, *cin_units) * embedding_dim)
        self.linear = FieldLinear(field_sizes)
        self.embedding = FieldEmbedding(field_sizes, embedding_dim)
        self.cin = nn.ModuleList(nn.Linear(n * fields, m, bias=False) for n, m in pairwise([fields, *cin_units]))
        self.head = Head(sum(cin_units), 1, bias=False)  # w_cin
        self.deep = None
        if hidden_units is not None:
            n_in = fields * embedding_dim
            self.deep = LogitMLP(n_in, hidden_units, activation=activation, norm=norm, dropout=dropout, bias=False)

    def forward(self, x: Int[Tensor, "B C"]) -> Float[Tensor, " B"]:
        e = self.embedding(x)
        x0 = rows = e.transpose(1, 2).contiguous()  # [B, D, F]: products and compression act on the last axis
        pooled = []
        for compress in self.cin:
            products = rows.unsqueeze(3) * x0.unsqueeze(2)  # [B, D, N, F]
            rows = compress(products.flatten(2))  # [B, D, M]
            pooled.append(rows.sum(1))
        logit = self.linear(x) + self.head(torch.cat(pooled, dim=1)).squeeze(1)
        return logit if self.deep is None else logit + self.deep(e.flatten(1))
