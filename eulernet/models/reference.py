"""Models that another library trains, on the same rows: what a network is measured against."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from types import ModuleType

import torch
from torch import Tensor

from eulernet.errors import UserError
from eulernet.models.base import CTRModel
from eulernet.models.pieces import PIECE, Score, one_by_one

Rows = tuple[Tensor, ...]  # of a split: x [rows, C], the labels [rows] and, where rows have them, their weights [rows]


class Reference(CTRModel):
    """A model that ``learn`` trains in one epoch, whatever the section ``train`` says; its seed is torch's."""

    elastic: Sequence[str] = ()  # tensors whose shapes only the rows decide

    def __init__(self) -> None:
        super().__init__()
        self.seed = torch.initial_seed() % 2**31

    def learn(self, train: Rows, valid: Rows) -> float:
        """Train on rows of ids, numbers and bags, as a store has them; the mean loss of a training row after it.

        UserError where the library is missing.
        """
        raise NotImplementedError

    @contextmanager
    def scoring(self, most: int = PIECE) -> Iterator[Score]:
        """One piece after the other: the library has threads of its own."""
        with torch.no_grad():
            yield one_by_one(self, most)


def library(module: str, package: str) -> ModuleType:
    """The ``module`` of an optional package. UserError where it is missing."""
    try:
        return import_module(module)
    except ImportError as error:
        said = f"{error.name or package} is missing"
        raise UserError(
            f"training this model takes {package}, and {said}: pip install 'eulernet[references]'"
        ) from None
