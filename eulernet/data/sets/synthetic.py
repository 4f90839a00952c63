"""Clicks from planted feature interactions of any order, whose best possible AUC and logloss are known.

Every id v of field f has a hidden positive value z_f(v) = exp(spread N(0, 1)). An interaction is a product of
powers of them, T_k = prod_f z_f^alpha_kf, with orders alpha_kf that may be fractional or negative: what the EulerNet
paper calls arbitrary-order interactions. The logit of a row is

    bias + signal / sqrt(K) * sum_k (T_k - mean T_k) / std T_k

and the row is a click with the probability that this logit says. Ids are drawn uniformly and independently per
field, so the mean and standard deviation of T_k over rows are exact products over the fields.
"""

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from eulernet import memory
from eulernet.data import disk, kinds, store
from eulernet.data.columns import describe_raw
from eulernet.data.kinds import CategoryCoder
from eulernet.data.kinds.vocabulary import Vocabulary
from eulernet.data.lines import Format
from eulernet.data.values import Label, Raw
from eulernet.errors import require, require_known
from eulernet.files import short
from eulernet.measures.metrics import auc, logloss

log = logging.getLogger(__name__)

CHUNK = 1 << 18  # rows drawn at a time, each chunk from a generator of its own: part of the definition of the data


@dataclass(frozen=True)
class Synthetic:
    """Fields f0, f1, ... of ``field_sizes`` values each, with planted ``interactions``.

    An interaction maps field names to orders: ``{f0: 1, f1: -0.5}`` is z_0 / sqrt(z_1). UserError if impossible.
    """

    rows: int
    field_sizes: Sequence[int]
    interactions: Sequence[Mapping[str, float]]
    signal: float
    spread: float
    bias: float
    data_seed: int

    def __post_init__(self) -> None:
        sizes = self.field_sizes
        require(self.rows >= 100, f"dataset.rows must be at least 100, got {self.rows}")
        require(all(size >= 2 for size in sizes), f"dataset.field_sizes must be at least 2 each, got {sizes}")
        for planted in self.interactions:
            for name in planted:
                require_known(name, self.names, f"dataset.interactions: no field {name!r}")
        require(self.data_seed >= 0, f"dataset.data_seed must not be negative, got {self.data_seed}")
        require(bool(self.interactions), "dataset.interactions: plant at least one")

    @property
    def names(self) -> list[str]:
        return [f"f{i}" for i in range(len(self.field_sizes))]

    @property
    def split(self) -> dict[str, tuple[int, int]]:
        valid, test = int(self.rows * 0.8), int(self.rows * 0.9)
        return {"train": (0, valid), "valid": (valid, test), "test": (test, self.rows)}

    def describe(self) -> dict[str, Any]:
        planted = [dict(interaction) for interaction in self.interactions]
        own = {**vars(self), "field_sizes": list(self.field_sizes), "interactions": planted}
        return {"name": "synthetic", **own}

    def __call__(self, raw: Sequence[Path], data_dir: Path, memory: float) -> Path:
        """The store. The first 80 % of its rows are the training split, then come 10 % each for validation and test.

        meta.json gets ``planted`` (the interactions) and ``bayes``: the AUC and logloss of the true probabilities on
        validation and test, which no model beats but by luck.
        """
        require(not raw, "dataset=synthetic makes its own rows: leave out raw=")
        folder = data_dir / "synthetic" / store.digest(self.describe())
        if folder.exists():
            return folder
        planted = Planted.of(self)
        with disk.writing(folder, mark="meta.json") as new:
            disk.require_space(new, self.rows * (4 * len(self.names) + 1))
            labels, truth = self.draw(new, planted)
            bayes = self.bayes(labels, truth)
            self.seal(new, bayes)
        best = f"auc={bayes['test']['auc']:.6f}  logloss={bayes['test']['logloss']:.6f}"
        log.info("prepared %s: %s rows\nbest possible test %s", short(folder), f"{self.rows:,}", best)
        return folder

    def draw(self, new: Path, planted: "Planted") -> tuple[np.ndarray, np.ndarray]:
        """Write x.npy and y.npy; the labels, and the true logits of the rows after the training split."""
        first = self.split["train"][1]
        truth = np.empty(self.rows - first)
        x = np.lib.format.open_memmap(new / "x.npy", "w+", np.int32, (self.rows, len(self.names)))
        y = np.lib.format.open_memmap(new / "y.npy", "w+", np.uint8, (self.rows,))
        starts = range(0, self.rows, CHUNK)
        bar = disk.progress("drawing rows", "row", self.rows)
        seeds = np.random.SeedSequence(self.data_seed).spawn(1 + len(starts))[1:]
        for start, seed in zip(starts, seeds, strict=True):
            draw = np.random.default_rng(seed)
            stop = min(start + CHUNK, self.rows)
            ids = np.stack([draw.integers(size, size=stop - start) for size in self.field_sizes], axis=1)
            logit = self.bias + planted.signal(ids, self.signal)
            x[start:stop] = ids + 1
            with np.errstate(over="ignore"):  # exp(-z) may be infinite: a probability of 0
                y[start:stop] = draw.random(stop - start) < 1 / (1 + np.exp(-logit))
            kept = max(start, first)
            if stop > kept:
                truth[kept - first : stop - first] = logit[kept - start :]
            bar.update(stop - start)
        bar.close()
        x.flush()
        y.flush()
        return y, truth

    def bayes(self, labels: np.ndarray, truth: np.ndarray) -> dict[str, dict[str, float]]:
        """AUC and logloss of the true logits on validation and test rows."""
        first, found = self.split["train"][1], {}
        for part in ("valid", "test"):
            start, stop = self.split[part]
            scores, y = truth[start - first : stop - first], labels[start:stop]
            same = f"synthetic: every row of the {part} split has the same label; AUC needs both"
            require(0 < y.mean() < 1, same)
            found[part] = {"auc": auc(y, scores), "logloss": logloss(y, scores)}
        return found

    def seal(self, new: Path, bayes: Mapping[str, Any]) -> None:
        """Write all that is not rows."""
        fitted = [
            CategoryCoder(name, Vocabulary(pl.int_range(size, eager=True)))
            for name, size in zip(self.names, self.field_sizes, strict=True)
        ]
        kinds.write(fitted, new)
        planted, said = len(self.interactions), f"signal {self.signal}, seed {self.data_seed}; first 80/10/10 %"
        columns = Format(dict.fromkeys(self.names, pl.Int64), ",", header=True, quote='"')
        meta = store.seal(
            new,
            name="synthetic",
            protocol=f"{planted} planted interactions, {said}",
            fields=[{**kinds.describe(coder), **Raw(coder.name).describe(), "missing": 0.0} for coder in fitted],
            split=store.write_split(new, dict(self.split), self.rows),
            source={"origin": "drawn by eulernet", **self.describe()},
            raw=describe_raw(columns, Label("click")),
            planted=self.describe()["interactions"],
            bayes=bayes,
        )
        none = [0] * len(self.names)
        store.summarise(new, meta, none, none, {}, {}, {}, {}, memory.peak_resident())


@dataclass(frozen=True)
class Planted:
    """The interactions T_k of K planted ones, and their mean and standard deviation over rows."""

    orders: np.ndarray  # alpha [K, F]
    log_values: list[np.ndarray]
    mean: np.ndarray
    std: np.ndarray

    @classmethod
    def of(cls, settings: Synthetic) -> "Planted":
        orders = np.array([[planted.get(name, 0.0) for name in settings.names] for planted in settings.interactions])
        log_values = hidden_logs(settings.field_sizes, settings.spread, settings.data_seed)

        def moment(power: int) -> np.ndarray:
            """E[T_k^power] [K]: a product over the independent fields."""
            means = [np.exp(power * np.outer(orders[:, f], values)).mean(1) for f, values in enumerate(log_values)]
            return np.prod(means, axis=0)

        with np.errstate(all="ignore"):
            mean, std = moment(1), np.sqrt(moment(2) - moment(1) ** 2)
        finite = np.isfinite([mean, std]).all() and math.isfinite(settings.signal) and math.isfinite(settings.bias)
        overflow = "the products overflow; give a smaller dataset.spread or smaller orders"
        require(bool(finite), f"dataset.interactions: {overflow}")
        none = "dataset.interactions: an interaction without a nonzero order carries no signal"
        require(bool((std > 1e-9 * np.abs(mean)).all()), none)
        return cls(orders, log_values, mean, std)

    def signal(self, ids: np.ndarray, strength: float) -> np.ndarray:
        """What the interactions add to the logits of rows of ``ids`` [rows, F]."""
        logs = np.stack([values[ids[:, f]] for f, values in enumerate(self.log_values)], axis=1)
        terms = (np.exp(logs @ self.orders.T) - self.mean) / self.std
        return strength / math.sqrt(len(self.orders)) * terms.sum(1)


def hidden_logs(field_sizes: Sequence[int], spread: float, data_seed: int) -> list[np.ndarray]:
    """log z_f(v) of the values v = 0, 1, ... of each field, whose ids are v + 1: what the clicks were drawn from."""
    draw = np.random.default_rng(np.random.SeedSequence(data_seed).spawn(1)[0])
    return [spread * draw.standard_normal(size) for size in field_sizes]
