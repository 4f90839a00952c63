"""What every model offers beside its formula."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from eulernet.models.pieces import PIECE, Score, side_by_side


def cross_entropy(
    logits: Float[Tensor, " B"], y: Float[Tensor, " B"], weight: Float[Tensor, " B"] | None = None
) -> Float[Tensor, ""]:
    """Mean binary cross entropy of rows that count as often as ``weight`` says."""
    if weight is None:
        return F.binary_cross_entropy_with_logits(logits, y)
    return weighted_mean(F.binary_cross_entropy_with_logits(logits, y, reduction="none"), weight)


def weighted_mean(values: Float[Tensor, " B"], weight: Float[Tensor, " B"] | None) -> Float[Tensor, ""]:
    """Of ``values`` that count as often as ``weight`` says; 0 where all weights are."""
    if weight is None:
        return values.mean()
    return (weight * values).sum() / weight.sum().clamp(min=torch.finfo(weight.dtype).tiny)


class CTRModel(nn.Module):
    """A click model. Subclasses write ``forward``, ids [B, C] to logits [B]; the rest is made of it.

    ``piece``: rows that a CPU scores at a time (pieces.py).
    """

    piece = PIECE

    def predict(self, x: Int[Tensor, "B C"]) -> Float[Tensor, " B"]:
        """Click probabilities, sigmoid(logits)."""
        return torch.sigmoid(self(x))

    @contextmanager
    def scoring(self, most: int = PIECE) -> Iterator[Score]:
        """``forward`` for many rows without gradients: on a CPU in pieces side by side, several times as fast.

        A piece has at most ``most`` rows, and at most ``piece``.

        >>> with model.scoring() as score:
        ...     logits = [score(x) for x in batches]
        """
        device = next((weight.device.type for weight in self.parameters()), "cpu")
        with torch.no_grad():
            yield side_by_side(self, most) if device == "cpu" else self

    def calculate_loss(
        self, x: Int[Tensor, "B C"], y: Float[Tensor, " B"], weight: Float[Tensor, " B"] | None = None
    ) -> Float[Tensor, ""]:
        """Mean binary cross entropy plus the model's published regularisation.

        A row counts in the mean as often as ``weight`` says: 2 is two copies of it.
        """
        return cross_entropy(self(x), y, weight) + self.regularisation()

    def regularisation(self) -> Float[Tensor, ""] | float:
        """The penalty that a model's publication adds to its loss; most add none."""
        return 0.0
