"""Number formats: how a model computes, not what."""

from contextlib import AbstractContextManager

import torch

PRECISIONS = {"fp32": None, "tf32": None, "bf16": torch.bfloat16, "fp16": torch.float16}


def products_in(precision: str, device: torch.device) -> AbstractContextManager[object]:
    """Within it, matrix products are computed in ``precision``; weights, sums and logits stay float32.

    tf32 is float32 whose products a GPU may round to TensorFloat-32; a CPU computes them in float32.
    """
    torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")
    dtype = PRECISIONS[precision]
    # The casts of the weights are not kept over steps: between two steps all of them have changed.
    return torch.autocast(device.type, dtype=dtype or torch.bfloat16, enabled=dtype is not None, cache_enabled=False)
