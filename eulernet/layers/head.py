"""Where a model ends."""

import torch
from jaxtyping import Float
from torch import Tensor, nn


class Head(nn.Linear):
    """nn.Linear in the precision of its weights, under autocast too: 8 bits of a logit would make ties of many rows."""

    def forward(self, x: Float[Tensor, "B K"]) -> Float[Tensor, "B M"]:
        with torch.autocast(x.device.type, enabled=False):
            return super().forward(x.to(self.weight.dtype))
