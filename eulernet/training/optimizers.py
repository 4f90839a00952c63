"""Optimizers over groups of weights: embedding tables, and the rest (the net)."""

import inspect
from typing import Any

import torch
from torch import nn

from eulernet.features import FieldEmbedding

_plain_step = inspect.unwrap(torch.optim.Adam.step)  # what torch wraps around it loads the compiler


class TableAdam(torch.optim.Adam):
    """Adam with coupled decay, the gradient plus decay times weight, as in torch.optim.Adam and the published code.

    ``weight_decay`` is the authors' (on every weight). ``embedding_l2`` and ``net_l2`` are the FuxiCTR port's
    regularisers, lambda/2 |w|^2 over the embedding tables, and over the other weights that their module calls
    ``weight`` or ``bias`` (FuxiCTR 2.3.2, which made the authors' public logs, leaves out the rest: EulerNet's mu,
    orders and biases). Their gradient is lambda w, so each joins the decay of its group and costs nothing. Fused where
    the device allows it; the gradients of the tables are kept (``FieldEmbedding.keep_gradient``).
    """

    def __init__(self, model: nn.Module, *, lr: float, weight_decay: float, embedding_l2: float, net_l2: float) -> None:
        self.embeddings = [module for module in model.modules() if isinstance(module, FieldEmbedding)]
        tables = {w for embedding in self.embeddings for w in embedding.parameters()}
        net = {name: w for name, w in model.named_parameters() if w not in tables}
        plain = {name for name in net if name.rpartition(".")[2] in ("weight", "bias")}
        groups: list[dict[str, Any]] = [
            {"params": [w for w in model.parameters() if w in tables], "weight_decay": weight_decay + embedding_l2},
            {"params": [w for name, w in net.items() if name in plain], "weight_decay": weight_decay + net_l2},
            {"params": [w for name, w in net.items() if name not in plain], "weight_decay": weight_decay},
        ]
        devices = {w.device.type for w in model.parameters()}
        super().__init__([g for g in groups if g["params"]], lr=lr, fused=devices <= {"cpu", "cuda"})
        self.net = list(net.values())
        for embedding in self.embeddings:
            embedding.keep_gradient()

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        _plain_step(self)

    def zero_grad(self, set_to_none: bool = True) -> None:
        for embedding in self.embeddings:
            embedding.clear_gradient()
        for weight in self.net:
            weight.grad = None


OPTIMIZERS = {"adam": TableAdam}
