"""Optimizers for tests: nothing switched on but what a test names."""

from typing import Any

from torch import nn

from eulernet.training.optimizers import OptimizerConfig, TableOptimizer
from eulernet.training.tables import Table, embeddings_of


def make(name: str, model: nn.Module, **changes: Any) -> TableOptimizer:
    """The optimizer called ``name``: one rate for all weights, no decay, no warm-up, no clipping but as changed.

    ``cowclip`` is CowClip's (r, zeta).
    """
    if changes.get("cowclip"):
        changes["cowclip_ratio"], changes["cowclip"] = changes["cowclip"]
    plain = dict(
        lr=1e-2, embedding_lr=None, warmup_steps=0, weight_decay=0.0, embedding_l2=0.0, net_l2=0.0, cowclip=None,
        cowclip_ratio=1.0,
    )  # fmt: skip
    config = OptimizerConfig(name, **{**plain, **changes})
    return TableOptimizer(model, [Table(embedding) for embedding in embeddings_of(model)], config)
