"""Exact AUC and logloss over a whole split, in float64, from logits."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Metrics:
    """How well logits [rows] rank and predict 0/1 labels [rows]."""

    auc: float
    logloss: float

    @classmethod
    def of(cls, labels: np.ndarray, logits: np.ndarray) -> "Metrics":
        return cls(auc=auc(labels, logits), logloss=logloss(labels, logits))

    def __str__(self) -> str:
        return f"auc={self.auc:.6f}  logloss={self.logloss:.6f}"


def auc(labels: np.ndarray, scores: np.ndarray) -> float:
    """Share of (click, no click) pairs that the scores order rightly, ties one half. NaN scores raise ValueError."""
    from sklearn.metrics import roc_auc_score  # a second to import: not at start-up

    return float(roc_auc_score(labels, scores))


def logloss(labels: np.ndarray, logits: np.ndarray) -> float:
    """Mean of log(1 + exp(z)) - y z, which is the cross entropy of sigmoid(z) without an epsilon."""
    z = np.asarray(logits, dtype=np.float64)
    return float(np.mean(np.logaddexp(0.0, z) - np.asarray(labels) * z))
