"""AFM (Xiao et al., "Attentional Factorization Machines", IJCAI 2017)."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from eulernet.errors import require_count, require_rate
from eulernet.features import FieldEmbedding, FieldLinear, FieldSize
from eulernet.layers.dropout import Dropout
from eulernet.layers.head import Head
from eulernet.layers.products import Pairs
from eulernet.models.base import CTRModel
from eulernet.models.pieces import rows_in_cache


class AFM(CTRModel):
    """logit = w_0 + sum_i w_i + p' sum_{i<j} a_ij (e_i * e_j), a = softmax(h' relu(W (e_i * e_j) + b)) (Eq. 4-6).

    Dropout acts on the products e_i * e_j, as the paper says; published code drops attention weights instead.
    """

    def __init__(
        self, field_sizes: Sequence[FieldSize], *, embedding_dim: int, attention_dim: int, dropout: float
    ) -> None:
        super().__init__()
        require_count(embedding_dim, "embedding_dim")
        require_count(attention_dim, "attention_dim")
        require_rate(dropout, "dropout")
        self.linear = FieldLinear(field_sizes)
        self.embedding = FieldEmbedding(field_sizes, embedding_dim)
        self.pairs = Pairs(len(field_sizes))
        self.piece = rows_in_cache(len(field_sizes) ** 2 // 2 * embedding_dim)
        self.drop = Dropout(dropout)
        self.attention = nn.Sequential(
            nn.Linear(embedding_dim, attention_dim), nn.ReLU(), nn.Linear(attention_dim, 1, bias=False), nn.Softmax(1)
        )
        self.head = Head(embedding_dim, 1, bias=False)  # p

    def forward(self, x: Int[Tensor, "B C"]) -> Float[Tensor, " B"]:
        left, right = self.pairs(self.embedding(x))
        products = self.drop(left * right)  # [B, P, D]
        pooled = torch.sum(self.attention(products) * products, dim=1)
        return self.linear(x) + self.head(pooled).squeeze(1)
