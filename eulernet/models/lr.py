"""LR: logistic regression on the one-hot fields (Richardson et al., "Predicting Clicks", WWW 2007)."""

from collections.abc import Sequence

from jaxtyping import Float, Int
from torch import Tensor

from eulernet.features import FieldLinear, FieldSize
from eulernet.models.base import CTRModel


class LR(CTRModel):
    """logit = w_0 + sum_f w_f[x_f]."""

    def __init__(self, field_sizes: Sequence[FieldSize]) -> None:
        super().__init__()
        self.linear = FieldLinear(field_sizes)

    def forward(self, x: Int[Tensor, "B C"]) -> Float[Tensor, " B"]:
        return self.linear(x)
