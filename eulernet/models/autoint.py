"""AutoInt (Song et al., "AutoInt: Automatic Feature Interaction Learning", CIKM 2019)."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from eulernet.errors import require_count, require_rate
from eulernet.features import FieldEmbedding, FieldSize
from eulernet.layers.dropout import Dropout
from eulernet.layers.head import Head
from eulernet.layers.mlp import LogitMLP
from eulernet.models.base import CTRModel
from eulernet.models.pieces import rows_in_cache


class InteractingLayer(nn.Module):
    """Each field attends to all in H heads, relu([sum_k a^h_mk V^h e_k over h] + W_res e_m) (Eq. 5-8).

    a^h_m = softmax_k <Q^h e_m, K^h e_k>, not scaled, as in the paper. There is a W_res even where the widths are equal.
    """

    def __init__(self, n_in: int, heads: int, head_dim: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value, self.residual = (
            nn.Linear(n_in, heads * head_dim, bias=False) for _ in range(4)
        )
        self.drop = Dropout(dropout)

    def forward(self, e: Float[Tensor, "B F N"]) -> Float[Tensor, "B F M"]:
        projected = self.query(e), self.key(e), self.value(e)
        q, k, v = (part.unflatten(2, (self.heads, -1)).transpose(1, 2) for part in projected)  # [B, H, F, D]
        attended = self.drop(torch.softmax(q @ k.mT, dim=3)) @ v
        return torch.relu(attended.transpose(1, 2).flatten(2) + self.residual(e))


class AutoInt(CTRModel):
    """logit = w' [e~_1 .. e~_F] + b with e~ from a stack of interacting layers (Eq. 9).

    AutoInt+ adds h' MLP([e_1 .. e_F]); ``hidden_units=null`` leaves it out.
    """

    def __init__(
        self,
        field_sizes: Sequence[FieldSize],
        *,
        embedding_dim: int,
        attention_layers: int,
        heads: int,
        head_dim: int,
        hidden_units: Sequence[int] | None,
        activation: str,
        norm: str,
        dropout: float,
    ) -> None:
        super().__init__()
        require_count(embedding_dim, "embedding_dim")
        require_count(attention_layers, "attention_layers")
        require_count(heads, "heads")
        require_count(head_dim, "head_dim")
        require_rate(dropout, "dropout")
        fields, width = len(field_sizes), heads * head_dim
        widths = [embedding_dim] + [width] * (attention_layers - 1)
        self.piece = rows_in_cache(heads * fields**2)
        self.embedding = FieldEmbedding(field_sizes, embedding_dim)
        self.attention = nn.Sequential(*(InteractingLayer(n, heads, head_dim, dropout) for n in widths))
        self.head = Head(fields * width, 1)
        self.deep = None
        if hidden_units is not None:
            n_in = fields * embedding_dim
            self.deep = LogitMLP(n_in, hidden_units, activation=activation, norm=norm, dropout=dropout, bias=False)

    def forward(self, x: Int[Tensor, "B C"]) -> Float[Tensor, " B"]:
        e = self.embedding(x)
        logit = self.head(self.attention(e).flatten(1)).squeeze(1)
        return logit if self.deep is None else logit + self.deep(e.flatten(1))
