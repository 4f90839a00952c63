"""Dropout: the law of nn.Dropout, and torch's seed."""

from functools import partial

import pytest
import torch

from eulernet.layers.dropout import Dropout, draw_masks


@pytest.mark.parametrize("p", [0.1, 0.3, 0.5, 0.9])
def test_masks_are_bernoulli_and_keep_the_mean(p):
    torch.manual_seed(0)
    mask = draw_masks(torch.empty(1000, 1003, dtype=torch.float64), [p])[0]
    factor = 65536 / (65536 - round(65536 * p))
    assert sorted(mask.unique().tolist()) == [0.0, factor]
    error = 4 * (p * (1 - p) / mask.numel()) ** 0.5  # four standard deviations
    assert (mask == 0).double().mean().item() == pytest.approx(p, abs=error + 1 / 65536)
    assert mask.mean().item() == pytest.approx(1, abs=4 * (p / (1 - p) / mask.numel()) ** 0.5)
    neighbours = torch.corrcoef(torch.stack([mask.flatten()[:-1], mask.flatten()[1:]]))[0, 1]
    assert abs(neighbours.item()) < 4 / mask.numel() ** 0.5


def test_masks_follow_torchs_generator():
    draw = Dropout(0.5)
    x = torch.ones(50, 7)
    torch.manual_seed(3)
    state = torch.get_rng_state()
    one, two = draw(x), draw(x)
    assert not torch.equal(one, two)
    torch.set_rng_state(state)
    assert torch.equal(draw(x), one)
    torch.manual_seed(3)
    assert torch.equal(draw(x), one)


def test_scoring_and_rate_0_change_nothing():
    x = torch.randn(3, 4)
    assert Dropout(0.5).eval()(x) is x
    assert Dropout(0.0)(x) is x


def test_gradient_is_the_mask():
    x = torch.ones(5, 6, requires_grad=True)
    y = Dropout(0.4)(x)
    y.sum().backward()
    assert torch.equal(x.grad, y.detach())


@pytest.mark.slow
def test_the_compiler_draws_anew_each_time(unchecked):
    """Twice the same operation within a graph, and the graph run twice: four masks, as many as torch's seed gives."""
    draw = Dropout(0.5)

    @partial(torch.compile, backend="aot_eager_decomp_partition", fullgraph=True)
    def two(x):
        return draw(x), draw(x)

    x = torch.ones(50, 7, requires_grad=True)
    torch.manual_seed(3)
    compiled = [*two(x), *two(x)]
    torch.manual_seed(3)
    eager = [draw(x) for _ in range(4)]
    assert all(sum(torch.equal(one, other) for other in compiled) == 1 for one in eager)  # the order is the compiler's
    compiled[0].sum().backward()
    assert torch.equal(x.grad, compiled[0])
