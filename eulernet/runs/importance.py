"""What each field is worth to a run, and the orders that EulerNet learned for it."""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from eulernet.data import disk
from eulernet.errors import require, require_known
from eulernet.measures.importance import permutation_importance
from eulernet.measures.statistics import shares
from eulernet.measures.table import BY_NAME
from eulernet.runs.run import Run
from eulernet.training.weights import WEIGHTS, Weights

log = logging.getLogger(__name__)
TIMED = 8192  # rows that tell how long scoring all takes


def importance(
    run: Run,
    score: Callable[[np.ndarray], np.ndarray],
    x: np.ndarray,
    labels: np.ndarray,
    weights: np.ndarray | None,
    places: Mapping[str, slice],
    groups: Mapping[str, Sequence[str]] | None = None,
    *,
    most: int | None = None,
    repeats: int,
    seed: int,
) -> dict[str, Any]:
    """``permutation_importance`` of the fields of ``run``, whose ``places`` in x are given, and of ``groups`` of them.

    ``score`` gives the logits of ids. ``most`` rows are taken, drawn by ``seed``; None takes all. What it will take is
    logged before it begins. For EulerNet each field has its ``order`` beside it. UserError for a group of unknown
    fields, and unless two rows of each class count.
    """
    require(type(repeats) is int and repeats >= 1, f"permutations={repeats}: should be a whole number from 1")
    columns = {name: [place] for name, place in places.items()} | columns_of(places, groups or {})
    if most is not None and most < len(x):
        chosen = np.sort(np.random.default_rng(seed).permutation(len(x))[:most])
        x, labels, weights = x[chosen], labels[chosen], None if weights is None else weights[chosen]
    shares(labels, weights)  # refuses rows without clicks, before they are scored
    scorings, start = 1 + len(columns) * repeats, time.perf_counter()
    score(x[:TIMED])
    seconds = scorings * (time.perf_counter() - start) * len(x) / max(len(x[:TIMED]), 1)
    what = f"{len(columns)} fields and groups, {repeats} permutations each"
    log.info("importance: %s: %s scorings of %s rows, about %.0f s", what, f"{scorings:,}", f"{len(x):,}", seconds)
    with disk.progress("importance", " scorings", scorings) as bar:
        found = permutation_importance(score, x, labels, columns, weights, repeats=repeats, seed=seed, after=bar.update)
    for layer in orders_of(run)[:1]:
        for name, orders in zip(places, layer, strict=True):
            found["fields"][name]["order"] = float(np.abs(orders).mean())
    return found


def columns_of(places: Mapping[str, slice], groups: Mapping[str, Sequence[str]]) -> dict[str, list[slice]]:
    """The columns of x of each group. UserError for one that cannot be."""
    form = "importance_groups={user: [user_id, age]}"
    require(isinstance(groups, Mapping), f"importance_groups: give names and lists of fields, as {form}")
    for name, fields in groups.items():
        require(name not in places, f"importance_groups.{name}: a field is called so; give another name")
        several = isinstance(fields, Sequence) and not isinstance(fields, str) and len(fields) > 0
        require(several, f"importance_groups.{name}: give a list of fields, as {form}")
        for field in fields:
            require_known(str(field), places, f"importance_groups.{name}: no field {field!r}")
    return {str(name): [places[str(field)] for field in fields] for name, fields in groups.items()}


def orders_of(run: Run) -> list[np.ndarray]:
    """The order vectors [N, M] of each layer of an EulerNet; none of another model, or of several in one.

    UserError where its weights cannot be read.
    """
    asked = run.config["model"]
    alone = asked.get("without") != "explicit" and asked.get("embeddings", 1) == 1
    if asked.get("name") != "eulernet" or not alone:
        return []
    weights = Weights(run.folder / WEIGHTS)
    names = sorted(name for name in weights.shapes if name.endswith(".orders"))
    return [weights.rows(name).numpy() for name in sorted(names, key=len)]


def importance_lines(found: Mapping[str, Any]) -> str:
    """A line a field or group, the one whose loss costs most AUC first."""
    fields = sorted(found["fields"].items(), key=lambda item: item[1]["auc"]["value"])
    width = max(8, *(len(name) for name, _ in fields))
    digits = {name: BY_NAME[name].digits for name in ("auc", "logloss")}
    orders = any("order" in one for _, one in fields)
    lines = [f"{'permuted':{width}} {'AUC':>8} {'95 % interval':>20} {'logloss':>8} {'95 % interval':>20}"]
    lines[0] += f" {'order':>5}" * orders
    for name, one in fields:
        line = f"{name:{width}}"
        for measure, after in digits.items():
            value, low, high = (one[measure][key] for key in ("value", "low", "high"))
            line += f" {value:+8.{after}f} {f'{low:+.{after}f} to {high:+.{after}f}':>20}"
        lines.append(line + (f" {one['order']:5.2f}" if "order" in one else ""))
    return "\n".join(lines)
