"""One model trained by several processes, each on its share of every batch.

The net is torch's DistributedDataParallel. The embedding tables have one of two layouts:

* ``replicated``: every process holds them whole, and all make the same step.
* ``sharded``: every process holds a part of the rows, as a DTensor, and steps those. torch's ``RowwiseParallel`` brings
  the ids of a batch to all processes and the vectors back. (Its own gradient would be a whole table on every process.)

In both, the processes exchange after each backward pass the rows that they looked up with the gradients of these.

A process's loss is its part of the mean over the whole batch, so gradients add up over the processes; nothing is
averaged. Equal batches give the loss curve of one process up to rounding, dropout aside. Batch norm alone sees a share:
it normalises by that, and its running statistics are the mean of the processes'.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from eulernet.distributed.ranks import all_reduce, is_sharded, local_shard, rank, rows_of_rank, shard, world_size
from eulernet.features import FieldEmbedding
from eulernet.models.base import CTRModel

if TYPE_CHECKING:
    from torch.distributed.device_mesh import DeviceMesh

LAYOUTS = {"replicated": False, "sharded": True}  # are tables divided?


def distribute(model: CTRModel, layout: str, device: torch.device) -> None:
    """Give every process the weights of process 0; with ``layout`` sharded leave it its part of the tables only.

    A table is divided where it is, and only the part moves to ``device``: it may be larger than that device's memory.
    """
    if world_size() == 1:
        return
    for tensor in model.state_dict().values():
        dist.broadcast(tensor, 0)
    if LAYOUTS[layout]:
        from torch.distributed.device_mesh import init_device_mesh

        mesh = init_device_mesh(device.type, (world_size(),))
        for table in embeddings_of(model):
            divide(table, mesh)


def divide(embedding: FieldEmbedding, mesh: "DeviceMesh") -> None:
    """Keep this process's part of the table's rows; from now on all processes look up together."""
    from torch.distributed.tensor import Shard
    from torch.distributed.tensor.parallel import RowwiseParallel, parallelize_module

    part = shard(embedding.table.weight.detach(), mesh, [Shard(0)])
    embedding.table.weight = nn.Parameter(part)
    style = RowwiseParallel(input_layouts=Shard(0), output_layouts=Shard(0))
    parallelize_module(embedding, mesh, {"table": style})
    embedding.together = 0


def set_rows_per_rank(model: nn.Module, rows: int) -> None:
    """From now on no process has more than ``rows`` rows of a batch: in divided tables each looks up for so many."""
    for table in embeddings_of(model):
        if table.together is not None:
            table.together = rows


class DataParallel:
    """``model``, given to all processes by ``distribute``, its loss and its gradients; of one process, just the model.

    Made when the model is on its device.
    """

    def __init__(self, model: CTRModel) -> None:
        self.model = model
        self.tables = list(embeddings_of(model))
        self.idle = False  # no row of the batch is for this process
        self.ddp: DistributedDataParallel | None = None
        if world_size() > 1:
            self.ddp = DistributedDataParallel(_Loss(model))
            self.ddp.register_comm_hook(None, _add)  # by itself it would take the mean
            for table in self.tables:
                table.found = []

    def loss(self, x: Int[Tensor, "b C"], y: Float[Tensor, " b"], rows: int) -> Float[Tensor, ""]:
        """This process's part of the mean loss over ``rows`` rows, of which x and y are its share, maybe none."""
        if self.ddp is None:
            return self.model.calculate_loss(x, y)
        part, self.idle = len(y) / rows, len(y) == 0
        # Without a row of its own a process computes one that counts nothing: the others wait for its gradients.
        return self.ddp(pad_if_empty(x), pad_if_empty(y)) * part

    def add_up_gradients(self) -> None:
        """After the backward pass: add up the gradients of the tables over the processes, as DDP did the others."""
        if self.ddp is not None:
            for table in self.tables:
                if self.idle:
                    table.found = []
                add_up(table)

    def clip_gradients(self, norm: float) -> None:
        """Scale all gradients down until the norm of all together is at most ``norm``."""
        weights = [weight for weight in self.model.parameters() if weight.grad is not None]
        if not any(is_sharded(weight) for weight in weights):
            nn.utils.clip_grad_norm_(weights, norm)
            return
        grads = [local_shard(weight.grad) for weight in weights if weight.grad is not None]
        squares = torch.zeros(2, device=grads[0].device)  # over what all processes hold, over what only this one does
        for weight, grad in zip(weights, grads, strict=True):
            squares[int(is_sharded(weight))] += grad.square().sum()
        total = (squares[0] + all_reduce(squares[1])).sqrt()
        torch._foreach_mul_(grads, (norm / (total + 1e-6)).clamp(max=1))


class _Loss(nn.Module):
    """What DistributedDataParallel calls. Tables and running statistics are not its business."""

    def __init__(self, model: CTRModel) -> None:
        super().__init__()
        self.model = model
        tables = {weight for table in embeddings_of(model) for weight in table.parameters()}
        names = [name for name, weight in self.named_parameters() if weight in tables]
        names += [name for name, _ in self.named_buffers()]  # no need to send them before every batch
        DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(self, names)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return self.model.calculate_loss(x, y)


def _add(_: None, bucket: dist.GradBucket) -> torch.futures.Future[torch.Tensor]:  # type: ignore[name-defined]
    work = dist.all_reduce(bucket.buffer(), async_op=True)
    assert work is not None
    return work.get_future().then(lambda done: done.value()[0])


def embeddings_of(model: nn.Module) -> Iterator[FieldEmbedding]:
    return (module for module in model.modules() if isinstance(module, FieldEmbedding))


def pad_if_empty(rows: Tensor) -> Tensor:
    """``rows``, or one of zeros if there is none."""
    return rows if len(rows) else rows.new_zeros(1, *rows.shape[1:])


def add_up(embedding: FieldEmbedding) -> None:
    """Sum the gradients that look-ups brought over the processes, into the kept gradient of the rows held here.

    What travels are the rows looked up, each once, how often each was, and its gradient: D + 2 numbers. Every process
    adds in the same order, so replicas stay equal to the bit. ``touched`` becomes the look-ups of the whole batch.
    """
    weight, kept = embedding.table.weight, embedding.kept
    assert embedding.found is not None
    none = torch.zeros(0, dtype=torch.int64, device=kept.device), kept.new_zeros(0, kept.shape[1])
    looked_up, gradients = (torch.cat(parts) for parts in zip(none, *embedding.found, strict=True))
    rows, place, counts = looked_up.unique(return_inverse=True, return_counts=True)
    gradients = kept.new_zeros(len(rows), kept.shape[1]).index_add_(0, place, gradients)

    sizes = gather_rows(torch.tensor([[len(rows)]], device=kept.device), 1).flatten().tolist()
    everyones_rows = gather_rows(torch.stack([rows, counts], 1).int(), max(sizes)).long()
    everyones_gradients = gather_rows(gradients, max(sizes))
    if embedding.touched_all:  # autograd's own, a penalty on the table say, is on every row
        dist.all_reduce(kept)
    first = rows_of_rank(rank(), len(weight)).start if is_sharded(weight) else 0
    embedding.touched, embedding.found = [], []
    for size, found, values in zip(sizes, everyones_rows, everyones_gradients, strict=True):
        rows, counts = found[:size].unbind(1)
        if is_sharded(weight):
            here = ((rows >= first) & (rows < first + len(kept))).nonzero().squeeze(1)
            rows, counts, values = rows[here] - first, counts[here], values[here]
        kept.index_add_(0, rows, values[: len(rows)])
        embedding.touched.append(rows.repeat_interleave(counts))


def gather_rows(rows: Float[Tensor, "n K"] | Int[Tensor, "n K"], most: int) -> Tensor:
    """[world, most, K]: the rows of every process, each with at most ``most``; zeros fill up."""
    padded = rows.new_zeros(most, rows.shape[1])
    padded[: len(rows)] = rows
    everyones = rows.new_empty(world_size(), most, rows.shape[1])
    dist.all_gather(list(everyones), padded)
    return everyones


def average_statistics(model: nn.Module) -> None:
    """Make the running statistics of ``model``, of batch norm say, the mean over the processes."""
    if world_size() == 1:
        return
    kept: dict[str, Any] = model.state_dict()
    for name, buffer in model.named_buffers():
        if name in kept and buffer.is_floating_point():
            buffer.copy_(all_reduce(buffer) / world_size())
