"""Logistic regression by scikit-learn: L-BFGS on the one-hot rows (Pedregosa et al., JMLR 2011)."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from eulernet.errors import require
from eulernet.features import FieldLinear, FieldSize
from eulernet.models.reference import Reference, Rows, library


class SklearnLR(Reference):
    """logit = w_0 + sum_f w_f[x_f], as ``LR``; w minimises ``|w|^2 / 2`` + c times the sum of the log losses.

    ``c`` is scikit-learn's C; w_0 is not penalised. At most ``max_iter`` steps, fewer where the gradient is below
    ``tol``.
    """

    def __init__(self, field_sizes: Sequence[FieldSize], c: float, max_iter: int, tol: float) -> None:
        super().__init__()
        require(c > 0 and tol > 0, f"model.c and model.tol must be above 0, got {c} and {tol}")
        require(max_iter >= 1, f"model.max_iter must be at least 1, got {max_iter}")
        self.c, self.max_iter, self.tol = c, max_iter, tol
        self.linear = FieldLinear(field_sizes)

    def forward(self, x: Int[Tensor, "B C"]) -> Float[Tensor, " B"]:
        return self.linear(x)

    def learn(self, train: Rows, valid: Rows) -> float:
        """By ``sklearn.linear_model.LogisticRegression``; the validation rows are not looked at."""
        linear = library("sklearn.linear_model", "scikit-learn")
        x, y, *weight = train
        made = linear.LogisticRegression(C=self.c, max_iter=self.max_iter, tol=self.tol)
        made.fit(self.one_hot(x), y.numpy(), *(part.numpy() for part in weight))
        with torch.no_grad():
            self.linear.weights.table.weight.copy_(torch.from_numpy(made.coef_.T))
            self.linear.bias.copy_(torch.tensor(made.intercept_[0]))
            return self.calculate_loss(x, y, *weight).item()

    def one_hot(self, x: Int[Tensor, "rows C"]) -> Any:
        """[rows, weights], a sparse matrix: 1 at an id, a number at its field's column, a bag's share at its members.

        A bag's share is 1 where its vectors are added, 1 / members where they are averaged.
        """
        from scipy.sparse import coo_matrix

        of = self.linear.weights
        ids, first = x.numpy(), of.first_row.numpy()
        number, averaged = of.is_number.numpy(), of.averaged.numpy()[of.field.numpy()]
        members = np.add.reduceat(ids >= 0, np.searchsorted(of.field.numpy(), range(of.fields)), axis=1)
        share = np.where(averaged, 1 / np.maximum(members, 1)[:, of.field.numpy()], 1.0)
        value = np.where(number, np.ascontiguousarray(ids).view(np.float32).astype(np.float64), share * (ids >= 0))
        column = np.where(number | (ids < 0), 0, ids) + first
        row = np.broadcast_to(np.arange(len(ids))[:, None], ids.shape)
        shape = (len(ids), len(of.table.weight))
        return coo_matrix((value.ravel(), (row.ravel(), column.ravel())), shape).tocsr()
