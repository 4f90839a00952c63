"""The summands of the logit are what they are said to be: against the model itself, and against means over all rows."""

from itertools import chain, combinations, product

import numpy as np
import pytest
import torch
from learned.permutation import carried
from learned.terms import Explicit

from eulernet.errors import UserError
from eulernet.measures.metrics import auc
from eulernet.models import MODELS

SIZES = [3, 4, 2]


def make(**changes):
    torch.manual_seed(0)
    settings = dict(
        embedding_dim=3, orders=[2], drop_explicit=0.0, drop_implicit=0.0, norm=False, init="sigir",
        without="nothing", norm_penalty=0.0,
    )  # fmt: skip
    model = MODELS["eulernet"](SIZES, **{**settings, **changes}).eval().requires_grad_(False)
    for weight in model.parameters():
        weight += 0.5 * torch.randn_like(weight)
    return model


ALL = torch.tensor(list(product(*map(range, SIZES))), dtype=torch.int32)  # every row that there can be, once
SETS = list(chain.from_iterable(combinations(range(3), size) for size in range(4)))


def test_the_parts_of_all_sets_sum_to_the_explicit_part_and_that_to_the_logit():
    model = make(without="implicit")
    explicit = Explicit.of(model, ALL)
    bias = 2 * model.head.bias
    torch.testing.assert_close(explicit.terms().sum(1) + bias, model(ALL).double(), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(explicit.parts(SETS).sum(1), explicit.terms().sum(1), rtol=1e-5, atol=1e-5)


def test_the_implicit_part_is_the_rest():
    model = make()
    layer = model.layers[0]
    phase = model.embedding(ALL)
    r, p = (layer.implicit(model.modulus * of(phase)) for of in (torch.cos, torch.sin))
    rest = model.head(r.flatten(1)) + model.head(p.flatten(1))
    total = Explicit.of(model, ALL).terms().sum(1) + rest.squeeze(1)
    torch.testing.assert_close(total.float(), model(ALL), rtol=1e-5, atol=1e-5)


def test_parts_are_the_functional_anova():
    """Brute force over all rows: conditional means, less the parts of smaller sets."""
    model = make(without="implicit")
    explicit = Explicit.of(model, ALL)
    y, parts = explicit.terms().sum(1), explicit.parts(SETS)
    want = {}
    for fields in SETS:
        chosen = list(fields)
        same = (ALL[:, None, chosen] == ALL[None, :, chosen]).all(2).double()
        means = same @ y / same.sum(1)
        want[fields] = means - sum((want[one] for one in want if set(one) < set(fields)), torch.zeros(()))
    torch.testing.assert_close(parts, torch.stack([want[fields] for fields in SETS], 1), rtol=1e-4, atol=1e-4)


def test_what_a_vector_adds_beyond_single_fields_is_its_larger_parts():
    model = make(orders=[1], embedding_dim=1, without="implicit")
    explicit = Explicit.of(model, ALL)
    larger = [s for s, fields in enumerate(SETS) if len(fields) > 1]
    want = explicit.parts(SETS)[:, larger].sum(1).var()
    assert explicit.interactions().item() == pytest.approx(want.item(), rel=1e-3)


def test_strengths_are_shares_and_a_field_without_order_has_none():
    model = make()
    model.layers[0].orders[1, 0] = 0.0
    strengths = Explicit.of(model, ALL).strengths()
    torch.testing.assert_close(strengths.sum(0), torch.ones(2))
    assert strengths[1, 0] == 0


def test_auc_carried_is_that_of_the_model_given_another_rows_vector():
    """The drop against a forward in which vector 1's explicit output is that of the drawn row."""
    model = make()
    rows = ALL[torch.randint(len(ALL), (200,), generator=torch.Generator().manual_seed(1))]
    rest = np.random.default_rng(0).normal(size=200)  # the same for a row in both, so that few rows tie
    logits = model(rows).double().numpy() + rest
    part = Explicit.of(model, rows).terms()[:, 1].numpy()
    labels = (part > np.median(part)).astype(int)
    found = carried(labels, logits, part, shuffles=3, seed=5)

    layer, draw = model.layers[0], np.random.default_rng(5)
    phase = model.embedding(rows)
    r, p = model.modulus * phase.cos(), model.modulus * phase.sin()
    for drop in found:
        other = torch.from_numpy(draw.permutation(200))
        outputs = []
        for explicit, implicit in zip(layer.explicit(r, p), (layer.implicit(r), layer.implicit(p)), strict=True):
            mixed = explicit.clone()
            mixed[:, 1] = explicit[other, 1]
            outputs.append((mixed + implicit).flatten(1))
        scores = sum(model.head(output) for output in outputs).squeeze(1).double().numpy() + rest
        assert drop == pytest.approx(auc(labels, logits) - auc(labels, scores), abs=1e-4)
    assert found.mean() > 0.01


def test_a_constant_carries_nothing():
    labels, logits = np.array([0, 1, 1, 0]), np.array([0.1, 0.2, 0.3, 0.4])
    assert carried(labels, logits, np.full(4, 7.0), shuffles=2, seed=0) == pytest.approx(0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(orders=[2, 2]), "2 Euler layers"),
        (dict(norm=True), "model.norm=true"),
        (dict(without="explicit"), "without explicit"),
        (dict(without="phase"), "without phase"),
    ],
)
def test_models_whose_logit_is_no_such_sum(changes, message):
    with pytest.raises(UserError, match=message):
        Explicit.of(make(**changes), ALL)


def test_a_model_without_order_vectors():
    with pytest.raises(UserError, match="FM has no order vectors"):
        Explicit.of(MODELS["fm"](SIZES, embedding_dim=2), ALL)
