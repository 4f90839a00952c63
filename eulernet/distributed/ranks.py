"""The processes of a run: which one this is, and what all of them hold together. A run in one process is the same."""

from collections.abc import Mapping
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn


def rank() -> int:
    """The number of this process, from 0; process 0 speaks and writes."""
    return dist.get_rank() if dist.is_initialized() else 0


def world() -> int:
    """How many processes there are."""
    return dist.get_world_size() if dist.is_initialized() else 1


def share_of(rows: int) -> slice:
    """The part of ``rows`` rows that is this process's: shares follow one another and differ by at most a row."""
    return slice(rows * rank() // world(), rows * (rank() + 1) // world())


def summed(tensor: Tensor) -> Tensor:
    """The sum of what every process holds, the same bits on each."""
    if world() == 1:
        return tensor
    total = tensor.clone()
    dist.all_reduce(total)
    return total


def everyones(value: Any) -> list[Any]:
    """What every process gives, in order of their numbers."""
    values = [value] * world()
    if world() > 1:
        dist.all_gather_object(values, value)
    return values


def is_divided(tensor: object) -> bool:
    """Whether each process holds a part of the tensor's rows only (a DTensor)."""
    return hasattr(tensor, "to_local")  # torch.distributed.tensor takes a while to import: not where nothing is divided


def local(tensor: Any) -> Tensor:
    """The part of a tensor that this process holds, in the same memory; all of it, unless it is divided."""
    return tensor.to_local() if is_divided(tensor) else tensor


def rows_at(owner: int, rows: int) -> slice:
    """Of ``rows`` rows divided over the processes, DTensor's way, those of ``owner``: the last may have fewer."""
    each = -(-rows // world())
    return slice(min(owner * each, rows), min((owner + 1) * each, rows))


def gathered(tree: Any) -> Any:
    """``tree``, dictionaries and lists of tensors and values, with every divided tensor whole on the CPU of process 0.

    All processes call it. It goes tensor by tensor, and only process 0 ever holds a whole one; the others get None.
    """
    if isinstance(tree, dict):
        return {key: gathered(value) for key, value in tree.items()}
    if isinstance(tree, list):
        return [gathered(value) for value in tree]
    if not is_divided(tree):
        return tree
    mine = tree.detach().to_local().cpu().contiguous()
    if rank() != 0:
        if len(mine):
            dist.send(mine, 0)
        return None
    whole = torch.empty(tree.shape, dtype=tree.dtype)
    whole[rows_at(0, len(whole))] = mine
    for owner in range(1, world()):
        part = whole[rows_at(owner, len(whole))]
        if len(part):
            dist.recv(part, owner)
    return whole


def divided(whole: Tensor, mesh: Any, placements: Any) -> Tensor:
    """The way back, which needs no other process: ``whole``, of which this process keeps its own rows."""
    from torch.distributed.tensor import DTensor

    mine = whole[rows_at(rank(), len(whole))].to(mesh.device_type, copy=True)
    return DTensor.from_local(mine, mesh, placements, run_check=False, shape=whole.shape, stride=whole.stride())


def like(whole: Tensor, own: Any) -> Tensor:
    """``whole``, divided as ``own`` is if it is, and of the same shape."""
    if not is_divided(own) or whole.shape != own.shape:
        return whole
    return divided(whole, own.device_mesh, own.placements)


def load_whole(model: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Put whole ``weights`` into ``model``, whose tables may be divided. Raises what ``load_state_dict`` does."""
    own = model.state_dict()
    model.load_state_dict({name: like(weight, own.get(name)) for name, weight in weights.items()})
