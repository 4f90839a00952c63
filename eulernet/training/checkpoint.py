"""Checkpoints of a run: what it needs to go on as if it had never stopped, and its best weights until then.

    checkpoints/000007/last.ckpt            the state of training
                       model.safetensors    the best weights so far; missing before the first epoch is over
                       checkpoint.json      the checksums of both, by which damage is noticed
    last.ckpt, model.safetensors            those of the newest checkpoint (hard links, where the disk has them)

A checkpoint appears under its number when all of it is on the disk. The newest ``keep`` stay.
"""

import json
import logging
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from eulernet.distributed.ranks import barrier, gather_whole, load_whole, rank
from eulernet.errors import UserError, require
from eulernet.files import checksum, remove_left, replacing
from eulernet.training.files import PLACE, writing
from eulernet.training.saved import complaint

log = logging.getLogger(__name__)

FORMAT = 3  # of last.ckpt
WEIGHTS, LAST, CHECKPOINTS, SUMS = "model.safetensors", "last.ckpt", "checkpoints", "checkpoint.json"


class Checkpoints:
    """Writes the checkpoints of ``run``: all ranks call it, rank 0 writes.

    A run that goes on gives what ``load_last`` returned as ``saved``: newer checkpoints are damaged, and removed. A new
    run removes those of an older run in its folder.
    """

    def __init__(self, run: Path, keep: int, saved: Mapping[str, Any] | None) -> None:
        self.run, self.keep, self.number = run, keep, 0
        self.weights: Path | None = None  # the best so far
        self.sum: str | None = None  # their checksum
        if saved is not None:
            folder: Path = saved["checkpoint"]
            self.number = int(folder.name) if folder != run else 0  # an older eulernet numbered none
            self.weights = folder / WEIGHTS if (folder / WEIGHTS).exists() else None
        if rank() == 0:
            remove_left(run / CHECKPOINTS)
            for other in numbered(run):
                if int(other.name) > self.number:
                    shutil.rmtree(other)
            if self.weights is not None:
                self.sum = checksum(self.weights)
            if self.number:
                self._show(self.folder)
        barrier()

    @property
    def folder(self) -> Path:
        """The newest one."""
        return self.run / CHECKPOINTS / f"{self.number:06}"

    def save(self, capture: Callable[[], dict[str, Any]], best: nn.Module | None = None) -> None:
        """Write one with the state that ``capture`` returns, and with the weights of ``best`` if they are the new best.

        UserError when it cannot be written: those before it stay.
        """
        self.number += 1
        if rank() == 0:
            self.folder.parent.mkdir(exist_ok=True)
        with replacing(self.folder, place=PLACE) if rank() == 0 else nullcontext() as folder:
            if folder is not None:
                folder.mkdir()
            if best is not None:
                self._write_weights(best, folder)
            elif folder is not None and self.weights is not None:
                link(self.weights, folder / WEIGHTS)
            state = capture()
            if folder is not None:
                with writing(self.run / LAST):
                    torch.save({"format": FORMAT, **state, "best": self.sum}, folder / LAST)
                sums = {LAST: checksum(folder / LAST), WEIGHTS: self.sum}
                (folder / SUMS).write_text(json.dumps({"format": 1, "sha256": sums}, indent=2) + "\n")
        if rank() == 0:
            self.weights = self.folder / WEIGHTS if self.sum else None
            self._show(self.folder)
            for old in list(numbered(self.run))[self.keep :]:
                shutil.rmtree(old)
        barrier()  # other ranks read the weights only when they are shown

    def load_best(self, model: nn.Module) -> None:
        load_weights(model, self.run)

    def _write_weights(self, model: nn.Module, folder: Path | None) -> None:
        """The weights of ``model``, whole whether or not they are sharded: all ranks call it."""
        weights = gather_whole(model.state_dict())
        if folder is not None:
            with writing(self.run / WEIGHTS):
                save_file({name: tensor.contiguous() for name, tensor in weights.items()}, folder / WEIGHTS)
            (folder / WEIGHTS).chmod(0o644)  # safetensors lets only the owner read
            self.sum = checksum(folder / WEIGHTS)

    def _show(self, checkpoint: Path) -> None:
        """Make the files of ``checkpoint`` those of the run folder."""
        for name in (WEIGHTS, LAST):
            new, shown = checkpoint / name, self.run / name
            if new.exists() and not (shown.exists() and shown.samefile(new)):
                with replacing(shown, place=PLACE) as temporary:
                    link(new, temporary)


class BestInMemory:
    """The best weights of a run that has no folder: nothing can go on from them."""

    def __init__(self) -> None:
        self.weights: dict[str, torch.Tensor] = {}

    def save(self, capture: Callable[[], dict[str, Any]], best: nn.Module | None = None) -> None:
        if best is not None:
            self.weights = {name: value.detach().clone() for name, value in best.state_dict().items()}

    def load_best(self, model: nn.Module) -> None:
        model.load_state_dict(self.weights)


def numbered(run: Path) -> Iterator[Path]:
    """The checkpoints of ``run``, the newest first."""
    yield from sorted((run / CHECKPOINTS).glob("[0-9]" * 6), reverse=True)


def load_weights(model: nn.Module, run: Path) -> None:
    """Put the best weights of ``run`` into ``model``. UserError if they are damaged or of another model."""
    file = run / WEIGHTS
    try:
        load_whole(model, load_file(file))
    except (OSError, SafetensorError) as error:
        raise UserError(f"{file} cannot be read ({error})") from None
    except RuntimeError as error:
        raise UserError(f"{file} does not fit the model of this run ({_first_line(error)})") from None


def load_last(run: Path, *, model_name: str, dataset: str) -> dict[str, Any]:
    """The newest checkpoint of ``run`` that is whole, with its folder as "checkpoint"; a warning names damaged ones.

    UserError if there is none, if it is of another model or dataset, or if the best weights of ``run`` belong to no
    checkpoint. A run of an older eulernet has last.ckpt alone.
    """
    checkpoints = list(numbered(run))
    require(
        bool(checkpoints) or (run / LAST).is_file(),
        f"resume={run}: no {LAST} there; give the folder of a run that was started",
    )
    damaged: UserError | None = None
    for folder in checkpoints or [run]:
        if damaged is not None:
            log.warning("%s; going on from %s", damaged, folder)
        try:
            state = _load(folder)
        except UserError as error:
            damaged = error
            continue
        _require_belonging(state, run, checkpoints)
        file, other = folder / LAST, state.get("model_name")
        require(other == model_name, f"{file} is of model {other}, this run trains {model_name}")
        other = state.get("dataset")
        way = "give the raw= it was trained on"
        require(other == dataset, f"{file} is of dataset {other}, this run's data is {dataset}; {way}")
        return {**state, "checkpoint": folder}
    raise UserError(f"{damaged}; start the run anew")


def _load(folder: Path) -> dict[str, Any]:
    """The state in ``folder``. UserError if a file there is missing or not what was written."""
    if folder.parent.name == CHECKPOINTS:
        _require_whole(folder)
    file = folder / LAST
    try:
        state = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises whatever unpickling the damaged bytes led to
        raise UserError(f"{file} is damaged ({_first_line(error)})") from None
    found = state.get("format") if isinstance(state, dict) else None
    require(found == FORMAT, f"{file}: format {found}, this version reads format {FORMAT}")
    wrong = complaint(state)
    require(wrong is None, f"{file} is damaged ({wrong})")
    return state


def _require_whole(folder: Path) -> None:
    try:
        sums = _sums(folder)
        changed = [name for name in sums if sums[name] is not None and checksum(folder / name) != sums[name]]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise UserError(f"{folder} is damaged ({_first_line(error)})") from None
    require(LAST in sums and not changed, f"{folder} is damaged ({', '.join(changed) or LAST} is not what was written)")


def _sums(folder: Path) -> dict[str, str | None]:
    return dict(json.loads((folder / SUMS).read_text())["sha256"])


def _require_belonging(state: Mapping[str, Any], run: Path, checkpoints: list[Path]) -> None:
    """UserError if ``run`` shows best weights that are those of no checkpoint: somebody changed or exchanged them."""
    shown = run / WEIGHTS
    if not shown.exists() or "best" not in state:  # an older eulernet kept no checksum
        return
    known = {state["best"]}
    for weights in (one / WEIGHTS for one in checkpoints):
        with suppress(OSError, ValueError, TypeError, KeyError):  # of a damaged checkpoint
            known |= {_sums(weights.parent)[WEIGHTS]}
        with suppress(OSError):
            known |= {checksum(weights)}
    way = f", or remove that file to go on from {run / CHECKPOINTS}" if checkpoints else ""
    what = f"does not belong to this run's checkpoint (its checksum differs): copy the whole folder again{way}"
    require(checksum(shown) in known, f"{shown} {what}")


def link(old: Path, new: Path) -> None:
    """Give the bytes of ``old`` a second name; a copy of them where the disk has no hard links."""
    try:
        os.link(old, new)
    except OSError:
        shutil.copyfile(old, new)


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
