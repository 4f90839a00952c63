"""Optimizers over groups of weights: embedding tables, and the rest (the net)."""

import torch
from torch import nn

from eulernet.features import FieldEmbedding


def make_adam(
    model: nn.Module, *, lr: float, weight_decay: float, embedding_l2: float, net_l2: float
) -> torch.optim.Adam:
    """Adam with coupled decay, the gradient plus decay times weight, as in torch.optim.Adam and the published code.

    ``weight_decay`` is the authors' (on every weight). ``embedding_l2`` and ``net_l2`` are the FuxiCTR port's
    regularisers, lambda/2 |w|^2 over the embedding tables, and over the other weights that their module calls
    ``weight`` or ``bias`` (FuxiCTR 2.3.2, which made the authors' public logs, leaves out the rest: EulerNet's mu,
    orders and biases). Their gradient is lambda w, so each joins the decay of its group and costs nothing. Fused where
    the device allows it.
    """
    tables = {w for module in model.modules() if isinstance(module, FieldEmbedding) for w in module.parameters()}
    net = {name: w for name, w in model.named_parameters() if w not in tables}
    plain = {name for name in net if name.rpartition(".")[2] in ("weight", "bias")}
    groups = [
        {"params": [w for w in model.parameters() if w in tables], "weight_decay": weight_decay + embedding_l2},
        {"params": [w for name, w in net.items() if name in plain], "weight_decay": weight_decay + net_l2},
        {"params": [w for name, w in net.items() if name not in plain], "weight_decay": weight_decay},
    ]
    devices = {w.device.type for w in model.parameters()}
    return torch.optim.Adam([g for g in groups if g["params"]], lr=lr, fused=devices <= {"cpu", "cuda"})


OPTIMIZERS = {"adam": make_adam}
