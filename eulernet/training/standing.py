"""Where a run stands: beside logistic regression on the same rows, which knows no interactions of fields."""

import time
from dataclasses import asdict, dataclass
from typing import Any

import torch

from eulernet.data.dataset import Dataset
from eulernet.measures.table import Metrics
from eulernet.models.lr import LR

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

    def line(self, valid: dict[str, float], rows: int, hint: str) -> str:
        """How a run with the validation figures ``valid`` on ``rows`` training rows compares, and what to try."""
        part = f" on {self.rows:,} of the rows" if self.rows < rows else ""
        figures = f"logistic regression{part} auc={self.auc:.6f}  logloss={self.logloss:.6f} in {self.seconds:.1f} s"
        poor = f": this setting learned no interactions; {hint}" if valid["auc"] < self.auc + WORTH else ""
        return f"valid auc={valid['auc']:.6f}  logloss={valid['logloss']:.6f}; {figures}{poor}"


def logistic_regression(data: Dataset) -> Standing:
    """By L-BFGS on all rows at once, with the penalty |w|^2 / 2 on the sum of the losses, as scikit-learn's default."""
    start, rows = time.perf_counter(), min(len(data.train), ROWS)
    x, y = next(data.train.batches(rows))
    model = LR(data.field_sizes).to(x.device)
    weights = model.linear.weights.table.weight
    optimizer = torch.optim.LBFGS(
        model.parameters(), max_iter=STEPS, tolerance_grad=1e-6, line_search_fn="strong_wolfe"
    )

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        value = model.calculate_loss(x, y) + weights.square().sum() / (2 * rows)
        value.backward()
        return value

    optimizer.step(loss)
    with torch.no_grad():
        scores = torch.cat([model(batch) for batch, _ in data.valid.batches(1 << 16)]).double().cpu()
    found = Metrics.of(data.valid.labels.cpu().numpy(), scores.numpy())
    return Standing(found.auc, found.logloss, rows, time.perf_counter() - start)
