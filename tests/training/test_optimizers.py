"""Decay goes where it belongs: the tables, the net, or both."""

import pytest
import torch

from eulernet.features import Bag, FieldLinear, Number
from eulernet.models import EulerNet
from eulernet.training.optimizers import TableAdam


def steps(decays, groups=None):
    """Weights after five steps of ``TableAdam``, or of plain Adam with a decay for the table and one for the rest."""
    torch.manual_seed(1)
    model = EulerNet(
        [5, 4],
        embedding_dim=3,
        orders=[2],
        drop_explicit=0.0,
        drop_implicit=0.0,
        norm=False,
        init="sigir",
        without="nothing",
        norm_penalty=0.0,
    ).double()
    x, y = torch.tensor([[1, 2], [0, 3], [4, 1]]), torch.tensor([1.0, 0.0, 1.0], dtype=torch.float64)
    table = [model.embedding.table.weight]
    net = [w for name, w in model.named_parameters() if name.endswith((".weight", ".bias"))][1:]
    own = [w for name, w in model.named_parameters() if not name.endswith((".weight", ".bias"))]
    assert len(table + net + own) == len(list(model.parameters()))
    assert [name for name, _ in model.named_parameters() if not name.endswith((".weight", ".bias"))] == [
        "modulus", "layers.0.orders", "layers.0.log_modulus_bias", "layers.0.phase_bias",
    ]  # fmt: skip
    if groups is None:
        optimizer = TableAdam(model, lr=1e-2, **decays)
    else:
        three = [{"params": w, "weight_decay": d} for w, d in zip((table, net, own), groups, strict=True)]
        optimizer = torch.optim.Adam(three, lr=1e-2)
    for _ in range(5):
        optimizer.zero_grad()
        model.calculate_loss(x, y).backward()
        optimizer.step()
    return list(model.parameters())


@pytest.mark.parametrize(
    ("weight_decay", "embedding_l2", "net_l2", "groups"),
    [
        (0.1, 0.0, 0.0, (0.1, 0.1, 0.1)),
        (0.0, 0.1, 0.0, (0.1, 0.0, 0.0)),
        (0.0, 0.0, 0.1, (0.0, 0.1, 0.0)),
        (0.1, 0.2, 0.3, (0.3, 0.4, 0.1)),
    ],
)
def test_decay_equals_plain_adam_with_a_decay_per_group(weight_decay, embedding_l2, net_l2, groups):
    got = steps(dict(weight_decay=weight_decay, embedding_l2=embedding_l2, net_l2=net_l2))
    torch.testing.assert_close(got, steps({}, groups), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("penalised", [False, True])
def test_kept_gradients_are_autograds(penalised):
    """Step after step, with rows that come and go, for ids, numbers and bags, and with a penalty on the whole table."""
    sizes = [5, Number(), Bag(4, 2, "mean"), 30]
    torch.manual_seed(0)
    kept, plain = (FieldLinear(sizes).double() for _ in range(2))
    optimizer = TableAdam(kept, lr=0.1, weight_decay=0.0, embedding_l2=0.0, net_l2=0.0)
    for _ in range(4):
        number = torch.randn(6, 1).view(torch.int32)
        x = torch.cat([torch.randint(5, (6, 1)), number, torch.randint(-1, 4, (6, 2)), torch.randint(30, (6, 1))], 1)
        optimizer.zero_grad()
        for linear in (kept, plain):
            for _ in range(2):  # looked up twice in one step
                linear(x.int()).sigmoid().sum().backward()
            if penalised:
                linear.weights.table.weight.square().sum().backward()
        torch.testing.assert_close(kept.weights.table.weight.grad, plain.weights.table.weight.grad)
        plain.zero_grad()
