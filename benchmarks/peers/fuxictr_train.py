"""A model of FuxiCTR's zoo under its own ``train_epoch`` and ``evaluate``: for bench_peers.py train, bench_models.py.

Its step is its own: zero_grad, forward, loss with the regulariser, backward, clipping of the gradient's norm, Adam, the
loss read back. Batches are in memory, a tensor for each field, so that its data loader, which is slow, counts
nothing.
"""

import importlib.util
import inspect
import logging
import math
import sys
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import worker


def main() -> None:
    job = worker.job()
    import torch

    logging.disable()
    model = build(job)
    x, y, size = np.load(Path(job["store"]) / "x.npy"), np.load(Path(job["store"]) / "y.npy"), job["batch_size"]
    train_rows, valid_rows = (slice(*rows) for rows in job["split"])

    def batches(rows: slice) -> list[dict[str, torch.Tensor]]:
        return [
            {f"f{f}": column.contiguous() for f, column in enumerate(ids.T)} | {"label": labels}
            for ids, labels in zip(
                torch.from_numpy(x[rows]).long().split(size), torch.from_numpy(y[rows]).float().split(size), strict=True
            )
        ]

    train_batches, valid_batches = batches(train_rows), batches(valid_rows)
    # What ``fit`` sets before its first epoch.
    model._total_steps, model._eval_steps, model._stop_training, model._epoch_index = 0, math.inf, False, 0
    model._max_gradient_norm = 10.0

    def train(steps: int) -> int:
        model.train_epoch(train_batches[:steps])
        return sum(len(batch["label"]) for batch in train_batches[:steps])

    def evaluate(steps: int) -> int:
        model.evaluate(valid_batches[:steps])
        return sum(len(batch["label"]) for batch in valid_batches[:steps])

    worker.serve(train, evaluate)


def build(job: dict[str, Any]) -> Any:
    """The class ``job["name"]`` in the file ``job["file"]``, over fields f0, f1, ... of ids."""
    from fuxictr.features import FeatureMap

    features = FeatureMap("bench", "")
    features.features = OrderedDict(
        (f"f{f}", {"type": "categorical", "source": "", "vocab_size": size})
        for f, size in enumerate(job["field_sizes"])
    )
    features.num_fields, features.labels = len(job["field_sizes"]), ["label"]
    features.default_emb_dim = job["settings"].get("embedding_dim", 16)
    spec = importlib.util.spec_from_file_location(job["name"], job["file"])
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    common = dict(
        gpu=-1, task="binary_classification", optimizer="adam", loss="binary_crossentropy",
        metrics=["AUC", "logloss"], verbose=0, model_root="",
    )  # fmt: skip
    model = getattr(module, job["name"])(features, **common, **job["settings"])
    if "inputs" in inspect.signature(model.add_loss).parameters:
        as_in_fuxictr_2_0(model)
    return model


def as_in_fuxictr_2_0(model: Any) -> None:
    """Give a model that was written for FuxiCTR 2.0 the training step and the embedding layer that it expects."""
    from torch.nn.utils import clip_grad_norm_

    def train_step(batch: dict[str, Any]) -> Any:
        model.optimizer.zero_grad()
        loss = model.add_loss(batch) + model.regularization_loss()
        loss.backward()
        clip_grad_norm_(model.parameters(), model._max_gradient_norm)
        model.optimizer.step()
        return loss

    model.train_step = train_step
    embed = model.embedding_layer.forward
    model.embedding_layer.forward = lambda X, dynamic_emb_dim=False: (
        embed(X, flatten_emb=True) if dynamic_emb_dim else embed(X)
    )


if __name__ == "__main__":
    sys.exit(main())
