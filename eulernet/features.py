"""Ids, numbers and bags of ids to vectors: the only embedding tables of the package."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn


@dataclass(frozen=True)
class Number:
    """A field of real numbers: x holds the bits of a float32, and the embedding is one vector times the number."""


@dataclass(frozen=True)
class Bag:
    """A field of up to ``length`` ids below ``size``: as many columns of x, -1 after the last.

    Their vectors are pooled; an empty bag is the zero vector.
    """

    size: int
    length: int
    pooling: Literal["mean", "sum"]


FieldSize = int | Number | Bag  # a field of ids is the number of its ids, id 0 included


class FieldEmbedding(nn.Module):
    """Look up one vector per field, x to [B, F, D], whatever the kinds of the fields.

    All fields share one table; field f owns consecutive rows of it: as many as it has ids, one if it is a number. So
    one lookup serves the whole batch. Each field's rows start xavier-uniform, as if the field had a table of its own.
    Where every field is one of ids, x is [B, F]; a bag takes several columns. Ids are trusted here: they are
    range-checked when a store is written.
    """

    first_row: Int[Tensor, " C"]
    field: Int[Tensor, " C"]
    is_number: Tensor
    averaged: Tensor

    def __init__(self, field_sizes: Sequence[FieldSize], embedding_dim: int) -> None:
        super().__init__()
        self.fields = len(field_sizes)
        # Rows of the table that belong to each field.
        self.field_sizes = [size if isinstance(size, int) else getattr(size, "size", 1) for size in field_sizes]
        self.only_ids = all(isinstance(size, int) for size in field_sizes)
        self.table = nn.Embedding(sum(self.field_sizes), embedding_dim)
        for rows in self.rows_by_field():
            nn.init.xavier_uniform_(rows)
        columns = [getattr(size, "length", 1) for size in field_sizes]
        field = torch.tensor([f for f, count in enumerate(columns) for _ in range(count)])
        number = torch.tensor([isinstance(size, Number) for size in field_sizes])
        mean = torch.tensor([isinstance(size, Bag) and size.pooling == "mean" for size in field_sizes])
        first_row = torch.tensor([0, *self.field_sizes[:-1]]).cumsum(0)
        for name, value in {
            "first_row": first_row[field],
            "field": field,
            "is_number": number[field],
            "averaged": mean,
        }.items():
            self.register_buffer(name, value, persistent=False)
        self.touched: list[Int[Tensor, " n"]] | None = None
        # Of several processes (training/parallel.py): what look-ups brought in this step; rows of x per look-up.
        self.found: list[tuple[Int[Tensor, " n"], Float[Tensor, "n D"]]] | None = None
        self.together: int | None = None

    def rows_by_field(self) -> tuple[Float[Tensor, "rows D"], ...]:
        """Each field's part of the table, as views outside the graph."""
        return self.table.weight.data.split(self.field_sizes)

    def forward(self, x: Int[Tensor, "B C"]) -> Float[Tensor, "B F D"]:
        if self.only_ids:
            return self.look_up(x + self.first_row)
        x = x.int()
        # Below, x.shape[0] and not len(x): an exported graph takes any number of rows.
        members = (x >= 0).to(self.table.weight.dtype)  # 0 after the last member of a bag
        weight = torch.where(self.is_number, x.view(torch.float32).to(members.dtype), members)
        count = members.new_zeros(x.shape[0], self.fields).index_add(1, self.field, members)
        weight = weight / torch.where(self.averaged, count.clamp(min=1), 1.0)[:, self.field]
        rows = torch.where(self.is_number, 0, x.clamp(min=0)) + self.first_row
        vectors = self.look_up(rows) * weight.unsqueeze(2)  # [B, C, D]
        return vectors.new_zeros(x.shape[0], self.fields, vectors.shape[2]).index_add(1, self.field, vectors)

    def planes(self, x: Int[Tensor, "B C"]) -> Float[Tensor, "F D B"]:
        """The same vectors with the batch last, where matrix products over fields are fastest."""
        if self.only_ids:
            return self.look_up(x.T + self.first_row.unsqueeze(1)).transpose(1, 2).contiguous()
        return self(x).permute(1, 2, 0).contiguous()

    def look_up(self, rows: Int[Tensor, "*K"]) -> Float[Tensor, "*K D"]:
        """Rows of the table."""
        if self.touched is None and self.together is None:
            return self.table(rows)
        return self.look_up_unseen(rows)

    def keep_gradient(self) -> None:
        """From now on add to one dense gradient of the table, kept from step to step, instead of making it anew.

        A batch touches few rows: adding to those, and zeroing those by ``clear_gradient`` for the next step, costs a
        tenth of writing a gradient as large as the table. Before a step ``touched`` has the rows that were looked up.
        """
        weight = self.table.weight
        weight.grad, self.touched, self.touched_all = torch.zeros_like(weight), [], False
        self.kept = weight.grad if self.together is None else weight.grad.to_local()  # type: ignore[attr-defined]
        # What autograd itself adds, a penalty on the table say, is on every row.
        weight.register_post_accumulate_grad_hook(lambda _: setattr(self, "touched_all", True))

    def touched_rows(self) -> tuple[Int[Tensor, " n"], Int[Tensor, " n"]]:
        """The rows that the kept gradient is of, each once in rising order, and how often each was looked up.

        Where the gradient is on every row, those that were not looked up count once. A row is looked up also by the
        places that a bag leaves empty: these read id 0, times 0.
        """
        assert self.touched is not None
        weight = self.table.weight
        rows = torch.cat(self.touched) if self.touched else torch.arange(0, device=weight.device)
        if self.touched_all:
            return torch.arange(len(weight), device=weight.device), rows.bincount(minlength=len(weight)).clamp_(min=1)
        different, counts = rows.unique(return_counts=True)
        self.touched = [different]  # the fewer are the sooner cleared
        return different, counts

    def clear_gradient(self) -> None:
        """Zero the kept gradient."""
        assert self.touched is not None
        if self.touched_all:
            self.kept.zero_()
        else:
            for rows in self.touched:
                self.kept.index_fill_(0, rows, 0.0)
        self.touched, self.touched_all = [], False

    def look_up_unseen(self, rows: Int[Tensor, "*K"]) -> Float[Tensor, "*K D"]:
        """A gradient that autograd does not see."""
        if self.together is None:
            vectors = F.embedding(rows, self.table.weight.detach())
        else:
            vectors = self._look_up_together(rows)
        if torch.is_grad_enabled() and self.touched is not None:
            vectors.requires_grad_().register_hook(partial(self._add_gradient, rows.flatten()))
        return vectors

    @torch.no_grad()
    def _look_up_together(self, rows: Int[Tensor, "*K"]) -> Float[Tensor, "*K D"]:
        """Rows of a table that is divided over processes: all look up at once, and as many rows of x each."""
        assert self.together is not None
        ids = rows.flatten()
        padded = F.pad(ids, (0, self.together * len(self.first_row) - len(ids)))
        return self.table(padded)[: len(ids)].clone().view(*rows.shape, -1)

    def _add_gradient(self, rows: Int[Tensor, " n"], grad: Float[Tensor, "*K D"]) -> None:
        assert self.touched is not None
        grad = grad.reshape(len(rows), -1)
        if self.found is not None:
            self.found.append((rows, grad))
            return
        self.kept.index_add_(0, rows, grad)
        self.touched.append(rows)


class FieldLinear(nn.Module):
    """The linear term w_0 + sum_f w_f[x_f], x to [B]: a weight per id or number, and one bias, all starting at 0."""

    def __init__(self, field_sizes: Sequence[FieldSize]) -> None:
        super().__init__()
        self.weights = FieldEmbedding(field_sizes, 1)
        self.bias = nn.Parameter(torch.zeros(()))
        for weight in self.weights.parameters():
            nn.init.zeros_(weight)

    def forward(self, x: Int[Tensor, "B C"]) -> Float[Tensor, " B"]:
        return self.weights(x).sum((1, 2)) + self.bias
