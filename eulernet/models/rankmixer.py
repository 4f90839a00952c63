"""RankMixer (Zhu et al., "RankMixer: Scaling Up Ranking Models in Industrial Recommenders", 2025, arXiv 2507.15551)."""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from eulernet.errors import require, require_count, require_rate
from eulernet.features import FieldEmbedding, FieldSize
from eulernet.layers.dropout import Dropout
from eulernet.layers.head import Head
from eulernet.models.base import CTRModel


class PerToken(nn.Module):
    """A linear map of its own for each of T tokens: y_t = W_t x_t + b_t, [B, T, N] to [B, T, M]."""

    def __init__(self, tokens: int, n_in: int, n_out: int) -> None:
        super().__init__()
        bound = 1 / math.sqrt(n_in)  # as nn.Linear
        self.weight = nn.Parameter(torch.empty(tokens, n_in, n_out).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(tokens, n_out).uniform_(-bound, bound))

    def forward(self, x: Float[Tensor, "B T N"]) -> Float[Tensor, "B T M"]:
        return torch.einsum("btn,tnm->btm", x, self.weight) + self.bias


class Block(nn.Module):
    """S = LN(mix(X) + X), then LN(FFN(S) + S), [B, T, D] to [B, T, D].

    mix has no weights: each token is cut into T heads, and the t-th new token is the t-th heads of all tokens. FFN is
    W2_t gelu(W1_t s_t + b1_t) + b2_t, each token's own, ``expansion`` times as wide inside.
    """

    def __init__(self, tokens: int, token_dim: int, *, expansion: int, dropout: float) -> None:
        super().__init__()
        self.norm_mixed, self.norm = nn.LayerNorm(token_dim), nn.LayerNorm(token_dim)
        self.widen = PerToken(tokens, token_dim, expansion * token_dim)  # W1, b1
        self.narrow = PerToken(tokens, expansion * token_dim, token_dim)  # W2, b2
        self.drop = Dropout(dropout)

    def forward(self, x: Float[Tensor, "B T D"]) -> Float[Tensor, "B T D"]:
        mixed = x.unflatten(2, (x.shape[1], -1)).transpose(1, 2).flatten(2)
        s = self.norm_mixed(mixed + x)
        return self.norm(self.narrow(self.drop(F.gelu(self.widen(s)))) + s)


class RankMixer(CTRModel):
    """T tokens, a stack of blocks on them, and logit = w' mean_t(x_t) + b.

    The embeddings of a row, one after the other, are cut into T pieces of equal length, the last filled with zeros; a
    linear map makes a token of each. Here each token has its own map; the paper does not say whether they share one,
    and its authors published no code.
    """

    def __init__(
        self,
        field_sizes: Sequence[FieldSize],
        *,
        embedding_dim: int,
        tokens: int,
        token_dim: int,
        layers: int,
        expansion: int,
        dropout: float,
    ) -> None:
        super().__init__()
        counts = {"embedding_dim": embedding_dim, "tokens": tokens, "token_dim": token_dim}
        for key, value in {**counts, "layers": layers, "expansion": expansion}.items():
            require_count(value, key)
        require(token_dim % tokens == 0, f"model.token_dim={token_dim} should be a multiple of model.tokens={tokens}")
        require_rate(dropout, "dropout")
        self.embedding = FieldEmbedding(field_sizes, embedding_dim)
        self.tokens, share = tokens, math.ceil(len(field_sizes) * embedding_dim / tokens)
        self.filling = share * tokens - len(field_sizes) * embedding_dim
        self.project = PerToken(tokens, share, token_dim)
        self.layers = nn.ModuleList(
            Block(tokens, token_dim, expansion=expansion, dropout=dropout) for _ in range(layers)
        )
        self.head = Head(token_dim, 1)

    def forward(self, x: Int[Tensor, "B C"]) -> Float[Tensor, " B"]:
        e = F.pad(self.embedding(x).flatten(1), (0, self.filling))
        t = self.project(e.unflatten(1, (self.tokens, -1)))  # [B, T, D]
        for layer in self.layers:
            t = layer(t)
        return self.head(t.mean(1)).squeeze(1)
