"""How much AUC a part of the logit carries."""

import numpy as np

from eulernet.measures.metrics import auc


def carried(labels: np.ndarray, logits: np.ndarray, part: np.ndarray, *, shuffles: int, seed: int) -> np.ndarray:
    """The AUC that is lost when each row has the ``part`` of another, drawn row: [shuffles], one drop a permutation.

    ``logits`` and ``part`` are [rows], and ``part`` is a summand of the logits: all else of a row stays its own. What
    is lost is what the trained model gets from the part. Trained without it, it would make up for some.
    """
    draw, whole = np.random.default_rng(seed), auc(labels, logits)
    rest = logits - part
    return np.array([whole - auc(labels, rest + part[draw.permutation(len(part))]) for _ in range(shuffles)])
