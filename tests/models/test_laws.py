"""Every model equals its slow twin, logits and gradients, and has as many weights as its paper's formula."""

from itertools import pairwise

import pytest
import reference_models
import torch
import torch.nn.functional as F
from torch import nn

from eulernet.models import MODELS

SIZES = [11, 3, 7, 5, 4]
IDS, FIELDS, DIM, PAIRS = sum(SIZES), 5, 6, 10  # of the formulas below
FLAT = FIELDS * DIM
MLP = dict(hidden_units=[8, 3], activation="relu", norm="none", dropout=0.2)


def mlp(n, *widths, norm=0):
    """Weights of an MLP: (n + 1) m a layer, and 2 m for its norm where it has one."""
    return sum((n + 1 + norm) * m for n, m in pairwise([n, *widths]))


# (name, hyperparameters, number of weights)
LINEAR = IDS + 1
TABLE = IDS * DIM
LAWS = [
    ("lr", {}, LINEAR),
    ("fm", dict(embedding_dim=DIM), LINEAR + TABLE),
    ("fwfm", dict(embedding_dim=DIM), 1 + FLAT + TABLE + PAIRS),
    ("fmfm", dict(embedding_dim=DIM), LINEAR + TABLE + PAIRS * DIM**2),
    ("ffm", dict(embedding_dim=DIM), LINEAR + TABLE * FIELDS),
    ("afm", dict(embedding_dim=DIM, attention_dim=4, dropout=0.2), LINEAR + TABLE + (DIM + 1) * 4 + 4 + DIM),
    ("hofm", dict(embedding_dim=DIM, order=2), LINEAR + TABLE),
    ("hofm", dict(embedding_dim=DIM, order=4), LINEAR + 3 * TABLE),
    ("nfm", dict(embedding_dim=DIM, **MLP), LINEAR + TABLE + mlp(DIM, 8, 3) + 3),
    (
        "pnn",
        dict(embedding_dim=DIM, product="inner", product_units=7, **MLP),
        TABLE + (FLAT + 1) * 7 + 7 * FIELDS + mlp(7, 8, 3, 1),
    ),
    (
        "pnn",
        dict(embedding_dim=DIM, product="outer", product_units=7, **MLP),
        TABLE + (FLAT + 1) * 7 + 7 * DIM**2 + mlp(7, 8, 3, 1),
    ),
    ("dnn", dict(embedding_dim=DIM, **MLP), TABLE + mlp(FLAT, 8, 3, 1)),
    *(
        ("dnn", dict(embedding_dim=DIM, **MLP | changes), TABLE + mlp(FLAT, 8, 3, norm=2) + 4)
        for changes in (dict(norm="batch"), dict(norm="layer", activation="silu"))
    ),
    ("wide_deep", dict(embedding_dim=DIM, **MLP), LINEAR + TABLE + mlp(FLAT, 8, 3) + 3),
    ("deepfm", dict(embedding_dim=DIM, **MLP), LINEAR + TABLE + mlp(FLAT, 8, 3) + 3),
    ("dcn", dict(embedding_dim=DIM, cross_layers=3, **MLP), TABLE + 3 * 2 * FLAT + mlp(FLAT, 8, 3) + FLAT + 3 + 1),
    (
        "dcnv2",
        dict(embedding_dim=DIM, structure="parallel", cross_layers=2, rank=None, **MLP),
        TABLE + 2 * (FLAT + 1) * FLAT + mlp(FLAT, 8, 3) + FLAT + 3 + 1,
    ),
    (
        "dcnv2",
        dict(embedding_dim=DIM, structure="stacked", cross_layers=2, rank=4, **MLP),
        TABLE + 2 * (2 * 4 + 1) * FLAT + mlp(FLAT, 8, 3, 1),
    ),
    (
        "dcnv2",
        dict(embedding_dim=DIM, structure="cross", cross_layers=2, rank=None, **MLP | dict(hidden_units=[])),
        TABLE + 2 * (FLAT + 1) * FLAT + FLAT + 1,
    ),
    (
        "gdcn",
        dict(embedding_dim=DIM, structure="parallel", cross_layers=2, **MLP),
        TABLE + 2 * (2 * FLAT + 1) * FLAT + mlp(FLAT, 8, 3) + FLAT + 3 + 1,
    ),
    (
        "gdcn",
        dict(embedding_dim=DIM, structure="stacked", cross_layers=2, **MLP),
        TABLE + 2 * (2 * FLAT + 1) * FLAT + mlp(FLAT, 8, 3, 1),
    ),
    (
        "xdeepfm",
        dict(embedding_dim=DIM, cin_units=[4, 3], **MLP),
        LINEAR + TABLE + 4 * FIELDS**2 + 3 * 4 * FIELDS + 7 + mlp(FLAT, 8, 3) + 3,
    ),
    (
        "xdeepfm",
        dict(embedding_dim=DIM, cin_units=[4, 3], **MLP | dict(hidden_units=None)),
        LINEAR + TABLE + 4 * FIELDS**2 + 3 * 4 * FIELDS + 7,
    ),
    (
        "autoint",
        dict(embedding_dim=DIM, attention_layers=2, heads=2, head_dim=4, **MLP | dict(hidden_units=None)),
        TABLE + 4 * DIM * 8 + 4 * 8 * 8 + FIELDS * 8 + 1,
    ),
    (
        "autoint",
        dict(embedding_dim=DIM, attention_layers=2, heads=2, head_dim=4, **MLP),
        TABLE + 4 * DIM * 8 + 4 * 8 * 8 + FIELDS * 8 + 1 + mlp(FLAT, 8, 3) + 3,
    ),
    (
        "afn",
        dict(embedding_dim=DIM, logarithmic_neurons=7, dnn_hidden_units=None, dnn_dropout=0.1, **MLP),
        TABLE + 7 * FIELDS + 2 * (FIELDS + 7) + mlp(7 * DIM, 8, 3, 1),
    ),
    (
        "afn",
        dict(embedding_dim=DIM, logarithmic_neurons=7, dnn_hidden_units=[5], dnn_dropout=0.1, **MLP),
        2 * TABLE + 7 * FIELDS + 2 * (FIELDS + 7) + mlp(7 * DIM, 8, 3, 1) + mlp(FLAT, 5, 1) + 3,
    ),
    *(
        (
            "fibinet",
            dict(embedding_dim=DIM, reduction=2, matrices=matrices, **MLP),
            LINEAR + TABLE + 2 * FIELDS * 2 + 2 * count * DIM**2 + mlp(2 * PAIRS * DIM, 8, 3) + 3,
        )
        for matrices, count in {"all": 1, "each": FIELDS, "interaction": PAIRS}.items()
    ),
    (
        "fignn",
        dict(embedding_dim=DIM, heads=2, steps=3),
        TABLE + 3 * DIM**2 + 2 * DIM + 2 * FIELDS * DIM**2 + DIM + 6 * DIM**2 + 6 * DIM + DIM + FLAT * FIELDS,
    ),
    ("deepim", dict(embedding_dim=DIM, order=4, **MLP), TABLE + 4 * DIM + 1 + mlp(FLAT, 8, 3) + 3),
    ("deepim", dict(embedding_dim=DIM, order=6, **MLP | dict(hidden_units=None)), TABLE + 6 * DIM + 1),
    (
        "finalmlp",
        dict(embedding_dim=DIM, context_1=[], context_2=[1, 3], gate_units=[5], hidden_units_1=[8, 4],
             hidden_units_2=[6], heads=2, activation="relu", norm="batch", dropout_1=0.1, dropout_2=0.2),
        TABLE + DIM + mlp(DIM, 5, FLAT) + mlp(2 * DIM, 5, FLAT)
        + mlp(FLAT, 8, 4, norm=2) + mlp(FLAT, 6, norm=2) + 4 + 6 + 1 + 4 * 6 // 2,
    ),
    (
        "finalnet",
        dict(embedding_dim=DIM, field_gate=True, residual="concat", hidden_units_1=[8, 4], hidden_units_2=[6],
             activation="identity", norm="batch", dropout_1=0.1, dropout_2=0.2),
        TABLE + FIELDS * (FIELDS + 1) + mlp(2 * FLAT, 8, 4, norm=2) + 5 + mlp(FLAT, 6, norm=2) + 7,
    ),
    (
        "finalnet",
        dict(embedding_dim=DIM, field_gate=False, residual="sum", hidden_units_1=[7], hidden_units_2=[5],
             activation="tanh", norm="none", dropout_1=0.1, dropout_2=0.2),
        TABLE + 2 * (FLAT + 1) * 7 + 8 + 2 * (FLAT + 1) * 5 + 6,
    ),
    (
        "masknet",
        dict(embedding_dim=DIM, structure="serial", block_units=[7, 4], reduction=2.0, **MLP),
        TABLE + 2 * DIM + mlp(FLAT, 2 * FLAT, FLAT) + (FLAT + 2) * 7 + mlp(FLAT, 14, 7) + (7 + 2) * 4 + mlp(4, 8, 3, 1),
    ),
    (
        "masknet",
        dict(embedding_dim=DIM, structure="parallel", block_units=[7, 4], reduction=0.5, **MLP),
        TABLE + 2 * DIM + 2 * mlp(FLAT, FLAT // 2, FLAT) + (FLAT + 2) * (7 + 4) + mlp(11, 8, 3, 1),
    ),
    (
        "edcn",
        dict(embedding_dim=DIM, layers=2, temperature=0.7, dropout=0.2),
        TABLE + 2 * (2 * FIELDS + 2 * FLAT + (FLAT + 1) * FLAT) + 3 * FLAT + 1,
    ),
    *(
        (
            "fcn",
            dict(embedding_dim=8, structure=structure, heads=heads, exponential_layers=3, linear_layers=2,
                 dropout_exponential=0.1, dropout_linear=0.2),
            IDS * 8 + networks * (8 * FIELDS // heads + 1)
            + (3 + 2 * (networks > 1)) * ((8 * FIELDS // heads) ** 2 // 2 + 2 * 8 * FIELDS // heads),
        )
        for structure, heads, networks in (("fused", 1, 2), ("fused", 2, 2), ("exponential", 2, 1))
    ),
    *(
        (
            "qnn_alpha",
            dict(embedding_dim=DIM, layers=2, rows=3, heads=heads, norm=norm, dropout=0.2),
            TABLE + 2 * 3 * FLAT * (FLAT + 1 + 2 * (norm != "none")) + FLAT + 1,
        )
        for heads, norm in ((1, "none"), (2, "none"), (3, "batch"))
    ),
    (
        "rankmixer",
        dict(embedding_dim=DIM, tokens=4, token_dim=12, layers=2, expansion=2, dropout=0.2),
        TABLE + 4 * (8 + 1) * 12 + 2 * (4 * ((12 + 1) * 24 + (24 + 1) * 12) + 4 * 12) + 12 + 1,
    ),
    (
        "wukong",
        dict(embedding_dim=DIM, layers=3, fm_embeddings=3, linear_embeddings=4, rank=2, fm_units=[8], **MLP),
        TABLE + 2 * (7 * 2 + 2 * 7 * 2 + mlp(14, 8, 18) + 7 * 4) + 5 * 2 + 2 * 5 * 2 + mlp(10, 8, 18) + 5 * 4
        + (5 + 1) * 7 + 3 * 2 * DIM + mlp(7 * DIM, 8, 3, 1),
    ),
    ("dlrm", dict(embedding_dim=DIM, **MLP), TABLE + mlp(PAIRS, 8, 3, 1)),
    (
        "din",  # its histories: tests/models/test_din.py
        dict(embedding_dim=DIM, attention_units=[4], attention_activation="dice", **MLP | dict(activation="dice")),
        TABLE + mlp(FLAT, 8, 3, 1) + 8 + 3,
    ),
]  # fmt: skip
CASES = pytest.mark.parametrize(
    ("name", "settings", "weights"), LAWS, ids=[f"{law[0]}-{i}" for i, law in enumerate(LAWS)]
)


def make_model(name, settings):
    """With weights and running statistics away from their special starting values."""
    torch.manual_seed(6)
    model = MODELS[name](SIZES, **settings).double().eval()
    for weight in model.parameters():
        nn.init.normal_(weight, std=0.4)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d):
            nn.init.normal_(module.running_mean, std=0.4)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
    return model


def make_ids(rows=4):
    torch.manual_seed(7)
    return torch.stack([torch.randint(size, (rows,), dtype=torch.int32) for size in SIZES], dim=1)


@CASES
def test_logits_and_gradients_equal_the_twins(name, settings, weights):
    model, x = make_model(name, settings), make_ids()
    got, wanted = model(x), reference_models.logits(model, x)
    torch.testing.assert_close(got, wanted, rtol=1e-9, atol=1e-9)
    probe, parameters = torch.randn_like(got), list(model.parameters())
    torch.testing.assert_close(
        torch.autograd.grad(got, parameters, probe),
        torch.autograd.grad(wanted, parameters, probe),
        rtol=1e-8,
        atol=1e-8,
    )


@CASES
def test_number_of_weights_is_the_formulas(name, settings, weights):
    assert sum(w.numel() for w in make_model(name, settings).parameters()) == weights


def test_rankmixer_has_the_papers_2_k_l_t_d_squared_weights_in_its_blocks():
    """The paper counts the matrices of the networks of T tokens of D numbers in L layers, k times as wide inside."""
    k, layers, tokens, d = 3, 4, 2, 8
    settings = dict(embedding_dim=DIM, tokens=tokens, token_dim=d, layers=layers, expansion=k, dropout=0.0)
    blocks = make_model("rankmixer", settings).layers
    assert sum(w.numel() for w in blocks.parameters() if w.dim() == 3) == 2 * k * layers * tokens * d**2


def test_every_model_has_a_law():
    assert {law[0] for law in LAWS} | {"eulernet"} == set(MODELS)


@pytest.mark.parametrize("name", ["fwfm", "fmfm"])
def test_starts_as_fm(name):
    torch.manual_seed(6)
    fm, model, x = MODELS["fm"](SIZES, embedding_dim=DIM), MODELS[name](SIZES, embedding_dim=DIM), make_ids()
    model.embedding.load_state_dict(fm.embedding.state_dict())
    torch.testing.assert_close(model(x), fm(x))


def test_hofm_of_order_2_is_fm():
    fm, hofm, x = (
        make_model("fm", dict(embedding_dim=DIM)),
        make_model("hofm", dict(embedding_dim=DIM, order=2)),
        make_ids(),
    )
    hofm.embeddings[0].load_state_dict(fm.embedding.state_dict())
    hofm.linear.load_state_dict(fm.linear.state_dict())
    torch.testing.assert_close(hofm(x), fm(x))


def test_orders_above_the_number_of_fields_are_empty():
    model, x = make_model("deepim", dict(embedding_dim=DIM, order=7, **MLP | dict(hidden_units=None))), make_ids()
    before = model(x)
    model.head.weight.data[0, FIELDS * DIM :] = 100.0
    torch.testing.assert_close(model(x), before)


def test_crossnet_of_l_layers_is_a_polynomial_of_degree_l_plus_1():
    """Along a ray t x_0 the output of L cross layers has no derivative of order L + 2."""
    settings = dict(embedding_dim=DIM, structure="cross", cross_layers=2, rank=None, **MLP | dict(hidden_units=[]))
    model, x = make_model("dcnv2", settings), make_ids()
    table = model.embedding.table.weight.data.clone()
    values = []
    for t in range(5):
        model.embedding.table.weight.data = t * table
        values.append(model(x))
    for _ in range(4):  # fourth differences
        values = [b - a for a, b in pairwise(values)]
    torch.testing.assert_close(values[0], torch.zeros_like(values[0]), rtol=0, atol=1e-8)


def test_finalnet_teaches_its_blocks_the_mean():
    settings = next(law[1] for law in LAWS if law[0] == "finalnet")
    model, x = make_model("finalnet", settings), make_ids()
    y = torch.tensor([1.0, 0, 0, 1], dtype=torch.float64)
    one, two = model.logits(x)
    taught = torch.sigmoid((one + two) / 2).detach()
    bce = F.binary_cross_entropy
    wanted = bce(model.predict(x), y) + bce(one.sigmoid(), taught) + bce(two.sigmoid(), taught)
    torch.testing.assert_close(model.calculate_loss(x, y), wanted)


def test_qnn_alpha_teaches_each_mask_the_mean():
    settings = next(law[1] for law in LAWS if law[0] == "qnn_alpha")
    model, x, y = make_model("qnn_alpha", settings).train(), make_ids(), torch.tensor([1.0, 0, 0, 1]).double()
    torch.manual_seed(1)
    loss = model.calculate_loss(x, y)
    torch.manual_seed(1)
    one, two = model.predict(x), model.predict(x)
    assert not torch.equal(one, two)
    mean, bce = (one + two) / 2, F.binary_cross_entropy
    wanted = bce(mean, y) + bce(one, mean.detach()) + bce(two, mean.detach())
    torch.testing.assert_close(loss, wanted)


def test_fcn_teaches_the_worse_network():
    settings = next(law[1] for law in LAWS if law[0] == "fcn")
    model, x, y = make_model("fcn", settings), make_ids(), torch.tensor([1.0, 0, 0, 1]).double()
    bce = F.binary_cross_entropy_with_logits
    losses = [bce(z, y) for z in (model(x), *model.logits(x))]
    wanted = losses[0] + sum(max(part - losses[0], 0) * part for part in losses[1:])
    assert wanted > losses[0]
    torch.testing.assert_close(model.calculate_loss(x, y), wanted)


@pytest.mark.parametrize(
    "name", ["qnn_alpha", "fcn", "rankmixer", "wukong", "nfm", "afm", "edcn", "masknet", "autoint", "finalnet", "dnn"]
)
def test_dropout_acts_in_training_only(name):
    settings, x = next(law[1] for law in LAWS if law[0] == name), make_ids()
    model = make_model(name, settings)
    assert torch.equal(model(x), model(x))
    model.train()
    assert not torch.equal(model(x), model(x))
