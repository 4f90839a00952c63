"""Optimizers of tables and net against loops over rows; where decay, rates, warm-up and clipping go."""

import pytest
import reference
import torch
from optimizing import make
from torch import nn

from eulernet.errors import UserError
from eulernet.features import Bag, FieldEmbedding, FieldLinear, Number
from eulernet.models import EulerNet
from eulernet.training.optimizers import OPTIMIZERS


def steps(decays, groups=None):
    """Weights after five steps of ``adam``, or of plain Adam with a decay for the table and one for the rest."""
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
        optimizer = make("adam", model, **decays)
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
    optimizer = make("adam", kept, lr=0.1)
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


class Probe(nn.Module):
    """A table of 13 rows and a net, float64."""

    def __init__(self, sizes=(8, 5), embedding_dim=3):
        super().__init__()
        torch.manual_seed(2)
        self.embedding = FieldEmbedding(sizes, embedding_dim)
        self.net = nn.Linear(len(sizes) * embedding_dim, 1)
        self.double()

    def forward(self, x):
        return self.net(self.embedding(x).flatten(1))

    @property
    def table(self):
        return self.embedding.table.weight


BATCHES = [[[0, 0], [7, 1], [0, 1]], [[3, 2], [3, 3], [3, 4]], [[7, 0], [2, 0], [1, 0]], [[0, 1], [0, 1], [7, 4]]] * 2
EVERY_ROW = [[[i % 8, i % 5] for i in range(16)]] * 6


def train(model, optimizer, batches=BATCHES, seen=None, penalty=0.0):
    """Steps on a loss whose gradient changes from row to row; ``seen`` is called before each."""
    for step, batch in enumerate(batches):
        x = torch.tensor(batch)
        optimizer.zero_grad()
        loss = (model(x).sigmoid().squeeze(1) * torch.linspace(-1.0, 2.0 + step, len(x)).double()).mean()
        if penalty:
            loss = loss + penalty * model.table.square().sum()
        loss.backward()
        if seen:
            seen(x)
        optimizer.step()


def rows_of(x):
    return {*x[:, 0].tolist(), *(8 + x[:, 1]).tolist()}


@pytest.mark.parametrize("decay", [0.0, 0.05])
@pytest.mark.parametrize(
    ("optimizer", "reference_row"), [("touched_adam", reference.row_adam), ("rowwise_adagrad", reference.row_adagrad)]
)
def test_touched_rows_step_as_the_loop_does_and_others_keep_their_bits(optimizer, reference_row, decay):
    model, grads = Probe(), [[] for _ in range(13)]
    start = model.table.tolist()

    def seen(x):
        for row, so_far in enumerate(grads):
            so_far.append(model.table.grad[row].tolist() if row in rows_of(x) else None)

    train(model, make(optimizer, model, lr=0.1, embedding_lr=0.02, weight_decay=decay), seen=seen)
    wanted = [reference_row(list(row), g, lr=0.02, decay=decay) for row, g in zip(start, grads, strict=True)]
    torch.testing.assert_close(model.table.tolist(), wanted, rtol=1e-12, atol=1e-12)
    never = [row for row, so_far in enumerate(grads) if not any(so_far)]
    assert never == [4, 5, 6]
    assert [model.table[row].tolist() for row in never] == [start[row] for row in never]


@pytest.mark.parametrize("optimizer", ["touched_adam", "rowwise_adagrad"])
def test_the_net_steps_by_dense_adam(optimizer):
    """Exactly: with tables that never move, no optimizer makes a difference to the net."""
    nets = []
    for name in ("adam", optimizer):
        model = Probe()
        train(model, make(name, model, lr=0.1, embedding_lr=1e-300, weight_decay=0.01))
        nets.append(list(model.net.parameters()))
    assert all(torch.equal(a, b) for a, b in zip(*nets, strict=True))


def test_adamw_is_torchs_on_the_net_and_adam_without_decay_on_tables():
    """Decay is decoupled: each weight of the net shrinks by lr times decay; no row of a table does."""
    model, wanted = Probe(), Probe()
    tables, net = [wanted.table], list(wanted.net.parameters())
    both = torch.optim.Adam(tables, lr=0.03), torch.optim.AdamW(net, lr=0.1, weight_decay=0.2)
    optimizer = make("adamw", model, lr=0.1, embedding_lr=0.03, weight_decay=0.2)
    for batch in BATCHES:
        train(model, optimizer, [batch])
        for one in both:
            one.zero_grad()
        loss = (wanted(torch.tensor(batch)).sigmoid().squeeze(1) * torch.linspace(-1.0, 2.0, 3).double()).mean()
        loss.backward()
        for one in both:
            one.step()
        torch.testing.assert_close(list(model.parameters()), list(wanted.parameters()), rtol=1e-12, atol=1e-12)
    with pytest.raises(UserError, match=r"adamw decays by train.weight_decay alone; leave train.embedding_l2 at 0"):
        make("adamw", model, embedding_l2=0.1)


@pytest.mark.parametrize(("batches", "penalty"), [(EVERY_ROW, 0.0), (BATCHES, 0.3)])
def test_adam_on_touched_rows_is_adam_where_every_row_is_touched(batches, penalty):
    """To the bit, decay included: by lookups in every step, or by a penalty on the whole table."""
    ends = []
    for name in ("adam", "touched_adam"):
        model = Probe()
        train(model, make(name, model, weight_decay=0.05), batches, penalty=penalty)
        ends.append(model.table)
    assert torch.equal(*ends)


@pytest.mark.parametrize("cowclip", [None, (0.1, 1e-3)])
@pytest.mark.parametrize("optimizer", ["touched_adam", "rowwise_adagrad"])
def test_a_table_that_is_not_looked_up_keeps_its_bits(optimizer, cowclip):
    model = Probe()
    start = model.table.clone()
    optimizer = make(optimizer, model, weight_decay=0.05, cowclip=cowclip)
    optimizer.zero_grad()
    model.net(torch.ones(1, 6).double()).sum().backward()
    optimizer.step()
    assert torch.equal(model.table, start)


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize(("ratio", "bound"), [(0.1, 1e-3), (0.01, 0.02), (1e-9, 1e-9), (1.0, 10.0)])
def test_cowclip_cuts_each_ids_gradient_as_the_loop_does(name, ratio, bound):
    model, wanted = Probe(), []
    optimizer = make(name, model, cowclip=(ratio, bound))

    def seen(x):
        looked_up = [*x[:, 0].tolist(), *(8 + x[:, 1]).tolist()]
        wanted[:] = [
            reference.cowclip(row.tolist(), grad.tolist(), looked_up.count(i), ratio, bound)
            for i, (row, grad) in enumerate(zip(model.table, model.table.grad, strict=True))
        ]

    for batch in BATCHES:
        train(model, optimizer, [batch], seen)
        torch.testing.assert_close(model.table.grad.tolist(), wanted, rtol=1e-12, atol=0.0)


def test_cowclip_spares_linear_terms():
    clipped, plain = Probe(embedding_dim=1), Probe(embedding_dim=1)
    train(clipped, make("adam", clipped, cowclip=(1e-9, 1e-9)))
    train(plain, make("adam", plain))
    assert torch.equal(clipped.table, plain.table)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_warm_up_raises_the_nets_rate_and_schedules_lower_both(name):
    """Against the same optimizer with the rates set by hand, step by step."""
    warm, by_hand = Probe(), Probe()
    optimizer = make(name, warm, lr=0.1, embedding_lr=0.03, warmup_steps=4)
    rates = [(0.1 * f * min(1, step / 4), 0.03 * f) for step, f in enumerate([1, 1, 0.5, 0.5, 0.5, 0.5], start=1)]
    plain = make(name, by_hand, lr=1.0)
    for batch, factor, (net, tables) in zip(BATCHES, [1, 1, 0.5, 0.5, 0.5, 0.5], rates, strict=False):
        for group in optimizer.param_groups:
            group["lr"] = 0.1 * factor
        train(warm, optimizer, [batch])
        for group in plain.param_groups:
            group["lr"] = tables if group["tables"] else net
        train(by_hand, plain, [batch])
    torch.testing.assert_close(list(warm.parameters()), list(by_hand.parameters()), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("cowclip", [None, (0.1, 1e-3)])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_gradient_scaler_changes_nothing_and_skips_overflows(name, cowclip):
    ends = []
    for scaled in (False, True):
        model = Probe()
        optimizer = make(name, model, cowclip=cowclip)
        scaler = torch.amp.GradScaler("cpu", init_scale=1024.0, enabled=scaled)
        for batch in BATCHES:
            for overflow in (True, False) if scaled else (False,):
                optimizer.zero_grad()
                loss = model(torch.tensor(batch)).sigmoid().mean()
                scaler.scale(loss * float("inf") if overflow else loss).backward()
                scaler.step(optimizer)
                scaler.update()
        ends.append([weight.clone() for weight in model.parameters()])
    torch.testing.assert_close(*ends, rtol=1e-9, atol=1e-12)


def test_dense_adam_moves_rows_that_nobody_looks_up():
    """The published coupled decay of 1e-5 takes such a row to 0 by the rate in each step, whatever its size; after
    one lookup momentum goes on for a hundred steps. On touched rows neither happens."""
    paths = {}
    for name in ("adam", "touched_adam"):
        model = Probe()
        nn.init.constant_(model.table, 0.1)
        optimizer = make(name, model, lr=1e-3, weight_decay=1e-5)
        path = []
        train(model, optimizer, [[[0, 0]]] * 220, lambda x, model=model, path=path: path.append(model.table.tolist()))
        paths[name] = torch.tensor(path)
    never = paths["adam"][:, 5, 0]
    assert never[50] == pytest.approx(0.05, abs=0.005)
    assert never[200:].abs().max() < 0.01
    assert (paths["touched_adam"][:, 5] == 0.1).all()

    for name in ("adam", "touched_adam"):
        model = Probe()
        optimizer = make(name, model, lr=1e-3)
        path = []
        seen = lambda x, model=model, path=path: path.append(model.table[7].tolist())  # noqa: E731
        train(model, optimizer, [[[0, 0]]] * 100 + [[[7, 0]]] + [[[0, 0]]] * 101, seen)
        moves = torch.tensor(path, dtype=torch.float64).diff(dim=0).abs()[:, 0]
        assert (moves[:100] == 0).all()
        assert moves[100] > 9e-4
        assert (moves[101:] > 0).all() == (name == "adam")
        if name == "adam":
            assert moves[100:].sum() == pytest.approx(10 * moves[100].item(), rel=0.1)
        else:
            assert (moves[101:] == 0).all()
