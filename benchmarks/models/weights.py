"""How our weights get into a peer's model. A copy is a function (theirs, ours); paths are "dnn.mlp.-1.bias"."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

SIZES, FIELDS, HIDDEN = [11, 3, 7, 5], 4, [8, 4]
DIM = dict(embedding_dim=6)
MLP = dict(hidden_units=HIDDEN, activation="relu", norm="none", dropout=0.0)
EULER = dict(orders=[5, 3], drop_explicit=0.0, drop_implicit=0.0, norm=True, without="nothing", norm_penalty=0.0)
Copy = Callable[[Any, Any], None]


@dataclass(frozen=True)
class Case:
    """A model that both have. ``note`` says what differs, or with what put right ("with ...") they agree."""

    name: str
    ours: str  # conf/model's name
    settings: dict[str, Any]  # ours, beside the embedding's size
    theirs: str  # FuxiCTR: the file in model_zoo and the class; RecBole: the class
    their_settings: dict[str, Any]
    copies: Sequence[Copy]
    note: str = ""
    loss: bool = False  # compare the loss in training as well: it is the model's own
    linear: Callable[[Any, Tensor], Tensor] | None = field(default=None)  # RecBole: what stands for its linear term


def at(model: Any, path: str) -> Any:
    """The part of ``model`` at ``path``."""
    for part in filter(None, path.split(".")):
        model = model[int(part)] if part.lstrip("-").isdecimal() else getattr(model, part)
    return model


def put(theirs: Tensor, mine: Tensor) -> None:
    theirs.data = mine.data.clone().reshape(theirs.shape)


def put_layers(theirs: nn.Module, mine: nn.Module) -> None:
    """Linear and norm layers in order; a bias that only theirs has becomes 0."""
    kinds = (nn.Linear, nn.BatchNorm1d, nn.LayerNorm)
    pairs = [[layer for layer in model.modules() if isinstance(layer, kinds)] for model in (theirs, mine)]
    for a, b in zip(*pairs, strict=True):
        put(a.weight, b.weight)
        if a.bias is not None:
            put(a.bias, torch.zeros_like(a.bias) if b.bias is None else b.bias)
        if isinstance(a, nn.BatchNorm1d):
            put(a.running_mean, b.running_mean)
            put(a.running_var, b.running_var)


def weight(theirs: str, mine: str) -> Copy:
    return lambda b, a: put(at(b, theirs), at(a, mine))


def layers(theirs: str, mine: str) -> Copy:
    return lambda b, a: put_layers(at(b, theirs), at(a, mine))


def each(theirs: str, mine: str, *copies: Copy) -> Copy:
    """``copies`` for every pair of the parts in two lists."""

    def copy(b: Any, a: Any) -> None:
        for their_part, part in zip(at(b, theirs), at(a, mine), strict=True):
            for one in copies:
                one(their_part, part)

    return copy


def euler(theirs: Any, mine: Any) -> None:
    """FuxiCTR's and RecBole's EulerNet name their parts alike."""
    put(theirs.mu, mine.modulus)
    put_layers(theirs.reg, mine.head)
    for a, b in zip(theirs.Euler_interaction_layers, mine.layers, strict=True):
        put(a.inter_orders, b.orders)
        put(a.bias_lam, b.log_modulus_bias.T)
        put(a.bias_theta, b.phase_bias.T)
        for part, own in ((a.im, b.mix), (a.norm_r, b.norm_r), (a.norm_p, b.norm_p)):
            put_layers(part, own)
