"""What every model offers beside its formula."""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from eulernet.errors import require


class CTRModel(nn.Module):
    """A click model. Subclasses write ``forward``, ids [B, C] to logits [B]; the rest is made of it."""

    def predict(self, x: Int[Tensor, "B C"]) -> Float[Tensor, " B"]:
        """Click probabilities, sigmoid(logits)."""
        return torch.sigmoid(self(x))

    def calculate_loss(self, x: Int[Tensor, "B C"], y: Float[Tensor, " B"]) -> Float[Tensor, ""]:
        """Mean binary cross entropy plus the model's published regularisation."""
        return F.binary_cross_entropy_with_logits(self(x), y) + self.regularisation()

    def weighted_loss(
        self, x: Int[Tensor, "B C"], y: Float[Tensor, " B"], weight: Float[Tensor, " B"]
    ) -> Float[Tensor, ""]:
        """The same with rows that count as often as ``weight`` says. UserError for a model with a loss of its own."""
        own = type(self).calculate_loss is not CTRModel.calculate_loss
        require(
            not own, f"{type(self).__name__} has a loss of its own, which takes no weights; leave sample_weight out"
        )
        losses = F.binary_cross_entropy_with_logits(self(x), y, reduction="none")
        return (weight * losses).sum() / weight.sum() + self.regularisation()

    def regularisation(self) -> Float[Tensor, ""] | float:
        """The penalty that a model's publication adds to its loss; most add none."""
        return 0.0
