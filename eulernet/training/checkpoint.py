"""Checkpoints of a run: what it needs to go on as if it had never stopped, and its best weights until then.

    checkpoints/000007/last.ckpt            the state of training
                       tables/              of a run with sharded tables: these and their moments (training/shards.py)
                       model.safetensors    the best weights so far, or parts of them (training/weights.py); missing
                                            before the first epoch is over
                       checkpoint.json      the checksums of all, by which damage is noticed
    last.ckpt, model.safetensors            those of the newest checkpoint (hard links, where the disk has them)

A checkpoint appears under its number when all of it is on the disk. The newest ``keep`` stay.
"""

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any

import torch
from torch import nn

from eulernet.distributed.ranks import barrier, is_sharded, load_whole, local_shard, rank, rows_of_rank, shared
from eulernet.errors import UserError, require
from eulernet.files import checksum, remove_left, replacing
from eulernet.training import shards
from eulernet.training.files import PLACE, writing
from eulernet.training.saved import complaint
from eulernet.training.weights import WEIGHTS, Weights, is_weights, save_weights, weight_files

log = logging.getLogger(__name__)

ROWS = 1 << 18  # of a table that are read at once
FORMAT, SHARDED = 3, 4  # of last.ckpt; with tables beside it
LAST, CHECKPOINTS, SUMS, REPORT = "last.ckpt", "checkpoints", "checkpoint.json", "report.json"


class Checkpoints:
    """Writes the checkpoints of ``run``: all ranks call it, rank 0 writes.

    A run that goes on gives what ``load_last`` returned as ``saved``: newer checkpoints are damaged, and removed. A new
    run removes those of an older run in its folder.
    """

    def __init__(self, run: Path, keep: int, saved: Mapping[str, Any] | None) -> None:
        self.run, self.keep, self.number = run, keep, 0
        self.best: Path | None = None  # the checkpoint that has the best weights so far
        self.sums: dict[str, str] = {}  # of their files
        if saved is not None:
            folder: Path = saved["checkpoint"]
            self.number = int(folder.name) if folder != run else 0  # an older eulernet numbered none
            self.best = folder if weight_files(folder) else None
        if rank() == 0:
            remove_left(run / CHECKPOINTS)
            for other in numbered(run):
                if int(other.name) > self.number:
                    shutil.rmtree(other)
            if self.best is not None:
                self.sums = sums_of(self.best)
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
        with replacing(self.folder, place=PLACE) if rank() == 0 else nullcontext() as made:
            if made is not None:
                made.mkdir()
            folder = shared(made)  # every rank writes its part there
            if best is not None:
                with writing(self.run / WEIGHTS):
                    save_weights(best.state_dict(), made, self.number)
                self.sums = sums_of(folder) if rank() == 0 else {}
            elif made is not None and self.best is not None:
                for name in self.sums:
                    link(self.best / name, made / name)
            state, tables = shards.take_out(capture())
            sums: dict[str, str | None] = {**(shards.write(tables, folder) if tables else {})}
            if made is not None:
                state = {"format": SHARDED if tables else FORMAT, **state, "best": digest(self.sums)}
                with writing(self.run / LAST):
                    torch.save(state, made / LAST)
                sums |= {LAST: checksum(made / LAST), WEIGHTS: None} | self.sums
                (made / SUMS).write_text(json.dumps({"format": 1, "sha256": sums}, indent=2) + "\n")
        if rank() == 0:
            self.best = self.folder if self.sums else None
            (self.run / REPORT).unlink(missing_ok=True)  # a finished run goes on: its report is of other weights
            self._show(self.folder)
            for old in list(numbered(self.run))[self.keep :]:
                shutil.rmtree(old)
        barrier()  # other ranks read the weights only when they are shown

    def load_best(self, model: nn.Module) -> None:
        load_weights(model, self.run)

    def _show(self, checkpoint: Path) -> None:
        """Make the files of ``checkpoint`` those of the run folder: an index after its parts, what it replaces last."""
        names = weight_files(checkpoint)
        for name in (*reversed(names), LAST):
            new, shown = checkpoint / name, self.run / name
            if not (shown.exists() and shown.samefile(new)):
                with replacing(shown, place=PLACE) as temporary:
                    link(new, temporary)
        if names:
            for old in self.run.glob("model*.safetensors*"):
                if is_weights(old.name) and old.name not in names:
                    old.unlink()


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


@torch.no_grad()
def load_weights(model: nn.Module, run: Path) -> None:
    """Put the best weights of ``run`` into ``model``, each rank its rows. UserError if damaged or of another model."""
    weights, given = Weights(run / WEIGHTS), dict[str, torch.Tensor]()
    own: dict[str, Any] = model.state_dict()
    for name, shape in weights.shapes.items():
        mine = own.get(name)
        if mine is None or not is_sharded(mine) or shape != tuple(mine.shape):
            given[name] = weights.rows(name)
            continue
        held = rows_of_rank(rank(), len(mine))
        for start in range(held.start, held.stop, ROWS):  # piece by piece: memory is full of tables
            part = weights.rows(name, slice(start, min(start + ROWS, held.stop)))
            local_shard(mine)[start - held.start :][: len(part)].copy_(part)
        given[name] = mine
    try:
        load_whole(model, given)
    except RuntimeError as error:
        raise UserError(f"{weights.file} does not fit the model of this run ({_first_line(error)})") from None


def load_last(run: Path, *, model_name: str, dataset: str) -> dict[str, Any]:
    """The newest checkpoint of ``run`` that is whole, with its folder as "checkpoint"; a warning names damaged ones.

    What is sharded has no values yet: see ``shards.read``. UserError if there is none, if it is of another model or
    dataset, or if the best weights of ``run`` belong to no checkpoint. A run of an older eulernet has last.ckpt alone.
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
            if checkpoints:
                _require_whole(folder)
            state = load(folder)
        except UserError as error:
            damaged = error
            continue
        _require_belonging(state, run, checkpoints)
        file, other = folder / LAST, state.get("model_name")
        require(other == model_name, f"{file} is of model {other}, this run trains {model_name}")
        other = state.get("dataset")
        way = "give the raw= it was trained on"
        require(other == dataset, f"{file} is of dataset {other}, this run's data is {dataset}; {way}")
        return state
    raise UserError(f"{damaged}; start the run anew")


def store_of(run: Path) -> str | None:
    """The store, as NAME/DIGEST, that the newest checkpoint of ``run`` was trained on; None if none can be read."""
    for folder in (*numbered(run), run):
        with suppress(Exception):  # torch raises whatever unpickling damaged bytes led to
            state = torch.load(folder / LAST, map_location="cpu", mmap=True, weights_only=True)
            return str(state["dataset"])
    return None


def load(folder: Path) -> dict[str, Any]:
    """The state in ``folder``, with it as "checkpoint". UserError if it is not what was written, as far as it says."""
    file = folder / LAST
    try:
        state = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises whatever unpickling the damaged bytes led to
        raise UserError(f"{file} is damaged ({_first_line(error)})") from None
    found = state.get("format") if isinstance(state, dict) else None
    require(found in (FORMAT, SHARDED), f"{file}: format {found}, this version reads format {SHARDED}")
    wrong = complaint(state)
    require(wrong is None, f"{file} is damaged ({wrong})")
    away = f"{folder} lacks {shards.TABLES}, which has the tables of {LAST}: copy the whole folder of the run again"
    require(not shards.missing(state, folder), away)
    return {**state, "checkpoint": folder}


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
    shown = weight_files(run)
    if not shown or "best" not in state:  # an older eulernet kept no checksum
        return
    known = {state["best"]}
    for one in checkpoints:
        with suppress(OSError, ValueError, TypeError, KeyError):  # of a damaged checkpoint
            known |= {digest({name: found for name, found in _sums(one).items() if is_weights(name) and found})}
        with suppress(OSError, UserError):
            known |= {digest(sums_of(one))}
    way = f", or remove that file to go on from {run / CHECKPOINTS}" if checkpoints else ""
    what = f"does not belong to this run's checkpoint (its checksum differs): copy the whole folder again{way}"
    require(digest(sums_of(run)) in known, f"{run / shown[0]} {what}")


def sums_of(folder: Path) -> dict[str, str]:
    """The checksums of the files of weights in ``folder``."""
    return {name: checksum(folder / name) for name in weight_files(folder)}


def digest(sums: Mapping[str, str | None]) -> str | None:
    """One word for the files of weights with these checksums: the checksum itself where it is one file."""
    if len(sums) > 1:
        return hashlib.sha256("".join(f"{name} {sums[name]}\n" for name in sorted(sums)).encode()).hexdigest()
    return next(iter(sums.values()), None)


def link(old: Path, new: Path) -> None:
    """Give the bytes of ``old`` a second name; a copy of them where the disk has no hard links."""
    try:
        os.link(old, new)
    except OSError:
        shutil.copyfile(old, new)


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
