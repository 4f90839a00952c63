"""QNN-alpha (Li et al., "Revisiting Feature Interactions from the Perspective of Quadratic Neural Networks for CTR
Prediction", 2025, arXiv 2505.17999)."""

from functools import partial

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from eulernet.errors import choose, require, require_count, require_rate
from eulernet.features import FieldEmbedding, FieldSize
from eulernet.layers.dropout import Dropout
from eulernet.layers.head import Head
from eulernet.layers.mlp import NORMS
from eulernet.models.base import CTRModel, cross_entropy, weighted_mean


class QuadraticLayer(nn.Module):
    """x + sum_r pi(x) * relu(norm(W_r x + b_r)), a sum of ``rows`` Khatri-Rao products, [B, F D] to [B, F D].

    With several ``heads`` the embedding of each field is cut into as many parts. pi reorders x, as the published code
    does: the first parts of all fields, then the second parts, and so on. With one head it changes nothing.
    """

    def __init__(self, fields: int, embedding_dim: int, *, rows: int, heads: int, norm: str, dropout: float) -> None:
        super().__init__()
        n = fields * embedding_dim
        self.shape = (fields, heads, embedding_dim // heads)
        self.mix = nn.Linear(n, rows * n)  # all W_r, b_r
        self.norm = choose(NORMS, norm, "model.norm")(rows * n)
        self.drop = Dropout(dropout)

    def forward(self, x: Float[Tensor, "B K"]) -> Float[Tensor, "B K"]:
        gates = torch.relu(self.norm(self.mix(x))).unflatten(1, (-1, x.shape[1]))  # [B, rows, F D]
        by_head = x.unflatten(1, self.shape).transpose(1, 2).flatten(1)
        return x + by_head * self.drop(gates).sum(1)


class QNNAlpha(CTRModel):
    """Quadratic layers on all embeddings, logit = w' x_L + b.

    The loss draws two dropout masks, which give logits z_1 and z_2, and teaches each of them the mean as well. With
    p = (sigmoid(z_1) + sigmoid(z_2)) / 2 it is BCE(p, y) + BCE(sigmoid(z_1), p) + BCE(sigmoid(z_2), p); the last two
    terms take p as a constant.
    """

    def __init__(
        self,
        field_sizes: list[FieldSize],
        *,
        embedding_dim: int,
        layers: int,
        rows: int,
        heads: int,
        norm: str,
        dropout: float,
    ) -> None:
        super().__init__()
        for key, value in {"embedding_dim": embedding_dim, "layers": layers, "rows": rows, "heads": heads}.items():
            require_count(value, key)
        require(embedding_dim % heads == 0, f"model.embedding_dim={embedding_dim} does not divide into {heads} heads")
        require_rate(dropout, "dropout")
        fields = len(field_sizes)
        self.embedding = FieldEmbedding(field_sizes, embedding_dim)
        self.layers = nn.ModuleList(
            QuadraticLayer(fields, embedding_dim, rows=rows, heads=heads, norm=norm, dropout=dropout)
            for _ in range(layers)
        )
        self.drop = Dropout(dropout)
        self.head = Head(fields * embedding_dim, 1)

    def forward(self, x: Int[Tensor, "B C"]) -> Float[Tensor, " B"]:
        return self.logits(self.embedding(x).flatten(1))

    def logits(self, e: Float[Tensor, "B K"]) -> Float[Tensor, " B"]:
        for layer in self.layers:
            e = self.drop(layer(e))
        return self.head(e).squeeze(1)

    def calculate_loss(
        self, x: Int[Tensor, "B C"], y: Float[Tensor, " B"], weight: Float[Tensor, " B"] | None = None
    ) -> Float[Tensor, ""]:
        e = self.embedding(x).flatten(1)
        one, two = self.logits(e), self.logits(e)
        click = torch.logaddexp(F.logsigmoid(one), F.logsigmoid(two))  # log 2 p
        none = torch.logaddexp(F.logsigmoid(-one), F.logsigmoid(-two))  # log 2 (1 - p)
        mean = ((torch.sigmoid(one) + torch.sigmoid(two)) / 2).detach()
        bce, right = partial(cross_entropy, weight=weight), weighted_mean(y * click + (1 - y) * none, weight)
        return torch.log(torch.full_like(y[0], 2)) - right + bce(one, mean) + bce(two, mean)
