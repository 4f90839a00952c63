"""Where torch lacks what it does not document, the numbers stay the same."""

import pytest
import torch
from torch import nn

from eulernet import torch_internals
from eulernet.errors import UserError


def test_without_the_fused_loops_the_numbers_are_the_same(monkeypatch):
    def results():
        torch.manual_seed(0)
        targets, ends = [torch.randn(3), torch.randn(2, 2)], [torch.randn(3), torch.randn(2, 2)]
        torch_internals.lerp_all(targets, ends, 0.1)
        torch_internals.multiply_all(targets, torch.tensor(0.3))
        return targets

    with_loops = results()
    monkeypatch.delattr(torch, "_foreach_lerp_")
    monkeypatch.delattr(torch, "_foreach_mul_")
    assert all(torch.equal(one, other) for one, other in zip(with_loops, results(), strict=True))


def test_a_plain_step_is_the_step():
    ends = []
    for step in (torch_internals.plain_step, torch.optim.Adam.step):
        torch.manual_seed(0)
        net = nn.Linear(2, 1)
        optimizer = torch.optim.Adam(net.parameters(), lr=0.1)
        net(torch.ones(1, 2)).sum().backward()
        with torch.no_grad():
            step(optimizer)
        ends.append(net.weight.detach())
    assert torch.equal(*ends)


def test_what_has_no_fallback_is_one_line(monkeypatch):
    ddp = torch.nn.parallel.DistributedDataParallel
    monkeypatch.delattr(ddp, "_set_params_and_buffers_to_ignore_for_model")
    with pytest.raises(UserError, match="cannot train in several processes here; take"):
        torch_internals.ignore_in_ddp(nn.Linear(2, 1), ["weight"])
