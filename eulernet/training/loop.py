"""Train a model on a dataset: ``fit`` runs epochs, ``train_epoch`` steps, ``evaluate`` scores a split."""

import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from eulernet.bars import bar
from eulernet.data.dataset import Dataset, Split
from eulernet.data.shuffling import Blocks, window_rows
from eulernet.distributed.data_parallel import clip_gradients, pad_if_empty
from eulernet.distributed.ranks import (
    all_gather_objects,
    all_reduce,
    exchange_arrays,
    rank,
    shard_of,
    world_size,
)
from eulernet.errors import Diverged, require
from eulernet.measures.spread import Ranks, measure_spread
from eulernet.measures.table import Metrics
from eulernet.models.base import CTRModel
from eulernet.models.pieces import PIECE, one_thread
from eulernet.models.reference import Reference
from eulernet.torch_internals import uncompiled
from eulernet.training.checkpoint import LAST, BestInMemory, Checkpoints
from eulernet.training.compiling import Program
from eulernet.training.config import TrainConfig
from eulernet.training.display import EpochTable
from eulernet.training.history import MONITORS, Epoch, best_of, write_metrics
from eulernet.training.loggers import Logger
from eulernet.training.precision import products_in
from eulernet.training.state import State
from eulernet.training.tables import all_reduce_gradients

log = logging.getLogger(__name__)

CALMER = "try a smaller train.lr or train.clip_norm=10"
LEAST = torch.finfo(torch.float32).tiny
CLEAR_EVERY = 16  # steps between two times that tiny weights become zero
CHECK_EVERY = 200  # steps between looks at the loss, each of which waits for the device


def learning_rate(config: TrainConfig, history: Sequence[Epoch]) -> float:
    """The rate of the next epoch: lr times lr_factor for every lr_patience epochs that the monitor found no better."""
    lr, best, waited = config.lr, -math.inf, 0
    for found in map(MONITORS[config.monitor], history):
        waited = 0 if found > best else waited + 1
        best = max(best, found)
        if waited == config.lr_patience:
            lr, waited = max(lr * config.lr_factor, min(config.min_lr, lr)), 0
    return lr


def fit(
    model: CTRModel,
    data: Dataset,
    config: TrainConfig,
    device: torch.device,
    run: Path | None,
    *,
    identity: Mapping[str, Any],
    saved: Mapping[str, Any] | None = None,
    moments: Mapping[str, Any] | None = None,
    program: Program | None = None,
    loggers: Sequence[Logger] = (),
) -> tuple[list[Epoch], Metrics | None]:
    """Train ``model`` in place until the monitor found no better epoch for ``patience`` of them; test the best weights.

    After every epoch ``run`` gets a checkpoint, marked with ``identity``, so an interrupted run loses at most an epoch,
    or ``checkpoint_every`` steps; then the ``loggers`` are called. Without a ``run`` nothing is written or logged. With
    ``saved``, what ``checkpoint.load_last`` returned, it goes on from there, to the same bits as a run that was never
    stopped. ``moments`` are those of an earlier run, for a ``model`` that has its weights; ``program`` ends with what
    ``train.compile=auto`` chose. Ends with the best weights in ``model``; returns the epochs and the test metrics, None
    without a test split. Diverged for a loss or a score that is not finite, UserError for a state of other settings.
    """
    if isinstance(model, Reference):
        config, program = in_one_epoch(config), None
    data, state = data.to(device), State(model, config, device, moments, program)
    steps = math.ceil(len(data.train) / config.batch_size)
    if saved is not None:
        restore(state, saved, steps)
    checkpoints = BestInMemory() if run is None else Checkpoints(run, config.keep_checkpoints, saved)
    state.program.begin(model, device, sure_steps=steps * min(config.max_epochs, config.patience + 1))
    history, table = state.history, EpochTable(config, len(state.history))

    def best_epoch() -> int:
        return best_of(history, config.monitor).epoch

    def save(best: CTRModel | None = None) -> None:
        checkpoints.save(lambda: {**identity, **state.capture()}, best)

    if not history and not state.step:
        save()
    while len(history) < config.max_epochs and (not history or len(history) - best_epoch() < config.patience):
        number, lr = len(history) + 1, learning_rate(config, history)
        state.optimizer.set_rate(lr)
        require_whole(data)
        loss = learn(state, data) if isinstance(model, Reference) else train_epoch(state, data.train, config, save)
        valid = evaluate(state.scored, data.valid, config, f"validation of epoch {number}")
        rate = len(data.train) / state.seconds
        history.append(Epoch(number, loss, valid.auc, valid.logloss, lr, state.seconds, rate))
        state.begin_epoch()
        best = best_epoch() == number
        if run is not None:
            write_metrics(history, run)  # before the checkpoint: a run killed in between does the epoch again
        save(best=state.scored if best else None)
        for log_epochs in loggers if run is not None else ():
            log_epochs(history, run)  # type: ignore[arg-type]
        table.show(history)

    checkpoints.load_best(model)
    return history, evaluate(model, data.test, config, "test") if "test" in data.splits else None


def restore(state: State, saved: Mapping[str, Any], steps: int) -> None:
    """Go on from ``saved``, within an epoch of so many ``steps``. UserError for a state of other settings."""
    try:
        state.restore(saved)
        fits = state.step <= steps
    except (RuntimeError, ValueError, TypeError, LookupError, AttributeError):
        fits = False
    last = saved["checkpoint"] / LAST
    require(fits, f"{last} was written with other settings than this run's: resume without the changed ones")


def require_whole(data: Dataset) -> None:
    """UserError if the store was cut short since it was opened: to read what is missing would end the process."""
    if any(split.mapped for split in data.splits.values()) and data.folder.is_dir():
        Dataset.open(data.folder)


def train_epoch(state: State, split: Split, config: TrainConfig, save: Callable[[], None]) -> float:
    """The steps of one pass over ``split`` that are not done yet; the mean loss per row, or weight, over all of them.

    Calls ``save`` every ``checkpoint_every`` steps. Diverged, with the step, when the loss is not finite.
    """
    model, optimizer, scaler, device = state.model, state.optimizer, state.scaler, state.device
    epoch, steps = len(state.history) + 1, math.ceil(len(split) / config.batch_size)
    shuffle = state.shuffle if config.reshuffle else None
    window = window_rows(config.shuffle_window, len(split))
    blocks = Blocks(window, state.streams) if config.shuffle == "blocks" else None
    batches = split.batches(config.batch_size, shuffle, first=state.step, share=shard_of, blocks=blocks)
    losses = state.losses_for(steps)  # read rarely: reading waits for the device
    start = time.perf_counter() - state.seconds
    model.train()
    with bar(f"epoch {epoch}", " rows", len(split), shown=rank() == 0) as shown:
        shown.update(min(state.step * config.batch_size, len(split)))
        for batch in batches:
            x, y, *weight = (part.to(device, non_blocking=True) for part in batch)
            rows = min(config.batch_size, len(split) - state.step * config.batch_size)
            with state.program.step(whole=rows == config.batch_size):
                with products_in(config.precision, device):
                    counts = all_reduce(weight[0].sum()).clamp(min=LEAST) if weight else rows
                    loss = state.parallel.loss(x, y, counts, *weight)
                optimizer.zero_grad()
                scaler.scale(loss).backward()
                all_reduce_gradients(state.tables, idle=len(y) == 0)
                if config.clip_norm is not None:
                    scaler.unscale_(optimizer)  # type: ignore[arg-type]  # it has all that a scaler uses
                    clip_gradients(model, config.clip_norm)
                scaler.step(optimizer)  # type: ignore[arg-type]
                scaler.update()
                if state.average is not None:
                    state.average.update()
            losses[state.step] = loss.detach() * counts
            state.step += 1
            if state.step % CLEAR_EVERY == 0:
                state.clear_tiny()
            shown.update(rows)
            if state.step % CHECK_EVERY == 0:
                check_finite(all_reduce(losses), epoch)
            if config.checkpoint_every and state.step % config.checkpoint_every == 0 and state.step < steps:
                check_finite(all_reduce(losses), epoch)
                state.seconds = time.perf_counter() - start
                save()
    losses = all_reduce(losses)
    check_finite(losses, epoch)
    state.clear_tiny(every_row=True)
    state.average_statistics()
    state.seconds = time.perf_counter() - start
    return losses.sum().item() / split.total


def in_one_epoch(config: TrainConfig) -> TrainConfig:
    """The settings of a ``Reference``, which its library trains by its own."""
    require(world_size() == 1, "a model of another library trains in one process, without torchrun")
    return replace(config, max_epochs=1, ema=0.0, compile="false")


def learn(state: State, data: Dataset) -> float:
    """The whole training of a ``Reference``, as one epoch, on the CPU; the mean loss per row."""
    start, rows, model = time.perf_counter(), [], state.model
    assert isinstance(model, Reference)
    for split in (data.train, data.valid):
        columns = zip(*split.batches(1 << 16), strict=True)
        rows.append(tuple(torch.cat(column).cpu() for column in columns))
    loss = model.cpu().learn(*rows)
    model.to(state.device)
    state.seconds = time.perf_counter() - start
    return loss


def check_finite(losses: Tensor, epoch: int) -> None:
    if not losses.isfinite().all():
        step = int((~losses.isfinite()).nonzero()[0]) + 1
        raise Diverged(f"the training loss is not finite at epoch {epoch}, step {step}; {CALMER}")


@torch.inference_mode()
def evaluate(model: CTRModel, split: Split, config: TrainConfig, what: str) -> Metrics:
    """Exact measures of the whole split. Diverged when a score is not finite."""
    scores, labels, *weight = score_share(model, split, config.eval_batch_size, config.precision, what)
    if all_reduce((~scores.isfinite()).sum()):
        raise Diverged(f"{what}: scores are not finite, training diverged; {CALMER}")
    rows = labels.cpu().numpy(), scores.cpu().numpy(), split.counts_of(labels, weight[0] if weight else None)
    if world_size() == 1:
        return Metrics.of(*rows)
    return measure_spread(*rows, Ranks(rank(), all_gather_objects, exchange_arrays))


@torch.inference_mode()
def score(model: CTRModel, split: Split, batch_size: int, precision: str, what: str) -> Float[Tensor, " n"]:
    """The corrected logits of all rows of ``split``, in its order. For one process."""
    assert world_size() == 1
    return score_share(model, split, batch_size, precision, what)[0]


@torch.inference_mode()
def score_share(model: CTRModel, split: Split, batch_size: int, precision: str, what: str) -> list[Float[Tensor, " n"]]:
    """Corrected logits, labels and, where ``split`` has them, weights of the rows that this rank scores.

    Every rank scores a shard of every batch; one process all rows, in their order.
    """
    model.eval()
    device = next(model.parameters()).device
    most, beside = batch_size, device.type == "cpu" and world_size() == 1
    if beside:
        batch_size = max(batch_size, PIECE * torch.get_num_threads())  # so that each thread has a piece
    done, whole, found = 0, batch_size * world_size(), list[tuple[Tensor, ...]]()
    with (
        bar(what, " rows", len(split), shown=rank() == 0) as shown,
        products_in(precision, device),
        uncompiled(True),
        model.scoring(most) as scored,
        one_thread() if beside else nullcontext(),
    ):
        for x, *labels in split.batches(whole, share=shard_of):
            rows = min(whole, len(split) - done)
            logits = scored(pad_if_empty(x).to(device, non_blocking=True))[: len(x)]
            found.append((logits.float(), *labels))
            done += rows
            shown.update(rows)
    if not found:
        return [torch.zeros(0, dtype=torch.float64), torch.zeros(0)]
    scores, *others = (torch.cat(parts) for parts in zip(*found, strict=True))
    return [scores.double() + split.correction, *others]
