"""Everything that training changes: what a run needs to go on as if it had never stopped."""

import logging
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from eulernet.distributed.data_parallel import DataParallel, average_statistics, broadcast
from eulernet.distributed.ranks import (
    all_gather_objects,
    all_reduce,
    is_sharded,
    load_whole,
    rank,
    shard_like,
    world_size,
)
from eulernet.models.base import CTRModel
from eulernet.torch_internals import leave_compiler_unloaded
from eulernet.training import shards
from eulernet.training.average import Average
from eulernet.training.compiling import Program
from eulernet.training.config import TrainConfig
from eulernet.training.history import Epoch
from eulernet.training.optimizers import TableOptimizer
from eulernet.training.tables import LAYOUTS, Table, embeddings_of
from eulernet.training.tiny import clear_tiny, unsigned_weights

log = logging.getLogger(__name__)


class State:
    """Model, optimizer, averaged weights, loss scale, random states, finished epochs, and the place in this epoch.

    ``scored`` is the model that is validated, kept and tested: the averaged one if there is one. Of the current epoch
    ``step`` steps are done, with their ``losses``, in ``seconds``. Every rank has a State of its own; its losses are
    its parts of the batches' losses, which add up over the ranks.
    """

    def __init__(
        self,
        model: CTRModel,
        config: TrainConfig,
        device: torch.device,
        moments: Mapping[str, Any] | None = None,
        program: Program | None = None,
    ) -> None:
        self.model, self.device, self.seed = model, device, config.shuffle_seed
        self.program = program or Program(config.compile)
        self.tables = [Table(embedding) for embedding in embeddings_of(model)]
        broadcast(model, [table.weight for table in self.tables if table.in_part])
        if LAYOUTS[config.embedding] and world_size() > 1:
            for table in self.tables:  # before it moves: a whole table may be larger than the device's memory
                table.shard(device)
        model.to(device)
        self.average = Average(model, config.ema) if config.ema else None
        self.scored = model if self.average is None else self.average.model
        if self.program.compiled is False:
            leave_compiler_unloaded()
        self.optimizer = TableOptimizer(model, self.tables, config)
        self.parallel = DataParallel(model, [table.weight for table in self.tables])
        self.scaler = torch.amp.GradScaler(device.type, enabled=config.precision == "fp16")
        self.shuffle = torch.Generator().manual_seed(config.shuffle_seed)  # the rows' order depends on this seed alone
        self.history: list[Epoch] = []
        self.begin_epoch()
        if moments is not None:
            self._take_moments(moments)
        if world_size() > 1:
            self.reseed()

    def begin_epoch(self) -> None:
        self.step, self.losses, self.seconds = 0, torch.zeros(0), 0.0
        self.streams = world_size()  # in which an epoch reads its rows to its end (data/shuffling.py)
        self._shuffle_before = self.shuffle.get_state()

    def reseed(self) -> None:
        """Give each rank random numbers of its own, which follow from the seed and the steps done."""
        place = [self.seed, len(self.history), self.step, rank()]
        torch.manual_seed(int(np.random.SeedSequence(place).generate_state(1, np.uint64)[0]))

    def clear_tiny(self, every_row: bool = False) -> None:
        """Set weights, moments and averaged weights that are tiny to zero, on a CPU (``tiny.py`` says why).

        Tables of which a step touches only some rows are left out unless ``every_row``: to read all of one takes long.
        Not so their averages, which are read in every step.
        """
        if self.device.type != "cpu":
            return
        self.optimizer.clear_tiny(every_row)
        if self.average is not None:
            clear_tiny(unsigned_weights(self.average.model))

    def average_statistics(self) -> None:
        """Call it after training steps, before the model is scored or kept."""
        for model in {self.model, self.scored}:
            average_statistics(model)

    def capture(self) -> dict[str, Any]:
        """For a checkpoint: tensors, of which some may be sharded, and plain values only, of all ranks."""
        self.average_statistics()
        cuda = self.device.type == "cuda"
        random = {
            "cpu": torch.get_rng_state(),
            "cuda": torch.cuda.get_rng_state(self.device) if cuda else None,
        }
        return {
            "model": self.model.state_dict(),
            "average": None if self.average is None else self.average.state(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "shuffle": self._shuffle_before,  # the epoch that runs draws its order anew
            "random": all_gather_objects(random),
            "history": [asdict(epoch) for epoch in self.history],
            "step": self.step,
            "streams": self.streams,
            "compiled": self.program.compiled,
            "losses": all_reduce(self.losses[: self.step]),
            "seconds": self.seconds,
        }

    def restore(self, saved: Mapping[str, Any]) -> None:
        """Take on what ``capture`` returned. Raises what torch does for a state of another model or other settings."""
        mesh = next((table.mesh for table in self.tables if is_sharded(table.weight)), None)

        def part(name: str) -> Any:
            return shards.read(saved[name], name, saved.get("checkpoint", Path()), mesh)

        load_whole(self.model, part("model"))
        self.optimizer.load_state_dict(self._own_part(part("optimizer")))
        if self.average is not None:
            self.average.load_state(part("average"))
        self.scaler.load_state_dict(saved["scaler"])
        self.shuffle.set_state(saved["shuffle"])
        self.history = [Epoch(**epoch) for epoch in saved["history"]]
        self.begin_epoch()
        self.step, self.seconds = saved["step"], saved["seconds"]
        if self.step:
            self.streams = saved.get("streams", world_size())  # an older eulernet has none
        if self.program.compiled is None:
            self.program.compiled = saved.get("compiled")  # what the run chose, if it did
        self.losses = saved["losses"].to(self.device) * (rank() == 0)
        self._restore_random(saved["random"])

    def _take_moments(self, moments: Mapping[str, Any]) -> None:
        """Go on with the moments that ``growth.grow_moments`` made of an earlier run's, by this run's settings."""
        groups = [
            {**group, "steps": moments["steps"].get(group["tables"], 0)}
            for group in self.optimizer.state_dict()["param_groups"]
        ]
        self.optimizer.load_state_dict(self._own_part({"state": moments["state"], "param_groups": groups}))

    def _own_part(self, saved: Mapping[str, Any]) -> dict[str, Any]:
        """The optimizer's state as this rank needs it: of a sharded table only the part of its rows."""
        weights = [weight for group in self.optimizer.param_groups for weight in group["params"]]
        state = dict(saved["state"])
        for number, weight in enumerate(weights):
            if is_sharded(weight) and number in state:
                state[number] = {name: shard_like(value, weight) for name, value in state[number].items()}
        return {**saved, "state": state}

    def _restore_random(self, saved: list[dict[str, Tensor | None]]) -> None:
        if len(saved) != world_size():
            log.warning(
                "the run was stopped in %d processes, now %d: dropout draws other masks", len(saved), world_size()
            )
            self.reseed()
            return
        cpu, cuda = saved[rank()]["cpu"], saved[rank()]["cuda"]
        assert cpu is not None
        torch.set_rng_state(cpu)
        if (self.device.type == "cuda") != (cuda is not None):
            log.warning("the run began on another kind of device: it goes on, but not to the same bits")
        elif cuda is not None:
            torch.cuda.set_rng_state(cuda, self.device)

    def losses_for(self, steps: int) -> Tensor:
        """A tensor for the losses of ``steps`` steps, which has those of the steps that are done."""
        room = torch.zeros(steps, device=self.device)
        room[: self.step] = self.losses[: self.step]
        self.losses = room
        return room
