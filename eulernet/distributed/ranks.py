"""The ranks of a run, what they exchange, and tensors whose rows are sharded over them. One process is rank 0 of 1."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from jaxtyping import Float, Int
from torch import Tensor, nn


def rank() -> int:
    """The number of this process, from 0. Rank 0 alone logs and writes files."""
    return dist.get_rank() if dist.is_initialized() else 0


def world_size() -> int:
    """How many ranks there are."""
    return dist.get_world_size() if dist.is_initialized() else 1


def shard_of(rows: int) -> slice:
    """The rows of a batch of ``rows`` that this rank works on: shards are consecutive and differ by at most one row."""
    return slice(rows * rank() // world_size(), rows * (rank() + 1) // world_size())


def all_reduce(tensor: Tensor) -> Tensor:
    """The sum over the ranks, the same bits on each."""
    if world_size() == 1:
        return tensor
    total = tensor.clone()
    dist.all_reduce(total)
    return total


def all_gather_objects(value: Any) -> list[Any]:
    """The values of all ranks, in order of rank."""
    values = [value] * world_size()
    if world_size() > 1:
        dist.all_gather_object(values, value)
    return values


def shared(value: Any) -> Any:
    """The ``value`` of rank 0, on all ranks."""
    values = [value]
    if world_size() > 1:
        dist.broadcast_object_list(values, 0)
    return values[0]


def barrier() -> None:
    """Wait until all ranks are here."""
    if world_size() > 1:
        dist.barrier()


def all_gather_rows(rows: Float[Tensor, "n K"] | Int[Tensor, "n K"], most: int) -> Tensor:
    """[world_size, most, K]: the rows of every rank, each with at most ``most`` of them, padded with zeros."""
    padded = rows.new_zeros(most, rows.shape[1])
    padded[: len(rows)] = rows
    gathered = rows.new_empty(world_size(), most, rows.shape[1])
    dist.all_gather(list(gathered), padded)
    return gathered


def exchange_rows(rows: Tensor, counts: Sequence[int], sizes: list[int] | None = None) -> tuple[Tensor, list[int]]:
    """Send ``counts[r]`` of the rows [n, ...], in their order, to each rank r: all-to-all. All ranks call it.

    Returns the rows that came, in order of rank, and how many from each, which are exchanged unless ``sizes`` says it.
    """
    if sizes is None:
        given = torch.tensor(counts, device=rows.device)
        coming = torch.empty_like(given)
        dist.all_to_all_single(coming, given)
        sizes = coming.tolist()
    found = rows.new_empty(sum(sizes), *rows.shape[1:])
    dist.all_to_all_single(found, rows.contiguous(), sizes, list(counts))
    return found, sizes


def exchange_arrays(parts: list[np.ndarray]) -> np.ndarray:
    """The rows that all ranks sent to this one, of which the own ones for each rank are ``parts`` [n, K]."""
    return exchange_rows(torch.from_numpy(np.concatenate(parts)), [len(part) for part in parts])[0].numpy()


def is_sharded(tensor: object) -> bool:
    """Whether each rank holds only a part of the tensor's rows (a DTensor)."""
    return hasattr(tensor, "to_local")  # isinstance would import torch.distributed.tensor, slowly


def local_shard(tensor: Any) -> Tensor:
    """The part of a tensor that this rank holds, in the same memory: all of it unless it is sharded."""
    return tensor.to_local() if is_sharded(tensor) else tensor


def rows_of_rank(owner: int, rows: int, world: int | None = None) -> slice:
    """The rows of a tensor of ``rows`` rows, sharded over ``world`` ranks or all, that rank ``owner`` holds.

    DTensor gives the last ranks fewer.
    """
    each = -(-rows // (world or world_size()))
    return slice(min(owner * each, rows), min((owner + 1) * each, rows))


def sharded(mine: Tensor, rows: int, mesh: Any, placements: Any) -> Tensor:
    """The sharded tensor of so many ``rows`` of which this rank has those that are ``mine``. Nothing is sent."""
    from torch.distributed.tensor import DTensor

    whole = torch.empty(rows, *mine.shape[1:], device="meta")
    return DTensor.from_local(mine, mesh, placements, run_check=False, shape=whole.shape, stride=whole.stride())


def shard(whole: Tensor, mesh: Any, placements: Any) -> Tensor:
    """Shard the tensor ``whole``, which every rank has: this rank keeps its own rows, and nothing is sent."""
    mine = whole[rows_of_rank(rank(), len(whole))].to(mesh.device_type, copy=True)
    return sharded(mine, len(whole), mesh, placements)


def shard_like(whole: Tensor, own: Any) -> Tensor:
    """``whole``, its rows sharded as those of ``own``; as it is if it is so, or ``own`` is not or has other rows."""
    if is_sharded(whole) or not is_sharded(own) or whole.shape[:1] != own.shape[:1]:
        return whole
    return shard(whole, own.device_mesh, own.placements)


def zeros_by_row(own: Any, *shape: int) -> Tensor:
    """Zeros [N, *shape], sharded as the N rows of ``own`` are."""
    zeros = local_shard(own).new_zeros(len(local_shard(own)), *shape)
    return sharded(zeros, len(own), own.device_mesh, own.placements) if is_sharded(own) else zeros


def load_whole(model: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Load whole ``weights`` into ``model``, whose tables may be sharded. Raises what ``load_state_dict`` does."""
    own = model.state_dict()
    model.load_state_dict({name: shard_like(weight, own.get(name)) for name, weight in weights.items()})
