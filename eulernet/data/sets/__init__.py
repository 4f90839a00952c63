"""Datasets by name: ``dataset.name`` in a configuration picks the function that makes, or finds, its store."""

from collections.abc import Callable
from pathlib import Path

from eulernet.data.sets.avazu import make_avazu
from eulernet.data.sets.criteo import make_criteo
from eulernet.data.sets.movielens import make_movielens_1m, make_movielens_100k
from eulernet.data.sets.presplit import BENCHMARKS, make_benchmark
from eulernet.data.sets.synthetic import make_synthetic
from eulernet.data.sets.table import make_table

DATASETS: dict[str, Callable[..., Path]] = {
    "criteo": make_criteo,
    "avazu": make_avazu,
    "movielens_1m": make_movielens_1m,
    "movielens_100k": make_movielens_100k,
    "synthetic": make_synthetic,
    "table": make_table,
    **{name: make_benchmark(name) for name in BENCHMARKS},
}
