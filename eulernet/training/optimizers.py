"""Optimizers over groups of weights: embedding tables, and the rest (the net)."""

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from eulernet.features import FieldEmbedding
from eulernet.training.cowclip import clip_rows
from eulernet.training.touched import adagrad_rows, adam_rows

_plain_step = inspect.unwrap(torch.optim.Adam.step)  # what torch wraps around it loads the compiler


class TableAdam(torch.optim.Adam):
    """Adam with coupled decay, the gradient plus decay times weight, as in torch.optim.Adam and the published code.

    ``weight_decay`` is the authors' (on every weight). ``embedding_l2`` and ``net_l2`` are the FuxiCTR port's
    regularisers, lambda/2 |w|^2 over the embedding tables, and over the other weights that their module calls
    ``weight`` or ``bias`` (FuxiCTR 2.3.2, which made the authors' public logs, leaves out the rest: EulerNet's mu,
    orders and biases). Their gradient is lambda w, so each joins the decay of its group and costs nothing. Fused where
    the device allows it; the gradients of the tables are kept (``FieldEmbedding.keep_gradient``).

    The tables step with ``embedding_lr`` in place of ``lr``; a schedule that sets the groups' ``lr`` scales both alike.
    For the first ``warmup_steps`` steps the net's rate rises linearly from 0, the tables' does not: as in CowClip's
    code. With ``cowclip``, CowClip's (r, zeta), the gradients of the tables are first clipped by ``clip_rows``, but
    for those of linear terms (D = 1), which its code spares too.
    """

    # Steps some rows of a table: (weight, rows, its state, its group). Where there is none Adam steps the whole table.
    step_rows: Callable[[Tensor, Tensor, dict[str, Any], dict[str, Any]], None] | None = None

    def __init__(
        self,
        model: nn.Module,
        *,
        lr: float,
        embedding_lr: float,
        weight_decay: float,
        embedding_l2: float,
        net_l2: float,
        warmup_steps: int,
        cowclip: tuple[float, float] | None,
    ) -> None:
        self.embeddings = [module for module in model.modules() if isinstance(module, FieldEmbedding)]
        self.embedding_scale, self.warmup_steps, self.cowclip = embedding_lr / lr, warmup_steps, cowclip
        tables = {w for embedding in self.embeddings for w in embedding.parameters()}
        net = {name: w for name, w in model.named_parameters() if w not in tables}
        plain = {name for name in net if name.rpartition(".")[2] in ("weight", "bias")}
        groups: list[dict[str, Any]] = [
            {"params": [w for w in model.parameters() if w in tables], "weight_decay": weight_decay + embedding_l2},
            {"params": [w for name, w in net.items() if name in plain], "weight_decay": weight_decay + net_l2},
            {"params": [w for name, w in net.items() if name not in plain], "weight_decay": weight_decay},
        ]
        for group in groups:
            group.update(tables=group is groups[0], steps=0)
        devices = {w.device.type for w in model.parameters()}
        super().__init__([g for g in groups if g["params"]], lr=lr, fused=devices <= {"cpu", "cuda"})
        self.net = list(net.values())
        for embedding in self.embeddings:
            embedding.keep_gradient()
        if cowclip or self.step_rows:  # a GradScaler must divide its scale out before the step, not within Adam's
            self._step_supports_amp_scaling = False

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        groups = self.param_groups
        for group in groups:
            group["steps"] += 1
        now = [{**group, "lr": group["lr"] * self._scale(group)} for group in groups]
        if self.cowclip or self.step_rows:
            self._step_tables(next(group for group in now if group["tables"]))
        self.param_groups = [group for group in now if not (group["tables"] and self.step_rows)]
        _plain_step(self)
        self.param_groups = groups

    def _step_tables(self, group: dict[str, Any]) -> None:
        """Clip the gradients of the tables; step the rows that the batch looked up, if that is this optimizer's way."""
        for embedding in self.embeddings:
            weight = embedding.table.weight
            rows, counts = embedding.touched_rows()
            if self.cowclip and weight.shape[1] > 1:
                clip_rows(weight, rows, counts, *self.cowclip)
            if self.step_rows:
                self.step_rows(weight, rows, self.state[weight], group)

    def _scale(self, group: dict[str, Any]) -> float:
        """What the rate of this step is times the schedule's."""
        if group["tables"]:
            return self.embedding_scale
        return min(1.0, group["steps"] / self.warmup_steps) if self.warmup_steps else 1.0

    def zero_grad(self, set_to_none: bool = True) -> None:
        for embedding in self.embeddings:
            embedding.clear_gradient()
        for weight in self.net:
            weight.grad = None


class TouchedAdam(TableAdam):
    """Adam whose tables step only in the rows that the batch looked up (``adam_rows``)."""

    step_rows = staticmethod(adam_rows)


class RowwiseAdagrad(TableAdam):
    """Row-wise Adagrad for the rows of the tables that the batch looked up (``adagrad_rows``), Adam for the net."""

    step_rows = staticmethod(adagrad_rows)


OPTIMIZERS = {"adam": TableAdam, "touched_adam": TouchedAdam, "rowwise_adagrad": RowwiseAdagrad}
