"""Attention to histories, by DIN and by EulerNet, against loops over rows and members."""

import onnx
import pytest
import reference_models
import torch
from torch import nn

from eulernet.exporting.graph import load_onnx, save_onnx, trace
from eulernet.features import Bag, FieldEmbedding, History, Number, Pretrained
from eulernet.layers.mlp import Dice
from eulernet.layers.pooling import AttentiveEmbedding, attentive
from eulernet.models import make_model

DIM = 5
SIZES = [7, History(6, 4, "mean", same_as=3), Number(), 6, Bag(3, 2, "sum"), History(7, 3, "mean", same_as=0)]
TABLE = (7 + 1 + 6 + 3) * DIM
DIN = dict(
    name="din", embedding_dim=DIM, attention_units=[6, 4], attention_activation="dice", hidden_units=[8, 3],
    activation="prelu", norm="none", dropout=0.0,
)  # fmt: skip
EULER = dict(
    name="eulernet", embedding_dim=DIM, orders=[4], drop_explicit=0.0, drop_implicit=0.0, norm=True, init="sigir",
    without="nothing", norm_penalty=0.0, history="attention", attention_units=[6], attention_activation="prelu",
)  # fmt: skip


def made(settings, sizes=SIZES, **changes):
    torch.manual_seed(3)
    model = make_model({**settings, **changes}, sizes).double().eval()
    for weight in model.parameters():
        nn.init.normal_(weight, std=0.4)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d):
            nn.init.normal_(module.running_mean, std=0.4)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
    return model


def rows(sizes=SIZES, count=6):
    """Histories of all lengths, none among them."""
    torch.manual_seed(4)
    columns = []
    for size in sizes:
        if isinstance(size, Number):
            columns.append(torch.randn(count, 1).view(torch.int32))
        elif isinstance(size, Bag):
            ids = torch.randint(size.size, (count, size.length), dtype=torch.int32)
            ids[torch.arange(size.length) >= torch.arange(count).unsqueeze(1) % (size.length + 1)] = -1
            columns.append(ids)
        else:
            size = getattr(size, "size", size)
            columns.append(torch.randint(size, (count, 1), dtype=torch.int32))
    return torch.cat(columns, dim=1)


@pytest.mark.parametrize("activation", ["dice", "prelu", "sigmoid"])
def test_din_equals_its_twin_logits_and_gradients(activation):
    model, x = made(DIN, attention_activation=activation, activation=activation), rows()
    got, wanted = model(x), reference_models.logits(model, x)
    torch.testing.assert_close(got, wanted, rtol=1e-9, atol=1e-9)
    parameters, probe = list(model.parameters()), torch.randn_like(got)
    torch.testing.assert_close(
        torch.autograd.grad(got, parameters, probe),
        torch.autograd.grad(wanted, parameters, probe),
        rtol=1e-8,
        atol=1e-8,
    )


def test_eulernet_has_the_phases_that_attention_gives():
    model, x = made(EULER), rows()
    assert isinstance(model.embedding, AttentiveEmbedding)
    pooled = FieldEmbedding(SIZES, DIM).double()
    pooled.load_state_dict({"table.weight": model.embedding.table.weight})
    slow = torch.stack(
        [reference_models.attended(model.embedding, row, e) for row, e in zip(x, pooled(x), strict=True)]
    )
    torch.testing.assert_close(model.embedding(x), slow)
    fused = model(x)
    model.fused = False
    torch.testing.assert_close(fused, model(x))


def test_number_of_weights_is_the_formulas():
    units = 2 * ((4 * DIM + 1) * 6 + (6 + 1) * 4 + (4 + 1) + 6 + 4)  # an MLP and the alphas of Dice for each history
    deep = (6 * DIM + 1) * 8 + (8 + 1) * 3 + (3 + 1) + 8 + 3
    assert sum(w.numel() for w in made(DIN).parameters()) == TABLE + units + deep


def test_a_unit_that_always_says_1_adds_the_members_up():
    model, x = made(DIN), rows()
    sums = [
        History(size.size, size.length, "sum", size.same_as) if isinstance(size, History) else size for size in SIZES
    ]
    pooled = FieldEmbedding(sums, DIM).double()
    pooled.load_state_dict({"table.weight": model.embedding.table.weight})
    for unit in model.embedding.units:
        nn.init.zeros_(unit.mlp.head.weight)
        nn.init.ones_(unit.mlp.head.bias)
    torch.testing.assert_close(model.embedding(x), pooled(x))


def test_empty_places_teach_nothing():
    """Training on lists that are kept longer than any is: the same loss, gradients and running statistics."""
    short, long = ([7, History(7, length, "mean", same_as=0)] for length in (3, 9))
    one, two, x = made(DIN, short).train(), made(DIN, long).train(), rows(short)
    y = torch.tensor([0.0, 1, 1, 0, 1, 0], dtype=torch.float64)
    for model, ids in ((one, x), (two, nn.functional.pad(x, (0, 6), value=-1))):
        model.calculate_loss(ids, y).backward()
    for a, b in zip(one.parameters(), two.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad)
    for a, b in zip(one.buffers(), two.buffers(), strict=True):
        if a.is_floating_point():
            torch.testing.assert_close(a, b)


def test_a_batch_without_a_member_trains():
    sizes = [7, History(7, 3, "mean", same_as=0)]
    model, x = made(DIN, sizes).train(), rows(sizes)
    x[:, 1:] = -1
    model.calculate_loss(x, torch.ones(len(x), dtype=torch.float64)).backward()
    assert all(w.grad is not None and w.grad.isfinite().all() for w in model.parameters())


def test_dice_is_the_papers_formula():
    torch.manual_seed(5)
    dice, a = Dice(3).double().train(), torch.randn(50, 3, dtype=torch.float64)
    nn.init.normal_(dice.alpha)
    p = torch.sigmoid((a - a.mean(0)) / torch.sqrt(a.var(0, unbiased=False) + 1e-8))
    torch.testing.assert_close(dice(a), p * a + (1 - p) * dice.alpha * a)


def test_without_a_target_there_is_nothing_to_attend_to():
    assert type(attentive([7, Bag(3, 2, "sum"), History(5, 3, "mean")], DIM, [4], "dice")) is FieldEmbedding


@pytest.mark.slow
@pytest.mark.usefixtures("quick_onnx")
@pytest.mark.parametrize("settings", [DIN, EULER], ids=["din", "eulernet"])
def test_attention_to_members_with_given_vectors_as_onnx(settings, tmp_path):
    sizes = [Pretrained(7, 3, True, torch.randn(7, 3).index_fill(0, torch.arange(2), torch.nan)), *SIZES[1:]]
    model = made(settings, sizes).float().requires_grad_(False)
    x = rows(sizes, 50)
    save_onnx(trace(model, x.shape[1]), tmp_path / "model.onnx")
    graph = onnx.load(tmp_path / "model.onnx").graph
    assert not {node.op_type for node in graph.node} & {
        "ScatterND",
        "ScatterElements",
    }  # threads add there, and lose some
    run = load_onnx(tmp_path / "model.onnx")
    for count in (1, 50):
        torch.testing.assert_close(torch.from_numpy(run(x[:count].numpy())), model(x[:count]), rtol=1e-5, atol=1e-5)
