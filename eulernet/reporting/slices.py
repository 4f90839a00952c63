"""How well a run ranks within parts of the test rows: the values of a field, and single users."""

from dataclasses import dataclass

import numpy as np

from eulernet.data import kinds
from eulernet.data.dataset import Dataset
from eulernet.measures.metrics import RankedInGroups, auc, bin_numbers
from eulernet.measures.statistics import auc_interval
from eulernet.runs.run import Scores

USERS = ("user_id", "user", "userid", "uid", "msno")  # names of the field of the person, where there is one


@dataclass(frozen=True)
class Slice:
    """Rows that share a value of a field: how many, which share of them are clicks, their AUC with its interval."""

    name: str
    rows: int
    click_rate: float
    auc: float
    low: float
    high: float


def by_value(scored: Scores, field: str, most: int) -> list[Slice]:
    """The ``most`` frequent values of a field that have two clicks and two other rows; a number by its quarters."""
    kind = next(entry["kind"] for entry in scored.data.meta["fields"] if entry["name"] == field)
    column = scored.column(field)
    if kind == "number":
        values = np.ascontiguousarray(column[:, 0]).view(np.float32)
        quarter = bin_numbers(values, 4)
        rows = [np.flatnonzero(quarter == k) for k in range(quarter.max() + 1)]
        names = [f"{values[inside].min():.3g} to {values[inside].max():.3g}" for inside in rows]
    else:
        ids, counts = np.unique(column[column >= 0], return_counts=True)
        frequent = ids[np.argsort(-counts, kind="stable")][: 4 * most].tolist()
        rows = [np.flatnonzero((column == value).any(axis=1)) for value in frequent]
        names = value_names(scored.data, field, frequent)
    if scored.weights is not None:
        rows = [inside[scored.weights[inside] > 0] for inside in rows]
    told = [(name, inside) for name, inside in zip(names, rows, strict=True) if _has_both(scored.labels[inside])]
    return [_slice(name, scored, inside) for name, inside in told[:most]]


def value_names(data: Dataset, field: str, ids: list[int]) -> list[str]:
    """What the ids of a field stand for: values of the vocabulary, or the classes between the edges of a number."""
    entry = next(entry for entry in data.meta["fields"] if entry["name"] == field)
    return kinds.read(entry, data.folder).names(ids)


def _has_both(labels: np.ndarray) -> bool:
    return 2 <= int(labels.sum()) <= len(labels) - 2


def _slice(name: str, scored: Scores, inside: np.ndarray) -> Slice:
    labels, logits = scored.labels[inside], scored.logits[inside]
    weights = None if scored.weights is None else scored.weights[inside]
    rate = float(np.average(labels, weights=weights))
    return Slice(name, len(labels), rate, auc(labels, logits, weights), *auc_interval(labels, logits, weights))


def user_field(scored: Scores) -> str | None:
    """The field that says whose row it is, by its name."""
    return next((name for name in scored.data.fields if name.lower() in USERS), None)


def per_user(scored: Scores, field: str) -> np.ndarray:
    """The AUC of each user who has both labels."""
    aucs = RankedInGroups(scored.labels, scored.logits, scored.column(field)[:, 0]).each(scored.weights)[0]
    return aucs[np.isfinite(aucs)]
