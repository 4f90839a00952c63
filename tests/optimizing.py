"""Settings of the optimizers for tests: nothing switched on but what a test names."""

from typing import Any


def settings(*, lr: float = 1e-2, **changes: Any) -> dict[str, Any]:
    """What every optimizer takes: one rate for all weights, no decay, no warm-up, no clipping."""
    plain = dict(embedding_lr=lr, weight_decay=0.0, embedding_l2=0.0, net_l2=0.0, warmup_steps=0, cowclip=None)
    return {"lr": lr, **plain, **changes}
