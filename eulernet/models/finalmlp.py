"""FinalMLP (Mao et al., "FinalMLP: An Enhanced Two-Stream MLP Model for CTR Prediction", AAAI 2023)."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from eulernet.errors import require, require_count
from eulernet.features import FieldEmbedding, FieldSize
from eulernet.layers.head import Head
from eulernet.layers.mlp import MLP
from eulernet.models.base import CTRModel


class FeatureSelection(nn.Module):
    """2 sigmoid(MLP(c)) * [e_1 .. e_F], where c are the embeddings of the ``context`` fields.

    c is a learned vector if ``context`` is empty.
    """

    def __init__(self, fields: int, dim: int, context: Sequence[int], gate_units: Sequence[int]) -> None:
        super().__init__()
        require(all(0 <= f < fields for f in context), f"model.context_*: fields are 0 to {fields - 1}, got {context}")
        self.context = list(context)
        self.learned = None if context else nn.Parameter(0.01 * torch.randn(1, dim))
        n_in = max(1, len(context)) * dim
        self.gate = nn.Sequential(
            MLP(n_in, gate_units, activation="relu", norm="none", dropout=0.0),
            nn.Linear([n_in, *gate_units][-1], fields * dim),
            nn.Sigmoid(),
        )

    def forward(self, e: Float[Tensor, "B F D"]) -> Float[Tensor, "B K"]:
        c = e[:, self.context].flatten(1) if self.learned is None else self.learned
        return 2 * self.gate(c) * e.flatten(1)


class FinalMLP(CTRModel):
    """logit = b + w_1' o_1 + w_2' o_2 + sum_h o_1h' W_h o_2h, o_1 and o_2 from two MLPs on selected features.

    The bilinear fusion works head by head on slices of o_1 and o_2. ``context_1`` and ``context_2`` are the numbers of
    the fields (0 is the first) that steer each MLP's feature selection.
    """

    def __init__(
        self,
        field_sizes: Sequence[FieldSize],
        *,
        embedding_dim: int,
        context_1: Sequence[int],
        context_2: Sequence[int],
        gate_units: Sequence[int],
        hidden_units_1: Sequence[int],
        hidden_units_2: Sequence[int],
        heads: int,
        activation: str,
        norm: str,
        dropout_1: float,
        dropout_2: float,
    ) -> None:
        super().__init__()
        require_count(embedding_dim, "embedding_dim")
        require_count(heads, "heads")
        fields = len(field_sizes)
        n = fields * embedding_dim
        n_1, n_2 = [n, *hidden_units_1][-1], [n, *hidden_units_2][-1]
        require(n_1 % heads == n_2 % heads == 0, f"model.heads={heads} must divide the MLPs' widths {n_1} and {n_2}")
        self.heads = heads
        self.embedding = FieldEmbedding(field_sizes, embedding_dim)
        self.select_1 = FeatureSelection(fields, embedding_dim, context_1, gate_units)
        self.select_2 = FeatureSelection(fields, embedding_dim, context_2, gate_units)
        self.mlp_1 = MLP(n, hidden_units_1, activation=activation, norm=norm, dropout=dropout_1)
        self.mlp_2 = MLP(n, hidden_units_2, activation=activation, norm=norm, dropout=dropout_2)
        self.linear = Head(n_1 + n_2, 1)  # w_1, w_2, b
        self.fusion = nn.Parameter(torch.empty(heads, n_1 // heads, n_2 // heads))  # W
        nn.init.xavier_normal_(self.fusion)

    def forward(self, x: Int[Tensor, "B C"]) -> Float[Tensor, " B"]:
        e = self.embedding(x)
        o_1, o_2 = self.mlp_1(self.select_1(e)), self.mlp_2(self.select_2(e))
        slices_1, slices_2 = o_1.unflatten(1, (self.heads, -1)), o_2.unflatten(1, (self.heads, -1))
        fused = torch.einsum("bhk,hkm->bhm", slices_1, self.fusion) * slices_2
        return self.linear(torch.cat([o_1, o_2], dim=1)).squeeze(1) + fused.sum((1, 2))
