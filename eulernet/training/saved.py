"""What the state in a checkpoint must look like: it may come from anywhere."""

import math
from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any

from torch import Tensor

from eulernet.training.history import Epoch


def complaint(state: Mapping[str, Any]) -> str | None:
    """Names the first value of ``state`` that ``State.capture`` would not give, None if there is none."""
    for name, fits in CHECKS.items():
        value = state.get(name)
        try:
            if not fits(value):
                return f"{name}: {value!r}"[:80]
        except (TypeError, ValueError, LookupError, AttributeError):
            return f"{name}: {value!r}"[:80]
    return None if len(state["losses"]) == state["step"] else f"{len(state['losses'])} losses of {state['step']} steps"


def _is_a(kind: Any) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, kind)


def _is_history(value: Any) -> bool:
    names = {field.name for field in fields(Epoch)}
    numbers = [epoch["epoch"] for epoch in value]
    return numbers == list(range(1, len(value) + 1)) and all(
        set(epoch) == names and all(math.isfinite(one) for one in epoch.values()) for epoch in value
    )


def _is_about(value: Any) -> bool:
    """Who started the run; a caller of ``fit`` may leave it out."""
    if value is None:
        return True
    words = [*value["overrides"], value["commit"] or ""]
    whole = isinstance(value["overrides"], list) and isinstance(value.get("threads", 1), int | str)
    return whole and all(isinstance(word, str) for word in words)


CHECKS: dict[str, Callable[[Any], bool]] = {
    "model": _is_a(dict),
    "average": _is_a(dict | None),
    "optimizer": _is_a(dict),
    "scaler": _is_a(dict),
    "shuffle": _is_a(Tensor),
    "random": lambda value: isinstance(value, list) and all(isinstance(one["cpu"], Tensor) for one in value),
    "history": _is_history,
    "step": lambda value: isinstance(value, int) and value >= 0,
    "streams": lambda value: value is None or value >= 1,
    "losses": lambda value: value.dim() == 1 and bool(value.isfinite().all()),
    "seconds": lambda value: 0 <= value < math.inf,
    "about": _is_about,
}
