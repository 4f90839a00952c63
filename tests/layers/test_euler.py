"""Laws of the Euler layer."""

import pytest
import reference
import torch

from eulernet.layers.euler import EulerInteractionLayer, Polar

SHAPES = [(3, 3), (4, 2), (2, 5), (1, 1)]


def make_layer(n_in, n_out, dim=5, norm=False, init="sigir", drop=0.0, without="nothing"):
    torch.manual_seed(1)
    layer = EulerInteractionLayer(
        n_in, n_out, dim, drop_explicit=drop, drop_implicit=drop, norm=norm, init=init, without=without
    )
    with torch.no_grad():  # away from the special starting weights
        if without != "explicit":
            layer.orders.add_(0.3 * torch.randn_like(layer.orders))
        if without != "implicit":
            layer.mix.weight.add_(0.2 * torch.randn_like(layer.mix.weight))
        for weight in layer.parameters():
            weight.add_(0.1 * torch.randn_like(weight))
    return layer.double().eval()


def make_input(n_in, dim=5, samples=4):
    torch.manual_seed(2)
    return [torch.randn(samples, n_in, dim, dtype=torch.float64, requires_grad=True) for _ in range(2)]


def silence_implicit(layer):
    torch.nn.init.zeros_(layer.mix.weight)
    torch.nn.init.zeros_(layer.mix.bias)


@pytest.mark.parametrize(("n_in", "n_out"), SHAPES)
@pytest.mark.parametrize("norm", [False, True])
def test_outputs_and_gradients_equal_the_transcription(n_in, n_out, norm):
    layer, inputs = make_layer(n_in, n_out, norm=norm), make_input(n_in)
    weights = [*inputs, *layer.parameters()]
    outputs, wanted = layer(*inputs), reference.euler_layer(layer, *inputs)
    torch.testing.assert_close(outputs, wanted, rtol=1e-10, atol=1e-10)
    probe = [torch.randn_like(part) for part in outputs]
    torch.testing.assert_close(
        torch.autograd.grad(outputs, weights, probe),
        torch.autograd.grad(wanted, weights, probe),
        rtol=1e-10,
        atol=1e-10,
    )


@pytest.mark.parametrize(("n_in", "n_out"), SHAPES)
def test_explicit_part_is_a_product_of_complex_powers(n_in, n_out):
    layer, (r, p) = make_layer(n_in, n_out), make_input(n_in)
    silence_implicit(layer)
    shift = torch.complex(layer.log_modulus_bias, layer.phase_bias).exp()
    wanted = reference.product_of_powers(r, p, layer.orders) * shift
    torch.testing.assert_close(torch.complex(*layer(r, p)), wanted, rtol=1e-6, atol=1e-6)  # EPS is in the layer alone


@pytest.mark.parametrize("without", ["explicit", "implicit", "modulus", "phase"])
def test_ablations_take_away_their_part_alone(without):
    whole, layer, (r, p) = make_layer(3, 2), make_layer(3, 2, without=without), make_input(3)
    layer.load_state_dict(whole.state_dict(), strict=False)  # fewer weights, the others the same
    z = torch.complex(*whole.explicit(r, p))
    nothing = torch.zeros_like(z)
    explicit = {"explicit": nothing, "implicit": z, "modulus": z / z.abs(), "phase": z.abs() + nothing}[without]
    mixed = nothing if without == "implicit" else torch.complex(whole.implicit(r), whole.implicit(p))
    torch.testing.assert_close(torch.complex(*layer(r, p)), explicit + mixed)
    missing = set(whole.state_dict()) - set(layer.state_dict())
    assert (
        missing
        == {
            "explicit": {"orders", "log_modulus_bias", "phase_bias"},
            "implicit": {"mix.weight", "mix.bias"},
            "modulus": {"log_modulus_bias"},
            "phase": {"phase_bias"},
        }[without]
    )


def test_one_hot_orders_pass_features_and_their_sums_multiply():
    layer, (r, p) = make_layer(3, 3), make_input(3)
    silence_implicit(layer)
    with torch.no_grad():
        layer.orders.copy_(torch.tensor([[1.0, 0, 1], [0, 1, 1], [0, 0, 1]]))
        layer.log_modulus_bias.zero_()
        layer.phase_bias.zero_()
    z, out = torch.complex(r, p), torch.complex(*layer(r, p))
    torch.testing.assert_close(out[:, 0], z[:, 0], rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(out[:, 1], z[:, 1], rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(out[:, 2], z.prod(1), rtol=1e-6, atol=1e-6)


def test_norm_makes_rows_of_mean_zero_and_variance_one():
    layer = make_layer(3, 4, dim=16, norm=True)
    torch.nn.init.ones_(layer.norm_r.weight)
    torch.nn.init.zeros_(layer.norm_r.bias)
    r, _ = layer(*make_input(3, dim=16))
    torch.testing.assert_close(r.mean(-1), torch.zeros(4, 4, dtype=torch.float64), atol=1e-10, rtol=0)
    torch.testing.assert_close(r.var(-1, correction=0), torch.ones(4, 4, dtype=torch.float64), atol=1e-3, rtol=0)


def test_gradients_near_zero_modulus():
    """Finite everywhere; analytic down to |z| = 1e-15; zero at z = 0, as for atan2."""
    for size in (0.0, 1e-30, 1e-25, 1e-20, 1e-12, 1e-6, 1.0):
        r = torch.full((1,), size, requires_grad=True)
        p = torch.full((1,), -size, requires_grad=True)
        log_modulus, phase = Polar.apply(r, p)
        got = torch.autograd.grad(log_modulus.sum() + phase.sum(), (r, p))
        assert all(torch.isfinite(g).all() for g in got), size
        if size == 0.0:
            assert [g.item() for g in got] == [0.0, 0.0]
        if size >= 1e-12:
            square = 2 * size * size
            wanted = (size / (square + 1e-8) + size / square, -size / (square + 1e-8) + size / square)
            assert [g.item() for g in got] == pytest.approx(wanted, rel=1e-5, abs=1e-6)


def test_polar_gradcheck():
    r, p = make_input(2)
    assert torch.autograd.gradcheck(Polar.apply, (r, p))


def test_dropout_acts_in_training_only_and_keeps_the_mean():
    layer, (r, p) = make_layer(3, 3, drop=0.5), make_input(3)
    assert torch.equal(layer(r, p)[0], layer(r, p)[0])
    layer.train()
    assert not torch.equal(layer(r, p)[0], layer(r, p)[0])
    seen = torch.stack([layer.drop_explicit(r) for _ in range(4000)]).mean(0)
    torch.testing.assert_close(seen, r, atol=0.2, rtol=0.1)


def test_explicit_dropout_acts_on_log_modulus_and_phase_with_masks_of_their_own(monkeypatch):
    """With given masks the explicit part equals the formula; the implicit part has its own rate, here 0."""
    layer, (r, p) = make_layer(3, 2), make_input(3)
    silence_implicit(layer)
    layer.drop_explicit.p = 0.5
    masks = [torch.randint(2, r.shape).double() * 2 for _ in range(2)]
    drawn = iter(masks)
    monkeypatch.setattr("eulernet.layers.dropout.draw_masks", lambda *_: [next(drawn)])
    out_r, out_p = layer.train()(r, p)
    log_modulus = 0.5 * torch.log(r**2 + p**2 + 1e-8) * masks[0]
    phase = torch.atan2(p, r) * masks[1]
    modulus = torch.exp(torch.einsum("nm,bnd->bmd", layer.orders, log_modulus) + layer.log_modulus_bias)
    phase = torch.einsum("nm,bnd->bmd", layer.orders, phase) + layer.phase_bias
    torch.testing.assert_close((out_r, out_p), (modulus * phase.cos(), modulus * phase.sin()))


def test_implicit_dropout_acts_on_the_mixs_input(monkeypatch):
    layer, (r, p) = make_layer(3, 2), make_input(3)
    layer.drop_implicit.p = 0.5
    masks = [torch.randint(2, (4, 15)).double() * 2 for _ in range(2)]
    drawn = iter(masks)
    plain = layer(r, p)
    silent = [torch.relu(layer.mix(part.flatten(1))).unflatten(1, (2, 5)) for part in (r, p)]
    monkeypatch.setattr("eulernet.layers.dropout.draw_masks", lambda *_: [next(drawn)])
    dropped = layer.train()(r, p)
    for got, whole, old, part, mask in zip(dropped, plain, silent, (r, p), masks, strict=True):
        new = torch.relu(layer.mix(part.flatten(1) * mask)).unflatten(1, (2, 5))
        torch.testing.assert_close(got, whole - old + new)


@pytest.mark.parametrize(
    ("init", "std", "identity"), [("sigir", 0.01, True), ("fuxictr", "xavier", True), ("recbole", 0.1, False)]
)
def test_starting_weights_of_the_published_variants(init, std, identity):
    torch.manual_seed(0)
    make = dict(drop_explicit=0.0, drop_implicit=0.0, norm=False, init=init, without="nothing")
    square, wide = EulerInteractionLayer(10, 10, 16, **make), EulerInteractionLayer(10, 5, 16, **make)
    assert torch.equal(square.orders, torch.eye(10)) == identity
    torch.testing.assert_close(wide.orders.sum(0), torch.ones(5))
    assert wide.orders.max(0).values.min() > 0.5  # nearly one-hot: one field stands out in each column
    wanted = (2 / (160 + 80)) ** 0.5 if std == "xavier" else std
    assert wide.mix.weight.std().item() == pytest.approx(wanted, rel=0.03)
    assert bool((wide.mix.bias == 0).all()) == (init == "recbole")
    assert wide.phase_bias.std().item() == pytest.approx(0.01, rel=0.3)
    assert wide.log_modulus_bias.std().item() == pytest.approx(0.01, rel=0.3)
    if init == "fuxictr":  # uniform, not normal: it has a bound
        assert wide.mix.weight.abs().max().item() <= (6 / (160 + 80)) ** 0.5
