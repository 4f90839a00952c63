"""Ids to vectors: the only embedding tables of the package."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn


class FieldEmbedding(nn.Module):
    """Look up one vector per field, [B, F] ids to [B, F, D].

    All fields share one table; field f owns ``field_sizes[f]`` consecutive rows of it, so one lookup serves
    the whole batch. Each field's rows start xavier-uniform, as if the field had a table of its own. Ids are
    trusted here: they are range-checked when a store is written.
    """

    first_row: Int[Tensor, " F"]

    def __init__(self, field_sizes: Sequence[int], embedding_dim: int) -> None:
        super().__init__()
        self.field_sizes = list(field_sizes)
        self.table = nn.Embedding(sum(field_sizes), embedding_dim)
        for rows in self.rows_by_field():
            nn.init.xavier_uniform_(rows)
        first_row = torch.tensor([0, *self.field_sizes[:-1]]).cumsum(0)
        self.register_buffer("first_row", first_row, persistent=False)

    def rows_by_field(self) -> tuple[Float[Tensor, "rows D"], ...]:
        """Each field's part of the table, as views outside the graph."""
        return self.table.weight.data.split(self.field_sizes)

    def forward(self, x: Int[Tensor, "B F"]) -> Float[Tensor, "B F D"]:
        return self.table(x + self.first_row)


class FieldLinear(nn.Module):
    """The linear term w_0 + sum_f w_f[x_f], [B, F] ids to [B]: a weight per id and one bias, all starting at 0."""

    def __init__(self, field_sizes: Sequence[int]) -> None:
        super().__init__()
        self.weights = FieldEmbedding(field_sizes, 1)
        self.bias = nn.Parameter(torch.zeros(()))
        for weight in self.weights.parameters():
            nn.init.zeros_(weight)

    def forward(self, x: Int[Tensor, "B F"]) -> Float[Tensor, " B"]:
        return self.weights(x).sum((1, 2)) + self.bias
