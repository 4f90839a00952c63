"""Laws of EulerNet."""

import pytest
import reference
import torch
import torch.nn.functional as F

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


@pytest.mark.parametrize("norm", [False, True])
@pytest.mark.parametrize("orders", [[4], [4, 3], [2, 5, 1]])
def test_logits_and_gradients_equal_the_transcription(norm, orders):
    model, (x, _) = make_model(norm=norm, orders=orders).double(), make_rows()
    logits, wanted = model(x), reference.eulernet(model, x)
    torch.testing.assert_close(logits, wanted, rtol=1e-10, atol=1e-10)
    probe, weights = torch.randn_like(logits), list(model.parameters())
    got = torch.autograd.grad(logits, weights, probe)
    torch.testing.assert_close(got, torch.autograd.grad(wanted, weights, probe), rtol=1e-10, atol=1e-10)


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
