"""Embedding tables in training: the gradient that is kept, the rows that a batch touches, exchange between ranks.

Autograd would write a gradient as large as the table in every step. But a batch touches few rows. So a ``Table`` takes
the place of a table's look-ups (``FieldEmbedding.read``), hides them from autograd, and adds their gradients to the
touched rows of one dense gradient, which is kept from step to step. That takes a tenth of the time.

Of several ranks each has the table in one of two layouts:

* ``replicated``: every rank holds it whole, and all make the same step.
* ``sharded``: every rank holds a part of the rows, as a DTensor, and steps those. It need not have had more
  (``holding_own_rows``). By all-to-all each different row of a
  rank's batch goes to its owner, and its vector comes back; after the backward pass row, count and gradient go the
  same way. A rank sends and receives at most 8 D + 12 bytes for each, however many ranks there are. (torch's
  ``RowwiseParallel`` sends every vector through a sum over all ranks, and its gradient is a whole table on each.)

Where replicated, the ranks exchange the rows that they looked up with the gradients of these.
"""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from eulernet.distributed.ranks import (
    all_gather_rows,
    exchange_rows,
    is_sharded,
    local_shard,
    rank,
    rows_of_rank,
    shard,
    sharded,
    world_size,
)
from eulernet.drawing import holding
from eulernet.errors import UserError
from eulernet.features import FieldEmbedding

LAYOUTS = {"replicated": False, "sharded": True}  # are the rows of tables sharded over the ranks?


class Table:
    """The table of one ``FieldEmbedding`` in training: how it is read, and the gradient that its look-ups bring.

    At first it reads as the embedding itself does. ``shard`` and ``keep_gradient`` change that.
    """

    def __init__(self, embedding: FieldEmbedding) -> None:
        self.module = embedding.table
        table = embedding.table
        self.in_part = len(table.weight) < table.num_embeddings  # are this rank's rows alone there?
        self.mesh: Any = None  # over which the rows are sharded
        self.gradient: Float[Tensor, "n D"] | None = None  # of the rows that this rank holds
        self.touched: list[Int[Tensor, " n"]] = []  # rows of ``gradient`` that were looked up, with repetitions
        self.touched_all = False  # is the gradient on every row?
        self.pending: list[tuple[Int[Tensor, " n"], Float[Tensor, "n D"]]] = []  # of this rank, not yet exchanged
        embedding.read = self

    @property
    def weight(self) -> Tensor:
        return self.module.weight

    def __call__(self, rows: Int[Tensor, "*K"]) -> Float[Tensor, "*K D"]:
        """Rows of the table."""
        if self.gradient is None and not is_sharded(self.weight):
            return self.module(rows)
        return self.lookup_with_kept_gradient(rows)

    def lookup_with_kept_gradient(self, rows: Int[Tensor, "*K"]) -> Float[Tensor, "*K D"]:
        """Rows of the table; autograd sees no table, and hands their gradient to ``_add_gradient``."""
        sharded = is_sharded(self.weight)
        vectors = self._lookup_sharded(rows) if sharded else F.embedding(rows, self.weight.detach())
        if torch.is_grad_enabled() and self.gradient is not None:
            vectors.requires_grad_().register_hook(partial(self._add_gradient, rows.flatten()))
        return vectors

    def hide_from_compiler(self) -> None:
        """torch.compile cannot trace a gradient that autograd does not see: it calls this look-up as it is."""
        self.lookup_with_kept_gradient = torch.compiler.disable(self.lookup_with_kept_gradient)  # type: ignore[method-assign]

    def keep_gradient(self) -> None:
        """From now on keep one dense gradient. A step begins with ``clear_gradient`` and steps ``touched_rows``."""
        self.weight.grad = torch.zeros_like(self.weight)
        self.gradient = local_shard(self.weight.grad)
        self.weight.register_post_accumulate_grad_hook(self._touch_all)

    def _touch_all(self, weight: Tensor) -> None:
        """What autograd itself adds, from a penalty on the table for example, is on every row."""
        if is_sharded(weight):  # each rank would add the gradient of its part of the loss to its rows alone
            raise UserError(
                "train.embedding=sharded: the loss reads a table apart from its look-ups, in a penalty perhaps; "
                "take train.embedding=replicated, or train.embedding_l2"
            )
        self.touched_all = True

    def clear_gradient(self) -> None:
        """Zero the kept gradient."""
        assert self.gradient is not None
        if self.touched_all:
            self.gradient.zero_()
        else:
            for rows in self.touched:
                self.gradient.index_fill_(0, rows, 0.0)
        self.touched, self.touched_all = [], False

    def touched_rows(self) -> tuple[Int[Tensor, " n"], Int[Tensor, " n"]]:
        """The rows that have a gradient, each once in rising order, and how often each was looked up.

        Where every row has one, rows that were not looked up count once. The places that a bag leaves empty look up
        row 0 of their field, times 0.
        """
        assert self.gradient is not None
        size, device = len(self.gradient), self.gradient.device
        rows = torch.cat(self.touched) if self.touched else torch.arange(0, device=device)
        if self.touched_all:
            return torch.arange(size, device=device), rows.bincount(minlength=size).clamp_(min=1)
        different, counts = rows.unique(return_counts=True)
        self.touched = [different]  # the fewer rows, the sooner cleared
        return different, counts

    def clip_gradient(self, ratio: float, bound: float) -> None:
        """CowClip (Zheng et al., AAAI 2023, arXiv 2204.06240): clip the gradient of each row that the batch looked up.

        Its norm becomes at most count max(ratio |row|, bound): ``ratio`` and ``bound`` are the paper's r and zeta, and
        count is how often the batch has the id. The gradient is of the mean loss without the decay, which the optimizer
        adds later. In bytedance/LargeBatchCTR the option ``--bound`` is zeta per coordinate: sqrt(D) times it is ours.
        """
        rows, counts = self.touched_rows()
        weight, gradient = local_shard(self.weight), self.gradient
        assert gradient is not None
        row, old = weight.index_select(0, rows), gradient.index_select(0, rows)
        allowed = counts * (ratio * torch.linalg.vector_norm(row, dim=1)).clamp_(min=bound)
        scale = (allowed / torch.linalg.vector_norm(old, dim=1)).clamp_(max=1)  # a gradient of 0 stays 0
        gradient.index_copy_(0, rows, old * scale.unsqueeze(1))

    def shard(self, device: torch.device) -> None:
        """Keep this rank's part of the rows, on ``device``. From now on all ranks look up together."""
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.tensor import Shard

        self.mesh, placements = init_device_mesh(device.type, (world_size(),)), [Shard(0)]
        weight, rows = self.weight.detach(), self.module.num_embeddings
        if self.in_part:
            weight = sharded(weight.to(device), rows, self.mesh, placements)
        else:
            weight = shard(weight, self.mesh, placements)
        self.module.weight = nn.Parameter(weight)

    @torch.no_grad()
    def _lookup_sharded(self, rows: Int[Tensor, "*K"]) -> Float[Tensor, "*K D"]:
        """All ranks look up at once: each asks the owners for its different rows, and answers the others."""
        different, place = rows.flatten().unique(return_inverse=True)
        counts = rows_by_owner(different, len(self.weight))
        asked, sizes = exchange_rows(different.int(), counts)
        held = local_shard(self.weight)
        vectors, _ = exchange_rows(held.index_select(0, asked - self._first_row()), sizes, counts)
        return vectors.index_select(0, place).view(*rows.shape, -1)

    def _first_row(self) -> int:
        """The number of the first row that this rank holds."""
        return rows_of_rank(rank(), len(self.weight)).start if is_sharded(self.weight) else 0

    def _add_gradient(self, rows: Int[Tensor, " n"], grad: Float[Tensor, "*K D"]) -> None:
        assert self.gradient is not None
        grad = grad.reshape(len(rows), -1)
        if world_size() > 1:
            self.pending.append((rows, grad))
        else:
            self.gradient.index_add_(0, rows, grad)
            self.touched.append(rows)

    def all_reduce_gradient(self) -> None:
        """Add the pending gradients of all ranks to the kept gradient of the rows held here.

        Each rank sends every row that it looked up once, with its count and its gradient: D + 2 numbers; to its owner
        where tables are sharded, else to all. They are added in order of rank, so replicas stay equal to the bit.
        ``touched`` then has the look-ups of the whole batch.
        """
        kept = self.gradient
        assert kept is not None
        none = torch.zeros(0, dtype=torch.int64, device=kept.device), kept.new_zeros(0, kept.shape[1])
        looked_up, gradients = (torch.cat(parts) for parts in zip(none, *self.pending, strict=True))
        rows, place, counts = looked_up.unique(return_inverse=True, return_counts=True)
        gradients = kept.new_zeros(len(rows), kept.shape[1]).index_add_(0, place, gradients)

        if self.touched_all:  # autograd's own gradient, which every rank has
            dist.all_reduce(kept)
        self.touched, self.pending = [], []
        for sent, values in self._exchange(torch.stack([rows, counts], 1).int(), gradients):
            rows, counts = sent.long().unbind(1)
            rows = rows - self._first_row()
            kept.index_add_(0, rows, values)
            self.touched.append(rows.repeat_interleave(counts))

    def _exchange(
        self, rows: Int[Tensor, "n 2"], gradients: Float[Tensor, "n D"]
    ) -> Iterator[tuple[Int[Tensor, "m 2"], Float[Tensor, "m D"]]]:
        """Of each rank the rows that this one steps, with their counts, and their gradients."""
        if is_sharded(self.weight):
            by_owner = rows_by_owner(rows[:, 0].contiguous(), len(self.weight))
            sent, sizes = exchange_rows(rows, by_owner)
            values, _ = exchange_rows(gradients, by_owner, sizes)
            yield from zip(sent.split(sizes), values.split(sizes), strict=True)
            return
        sizes = all_gather_rows(torch.tensor([[len(rows)]], device=rows.device), 1).flatten().tolist()
        rows_of_all, gradients_of_all = all_gather_rows(rows, max(sizes)), all_gather_rows(gradients, max(sizes))
        for size, sent, values in zip(sizes, rows_of_all, gradients_of_all, strict=True):
            yield sent[:size], values[:size]


def rows_by_owner(rows: Int[Tensor, " n"], of: int) -> list[int]:
    """How many of ``rows``, in rising order, each rank holds of a sharded table with ``of`` rows."""
    starts = [rows_of_rank(owner, of).start for owner in range(world_size())]
    bounds = torch.searchsorted(rows, torch.tensor([*starts, of], device=rows.device, dtype=rows.dtype))
    return bounds.diff().tolist()


def all_reduce_gradients(tables: Sequence[Table], idle: bool) -> None:
    """After the backward pass, as DDP does for the net. An ``idle`` rank, with a row that does not count, adds none."""
    if world_size() > 1:
        for table in tables:
            if idle:
                table.pending = []
            if table.gradient is not None:
                table.all_reduce_gradient()


def holding_own_rows(layout: str, rank: int, world: int) -> AbstractContextManager[object]:
    """Within it, models are made with the rows alone of their tables that ``rank`` of ``world`` steps in ``layout``."""
    if not LAYOUTS[layout] or world == 1:
        return nullcontext()
    return holding(lambda rows: rows_of_rank(rank, rows, world))


def count_weights(model: nn.Module) -> int:
    """How many numbers ``model`` learns, on all ranks together, also while this one has a part of its tables alone."""
    tables = {id(part.table.weight): part.table for part in embeddings_of(model)}
    whole = {number: table.num_embeddings * table.embedding_dim for number, table in tables.items()}
    return sum(whole.get(id(weight), weight.numel()) for weight in model.parameters())


def embeddings_of(model: nn.Module) -> Iterator[FieldEmbedding]:
    return (module for module in model.modules() if isinstance(module, FieldEmbedding))
