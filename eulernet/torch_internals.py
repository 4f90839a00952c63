"""Every place where eulernet touches what torch does not document. Tried with torch 2.6 to 2.13.

Where a torch lacks one of these, the fallback gives the same numbers, only slower; the one exception says so.
"""

import inspect
import sys
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from eulernet.errors import require


def lerp_all(targets: Sequence[Tensor], ends: Sequence[Tensor], weight: float) -> None:
    """target <- target + weight (end - target), in place, for all pairs at once. Falls back to one after the other."""
    if foreach := getattr(torch, "_foreach_lerp_", None):
        foreach(targets, ends, weight)
        return
    for target, end in zip(targets, ends, strict=True):
        target.lerp_(end, weight)


def multiply_all(targets: Sequence[Tensor], factor: Tensor) -> None:
    """target <- factor target, in place, for all at once. Falls back to one after the other."""
    if foreach := getattr(torch, "_foreach_mul_", None):
        foreach(targets, factor)
        return
    for target in targets:
        target.mul_(factor)


def plain_step(optimizer: Optimizer) -> None:
    """``optimizer.step()`` without what torch wraps around it, which loads the compiler. Falls back to the wrapped."""
    inspect.unwrap(type(optimizer).step)(optimizer)


def leave_compiler_unloaded() -> None:
    """Let torch make optimizers without loading its compiler, where nothing is compiled.

    Some methods of theirs load it, in 1.7 s, only to tell it to keep off them: half of the time to the first step.
    Falls back to loading it.
    """
    for method in (Optimizer.add_param_group, Optimizer.state_dict, Optimizer.load_state_dict):
        plain = getattr(method, "__wrapped__", None)
        if plain is not None and not hasattr(plain, "__dynamo_disable"):
            setattr(plain, "__dynamo_disable", plain)


def uncompiled(when: bool) -> AbstractContextManager[object]:
    """Within it, and ``when`` that is true, compiled models run uncompiled.

    Only where the compiler is loaded: else there is nothing to hold back, and loading it takes a second.
    """
    loaded = "torch._dynamo" in sys.modules
    return torch.compiler.set_stance("force_eager") if when and loaded else nullcontext()


def unscales_in_step(optimizer: Any) -> bool:
    """Whether the optimizer's own step divides out the scale of a GradScaler. Falls back to no: the scaler does it."""
    return bool(getattr(optimizer, "_step_supports_amp_scaling", False))


def ignore_in_ddp(module: nn.Module, names: Iterable[str]) -> None:
    """Have DistributedDataParallel leave these parameters and buffers of ``module`` alone. No fallback: UserError."""
    from torch.nn.parallel import DistributedDataParallel

    ignore = getattr(DistributedDataParallel, "_set_params_and_buffers_to_ignore_for_model", None)
    require(ignore is not None, f"torch {torch.__version__} cannot train in several processes here; take 2.6 to 2.13")
    assert ignore is not None
    ignore(module, list(names))
