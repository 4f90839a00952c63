"""One model trained by several ranks, each on its share of every batch.

The net is torch's DistributedDataParallel. Embedding tables stand apart: training/tables.py exchanges their gradients.

A rank's loss is its part of the mean over the whole batch, so gradients add up over the ranks; nothing is averaged.
Equal batches give the loss curve of one process up to rounding, dropout aside. Batch norm alone sees a share of the
batch: it normalises by that, and its running statistics are the mean of the ranks'.
"""

from collections.abc import Collection
from typing import Any

import torch
import torch.distributed as dist
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from eulernet.distributed.ranks import all_reduce, is_sharded, local_shard, world_size
from eulernet.models.base import CTRModel
from eulernet.torch_internals import ignore_in_ddp, multiply_all


def broadcast(model: nn.Module, apart: Collection[Tensor]) -> None:
    """Give every rank the weights and buffers of rank 0, but for the weights ``apart``."""
    own = {name for name, weight in model.named_parameters() if any(weight is one for one in apart)}
    if world_size() > 1:
        for name, tensor in model.state_dict().items():
            if name not in own:
                dist.broadcast(tensor, 0)


class DataParallel:
    """The loss of ``model`` over a batch that the ranks share; with one rank, just that of the model.

    Made when the model is on its device, and all ranks have the same weights. DDP leaves the gradients of the weights
    ``apart`` alone.
    """

    def __init__(self, model: CTRModel, apart: Collection[Tensor]) -> None:
        self.model = model
        self.ddp: DistributedDataParallel | None = None
        if world_size() > 1:
            self.ddp = DistributedDataParallel(_Loss(model, apart))
            self.ddp.register_comm_hook(None, _all_reduce_bucket)  # by itself DDP would take the mean

    def loss(
        self, x: Int[Tensor, "b C"], y: Float[Tensor, " b"], counts: float | Tensor, *weight: Tensor
    ) -> Float[Tensor, ""]:
        """This rank's part of the mean loss of a batch, of which x, y and maybe ``weight`` are its share, maybe none.

        ``counts`` is what all rows of the batch count together: the sum of their weights, or their number.
        """
        if self.ddp is None:
            return self.model.calculate_loss(x, y, *weight)
        own = weight[0].sum() if weight else len(y)
        # A rank without a row computes one that counts nothing: the other ranks wait for its gradients.
        return self.ddp(*map(pad_if_empty, (x, y, *weight))) * (own / counts)


class _Loss(nn.Module):
    """What DistributedDataParallel calls."""

    def __init__(self, model: CTRModel, apart: Collection[Tensor]) -> None:
        super().__init__()
        self.model = model
        names = [name for name, weight in self.named_parameters() if any(weight is one for one in apart)]
        names += [name for name, _ in self.named_buffers()]  # running statistics are averaged after an epoch
        ignore_in_ddp(self, names)

    def forward(self, x: Tensor, y: Tensor, *weight: Tensor) -> Tensor:
        return self.model.calculate_loss(x, y, *weight)


def _all_reduce_bucket(_: None, bucket: dist.GradBucket) -> torch.futures.Future[torch.Tensor]:  # type: ignore[name-defined]
    work = dist.all_reduce(bucket.buffer(), async_op=True)
    assert work is not None
    return work.get_future().then(lambda done: done.value()[0])


def pad_if_empty(rows: Tensor) -> Tensor:
    """``rows``, or one row of zeros if there is none."""
    return rows if len(rows) else rows.new_zeros(1, *rows.shape[1:])


def clip_gradients(model: nn.Module, norm: float) -> None:
    """Scale all gradients, which may be sharded, down until the norm of all together is at most ``norm``."""
    weights = [weight for weight in model.parameters() if weight.grad is not None]
    if not any(is_sharded(weight) for weight in weights):
        nn.utils.clip_grad_norm_(weights, norm)
        return
    grads = [local_shard(weight.grad) for weight in weights]
    squares = torch.zeros(2, device=grads[0].device)  # of what every rank holds; of what this rank alone holds
    for weight, grad in zip(weights, grads, strict=True):
        squares[int(is_sharded(weight))] += grad.square().sum()
    total = (squares[0] + all_reduce(squares[1])).sqrt()
    multiply_all(grads, (norm / (total + 1e-6)).clamp(max=1))


def average_statistics(model: nn.Module) -> None:
    """Make the running statistics of ``model``, of batch norm for example, the mean over the ranks."""
    if world_size() == 1:
        return
    kept: dict[str, Any] = model.state_dict()
    for name, buffer in model.named_buffers():
        if name in kept and buffer.is_floating_point():
            buffer.copy_(all_reduce(buffer) / world_size())
