"""RecBole's EulerNet under its own Trainer, for bench_peers.py train.

Its step is its own: ``Trainer._train_epoch`` over Interactions, with its loss, its penalty and its Adam; evaluation is
``Trainer.evaluate``. The Interactions are in memory, so that its data loader counts nothing, and a stand-in for its
Dataset says how many ids each field has.
"""

import logging
import sys
from pathlib import Path
from typing import Any

import numpy as np
import worker


class Fields:
    """The part of RecBole's Dataset that its context-aware models read."""

    def __init__(self, sizes: list[int]) -> None:
        from recbole.utils import FeatureType

        self.sizes = {f"f{f}": size for f, size in enumerate(sizes)}
        self.field2type = dict.fromkeys(self.sizes, FeatureType.TOKEN) | {"label": FeatureType.FLOAT}

    def fields(self, source: Any) -> list[str]:
        return [*self.sizes, "label"]

    def num(self, field: str) -> int:
        return self.sizes[field]


class Batches(list):
    """A list of batches that stands for RecBole's data loader."""

    shuffle = False


def main() -> None:
    job = worker.job()
    sys.argv = sys.argv[:1]  # Config reads the command line
    import torch
    from recbole.config import Config
    from recbole.data.interaction import Interaction
    from recbole.model.context_aware_recommender import EulerNet
    from recbole.trainer import Trainer

    logging.disable()
    names = [f"f{f}" for f in range(len(job["field_sizes"]))]
    settings = {
        **job["settings"],
        "use_gpu": False,
        "USER_ID_FIELD": None,
        "ITEM_ID_FIELD": None,
        "LABEL_FIELD": "label",
        "load_col": {"inter": ["label", *names]},
        "numerical_features": [],
        "train_neg_sample_args": None,
        "eval_args": {"split": {"RS": [0.8, 0.1, 0.1]}, "group_by": None, "order": "RO", "mode": "labeled"},
        "metrics": ["AUC", "LogLoss"],
        "valid_metric": "AUC",
        "train_batch_size": job["batch_size"],
        "eval_batch_size": job["batch_size"],
    }
    config = Config(model="EulerNet", dataset="bench", config_dict=settings)
    trainer = Trainer(config, EulerNet(config, Fields(job["field_sizes"])))
    x, y = np.load(Path(job["store"]) / "x.npy"), np.load(Path(job["store"]) / "y.npy")
    train_rows, valid_rows = (slice(*rows) for rows in job["split"])

    def batches(rows: slice) -> list[Interaction]:
        ids, labels = torch.from_numpy(x[rows]).long(), torch.from_numpy(y[rows]).float()
        return [
            Interaction({name: part[:, f].contiguous() for f, name in enumerate(names)} | {"label": clicks})
            for part, clicks in zip(ids.split(job["batch_size"]), labels.split(job["batch_size"]), strict=True)
        ]

    train_batches = batches(train_rows)
    valid_batches = [(interaction, None, None, None) for interaction in batches(valid_rows)]

    def train(steps: int) -> int:
        trainer._train_epoch(Batches(train_batches[:steps]), 0)
        return sum(len(interaction) for interaction in train_batches[:steps])

    def evaluate(steps: int) -> int:
        trainer.evaluate(Batches(valid_batches[:steps]), load_best_model=False)
        return sum(len(interaction) for interaction, *_ in valid_batches[:steps])

    worker.serve(train, evaluate)


if __name__ == "__main__":
    main()
