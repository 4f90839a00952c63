"""FCN, also called DCNv3, and ECN (Li et al., "FCN: Fusing Exponential and Linear Cross Network for CTR Prediction",
2024, arXiv 2407.13349)."""

from collections.abc import Sequence
from typing import Literal, get_args

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from eulernet.errors import require, require_count, require_option, require_rate
from eulernet.features import FieldEmbedding, FieldSize
from eulernet.layers.dropout import Dropout
from eulernet.layers.head import Head
from eulernet.models.base import CTRModel, cross_entropy

Structure = Literal["fused", "exponential"]


class CrossNetwork(nn.Module):
    """Layers x_{l+1} = a * ([c; c * relu(LN(c))] + b) + x_l with c = W x_l, and a logit of the heads' mean.

    [B, H, K] to [B]. The mask relu(LN(c)) filters noise out of one half. a is x_l in the exponential network, whose
    degree doubles with every layer, and x_0 in the linear one, whose degree grows by one. All heads share the weights.
    """

    def __init__(self, n: int, *, layers: int, exponential: bool, dropout: float) -> None:
        super().__init__()
        self.exponential = exponential
        self.maps = nn.ModuleList(nn.Linear(n, n // 2, bias=False) for _ in range(layers))  # W
        self.norms = nn.ModuleList(nn.LayerNorm(n // 2) for _ in range(layers))
        self.biases = nn.ParameterList(nn.init.uniform_(torch.empty(n)) for _ in range(layers))  # b
        self.drop = Dropout(dropout)
        self.head = Head(n, 1)

    def forward(self, x: Float[Tensor, "B H K"]) -> Float[Tensor, " B"]:
        x0 = x
        for w, norm, b in zip(self.maps, self.norms, self.biases, strict=True):
            c = w(x)
            crossed = torch.cat([c, c * torch.relu(norm(c))], dim=2) + b
            x = self.drop((x if self.exponential else x0) * crossed + x)
        return self.head(x.mean(1)).squeeze(1)


class FCN(CTRModel):
    """logit = (z_e + z_l) / 2, of an exponential and a linear cross network; ``exponential`` is ECN, z_e alone.

    Each head sees its share of every field's embedding, halved so that a mask acts on one half of each field. FCN's
    loss is Tri-BCE: L + w_e L_e + w_l L_l, where L_e and L_l are the losses of z_e and z_l alone and w_e is
    max(0, L_e - L), so that a network that is worse than the two together is taught more. The published code can put a
    batch norm before LN, which the paper's formula lacks.
    """

    def __init__(
        self,
        field_sizes: Sequence[FieldSize],
        *,
        embedding_dim: int,
        structure: Structure,
        heads: int,
        exponential_layers: int,
        linear_layers: int,
        dropout_exponential: float,
        dropout_linear: float,
    ) -> None:
        super().__init__()
        require_option(structure, get_args(Structure), "structure")
        counts = {"heads": heads, "exponential_layers": exponential_layers, "linear_layers": linear_layers}
        for key, value in {"embedding_dim": embedding_dim, **counts}.items():
            require_count(value, key)
        require(
            embedding_dim % (2 * heads) == 0, f"model.embedding_dim={embedding_dim} should be a multiple of {2 * heads}"
        )
        require_rate(dropout_exponential, "dropout_exponential")
        require_rate(dropout_linear, "dropout_linear")
        n = len(field_sizes) * embedding_dim // heads
        self.heads = heads
        self.embedding = FieldEmbedding(field_sizes, embedding_dim)
        self.exponential = CrossNetwork(n, layers=exponential_layers, exponential=True, dropout=dropout_exponential)
        self.linear = (
            CrossNetwork(n, layers=linear_layers, exponential=False, dropout=dropout_linear)
            if structure == "fused"
            else None
        )

    def logits(self, x: Int[Tensor, "B C"]) -> tuple[Float[Tensor, " B"], ...]:
        """Those of the networks."""
        e = self.embedding(x).unflatten(2, (self.heads, 2, -1))  # [B, F, H, 2, D / 2H]
        e = e.permute(0, 2, 3, 1, 4).flatten(2)  # [B, H, F D / H]
        networks = [self.exponential] if self.linear is None else [self.exponential, self.linear]
        return tuple(network(e) for network in networks)

    def forward(self, x: Int[Tensor, "B C"]) -> Float[Tensor, " B"]:
        return torch.stack(self.logits(x)).mean(0)

    def calculate_loss(
        self, x: Int[Tensor, "B C"], y: Float[Tensor, " B"], weight: Float[Tensor, " B"] | None = None
    ) -> Float[Tensor, ""]:
        logits = self.logits(x)
        loss = cross_entropy(torch.stack(logits).mean(0), y, weight)
        parts = [cross_entropy(z, y, weight) for z in logits] if len(logits) > 1 else []
        return loss + sum(torch.relu(part - loss) * part for part in parts)
