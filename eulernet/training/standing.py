"""Where a run stands: beside logistic regression on the same rows, which knows no interactions of fields."""

import time
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from eulernet.data.dataset import Dataset
from eulernet.measures.metrics import sigmoid
from eulernet.measures.table import Metrics
from eulernet.models.sklearn_lr import SklearnLR

ROWS = 200_000  # of training that logistic regression takes at most: seconds, whatever the size of the set
STEPS = 100
WORTH = 0.001  # of AUC: a model with interactions that adds less has learned none that count


@dataclass(frozen=True)
class Standing:
    """What logistic regression got on the validation rows, from how many training rows and in how many seconds."""

    auc: float
    logloss: float
    rows: int
    seconds: float

    def plain(self) -> dict[str, Any]:
        return {"model": "lr", **asdict(self)}

    def lines(self, valid: dict[str, float], rows: int, hint: str) -> list[str]:
        """How a run with the validation figures ``valid`` on ``rows`` training rows compares, and what to try."""
        part = f" on {self.rows:,} of the rows" if self.rows < rows else ""
        about = f"(logistic regression{part}, {self.seconds:.1f} s)"
        return [
            f"valid auc={valid['auc']:.6f}  logloss={valid['logloss']:.6f}",
            f"  lr  auc={self.auc:.6f}  logloss={self.logloss:.6f}  {about}",
            *([f"note  this setting learned no interactions; {hint}"] if valid["auc"] < self.auc + WORTH else []),
        ]


def logistic_regression(data: Dataset) -> Standing:
    """By L-BFGS on one-hot rows, with the penalty |w|^2 / 2 on the sum of the losses, as scikit-learn's default."""
    from scipy.optimize import minimize  # a fifth of a second, which the first step need not wait for

    start, rows = time.perf_counter(), min(len(data.train), ROWS)
    order = torch.arange(rows) if data.train.order is None else data.train.order[:rows]
    x, y, *weight = data.train.gather(order)
    model = SklearnLR(data.field_sizes, c=1.0, max_iter=STEPS, tol=1e-4)  # its matrix takes scipy alone
    features, clicks = model.one_hot(x), y.double().numpy()
    share = weight[0].double().numpy() if weight else np.ones(rows)
    share /= share.sum()

    def loss(values: np.ndarray) -> tuple[float, np.ndarray]:
        bias, weights = values[0], values[1:]
        logits = features @ weights + bias
        value = share @ (np.logaddexp(0.0, logits) - clicks * logits) + weights @ weights / (2 * rows)
        wrong = (sigmoid(logits) - clicks) * share
        return value, np.concatenate([[wrong.sum()], features.T @ wrong + weights / rows])

    options = {"maxiter": STEPS, "gtol": 1e-6}
    best = minimize(loss, np.zeros(1 + features.shape[1]), jac=True, method="L-BFGS-B", options=options).x
    with torch.no_grad():
        model.linear.bias.fill_(best[0])
        model.linear.weights.table.weight.copy_(torch.from_numpy(best[1:, None]))
        scores = torch.cat([model(x) for x, *_ in data.valid.batches(1 << 16)]).double() + data.valid.correction
    valid = Metrics.of(data.valid.labels.numpy(), scores.numpy(), data.valid.counts)
    return Standing(valid.auc, valid.logloss, rows, time.perf_counter() - start)
