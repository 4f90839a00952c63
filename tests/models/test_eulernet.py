"""Laws of EulerNet."""

import pytest
import reference
import torch
import torch.nn.functional as F
from optimizing import make

from eulernet.models import EulerNet

SIZES = [11, 3, 7, 5]


def make_model(sizes=SIZES, **changes):
    torch.manual_seed(3)
    settings = dict(
        embedding_dim=6,
        orders=[4, 3],
        drop_explicit=0.0,
        drop_implicit=0.0,
        norm=True,
        init="sigir",
        without="nothing",
        norm_penalty=0.0,
    )
    return EulerNet(sizes, **{**settings, **changes})


def make_rows(sizes=SIZES, rows=16):
    torch.manual_seed(4)
    x = torch.stack([torch.randint(size, (rows,), dtype=torch.int32) for size in sizes], dim=1)
    return x, torch.randint(2, (rows,)).float()


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("norm", [False, True])
@pytest.mark.parametrize("orders", [[4], [4, 3], [2, 5, 1]])
def test_logits_and_gradients_equal_the_transcription(norm, orders, fused):
    model, (x, _) = make_model(norm=norm, orders=orders).double(), make_rows()
    model.fused = fused
    with torch.no_grad():  # away from the special starting weights; a negative mu turns by half a circle
        for weight in model.parameters():
            weight.add_(0.3 * torch.randn_like(weight))
        model.modulus[1] = -0.7
        model.embedding.table.weight[SIZES[0] :: 2] = 0.0  # on the branch cut of atan2 there
    logits, wanted = model(x), reference.eulernet(model, x)
    torch.testing.assert_close(logits, wanted, rtol=1e-10, atol=1e-10)
    probe, weights = torch.randn_like(logits), list(model.parameters())
    got = torch.autograd.grad(logits, weights, probe)
    torch.testing.assert_close(got, torch.autograd.grad(wanted, weights, probe), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("norm", [False, True])
@pytest.mark.parametrize("orders", [[4], [4, 3], [2, 5, 1]])
def test_scoring_equals_the_plain_layers(norm, orders):
    """With phases beyond half a circle, negative mu, on the branch cut."""
    model, (x, _) = make_model(norm=norm, orders=orders).double().eval(), make_rows()
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.3 * torch.randn_like(weight))
        model.embedding.table.weight.mul_(8)
        model.modulus[1] = -0.7
        model.embedding.table.weight[SIZES[0] :: 2] = 0.0
        scored = model(x)
        model.fused = False
        torch.testing.assert_close(scored, model(x), rtol=1e-10, atol=1e-10)


def test_dropout_acts_on_planes_as_on_the_plain_layers(monkeypatch):
    """The same masks, the same logits and gradients: log|z|, arg z, r and p of each layer, in this order."""
    model, (x, _) = make_model(drop_explicit=0.3, drop_implicit=0.5).double().train(), make_rows()
    masks = [torch.randint(2, (n, 6, len(x))).double() * 2 for n in (4, 4) for _ in range(4)]  # [N, D, B]
    found = []
    for module, batch_first in (("planes", False), ("dropout", True)):
        drawn = iter(masks)

        def draw(like, rates, drawn=drawn, batch_first=batch_first):
            masks = [next(drawn) for _ in rates]
            return [mask.permute(2, 0, 1).reshape(like.shape) for mask in masks] if batch_first else masks

        monkeypatch.setattr(f"eulernet.layers.{module}.draw_masks", draw)
        model.fused = not batch_first
        logits = model(x)
        found.append([logits, *torch.autograd.grad(logits.square().sum(), list(model.parameters()))])
    torch.testing.assert_close(*found, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("norm", [False, True])
def test_fused_and_plain_layers_give_one_loss_curve(norm):
    """100 steps of training from one start, in float32: losses equal to 1e-5, later to 1e-4, as roundings grow."""
    sizes, curves = [50] * 7, []
    x, y = make_rows(sizes, rows=100 * 32)
    for fused in (True, False):
        model = make_model(sizes, norm=norm, orders=[7, 7], embedding_dim=16)
        model.fused = fused
        optimizer = make("adam", model, lr=1e-3, weight_decay=1e-5)
        losses = []
        for rows, labels in zip(x.split(32), y.split(32), strict=True):
            optimizer.zero_grad()
            loss = model.calculate_loss(rows, labels)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        curves.append(losses)
    assert curves[0][:50] == pytest.approx(curves[1][:50], rel=1e-5)
    assert curves[0] == pytest.approx(curves[1], rel=1e-4)


def test_loss_and_probabilities_follow_from_the_logits():
    model, (x, y) = make_model(), make_rows()
    logits = model(x)
    torch.testing.assert_close(model.predict(x), 1 / (1 + torch.exp(-logits)))
    assert model.calculate_loss(x, y).item() == pytest.approx(reference.logloss(y.tolist(), logits.tolist()), rel=1e-5)


def test_recbole_penalty_is_the_sum_of_unsquared_norms():
    model, (x, y) = make_model(norm_penalty=0.01), make_rows()
    norms = sum(w.norm() for name, w in model.named_parameters() if name != "embedding.table.weight")
    wanted = F.binary_cross_entropy_with_logits(model(x), y) + 0.01 * norms
    torch.testing.assert_close(model.calculate_loss(x, y), wanted)


@pytest.mark.parametrize(
    ("init", "table", "head"), [("sigir", None, None), ("fuxictr", 1e-4, None), ("recbole", 0, 0.01)]
)
def test_starting_weights_of_the_published_variants(init, table, head):
    sizes = [4000, 1000]
    model = make_model(sizes, init=init, embedding_dim=16, orders=[40])
    got = [rows.std().item() for rows in model.embedding.rows_by_field()]
    xavier = {"sigir": [(2 / (size + 16)) ** 0.5 for size in sizes], "recbole": [(2 / (5000 + 16)) ** 0.5] * 2}
    assert got == pytest.approx(xavier.get(init, [table] * 2), rel=0.03)
    assert torch.equal(model.modulus, torch.ones(2, 1))
    if init == "sigir":  # uniform within each field's own bound
        for rows, size in zip(model.embedding.rows_by_field(), sizes, strict=True):
            assert rows.abs().max().item() <= (6 / (size + 16)) ** 0.5
    assert model.head.weight.std().item() == pytest.approx(head or (2 / (40 * 16 + 1)) ** 0.5, rel=0.1)


def test_number_of_parameters_is_the_papers():
    """Tables F ids x D, mu F; per layer N M orders, 2 M D biases, (N D + 1) M D for W and c; head M D + 1."""
    model = make_model(norm=False)
    layers = sum(n * m + 2 * m * 6 + (n * 6 + 1) * m * 6 for n, m in [(4, 4), (4, 3)])
    assert sum(w.numel() for w in model.parameters()) == sum(SIZES) * 6 + 4 + layers + 3 * 6 + 1
