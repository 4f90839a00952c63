"""MaskNet (Wang et al., "MaskNet: Introducing Feature-Wise Multiplication to CTR Ranking Models", DLP-KDD 2021)."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal, get_args

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from eulernet.errors import require, require_count, require_counts, require_option
from eulernet.features import FieldEmbedding, FieldSize
from eulernet.layers.dropout import Dropout
from eulernet.layers.mlp import LogitMLP
from eulernet.models.base import CTRModel

Structure = Literal["serial", "parallel"]


class MaskBlock(nn.Module):
    """relu(LN(W (mask * v))) with mask = W_2 relu(W_1 e + b_1) + b_2 from the embeddings e of the instance."""

    def __init__(self, n_embedding: int, n_in: int, n_out: int, *, reduction: float, dropout: float) -> None:
        super().__init__()
        width = max(1, int(reduction * n_in))
        self.mask = nn.Sequential(nn.Linear(n_embedding, width), nn.ReLU(), nn.Linear(width, n_in))
        self.hidden = nn.Sequential(
            nn.Linear(n_in, n_out, bias=False), nn.LayerNorm(n_out), nn.ReLU(), Dropout(dropout)
        )

    def forward(self, e: Float[Tensor, "B K"], v: Float[Tensor, "B N"]) -> Float[Tensor, "B M"]:
        return self.hidden(self.mask(e) * v)


class MaskNet(CTRModel):
    """Mask blocks on e = [e_1 .. e_F] and v = [LN(e_1) .. LN(e_F)], one LayerNorm for all fields.

    * serial: blocks of ``block_units``, each on the one before it, the first on v; logit = LogitMLP of the last;
    * parallel: blocks of ``block_units``, each on v; logit = LogitMLP of all of them side by side.

    ``reduction`` is the width of a mask's hidden layer over its output's.
    """

    def __init__(
        self,
        field_sizes: Sequence[FieldSize],
        *,
        embedding_dim: int,
        structure: Structure,
        block_units: Sequence[int],
        reduction: float,
        hidden_units: Sequence[int],
        activation: str,
        norm: str,
        dropout: float,
    ) -> None:
        super().__init__()
        require_count(embedding_dim, "embedding_dim")
        require_option(structure, get_args(Structure), "structure")
        require_counts(block_units, "block_units")
        require(len(block_units) > 0, "model.block_units must name at least one block")
        require(reduction > 0, f"model.reduction must be above 0, got {reduction}")
        n = len(field_sizes) * embedding_dim
        self.serial = structure == "serial"
        widths = pairwise([n, *block_units]) if self.serial else [(n, m) for m in block_units]
        self.embedding = FieldEmbedding(field_sizes, embedding_dim)
        self.norm = nn.LayerNorm(embedding_dim)
        self.blocks = nn.ModuleList(
            MaskBlock(n, n_in, n_out, reduction=reduction, dropout=dropout) for n_in, n_out in widths
        )
        n_out = block_units[-1] if self.serial else sum(block_units)
        self.deep = LogitMLP(n_out, hidden_units, activation=activation, norm=norm, dropout=dropout, bias=True)

    def forward(self, x: Int[Tensor, "B C"]) -> Float[Tensor, " B"]:
        fields = self.embedding(x)
        e, v = fields.flatten(1), self.norm(fields).flatten(1)
        if not self.serial:
            return self.deep(torch.cat([block(e, v) for block in self.blocks], dim=1))
        for block in self.blocks:
            v = block(e, v)
        return self.deep(v)
