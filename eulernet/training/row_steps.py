"""Steps that read and write only the rows of a table that a batch looked up.

``rows`` are numbers within the part of the table that this rank holds: all of it unless it is sharded.
"""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.optim.adam import adam

from eulernet.distributed.ranks import local_shard, zeros_by_row


def adam_rows(
    weight: Float[Tensor, "N D"], rows: Int[Tensor, " n"], state: dict[str, Any], group: dict[str, Any]
) -> None:
    """torch.optim.Adam on the different ``rows``; the other rows keep their weights and their moments.

    ``state`` is Adam's. The moments of a row decay when it is looked up, not with time, while the bias correction
    counts every step, as in torch.optim.SparseAdam; coupled decay too acts on a row when it is looked up.
    """
    assert weight.grad is not None
    if not state:
        state["step"] = torch.zeros((), device=weight.device)
        state["exp_avg"], state["exp_avg_sq"] = (zeros_by_row(weight, weight.shape[1]) for _ in range(2))
    whole = tuple(map(local_shard, (weight.detach(), state["exp_avg"], state["exp_avg_sq"])))
    part, first, second = (tensor.index_select(0, rows) for tensor in whole)
    beta1, beta2 = group["betas"]
    adam(
        [part], [local_shard(weight.grad).index_select(0, rows)], [first], [second], [], [state["step"]],
        fused=group["fused"], amsgrad=False, maximize=False, beta1=beta1, beta2=beta2, lr=group["lr"],
        weight_decay=group["weight_decay"], eps=group["eps"],
    )  # fmt: skip
    for tensor, new in zip(whole, (part, first, second), strict=True):
        tensor.index_copy_(0, rows, new)


def adagrad_rows(
    weight: Float[Tensor, "N D"], rows: Int[Tensor, " n"], state: dict[str, Any], group: dict[str, Any]
) -> None:
    """Row-wise Adagrad on the different ``rows``: one number of state per row.

    With g the gradient plus decay times the row, s += mean(g^2) over D and row -= lr g / (sqrt(s) + eps). That is
    FBGEMM's EXACT_ROWWISE_ADAGRAD with L2 decay, as its kernels have it; the class of that name in TorchRec's Python
    squares the mean of g instead.
    """
    assert weight.grad is not None
    if not state:
        state["step"], state["sum"] = torch.zeros((), device=weight.device), zeros_by_row(weight)
    state["step"] += 1  # unused here: torch.optim.Adam, whose state this lies in, expects it
    whole, sums = local_shard(weight.detach()), local_shard(state["sum"])
    row = whole.index_select(0, rows)
    gradient = local_shard(weight.grad).index_select(0, rows).add_(row, alpha=group["weight_decay"])
    total = sums.index_select(0, rows) + gradient.square().mean(1)
    sums.index_copy_(0, rows, total)
    rate = group["lr"] / (total.sqrt() + group["eps"])
    whole.index_copy_(0, rows, row.addcmul_(gradient, rate.unsqueeze(1), value=-1))
