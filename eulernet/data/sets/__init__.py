"""Datasets by name: ``dataset.name`` in a configuration picks what makes, or finds, its store.

That is a function ``(raw, data_dir, memory, *, settings) -> folder`` or, where there are many settings, a frozen class
of them, whose objects are called with ``(raw, data_dir, memory)``.
"""

from collections.abc import Callable
from typing import Any

from eulernet.data.sets.avazu import make_avazu
from eulernet.data.sets.criteo import make_criteo
from eulernet.data.sets.movielens import make_movielens_1m, make_movielens_100k
from eulernet.data.sets.presplit import BENCHMARKS, make_benchmark
from eulernet.data.sets.synthetic import Synthetic
from eulernet.data.sets.table import Kdd12, Table

DATASETS: dict[str, Callable[..., Any]] = {
    "criteo": make_criteo,
    "avazu": make_avazu,
    "movielens_1m": make_movielens_1m,
    "movielens_100k": make_movielens_100k,
    "synthetic": Synthetic,
    "table": Table,
    "kdd12": Kdd12,
    **{name: make_benchmark(name) for name in BENCHMARKS},
}
