"""Train a model on a dataset: ``fit`` runs epochs, ``train_epoch`` steps, ``evaluate`` scores a split."""

import logging
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from eulernet.data.dataset import Dataset, Split
from eulernet.errors import UserError, require
from eulernet.metrics import Metrics
from eulernet.models.base import CTRModel
from eulernet.training import checkpoint
from eulernet.training.average import Average
from eulernet.training.config import TrainConfig
from eulernet.training.history import Epoch, best_of, write_metrics
from eulernet.training.optimizers import OPTIMIZERS

log = logging.getLogger(__name__)

CALMER = "try a smaller train.lr or train.clip_norm=10"
CHECK_EVERY = 200  # steps between looks at the loss, each of which waits for the device


def learning_rate(config: TrainConfig, history: Sequence[Epoch]) -> float:
    """The rate of the next epoch: lr times lr_factor for every lr_patience epochs without a better validation AUC."""
    lr, best, waited = config.lr, -math.inf, 0
    for epoch in history:
        waited = 0 if epoch.valid_auc > best else waited + 1
        best = max(best, epoch.valid_auc)
        if waited == config.lr_patience:
            lr, waited = max(lr * config.lr_factor, min(config.min_lr, lr)), 0
    return lr


def fit(
    model: CTRModel,
    data: Dataset,
    config: TrainConfig,
    device: torch.device,
    run: Path,
    *,
    identity: Mapping[str, Any],
    state: Mapping[str, Any] | None = None,
) -> tuple[list[Epoch], Metrics]:
    """Train ``model`` in place until ``patience`` epochs brought no better validation AUC; test the best weights.

    After every epoch ``run`` holds the best weights and last.ckpt, marked with ``identity``, so an interrupted run
    loses at most an epoch. With ``state``, what ``checkpoint.load_last`` read, it goes on from there, to the same bits
    as a run that was never stopped. Ends with the best weights in ``model``; returns the epochs and the test metrics.
    UserError for a loss or a score that is not finite, and for a state of other settings.
    """
    model.to(device)
    data = data.to(device)
    optimizer = OPTIMIZERS[config.optimizer](
        model, lr=config.lr, weight_decay=config.weight_decay, embedding_l2=config.embedding_l2, net_l2=config.net_l2
    )
    shuffle = torch.Generator().manual_seed(config.shuffle_seed)  # the order of the rows depends on this seed alone
    average = Average(model, config.ema) if config.ema else None
    scored = model if average is None else average.model  # what is validated, kept and tested
    history: list[Epoch] = []

    if state is not None:
        try:
            model.load_state_dict(state["model"])
            optimizer.load_state_dict(state["optimizer"])
            if average is not None:
                average.load_state(state["average"])
            shuffle.set_state(state["shuffle"])
            checkpoint.restore_random_state(state["random"], device)
            history = [Epoch(**epoch) for epoch in state["history"]]
        except (RuntimeError, ValueError, TypeError, KeyError):
            raise UserError(f"{run / checkpoint.LAST} was written with other settings than this run's") from None

    def save() -> None:
        state = {
            "model": model.state_dict(),
            "average": None if average is None else average.state(),
            "optimizer": optimizer.state_dict(),
            "shuffle": shuffle.get_state(),
            "random": checkpoint.random_state(device),
            "history": [asdict(epoch) for epoch in history],
        }
        checkpoint.save_last({**identity, **state}, run)
        write_metrics(history, run)

    if not history:
        save()
    while len(history) < config.max_epochs and (not history or len(history) - best_of(history).epoch < config.patience):
        number, start, lr = len(history) + 1, time.perf_counter(), learning_rate(config, history)
        for group in optimizer.param_groups:
            group["lr"] = lr
        loss = train_epoch(model, data.train, optimizer, config, shuffle, number, average)
        seconds = time.perf_counter() - start
        valid = evaluate(scored, data.valid, config.eval_batch_size, f"validation of epoch {number}")
        history.append(Epoch(number, loss, valid.auc, valid.logloss, lr, seconds, len(data.train) / seconds))
        best = best_of(history).epoch == number
        if best:
            checkpoint.save_weights(scored, run)
        save()
        log.info(
            "epoch %3d  train %.5f  valid %s%s  lr %.3g  %.1f s, %s samples/s",
            number, loss, valid, " *" if best else "  ", lr, seconds, f"{len(data.train) / seconds:,.0f}",
        )  # fmt: skip

    checkpoint.load_weights(model, run)
    return history, evaluate(model, data.test, config.eval_batch_size, "test")


def train_epoch(
    model: CTRModel,
    split: Split,
    optimizer: torch.optim.Optimizer,
    config: TrainConfig,
    shuffle: torch.Generator,
    epoch: int,
    average: Average | None,
) -> float:
    """One pass over ``split``; the mean loss per row. UserError, with the step, when the loss is not finite."""
    model.train()
    device = next(model.parameters()).device
    batches = split.batches(config.batch_size, shuffle if config.reshuffle else None)
    losses = torch.zeros(math.ceil(len(split) / config.batch_size), device=device)  # read rarely: reading waits
    with progress(len(split), f"epoch {epoch}") as bar:
        for step, (x, y) in enumerate(batches):
            x, y = x.to(device), y.to(device)
            loss = model.calculate_loss(x, y)
            optimizer.zero_grad()
            loss.backward()
            if config.clip_norm is not None:
                nn.utils.clip_grad_norm_(model.parameters(), config.clip_norm)
            optimizer.step()
            if average is not None:
                average.update()
            losses[step] = loss.detach() * len(y)
            bar.update(len(y))
            if step % CHECK_EVERY == CHECK_EVERY - 1:
                check_finite(losses, epoch)
    check_finite(losses, epoch)
    return losses.sum().item() / len(split)


def check_finite(losses: Tensor, epoch: int) -> None:
    if not losses.isfinite().all():
        step = int((~losses.isfinite()).nonzero()[0]) + 1
        raise UserError(f"the training loss is not finite at epoch {epoch}, step {step}; {CALMER}")


@torch.inference_mode()
def evaluate(model: CTRModel, split: Split, batch_size: int, what: str) -> Metrics:
    """Exact AUC and logloss of the whole split. UserError when a score is not finite: training has diverged."""
    model.eval()
    device = next(model.parameters()).device
    with progress(len(split), what) as bar:
        logits = []
        for x, _ in split.batches(batch_size):
            logits.append(model(x.to(device)))
            bar.update(len(x))
    scores = torch.cat(logits).double().cpu()
    require(bool(scores.isfinite().all()), f"{what}: scores are not finite, training diverged; {CALMER}")
    return Metrics.of(split.labels.cpu().numpy(), scores.numpy())


@contextmanager
def progress(rows: int, what: str) -> "Iterator[tqdm[Any]]":
    """A bar over rows with their rate, on a terminal only, gone when done."""
    with tqdm(
        total=rows, desc=what, unit=" samples", unit_scale=True, leave=False, disable=None, dynamic_ncols=True
    ) as bar:
        yield bar
