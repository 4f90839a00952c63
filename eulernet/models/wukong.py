"""Wukong (Zhang et al., "Wukong: Towards a Scaling Law for Large-Scale Recommendation", ICML 2024; 2403.02545)."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from eulernet.errors import require_count
from eulernet.features import FieldEmbedding, FieldSize
from eulernet.layers.mlp import MLP, LogitMLP
from eulernet.models.base import CTRModel


class WukongLayer(nn.Module):
    """LN([FMB(X); LCB(X)] + X), N embeddings of size D to M = ``fm_embeddings`` + ``linear_embeddings``.

    * FMB, the factorization machine block, makes ``fm_embeddings`` of inner products: MLP(LN(flat(X X' Y))). The matrix
      Y [N, ``rank``] mixes the N products of each embedding into ``rank`` numbers.
    * LCB, the linear compress block, makes ``linear_embeddings``: W X.

    Where N differs from M the residual is a linear map of X.
    """

    def __init__(
        self,
        n_in: int,
        embedding_dim: int,
        *,
        fm_embeddings: int,
        linear_embeddings: int,
        rank: int,
        fm_units: Sequence[int],
        dropout: float,
    ) -> None:
        super().__init__()
        n_out = fm_embeddings + linear_embeddings
        self.projection = nn.Parameter(torch.randn(n_in, rank))  # Y
        self.products = nn.Sequential(
            nn.LayerNorm(n_in * rank),
            MLP(
                n_in * rank, [*fm_units, fm_embeddings * embedding_dim], activation="relu", norm="none", dropout=dropout
            ),
            nn.Unflatten(1, (fm_embeddings, embedding_dim)),
        )
        self.compress = nn.Linear(n_in, linear_embeddings, bias=False)  # W
        self.residual = nn.Identity() if n_in == n_out else nn.Linear(n_in, n_out)
        self.norm = nn.LayerNorm(embedding_dim)

    def forward(self, x: Float[Tensor, "B N D"]) -> Float[Tensor, "B M D"]:
        fm = self.products((x @ (x.transpose(1, 2) @ self.projection)).flatten(1))
        columns = x.transpose(1, 2)  # [B, D, N]
        new = torch.cat([fm, self.compress(columns).transpose(1, 2)], dim=1)
        return self.norm(new + self.residual(columns).transpose(1, 2))


class Wukong(CTRModel):
    """A stack of Wukong layers on the embeddings, logit = h' MLP(flat(X_L)) + b."""

    def __init__(
        self,
        field_sizes: Sequence[FieldSize],
        *,
        embedding_dim: int,
        layers: int,
        fm_embeddings: int,
        linear_embeddings: int,
        rank: int,
        fm_units: Sequence[int],
        hidden_units: Sequence[int],
        activation: str,
        norm: str,
        dropout: float,
    ) -> None:
        super().__init__()
        counts = {"embedding_dim": embedding_dim, "layers": layers, "rank": rank}
        for key, value in {**counts, "fm_embeddings": fm_embeddings, "linear_embeddings": linear_embeddings}.items():
            require_count(value, key)
        n_out = fm_embeddings + linear_embeddings
        self.embedding = FieldEmbedding(field_sizes, embedding_dim)
        self.layers = nn.ModuleList(
            WukongLayer(
                n_in,
                embedding_dim,
                fm_embeddings=fm_embeddings,
                linear_embeddings=linear_embeddings,
                rank=rank,
                fm_units=fm_units,
                dropout=dropout,
            )
            for n_in in [len(field_sizes)] + [n_out] * (layers - 1)
        )
        self.deep = LogitMLP(
            n_out * embedding_dim, hidden_units, activation=activation, norm=norm, dropout=dropout, bias=True
        )

    def forward(self, x: Int[Tensor, "B C"]) -> Float[Tensor, " B"]:
        e = self.embedding(x)
        for layer in self.layers:
            e = layer(e)
        return self.deep(e.flatten(1))
