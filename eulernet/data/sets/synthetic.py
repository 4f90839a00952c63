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
from pathlib import Path

import numpy as np
import polars as pl
from tqdm import tqdm

from eulernet.data import coders, disk, store
from eulernet.data.coders import CategoryCoder, Vocabulary
from eulernet.data.columns import describe_raw
from eulernet.data.lines import Format
from eulernet.data.values import Label, Raw
from eulernet.errors import require, require_known
from eulernet.measures.metrics import auc, logloss

log = logging.getLogger(__name__)

CHUNK = 1 << 18  # rows drawn at a time, each chunk from a generator of its own: part of the definition of the data


def make_synthetic(
    raw: Sequence[Path],
    data_dir: Path,
    memory: float,
    *,
    rows: int,
    field_sizes: Sequence[int],
    interactions: Sequence[Mapping[str, float]],
    signal: float,
    spread: float,
    bias: float,
    data_seed: int,
) -> Path:
    """The store of ``rows`` drawn rows: fields f0, f1, ... of ``field_sizes`` values each, planted ``interactions``.

    An interaction maps field names to orders: ``{f0: 1, f1: -0.5}`` is z_0 / sqrt(z_1). The first 80 % of the rows are
    the training split, then come 10 % each for validation and test. meta.json gets ``planted`` (the interactions) and
    ``bayes``: the AUC and logloss of the true probabilities on validation and test, which no model beats but by luck.
    """
    require(not raw, "dataset=synthetic makes its own rows: leave out raw=")
    require(rows >= 100, f"dataset.rows must be at least 100, got {rows}")
    require(all(size >= 2 for size in field_sizes), f"dataset.field_sizes must be at least 2 each, got {field_sizes}")
    names = [f"f{i}" for i in range(len(field_sizes))]
    for planted in interactions:
        for name in planted:
            require_known(name, names, f"dataset.interactions: no field {name!r}")
    require(data_seed >= 0, f"dataset.data_seed must not be negative, got {data_seed}")
    require(bool(interactions), "dataset.interactions: plant at least one")
    description = {
        "name": "synthetic",
        "rows": rows,
        "field_sizes": list(field_sizes),
        "interactions": [dict(planted) for planted in interactions],
        "signal": signal,
        "spread": spread,
        "bias": bias,
        "data_seed": data_seed,
    }
    folder = data_dir / "synthetic" / store.digest(description)
    if folder.exists():
        return folder

    orders = np.array([[planted.get(name, 0.0) for name in names] for planted in interactions])  # alpha [K, F]
    log_values = hidden_logs(field_sizes, spread, data_seed)

    def moment(power: int) -> np.ndarray:
        """E[T_k^power] [K]: a product over the independent fields."""
        means = [np.exp(power * np.outer(orders[:, f], values)).mean(1) for f, values in enumerate(log_values)]
        return np.prod(means, axis=0)

    with np.errstate(all="ignore"):
        mean, std = moment(1), np.sqrt(moment(2) - moment(1) ** 2)
    require(
        bool(np.isfinite([mean, std]).all() and math.isfinite(signal) and math.isfinite(bias)),
        "dataset.interactions: the products overflow; give a smaller dataset.spread or smaller orders",
    )
    require(
        bool((std > 1e-9 * np.abs(mean)).all()),
        "dataset.interactions: an interaction without a nonzero order carries no signal",
    )

    split: dict[str, tuple[int, int]] = {
        "train": (0, int(rows * 0.8)),
        "valid": (int(rows * 0.8), int(rows * 0.9)),
        "test": (int(rows * 0.9), rows),
    }
    with disk.writing(folder, mark="meta.json") as new:
        disk.require_space(new, rows * (4 * len(names) + 1))
        truth = np.empty(rows - split["train"][1])  # the true logits of the rows after the training split
        x = np.lib.format.open_memmap(new / "x.npy", "w+", np.int32, (rows, len(names)))
        y = np.lib.format.open_memmap(new / "y.npy", "w+", np.uint8, (rows,))
        starts = range(0, rows, CHUNK)
        bar = tqdm(total=rows, desc="drawing rows", unit="row", unit_scale=True, leave=False, delay=2, disable=None)
        for start, seed in zip(starts, np.random.SeedSequence(data_seed).spawn(1 + len(starts))[1:], strict=True):
            draw = np.random.default_rng(seed)
            stop = min(start + CHUNK, rows)
            ids = np.stack([draw.integers(size, size=stop - start) for size in field_sizes], axis=1)
            logs = np.stack([values[ids[:, f]] for f, values in enumerate(log_values)], axis=1)
            terms = (np.exp(logs @ orders.T) - mean) / std
            logit = bias + signal / math.sqrt(len(orders)) * terms.sum(1)
            x[start:stop] = ids + 1
            with np.errstate(over="ignore"):  # exp(-z) may be infinite: a probability of 0
                y[start:stop] = draw.random(stop - start) < 1 / (1 + np.exp(-logit))
            kept = max(start, split["train"][1])
            if stop > kept:
                truth[kept - split["train"][1] : stop - split["train"][1]] = logit[kept - start :]
            bar.update(stop - start)
        bar.close()
        x.flush()
        y.flush()
        fitted = [
            CategoryCoder(name, Vocabulary(pl.int_range(size, eager=True)))
            for name, size in zip(names, field_sizes, strict=True)
        ]
        for coder in fitted:
            coders.write(coder, new)
        bayes = {}
        for part in ("valid", "test"):
            start, stop = split[part]
            scores, labels = truth[start - split["train"][1] : stop - split["train"][1]], y[start:stop]
            require(
                0 < labels.mean() < 1, f"synthetic: every row of the {part} split has the same label; AUC needs both"
            )
            bayes[part] = {"auc": auc(labels, scores), "logloss": logloss(labels, scores)}
        meta = store.seal(
            new,
            name="synthetic",
            protocol=f"{len(orders)} planted interactions, signal {signal}, seed {data_seed}; first 80/10/10 %",
            fields=[{**coders.describe(coder), **Raw(coder.name).describe(), "missing": 0.0} for coder in fitted],
            split=store.write_split(new, dict(split), rows),
            source={"origin": "drawn by eulernet", **description},
            raw=describe_raw(Format(dict.fromkeys(names, pl.Int64), ",", header=True, quote='"'), Label("click")),
            planted=description["interactions"],
            bayes=bayes,
        )
        store.summarise(new, meta, [0] * len(names), [0] * len(names), {}, {}, {})
    log.info("prepared synthetic: %s rows, best possible test auc=%.6f logloss=%.6f (%s)",
             f"{rows:,}", bayes["test"]["auc"], bayes["test"]["logloss"], folder)  # fmt: skip
    return folder


def hidden_logs(field_sizes: Sequence[int], spread: float, data_seed: int) -> list[np.ndarray]:
    """log z_f(v) of the values v = 0, 1, ... of each field, whose ids are v + 1: what the clicks were drawn from."""
    draw = np.random.default_rng(np.random.SeedSequence(data_seed).spawn(1)[0])
    return [spread * draw.standard_normal(size) for size in field_sizes]
