"""Datasets by name: ``dataset.name`` in a configuration picks the function that makes, or finds, its store."""

from collections.abc import Callable
from pathlib import Path

from eulernet.data.dataset import Dataset, Split
from eulernet.data.movielens import make_movielens_1m, make_movielens_100k
from eulernet.data.synthetic import make_synthetic

__all__ = ["DATASETS", "Dataset", "Split"]

DATASETS: dict[str, Callable[..., Path]] = {
    "movielens_1m": make_movielens_1m,
    "movielens_100k": make_movielens_100k,
    "synthetic": make_synthetic,
}
