"""Rows scored side by side (models/pieces.py). That every model does so to the bit is in test_contract.py."""

import os
import threading

import pytest
import torch
from torch import nn

from eulernet.models.base import CTRModel
from eulernet.models.pieces import pool, share_of, side_by_side, torch_threads


class Noted(CTRModel):
    """A user's model, which writes down in itself what its next line reads."""

    def __init__(self):
        super().__init__()
        self.table, self.seen = nn.Embedding(9, 1), set()

    def forward(self, x):
        self.seen.add(threading.get_ident())
        self.looked_up = self.table(x)
        return self.looked_up.sum((1, 2))


def rows(count):
    return torch.arange(2 * count, dtype=torch.int32).view(count, 2) % 9


def test_a_model_of_a_user_is_scored_by_the_calling_thread_alone():
    model = Noted().eval()
    with torch_threads(2), torch.inference_mode(), model.scoring() as score:
        score(rows(3000))
    assert model.seen == {threading.get_ident()}


def test_each_thread_computes_alone_and_the_caller_keeps_its_threads():
    with torch_threads(3):
        three = pool(os.getpid(), 3)
        ready = threading.Barrier(3)  # so that each of the three has a task
        assert [*three.map(lambda _: (ready.wait(), torch.get_num_threads())[1], range(3))] == [1, 1, 1]
        assert torch.get_num_threads() == 3


def test_what_a_piece_raises_reaches_the_caller():
    class Failing(nn.Module):
        __module__ = "eulernet.failing"

        def forward(self, x):
            raise ValueError(f"{len(x)} rows")

    with torch_threads(2), torch.inference_mode():
        with pytest.raises(ValueError, match="750 rows"), side_by_side(Failing()) as score:
            score(rows(1500))
        assert torch.get_num_threads() == 2


@pytest.mark.parametrize("rows", [1, 511, 512, 1000, 1025, 8192, 10_000])
@pytest.mark.parametrize("threads", [2, 3, 16])
def test_each_thread_has_one_share_of_whole_pieces(rows, threads):
    share = share_of(rows, threads)
    assert share * threads >= rows
    assert share <= 1024 or share % 1024 == 0
