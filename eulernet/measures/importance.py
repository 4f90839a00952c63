"""Permutation importance (Breiman, 2001; Fisher et al., 2019): what a model owes to each field.

The rows of a field, or of several that belong together, are permuted, so that what it says is another row's; the change
of AUC and logloss is what the model owes to it. Fields that say the same share their worth: a group shows it.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from eulernet.measures.statistics import auc_and_error, covariances, placements, shares

Z = 1.959963984540054  # of a normal interval at 95 %


def permutation_importance(
    score: Callable[[np.ndarray], np.ndarray],
    x: np.ndarray,
    labels: np.ndarray,
    columns: Mapping[str, Sequence[slice]],
    weights: np.ndarray | None = None,
    *,
    repeats: int,
    seed: int,
    after: Callable[[], object] = lambda: None,
) -> dict[str, Any]:
    """AUC and logloss of ``x`` [rows, C], and how they change with the ``columns`` of each name permuted.

    ``score`` gives the logits of ids. It is called 1 + names * ``repeats`` times, and ``after`` after each; all names
    see the same permutations, whatever rows weigh. A change has its mean over the permutations, each of them, and a
    95 % interval over other rows (DeLong's variance; that of the mean loss) and other permutations. UserError unless
    two rows of each class count.

    >>> permutation_importance(score, x, labels, {"user": [slice(0, 1)]}, repeats=3, seed=0)["fields"]["user"]["auc"]
    {'value': -0.04, 'low': -0.05, 'high': -0.03, 'each': [-0.041, -0.039, -0.04]}
    """
    measured = _Measured(labels, weights)
    whole = measured.of(score(x))
    after()
    draw = np.random.default_rng(seed)
    orders, found = [draw.permutation(len(x)) for _ in range(repeats)], {}
    for name, places in columns.items():
        changes = []
        for order in orders:
            mixed = x.copy()
            for place in places:
                mixed[:, place] = x[order, place]
            changes.append([new - old for new, old in zip(measured.of(score(mixed)), whole, strict=True)])
            after()
        found[name] = measured.changes(changes)
    auc, logloss = (float(one["value"]) for one in measured.changes([whole]).values())
    return {"rows": len(x), "repeats": repeats, "seed": seed, "auc": auc, "logloss": logloss, "fields": found}


class _Measured:
    """Rows whose AUC and logloss are sums over rows: placements of clicks, those of others, losses."""

    def __init__(self, labels: np.ndarray, weights: np.ndarray | None) -> None:
        self.labels, self.weights = np.asarray(labels, dtype=np.float64), weights
        self.shares = shares(labels, weights)
        weight = np.ones(len(labels)) if weights is None else weights
        self.share = weight / weight.sum()

    def of(self, logits: np.ndarray) -> list[np.ndarray]:
        logits = np.asarray(logits, dtype=np.float64)
        losses = np.logaddexp(0.0, logits) - self.labels * logits
        return [*placements(self.labels, logits, self.weights), losses]

    def changes(self, parts: Sequence[Sequence[np.ndarray]]) -> dict[str, Any]:
        """By the name of the measure, from what ``of`` returns of each permutation."""
        *placed, losses = (np.mean(part, axis=0) for part in zip(*parts, strict=True))
        auc, of_auc = auc_and_error(placed, self.shares)
        logloss, of_loss = float(losses @ self.share), float(covariances(losses, self.share)[0, 0]) ** 0.5
        return {
            "auc": _interval(auc, of_auc, [float(part[0] @ self.shares[0]) for part in parts]),
            "logloss": _interval(logloss, of_loss, [float(part[2] @ self.share) for part in parts]),
        }


def _interval(value: float, error: float, each: list[float]) -> dict[str, Any]:
    variance = error**2 + (np.var(each, ddof=1) / len(each) if len(each) > 1 else 0.0)
    return {"value": value, "low": value - Z * variance**0.5, "high": value + Z * variance**0.5, "each": each}
