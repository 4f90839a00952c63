"""PNN (Qu et al., "Product-based Neural Networks for User Response Prediction", ICDM 2016)."""

from collections.abc import Sequence
from typing import Literal, get_args

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from eulernet.errors import require_count, require_option
from eulernet.features import FieldEmbedding, FieldSize
from eulernet.layers.mlp import LogitMLP
from eulernet.layers.products import InnerProducts
from eulernet.models.base import CTRModel

Product = Literal["inner", "outer"]


class PNN(CTRModel):
    """logit = LogitMLP(relu(l_z + l_p + b)): a product layer of M nodes, then fully connected ones.

    l_z is linear in [e_1 .. e_F]. Node m of l_p weighs all products of two fields:

    * inner: sum_{i,j} theta_mi theta_mj <e_i, e_j> (IPNN);
    * outer: <W_m, s s'> with s = sum_i e_i (OPNN).

    Both are the paper's reductions. Published code instead feeds the F(F-1)/2 inner products to a plain MLP. The inner
    sum equals ``|sum_i theta_mi e_i|^2``, which has fewer products, but is slower: it makes M vectors
    of D numbers for each row.
    """

    def __init__(
        self,
        field_sizes: Sequence[FieldSize],
        *,
        embedding_dim: int,
        product: Product,
        product_units: int,
        hidden_units: Sequence[int],
        activation: str,
        norm: str,
        dropout: float,
    ) -> None:
        super().__init__()
        require_count(embedding_dim, "embedding_dim")
        require_option(product, get_args(Product), "product")
        require_count(product_units, "product_units")
        fields = len(field_sizes)
        shape = (product_units, fields) if product == "inner" else (product_units, embedding_dim, embedding_dim)
        self.product = product
        self.embedding = FieldEmbedding(field_sizes, embedding_dim)
        self.inner = InnerProducts(fields)
        self.linear = nn.Linear(fields * embedding_dim, product_units)
        self.kernel = nn.Parameter(nn.init.xavier_uniform_(torch.empty(shape)))  # theta or W
        self.deep = LogitMLP(product_units, hidden_units, activation=activation, norm=norm, dropout=dropout, bias=True)

    def forward(self, x: Int[Tensor, "B C"]) -> Float[Tensor, " B"]:
        e = self.embedding(x)
        if self.product == "inner":
            weights = self.inner(self.kernel.unsqueeze(2))  # theta_mi theta_mj, i < j, [M, P]
            products = 2 * self.inner(e) @ weights.T + e.square().sum(2) @ self.kernel.square().T
        else:
            s = e.sum(1)
            outer = torch.einsum("bd,be->bde", s, s)
            products = torch.einsum("bde,mde->bm", outer, self.kernel)
        return self.deep(torch.relu(self.linear(e.flatten(1)) + products))
