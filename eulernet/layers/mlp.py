"""Fully connected layers, as most deep parts of click models have them."""

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from eulernet.errors import choose, require_counts, require_rate
from eulernet.layers.dropout import Dropout
from eulernet.layers.head import Head


class BatchNorm(nn.BatchNorm1d):
    """nn.BatchNorm1d that also trains on a batch of one row or none, normalised by the running statistics."""

    def forward(self, x: Float[Tensor, "B ..."]) -> Float[Tensor, "B ..."]:
        if self.training and len(x) <= 1:
            return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)
        return super().forward(x)


class Dice(nn.Module):
    """p a + (1 - p) alpha a with p = sigmoid((a - E[a]) / sqrt(Var[a] + eps)), alpha learned, of each unit.

    DIN's activation (Zhou et al., KDD 2018, arXiv 1706.06978, eq. 9): PReLU whose step lies where the data are. E and
    Var are those of the batch in training, and running means of them after that.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.standardise = BatchNorm(width, affine=False, eps=1e-8)
        self.alpha = nn.Parameter(torch.zeros(width))

    def forward(self, a: Float[Tensor, "B K"]) -> Float[Tensor, "B K"]:
        p = torch.sigmoid(self.standardise(a))
        return a * (p + (1 - p) * self.alpha)


PLAIN = {
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "identity": nn.Identity,
}
# Each makes the activation of a layer of so many units.
ACTIVATIONS: dict[str, Callable[[int], nn.Module]] = {
    **{name: lambda _, kind=kind: kind() for name, kind in PLAIN.items()},  # type: ignore[misc]
    "prelu": nn.PReLU,
    "dice": Dice,
}
NORMS = {"batch": BatchNorm, "layer": nn.LayerNorm, "none": nn.Identity}


class MLP(nn.Module):
    """Hidden layers a <- dropout(activation(norm(W a + b))), [B, K] to [B, M] with M = ``hidden_units[-1]``."""

    def __init__(self, n_in: int, hidden_units: Sequence[int], *, activation: str, norm: str, dropout: float) -> None:
        super().__init__()
        require_counts(hidden_units, "hidden_units")
        require_rate(dropout, "dropout")
        make_activation = choose(ACTIVATIONS, activation, "model.activation")
        make_norm = choose(NORMS, norm, "model.norm")
        self.layers = nn.Sequential()
        for n, m in pairwise([n_in, *hidden_units]):
            self.layers.extend([nn.Linear(n, m), make_norm(m), make_activation(m), Dropout(dropout)])

    def forward(self, x: Float[Tensor, "B K"]) -> Float[Tensor, "B M"]:
        return self.layers(x)


class LogitMLP(nn.Module):
    """An MLP and the weights that make one number of its output, h' MLP(x) + b: [B, K] to [B].

    ``bias=False`` where the model has its one bias elsewhere.
    """

    def __init__(
        self, n_in: int, hidden_units: Sequence[int], *, activation: str, norm: str, dropout: float, bias: bool
    ) -> None:
        super().__init__()
        self.hidden = MLP(n_in, hidden_units, activation=activation, norm=norm, dropout=dropout)
        self.head = Head([n_in, *hidden_units][-1], 1, bias=bias)

    def forward(self, x: Float[Tensor, "B K"]) -> Float[Tensor, " B"]:
        return self.head(self.hidden(x)).squeeze(1)
