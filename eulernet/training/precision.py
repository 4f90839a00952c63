"""Number formats and compilation: how a model computes, not what."""

from contextlib import AbstractContextManager

import torch
from torch import nn
from torch.optim import Optimizer

from eulernet.features import FieldEmbedding

PRECISIONS = {"fp32": None, "tf32": None, "bf16": torch.bfloat16, "fp16": torch.float16}


def products_in(precision: str, device: torch.device) -> AbstractContextManager[object]:
    """Within it, matrix products are computed in ``precision``; weights, sums and logits stay float32.

    tf32 is float32 whose products a GPU may round to TensorFloat-32; a CPU computes them in float32.
    """
    torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")
    dtype = PRECISIONS[precision]
    # The casts of the weights are not kept over steps: between two steps all of them have changed.
    return torch.autocast(device.type, dtype=dtype or torch.bfloat16, enabled=dtype is not None, cache_enabled=False)


def compile_model(model: nn.Module, device: torch.device) -> None:
    """Have torch compile ``model`` at its first batch, for that batch size; on a GPU as one CUDA graph a piece."""
    for module in model.modules():
        if isinstance(module, FieldEmbedding):  # the compiler cannot follow a gradient that autograd does not see
            module.look_up_unseen = torch.compiler.disable(module.look_up_unseen)  # type: ignore[method-assign]
    model.compile(dynamic=False, mode="reduce-overhead" if device.type == "cuda" else None)


def leave_compiler_unloaded() -> None:
    """Let torch make optimizers without its compiler.

    Some methods of theirs load it, in 1.7 s, only to tell it to keep off them; where nothing is compiled that is half
    of the way to the first step. A torch that does otherwise is left alone.
    """
    for method in (Optimizer.add_param_group, Optimizer.state_dict, Optimizer.load_state_dict):
        plain = getattr(method, "__wrapped__", None)
        if plain is not None and not hasattr(plain, "__dynamo_disable"):
            setattr(plain, "__dynamo_disable", plain)
