"""Weights averaged over the steps of training."""

import copy
from collections.abc import Mapping
from typing import Any

from eulernet.distributed.ranks import load_whole, local_shard
from eulernet.models.base import CTRModel
from eulernet.torch_internals import lerp_all


class Average:
    """A copy of ``source`` whose weights are the exponential average of those of ``source`` after each step.

    average <- decay average + (1 - decay) weights, from the weights after the first step on. What
    torch.optim.swa_utils.AveragedModel computes, but without waiting for the device in every step.
    """

    def __init__(self, source: CTRModel, decay: float) -> None:
        self.model = copy.deepcopy(source)
        self.decay = decay
        self._source = source
        self.steps = 0
        self._averages = [local_shard(weight.data) for weight in self.model.parameters()]
        self._weights = [local_shard(weight.data) for weight in source.parameters()]

    def update(self) -> None:
        """Update the averages after one more step."""
        share = 1.0 if self.steps == 0 else 1 - self.decay
        lerp_all(self._averages, self._weights, share)
        for kept, buffer in zip(self.model.buffers(), self._source.buffers(), strict=True):
            kept.copy_(buffer)  # running statistics are averages already
        self.steps += 1

    def state(self) -> dict[str, Any]:
        return {"steps": self.steps, "weights": self.model.state_dict()}

    def load_state(self, state: Mapping[str, Any]) -> None:
        self.steps = state["steps"]
        load_whole(self.model, state["weights"])
