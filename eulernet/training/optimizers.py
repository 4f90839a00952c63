"""Optimizers over groups of weights: embedding tables, and the rest (the net)."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from eulernet.errors import choose, require
from eulernet.torch_internals import plain_step, unscales_in_step
from eulernet.training.row_steps import adagrad_rows, adam_rows
from eulernet.training.tables import Table
from eulernet.training.tiny import clear_tiny, unsigned_weights


@dataclass(frozen=True)
class Method:
    """How weights step."""

    net: Callable[..., Optimizer]  # torch's
    # Steps the touched rows of a table; None where ``net`` steps tables as well.
    rows: Callable[[Tensor, Tensor, dict[str, Any], dict[str, Any]], None] | None = None
    decoupled: bool = False  # weight_decay shrinks weights apart from the gradient, and only those of the net


# adam: dense Adam. Every row of a table decays and coasts on its momentum in every step, looked up or not.
# adamw: the same, but decay is decoupled and spares the tables.
# touched_adam: Adam that steps, of a table, only the rows that the batch looked up.
# rowwise_adagrad: row-wise Adagrad for the touched rows of tables, Adam for the net.
OPTIMIZERS = {
    "adam": Method(torch.optim.Adam),
    "adamw": Method(torch.optim.AdamW, decoupled=True),
    "touched_adam": Method(torch.optim.Adam, rows=adam_rows),
    "rowwise_adagrad": Method(torch.optim.Adam, rows=adagrad_rows),
}


@dataclass(frozen=True)
class OptimizerConfig:
    """The settings of an optimizer; ``conf/train/`` says what each is for. UserError for impossible ones."""

    optimizer: str
    lr: float
    embedding_lr: float | None
    warmup_steps: int
    weight_decay: float
    embedding_l2: float
    net_l2: float
    cowclip: float | None
    cowclip_ratio: float

    def __post_init__(self) -> None:
        require(self.lr > 0, f"train.lr must be positive, got {self.lr}")
        for name in ("weight_decay", "embedding_l2", "net_l2", "warmup_steps"):
            require(getattr(self, name) >= 0, f"train.{name} must not be negative, got {getattr(self, name)}")
        for name in ("embedding_lr", "cowclip"):
            value = getattr(self, name)
            require(value is None or value > 0, f"train.{name} must be positive or null, got {value}")
        require(self.cowclip_ratio > 0, f"train.cowclip_ratio must be positive, got {self.cowclip_ratio}")
        if choose(OPTIMIZERS, self.optimizer, "train.optimizer").decoupled:
            for name in ("embedding_l2", "net_l2"):
                why = f"train.optimizer={self.optimizer} decays by train.weight_decay alone; leave train.{name} at 0"
                require(getattr(self, name) == 0, why)


class TableOptimizer:
    """The optimizer of a model with embedding tables: torch's, with groups of its own, and table steps before it.

    ``weight_decay`` is coupled, as the authors have it: every weight's gradient gets decay times weight (with a
    ``decoupled`` method the weights of the net shrink by lr times decay instead). ``embedding_l2`` and ``net_l2`` are
    the FuxiCTR port's regularisers: lambda/2 |w|^2 over the tables, and over the other weights that their module calls
    ``weight`` or ``bias`` (FuxiCTR 2.3.2, which made the authors' public logs, leaves out the rest: EulerNet's mu,
    orders and biases). Their gradient is lambda w, so each joins the decay of its group and costs nothing.

    The tables step with ``embedding_lr`` in place of ``lr``; a schedule that sets the groups' ``lr`` scales both alike.
    For the first ``warmup_steps`` steps the net's rate rises linearly from 0, the tables' does not: as in CowClip's
    code. With ``cowclip`` the gradients of the tables are first clipped (``Table.clip_gradient``), except those of
    linear terms (D = 1), which CowClip's code spares too.
    """

    def __init__(self, model: nn.Module, tables: Sequence[Table], config: OptimizerConfig) -> None:
        self.tables, self.config, method = tables, config, OPTIMIZERS[config.optimizer]
        self.step_rows = method.rows
        in_tables = {table.weight for table in tables}
        net = {name: w for name, w in model.named_parameters() if w not in in_tables}
        plain = {name for name in net if name.rpartition(".")[2] in ("weight", "bias")}
        decay, of_tables = config.weight_decay, 0.0 if method.decoupled else config.weight_decay
        groups: list[dict[str, Any]] = [
            {
                "params": [w for w in model.parameters() if w in in_tables],
                "weight_decay": of_tables + config.embedding_l2,
            },
            {"params": [w for name, w in net.items() if name in plain], "weight_decay": decay + config.net_l2},
            {"params": [w for name, w in net.items() if name not in plain], "weight_decay": decay},
        ]
        for group in groups:
            group.update(tables=group is groups[0], steps=0)
        fused = {w.device.type for w in model.parameters()} <= {"cpu", "cuda"}
        settings = {"fused": fused} if "fused" in inspect.signature(method.net).parameters else {}
        self.net, self.cleared = list(net.values()), set(unsigned_weights(model))
        self.inner = method.net([group for group in groups if group["params"]], lr=config.lr, **settings)
        for table in tables:
            table.keep_gradient()
        # A GradScaler divides its scale out before the step, where tables step by themselves, or within torch's.
        self._step_supports_amp_scaling = unscales_in_step(self.inner) and not (config.cowclip or self.step_rows)

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        return self.inner.param_groups

    def state_dict(self) -> dict[str, Any]:
        return self.inner.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.inner.load_state_dict(dict(state))

    def set_rate(self, lr: float) -> None:
        """The learning rate of the steps to come; tables with a rate of their own keep their ratio to it."""
        for group in self.param_groups:
            group["lr"] = lr

    @torch.no_grad()
    def step(self) -> None:
        groups = self.inner.param_groups
        for group in groups:
            group["steps"] += 1
        now = [{**group, "lr": group["lr"] * self._scale(group)} for group in groups]
        for group in now:
            if group["tables"]:
                self._step_tables(group)
        for name in ("grad_scale", "found_inf"):  # a GradScaler leaves them here for a fused step
            setattr(self.inner, name, getattr(self, name, None))
        self.inner.param_groups = [group for group in now if not (group["tables"] and self.step_rows)]
        plain_step(self.inner)
        self.inner.param_groups = groups

    def _step_tables(self, group: dict[str, Any]) -> None:
        """Clip the gradients of the tables; step the rows that the batch looked up, if that is this method's way."""
        for table in self.tables:
            if self.config.cowclip and table.weight.shape[1] > 1:
                table.clip_gradient(self.config.cowclip_ratio, self.config.cowclip)
            if self.step_rows:
                self.step_rows(table.weight, table.touched_rows()[0], self.inner.state[table.weight], group)

    def _scale(self, group: dict[str, Any]) -> float:
        """The factor from the schedule's rate to that of this step."""
        config = self.config
        if group["tables"]:
            return 1.0 if config.embedding_lr is None else config.embedding_lr / config.lr
        return min(1.0, group["steps"] / config.warmup_steps) if config.warmup_steps else 1.0

    def clear_tiny(self, every_row: bool) -> None:
        """Set tiny weights and moments to zero; the tables that step by rows only if ``every_row``."""
        for group in self.inner.param_groups:
            if every_row or not (group["tables"] and self.step_rows):
                for weight in self.cleared.intersection(group["params"]):
                    clear_tiny([weight, *(value for value in self.inner.state.get(weight, {}).values() if value.dim())])

    def zero_grad(self) -> None:
        for table in self.tables:
            table.clear_gradient()
        for weight in self.net:
            weight.grad = None
