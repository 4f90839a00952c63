"""Rows scored side by side (models/pieces.py). That every model does so to the bit is in test_contract.py."""

import os
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from processes import torch_threads
from torch import nn

from eulernet.models import pieces
from eulernet.models.base import CTRModel
from eulernet.models.pieces import one_by_one, one_thread, pool, share_of, side_by_side


class Noted(CTRModel):
    """A user's model, which writes down in itself what its next line reads."""

    def __init__(self):
        super().__init__()
        self.table, self.seen = nn.Embedding(9, 1), set()

    def forward(self, x):
        self.seen.add(threading.get_ident())
        self.looked_up = self.table(x)
        return self.looked_up.sum((1, 2))


class Ours(Noted):
    """The same in a file of the package."""

    __module__ = "eulernet.models.ours"


def rows(count):
    return torch.arange(2 * count, dtype=torch.int32).view(count, 2) % 9


def test_a_model_of_a_user_is_scored_by_the_calling_thread_alone():
    model = Noted().eval()
    with torch_threads(2), model.scoring() as score:
        score(rows(3000))
    assert model.seen == {threading.get_ident()}


def test_what_a_model_writes_into_itself_no_other_thread_reads():
    model, x = Ours().eval(), rows(3000)
    with torch_threads(3), model.scoring() as score:
        scored = score(x)
    assert threading.get_ident() not in model.seen
    assert not hasattr(model, "looked_up")  # twins wrote, each into itself
    torch.testing.assert_close(scored, one_by_one(model)(x), rtol=0, atol=0)


def test_twins_have_the_weights_themselves_and_each_module_once():
    model = Ours()
    model.again, model.none, model.off = model.table, None, torch.zeros(1)
    model.register_buffer("count", torch.zeros(1))
    twin = pieces.twin_of(model, {})
    assert twin.table is twin.again is not model.table
    assert twin.table.weight is model.table.weight
    twin.count, twin.table.weight = torch.ones(1), nn.Parameter(torch.ones(9, 1))
    assert model.count.item() == 0
    assert model.table.weight is not twin.table.weight


@pytest.mark.parametrize("register", ["register_forward_hook", "register_forward_pre_hook"])
def test_hooks_see_the_rows_in_their_order(register):
    model, seen = Ours().eval(), []
    getattr(model.table, register)(lambda module, given, *made: seen.append(given[0]))
    with torch_threads(2), model.scoring() as score:
        score(rows(3000))
    assert torch.equal(torch.cat(seen), rows(3000))


def test_the_callers_rows_bound_a_piece():
    sizes = []
    model = Ours().eval()
    model.table.register_forward_hook(lambda module, given, made: sizes.append(len(given[0])))
    with model.scoring(64) as score:
        score(rows(200))
    assert sizes == [64, 64, 64, 8]


@pytest.mark.parametrize("threads", [1, 2])
def test_logits_have_no_gradient_whatever_the_threads(threads):
    with torch_threads(threads), Ours().scoring() as score:
        assert not score(rows(3000)).requires_grad
        assert not score(rows(3)).requires_grad
    assert torch.is_grad_enabled()


def test_each_thread_computes_alone_and_the_caller_keeps_its_threads():
    with torch_threads(3):
        three = pool(os.getpid(), 3)
        ready = threading.Barrier(3)  # so that each of the three has a task
        assert [*three.map(lambda _: (ready.wait(), torch.get_num_threads())[1], range(3))] == [1, 1, 1]
        assert torch.get_num_threads() == 3


def test_a_thread_that_begins_while_one_waits_for_others_has_as_many_threads_as_ever():
    with torch_threads(6), one_thread():
        assert torch.get_num_threads() == 1
        for _ in range(2):  # before and after the threads for pieces have begun
            with ThreadPoolExecutor(1) as new:
                assert new.submit(torch.get_num_threads).result() == 6
            pool(os.getpid(), 6)
            assert torch.get_num_threads() == 1


def test_threads_that_cannot_begin_leave_none_behind(monkeypatch):
    """One piece is then scored after the other, and the process can end."""
    began, start = [], threading.Thread.start

    def second_fails(thread):
        if thread.name.startswith("score"):
            began.append(thread)
            if len(began) == 2:
                raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", second_fails)
    model, x = Ours().eval(), rows(3000)
    with torch_threads(5), model.scoring() as score:
        torch.testing.assert_close(score(x), one_by_one(model)(x), rtol=0, atol=0)
        assert torch.get_num_threads() == 5
    began[0].join(60)
    assert not began[0].is_alive()


def test_what_a_piece_raises_reaches_the_caller():
    class Failing(nn.Module):
        __module__ = "eulernet.failing"

        def forward(self, x):
            raise ValueError(f"{len(x)} rows")

    with torch_threads(2), pytest.raises(ValueError, match="750 rows"):
        side_by_side(Failing())(rows(1500))


@pytest.mark.parametrize("rows", [1, 511, 512, 1000, 1025, 8192, 10_000])
@pytest.mark.parametrize("threads", [2, 3, 16])
def test_each_thread_has_one_share_of_whole_pieces(rows, threads):
    share = share_of(rows, threads)
    assert share * threads >= rows
    assert share <= 1024 or share % 1024 == 0
