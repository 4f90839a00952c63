"""Compiled steps or plain ones: what ``train.compile`` says, or for ``auto`` what is measured to be faster here."""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median
from typing import Any

import torch
from torch import nn

from eulernet.distributed.ranks import all_reduce
from eulernet.layers.pooling import ActivationUnit
from eulernet.torch_internals import uncompiled
from eulernet.training.tables import Table, embeddings_of

log = logging.getLogger(__name__)

COMPILE = {"false": False, "true": True, "auto": None}
WARM_UP, TIMED = 3, 15  # steps of each way: first some that do not count, then those that are timed
WORTH = (
    300.0  # seconds that the sure epochs must take uncompiled: compiling takes up to half a minute, and gains a tenth
)


class Program:
    """How training steps run. ``compiled`` is None as long as that is being measured.

    The choice of ``auto`` follows from a clock: two runs of one seed may choose otherwise, and then differ in their
    last bits. A resumed run keeps the choice. Scoring is never compiled, so no figure of an epoch hangs on it.

    >>> program = Program("false")
    >>> program.begin(nn.Linear(2, 1), torch.device("cpu"), sure_steps=100)
    >>> with program.step(whole=True):
    ...     pass  # a training step
    >>> program.report()
    {'compiled': False}
    """

    def __init__(self, choice: str) -> None:
        self.compiled = COMPILE[choice]
        self.seconds: dict[bool, list[float]] = {False: [], True: []}  # of each step, by whether it was compiled
        self.trying = False  # whether compiled steps are timed now

    def begin(self, model: nn.Module, device: torch.device, sure_steps: int) -> None:
        """Take on ``model``. ``sure_steps`` is how many steps are certain to come: a short run is not compiled."""
        self.model, self.device, self.sure_steps = model, device, sure_steps
        if self.compiled:
            compile_model(model, device)

    @contextmanager
    def step(self, whole: bool) -> Iterator[None]:
        """Around one training step; ``whole`` if it has as many rows as most: a shorter one is never compiled."""
        measured = self.compiled is None
        with uncompiled(not (whole and (self.trying if measured else self.compiled))):
            start = self.now() if measured else 0.0
            yield
        if measured and whole:
            self.note(self.now() - start)

    def now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()

    def note(self, seconds: float) -> None:
        """Take the time of one step; after enough of them turn to compiled ones, then choose, all ranks alike."""
        self.seconds[self.trying].append(seconds)
        if len(self.seconds[self.trying]) < WARM_UP + TIMED:
            return
        plain, compiled = all_reduce(torch.tensor(self.medians(), device=self.device)).tolist()
        if self.trying:
            self.compiled = compiled < plain
            log.info("train.compile=auto: %s", self.report())
        elif plain * self.sure_steps < WORTH:
            self.compiled = False
        else:
            self.trying = True
            compile_model(self.model, self.device)

    def medians(self) -> list[float]:
        """Seconds of a step, plain and compiled; 0 where none was timed."""
        return [median(times[WARM_UP:] or [0.0]) for times in (self.seconds[False], self.seconds[True])]

    def report(self) -> dict[str, Any]:
        """For report.json: the choice, and the milliseconds of a step each way, where they were measured."""
        names = ("uncompiled_ms", "compiled_ms")
        timed = {name: round(1e3 * value, 3) for name, value in zip(names, self.medians(), strict=True) if value}
        return {"compiled": bool(self.compiled), **timed}


def compile_model(model: nn.Module, device: torch.device) -> None:
    """Have torch compile ``model`` at its first batch, for that batch size; on a GPU as one CUDA graph a piece.

    torch keeps compiled code in a folder (TORCHINDUCTOR_CACHE_DIR): a second run of the same model begins sooner.
    """
    for embedding in embeddings_of(model):
        if isinstance(embedding.read, Table):
            embedding.read.hide_from_compiler()
    for module in model.modules():
        if isinstance(module, ActivationUnit):
            module.hide_from_compiler()
    model.compile(dynamic=False, mode="reduce-overhead" if device.type == "cuda" else None)
