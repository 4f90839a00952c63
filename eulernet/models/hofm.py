"""HOFM (Blondel et al., "Higher-Order Factorization Machines", NeurIPS 2016)."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from eulernet.errors import require, require_count
from eulernet.features import FieldEmbedding, FieldLinear, FieldSize
from eulernet.layers.products import sums_of_products
from eulernet.models.base import CTRModel


class HOFM(CTRModel):
    """logit = w_0 + sum_i w_i + sum_{t=2..order} sum_{i_1<..<i_t} <e^t_{i_1}, .., e^t_{i_t}>.

    Each order t has embeddings e^t of its own; the inner sum is the ANOVA kernel of degree t.
    """

    def __init__(self, field_sizes: Sequence[FieldSize], *, embedding_dim: int, order: int) -> None:
        super().__init__()
        require_count(embedding_dim, "embedding_dim")
        require(order >= 2, f"model.order must be at least 2, got {order}")
        self.linear = FieldLinear(field_sizes)
        self.embeddings = nn.ModuleList(FieldEmbedding(field_sizes, embedding_dim) for _ in range(2, order + 1))

    def forward(self, x: Int[Tensor, "B C"]) -> Float[Tensor, " B"]:
        kernels = [sums_of_products(embed(x), t)[-1].sum(1) for t, embed in enumerate(self.embeddings, start=2)]
        return self.linear(x) + torch.stack(kernels).sum(0)
