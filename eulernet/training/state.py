"""What training changes: all that a run needs to go on as if it had never stopped."""

import logging
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from eulernet.models.base import CTRModel
from eulernet.training.average import Average
from eulernet.training.config import TrainConfig
from eulernet.training.history import Epoch
from eulernet.training.optimizers import OPTIMIZERS
from eulernet.training.precision import leave_compiler_unloaded

log = logging.getLogger(__name__)


class State:
    """Model, optimizer, averaged weights, loss scale, random states, finished epochs, and the place in this epoch.

    ``scored`` is the model that is validated, kept and tested: the averaged one if there is one. ``step`` steps of the
    epoch that runs are done, with their losses, in ``seconds``.
    """

    def __init__(self, model: CTRModel, config: TrainConfig, device: torch.device) -> None:
        self.model, self.device = model, device
        self.average = Average(model, config.ema) if config.ema else None
        self.scored = model if self.average is None else self.average.model
        if not config.compile:
            leave_compiler_unloaded()
        self.optimizer = OPTIMIZERS[config.optimizer](model, **config.optimizer_settings())
        self.scaler = torch.amp.GradScaler(device.type, enabled=config.precision == "fp16")
        self.shuffle = torch.Generator().manual_seed(config.shuffle_seed)  # the rows' order depends on this seed alone
        self.history: list[Epoch] = []
        self.begin_epoch()

    def begin_epoch(self) -> None:
        self.step, self.losses, self.seconds = 0, torch.zeros(0), 0.0
        self._shuffle_before = self.shuffle.get_state()

    def capture(self) -> dict[str, Any]:
        """For a checkpoint: tensors and plain values only."""
        cuda = self.device.type == "cuda"
        return {
            "model": self.model.state_dict(),
            "average": None if self.average is None else self.average.state(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "shuffle": self._shuffle_before,  # the epoch that runs draws its order anew
            "random": {
                "cpu": torch.get_rng_state(),
                "cuda": torch.cuda.get_rng_state(self.device) if cuda else None,
            },
            "history": [asdict(epoch) for epoch in self.history],
            "step": self.step,
            "losses": self.losses[: self.step],
            "seconds": self.seconds,
        }

    def restore(self, saved: Mapping[str, Any]) -> None:
        """Take on what ``capture`` gave. Raises what torch does for a state of another model or other settings."""
        self.model.load_state_dict(saved["model"])
        self.optimizer.load_state_dict(saved["optimizer"])
        if self.average is not None:
            self.average.load_state(saved["average"])
        self.scaler.load_state_dict(saved["scaler"])
        self.shuffle.set_state(saved["shuffle"])
        self.history = [Epoch(**epoch) for epoch in saved["history"]]
        self.begin_epoch()
        self.step, self.losses, self.seconds = saved["step"], saved["losses"].to(self.device), saved["seconds"]
        torch.set_rng_state(saved["random"]["cpu"])
        cuda = saved["random"]["cuda"]
        if (self.device.type == "cuda") != (cuda is not None):
            log.warning("the run began on another kind of device: it goes on, but not to the same bits")
        elif cuda is not None:
            torch.cuda.set_rng_state(cuda, self.device)

    def losses_for(self, steps: int) -> Tensor:
        """Room for the loss of each of ``steps`` steps, those that are done filled in."""
        room = torch.zeros(steps, device=self.device)
        room[: self.step] = self.losses[: self.step]
        self.losses = room
        return room
