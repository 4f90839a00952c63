"""CowClip: adaptive clipping of embedding gradients, id by id (Zheng et al., AAAI 2023, arXiv 2204.06240)."""

from jaxtyping import Float, Int
from torch import Tensor, linalg


def clip_rows(
    weight: Float[Tensor, "N D"], rows: Int[Tensor, " n"], counts: Int[Tensor, " n"], ratio: float, bound: float
) -> None:
    """Bound the norm of each row's gradient by counts max(ratio |row|, bound), ratio and bound the paper's r and zeta.

    ``rows`` are the different rows looked up in the batch, ``counts`` how often each was. The gradient is of the mean
    loss without the decay, which the optimizer adds afterwards. In bytedance/LargeBatchCTR the option ``--bound`` is
    zeta per coordinate: sqrt(D) times it is ours.
    """
    assert weight.grad is not None
    row, gradient = weight.detach().index_select(0, rows), weight.grad.index_select(0, rows)
    allowed = counts * (ratio * linalg.vector_norm(row, dim=1)).clamp_(min=bound)
    scale = (allowed / linalg.vector_norm(gradient, dim=1)).clamp_(max=1)  # a gradient of 0 stays 0
    weight.grad.index_copy_(0, rows, gradient * scale.unsqueeze(1))
