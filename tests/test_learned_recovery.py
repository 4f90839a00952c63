"""The measure of recovery on cases whose answer is known."""

import numpy as np
import pytest
import torch
from learned.recovery import by_chance, leading, learned_directions, match

from eulernet.models import EulerNet

PLANTED = np.array([[1.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, -1.0], [0.0, 0.5, 0.0, 2.0]])


def test_permuted_scaled_and_negated_vectors_are_found():
    found = match(PLANTED, np.array([[0, 0, 0, 0], PLANTED[2] * -3, PLANTED[0] * 0.1, PLANTED[1]]))
    assert found.vectors.tolist() == [2, 3, 1]
    assert found.cosines == pytest.approx(1)
    assert found.errors == pytest.approx(0, abs=1e-12)
    assert found.matched == pytest.approx(PLANTED)


def test_noise_costs_in_proportion():
    draw = np.random.default_rng(0)
    noise = draw.standard_normal(PLANTED.shape)
    some, more = (match(PLANTED, PLANTED + size * noise) for size in (0.05, 0.5))
    assert 0.99 < some.cosines.mean() < 1
    assert more.cosines.mean() < some.cosines.mean()
    assert 0.02 < some.errors.mean() < 0.08 < more.errors.mean()


def test_a_vector_is_given_away_once():
    found = match(np.array([[1.0, 0.0], [1.0, 0.1]]), np.array([[1.0, 0.0], [0.0, 1.0]]))
    assert sorted(found.vectors) == [0, 1]


def test_chance_is_far_from_recovery_and_rises_with_the_vectors():
    few, _ = by_chance(PLANTED, 3, draws=200, seed=0)
    many, _ = by_chance(PLANTED, 12, draws=200, seed=0)
    assert 0.4 < few < many < 0.9


def test_the_leading_direction_outweighs_noise_and_takes_no_notice_of_signs():
    directions = np.array([[0.6, 0.8], [-0.6, -0.8], [1.0, 0.0]])
    found = leading(directions, np.array([1.0, 1.0, 0.0]))
    assert abs(found @ [0.6, 0.8]) == pytest.approx(1)


@pytest.mark.parametrize("scales", [(1, 1, 1), (0.5, -2, 0.25)])
def test_what_is_planted_in_a_model_is_read_from_it_whatever_the_units_of_its_fields(scales):
    """Phases c_f log z at orders alpha_f / c_f are one model for all c."""
    draw, orders = np.random.default_rng(0), torch.tensor([[1.0, 0.0], [-0.5, 0.0], [0.0, 1.5]])
    orders[1, 1] = 0.75
    logs = [0.5 * draw.standard_normal(size) for size in (6, 9, 4)]
    model = EulerNet(
        [len(values) + 1 for values in logs], embedding_dim=2, orders=[2], drop_explicit=0.0, drop_implicit=0.0,
        norm=False, init="sigir", without="implicit", norm_penalty=0.0,
    ).requires_grad_(False)  # fmt: skip
    for values, rows, scale in zip(logs, model.embedding.rows_by_field(), scales, strict=True):
        rows[1:] = scale * torch.tensor([[1.0, 0.5]]) * torch.from_numpy(values).float().unsqueeze(1)
    model.layers[0].orders.copy_(orders / torch.tensor(scales).unsqueeze(1))
    x = torch.stack([torch.from_numpy(draw.integers(1, len(v) + 1, 500)) for v in logs], 1)
    found = match(orders.T.double().numpy(), learned_directions(model, logs, x))
    assert found.cosines == pytest.approx(1, abs=1e-6)
    assert found.errors == pytest.approx(0, abs=1e-3)
