"""Ids, numbers and bags of ids to vectors, by look-ups in the only embedding tables of the package."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import accumulate, pairwise
from math import sqrt
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from eulernet.drawing import draw_rows, rows_held


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


@dataclass(frozen=True)
class History(Bag):
    """A bag whose members have an order, the last one last.

    With ``same_as`` they are ids of that field (its number among the fields, of ``size`` ids): both read the same rows
    of the embedding table. A linear term has weights of their own for them.
    """

    same_as: int | None = None


@dataclass(frozen=True, eq=False)
class Pretrained:
    """A field of ``size`` ids, for some of which there is a vector of ``width`` numbers before training.

    ``vectors`` [size, width] has NaN where there is none; None leaves them to the weights that are loaded. Such an id
    starts at its vector, and with ``frozen`` stays there, times a matrix that is learned if ``width`` is not the
    embedding's.
    """

    size: int
    width: int
    frozen: bool
    vectors: Tensor | None = None


FieldSize = int | Number | Bag | Pretrained  # a field of ids is the number of its ids, id 0 included


def owner_of(field: int, size: FieldSize) -> int:
    """The field whose rows of the table ``field`` reads: its own, or those of the field that a history goes by."""
    same_as = getattr(size, "same_as", None)
    return field if same_as is None else same_as


def learned_alone(size: FieldSize) -> FieldSize:
    """The same field with rows of its own, all of them learned."""
    if isinstance(size, Pretrained):
        return size.size
    return replace(size, same_as=None) if isinstance(size, History) else size


class GivenVectors(nn.Module):
    """Vectors that the ids of one field have before training; they never change.

    e_i = P v_i + t_i, where t_i is the row of the table, which starts at 0 and is 0 for good if ``frozen``; P is
    learned, or the identity where v_i has as many numbers as e_i. An id without a vector has e_i = t_i, which starts
    as usual.
    """

    vectors: Float[Tensor, "n K"]
    known: Tensor

    def __init__(self, size: Pretrained, embedding_dim: int) -> None:
        super().__init__()
        self.frozen = size.frozen
        given = torch.full((size.size, size.width), torch.nan) if size.vectors is None else size.vectors
        known = ~given.isnan().any(1)
        self.register_buffer("vectors", torch.where(known.unsqueeze(1), given, 0.0).to(torch.get_default_dtype()))
        self.register_buffer("known", known)
        equal = size.width == embedding_dim
        self.project = nn.Identity() if equal else nn.Linear(size.width, embedding_dim, bias=False)

    def forward(self, ids: Int[Tensor, "B L"], rows: Float[Tensor, "B L D"]) -> Float[Tensor, "B L D"]:
        if self.frozen:
            rows = torch.where(self.known[ids.long()].unsqueeze(2), 0.0, rows)
        return rows + self.project(F.embedding(ids, self.vectors))


class FieldEmbedding(nn.Module):
    """Look up one vector per field, x to [B, F, D], whatever the kinds of the fields.

    All fields share one table; field f owns consecutive rows of it: as many as it has ids, one if it is a number. So
    one lookup serves the whole batch. Each field's rows start xavier-uniform, as if the field had a table of its own.
    Where every field is one of ids, x is [B, F]; a bag takes several columns. Ids are trusted here: they are
    range-checked when a store is written. Within ``drawing.holding`` the table has the rows ``held`` alone, until
    training makes it a sharded one (training/tables.py).
    """

    first_row: Int[Tensor, " C"]
    field: Int[Tensor, " C"]
    is_number: Tensor
    averaged: Tensor

    def __init__(self, field_sizes: Sequence[FieldSize], embedding_dim: int) -> None:
        super().__init__()
        self.fields = len(field_sizes)
        owner = [owner_of(f, size) for f, size in enumerate(field_sizes)]
        # Rows of the table that belong to each field: none where they are another field's.
        rows = [size if isinstance(size, int) else getattr(size, "size", 1) for size in field_sizes]
        self.field_sizes = [count if owner[f] == f else 0 for f, count in enumerate(rows)]
        self.only_ids = all(isinstance(size, int) for size in field_sizes)
        self.held = rows_held(sum(self.field_sizes))
        weight = torch.empty(self.held.stop - self.held.start, embedding_dim)
        self.table = nn.Embedding.from_pretrained(weight, freeze=False)
        self.table.num_embeddings = sum(self.field_sizes)
        draw_rows(
            weight[:0], 0, slice(0, self.table.num_embeddings), nn.init.normal_
        )  # as nn.Embedding: seeds count it
        for start, stop in pairwise(accumulate(self.field_sizes, initial=0)):
            bound = sqrt(3) * sqrt(2 / (stop - start + embedding_dim))  # xavier
            self.draw(partial(nn.init.uniform_, a=-bound, b=bound), slice(start, stop))
        columns = [getattr(size, "length", 1) for size in field_sizes]
        self.lengths = columns
        field = torch.tensor([f for f, count in enumerate(columns) for _ in range(count)])
        number = torch.tensor([isinstance(size, Number) for size in field_sizes])
        mean = torch.tensor([isinstance(size, Bag) and size.pooling == "mean" for size in field_sizes])
        first_row = torch.tensor([0, *self.field_sizes[:-1]]).cumsum(0)[torch.tensor(owner)]
        for name, value in {
            "first_row": first_row[field],
            "field": field,
            "is_number": number[field],
            "averaged": mean,
        }.items():
            self.register_buffer(name, value, persistent=False)
        # Fields whose ids have vectors before training, and the stretches of columns that hold such ids.
        given = [f for f, size in enumerate(field_sizes) if isinstance(size, Pretrained)]
        self.given = nn.ModuleList(GivenVectors(field_sizes[f], embedding_dim) for f in given)  # type: ignore[arg-type]
        ends = [*accumulate(columns, initial=0)]
        self.stretches = [[(ends[g], ends[g + 1]) for g, of in enumerate(owner) if of == f] for f in given]
        self.given_fields = given
        # x holds the same rows so often, one after the other (models/wrappers.py): they are looked up once.
        self.copies = 1
        # Another way to read rows of the table, which training puts here (training/tables.py).
        self.read: Callable[[Int[Tensor, "*K"]], Float[Tensor, "*K D"]] | None = None

    @torch.no_grad()
    def draw(self, draw: Callable[[Tensor], object], rows: slice | None = None) -> None:
        """Fill ``rows`` of the table, all by default, by ``draw``, for example ``torch.nn.init.normal_``."""
        draw_rows(self.table.weight.data, self.held.start, rows or slice(0, self.table.num_embeddings), draw)

    def held_by_field(self) -> list[slice]:
        """Of each field the rows that are held here, counted within the field."""
        starts = accumulate(self.field_sizes, initial=0)
        return [
            slice(*(min(max(end - start, 0), size) for end in (self.held.start, self.held.stop)))
            for start, size in zip(starts, self.field_sizes, strict=False)
        ]

    def rows_by_field(self) -> tuple[Float[Tensor, "rows D"], ...]:
        """Each field's part of the table, as far as it is held here, as views outside the graph."""
        return self.table.weight.data.split([rows.stop - rows.start for rows in self.held_by_field()])

    @torch.no_grad()
    def start_from_given(self) -> None:
        """Ids with a vector start at it: 0 in their rows of the table."""
        own, held = self.rows_by_field(), self.held_by_field()
        for field, given in zip(self.given_fields, self.given, strict=True):
            own[field].masked_fill_(given.known[held[field]].unsqueeze(1), 0.0)  # type: ignore[index]

    def forward(self, x: Int[Tensor, "B C"]) -> Float[Tensor, "B F D"]:
        if self.copies == 1:
            return self.vectors(x)
        return self.vectors(x[: x.shape[0] // self.copies]).repeat(self.copies, 1, 1)

    def vectors(self, x: Int[Tensor, "B C"]) -> Float[Tensor, "B F D"]:
        """One vector per field of each row, every row looked up."""
        if self.only_ids:
            return self.lookup(x + self.first_row)
        x = x.int()
        # Below, x.shape[0] and not len(x): an exported graph takes any number of rows.
        rows = torch.where(self.is_number, 0, x.clamp(min=0)) + self.first_row
        vectors = self.lookup(rows)  # [B, C, D]
        for given, stretches in zip(self.given, self.stretches, strict=True):
            for start, stop in stretches:
                found = given(x[:, start:stop].clamp(min=0), vectors[:, start:stop])
                vectors = torch.cat([vectors[:, :start], found, vectors[:, stop:]], dim=1)
        vectors = vectors * self.pooling_weights(x, vectors).unsqueeze(2)
        return self.add_up(vectors)

    def add_up(self, columns: Float[Tensor, "B C *K"]) -> Float[Tensor, "B F *K"]:
        """The columns of each field added."""
        if not torch.compiler.is_exporting():
            return columns.new_zeros(columns.shape[0], self.fields, *columns.shape[2:]).index_add(
                1, self.field, columns
            )
        # onnxruntime adds to one place from several threads at once, and loses some of what they add.
        parts = columns.split(self.lengths, dim=1)
        added = torch.cat([part if part.shape[1] == 1 else part.sum(1, keepdim=True) for part in parts], dim=1)
        return torch.where(added == 0, 0.0, added)  # 0 and not -0, whose angle may be another

    def pooling_weights(self, x: Int[Tensor, "B C"], vectors: Float[Tensor, "B C D"]) -> Float[Tensor, "B C"]:
        """What the vector of each column counts in its field: 1, a number, 1 / members, or 0 after the last member."""
        members = (x >= 0).to(self.table.weight.dtype)
        weight = torch.where(self.is_number, x.view(torch.float32).to(members.dtype), members)
        count = self.add_up(members)
        return weight / torch.where(self.averaged, count.clamp(min=1), 1.0)[:, self.field]

    def planes(self, x: Int[Tensor, "B C"]) -> Float[Tensor, "F D B"]:
        """The same vectors with the batch last, where matrix products over fields are fastest."""
        if self.only_ids:
            return self.lookup(x.T + self.first_row.unsqueeze(1)).transpose(1, 2).contiguous()
        return self(x).permute(1, 2, 0).contiguous()

    def lookup(self, rows: Int[Tensor, "*K"]) -> Float[Tensor, "*K D"]:
        """Rows of the table."""
        return self.table(rows) if self.read is None else self.read(rows)


class FieldLinear(nn.Module):
    """The linear term w_0 + sum_f w_f[x_f], x to [B]: a weight per id or number, and one bias, all starting at 0."""

    def __init__(self, field_sizes: Sequence[FieldSize]) -> None:
        super().__init__()
        self.weights = FieldEmbedding([*map(learned_alone, field_sizes)], 1)
        self.bias = nn.Parameter(torch.zeros(()))
        for weight in self.weights.parameters():
            nn.init.zeros_(weight)

    def forward(self, x: Int[Tensor, "B C"]) -> Float[Tensor, " B"]:
        return self.weights(x).sum((1, 2)) + self.bias
