"""Several models in one: the mean of models with tables of their own, and an ensemble that shares all but vectors."""

import re

import numpy as np
import pytest
import reference_models
import torch
import torch.nn.functional as F
import trained
from torch import nn

from eulernet import Predictor
from eulernet.errors import UserError
from eulernet.models import make_model
from eulernet.models.wrappers import MOST, Ensemble, MultiEmbedding

SIZES = [11, 3, 7, 5]
DNN = dict(name="dnn", embedding_dim=4, hidden_units=[6, 3], activation="relu", norm="none", dropout=0.2)
DCNV2 = DNN | dict(name="dcnv2", structure="parallel", cross_layers=2, rank=None)
NFM = DNN | dict(name="nfm", norm="batch")
FINALMLP = dict(name="finalmlp", embedding_dim=4, context_1=[], context_2=[1], gate_units=[5], hidden_units_1=[6, 4],
                hidden_units_2=[4], heads=2, activation="relu", norm="batch", dropout_1=0.1, dropout_2=0.2)  # fmt: skip
EULERNET = dict(name="eulernet", embedding_dim=4, orders=[3], drop_explicit=0.1, drop_implicit=0.1, norm=False,
                init="recbole", without="nothing", norm_penalty=0.1)  # fmt: skip
BOTH = [
    *(settings | dict(embeddings=3) for settings in (DNN, DCNV2, NFM)),
    *(settings | dict(members=3) for settings in (DNN, DCNV2, NFM, FINALMLP)),
    DCNV2 | dict(embeddings=2, members=3),
]
CASES = pytest.mark.parametrize("settings", BOTH, ids=lambda s: "-".join(map(str, [s["name"], *list(s.values())[-2:]])))


def make(settings, *, seed=6):
    """With all weights and running statistics away from their starting values."""
    torch.manual_seed(seed)
    model = make_model(settings, SIZES).double().eval()
    for weight in model.parameters():
        nn.init.normal_(weight, std=0.5)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d):
            nn.init.normal_(module.running_mean, std=0.4)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
    return model


def make_ids(rows=4):
    torch.manual_seed(7)
    return torch.stack([torch.randint(size, (rows,), dtype=torch.int32) for size in SIZES], dim=1)


@CASES
def test_logits_and_gradients_equal_the_twins(settings):
    model, x = make(settings), make_ids()
    got, wanted = model(x), reference_models.logits(model, x)
    torch.testing.assert_close(got, wanted, rtol=1e-9, atol=1e-9)
    probe, parameters = torch.randn_like(got), list(model.parameters())
    torch.testing.assert_close(
        torch.autograd.grad(got, parameters, probe),
        torch.autograd.grad(wanted, parameters, probe),
        rtol=1e-8,
        atol=1e-8,
    )


@pytest.mark.parametrize("settings", [DNN, EULERNET], ids=["dnn", "eulernet"])
def test_one_of_each_is_the_plain_model(settings):
    torch.manual_seed(3)
    plain = make_model(settings, SIZES)
    torch.manual_seed(3)
    same = make_model(settings | dict(embeddings=1, members=1), SIZES)
    assert type(same) is type(plain)
    assert all(torch.equal(a, b) for a, b in zip(same.parameters(), plain.parameters(), strict=True))
    torch.manual_seed(3)
    first = make_model(settings | dict(embeddings=2), SIZES).models[0]
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), plain.parameters(), strict=True))


@pytest.mark.parametrize("settings", [DNN, DCNV2, NFM, FINALMLP], ids=lambda s: s["name"])
def test_members_with_the_same_vectors_and_heads_are_the_plain_model(settings):
    ensemble, plain, x = make(settings | dict(members=3)), make(settings), make_ids()
    for name, weight in ensemble.model.named_parameters():
        theirs, part, number = re.sub(r"\.heads\.\d+\.", ".", name), name.rpartition(".")[2], weight.data
        weight.data = (
            torch.ones_like(number) if part.startswith("scale") else plain.get_parameter(theirs).expand_as(number)
        )
    ensemble.model.load_state_dict(dict(plain.named_buffers()), strict=False)
    torch.testing.assert_close(ensemble.logits(x), plain(x).expand(3, -1))
    torch.testing.assert_close(ensemble(x), plain(x))


def test_members_start_as_the_same_mlp_but_for_signs_and_heads():
    torch.manual_seed(3)
    first, second = make_model(DNN | dict(members=4), SIZES).model.deep.hidden.layers[::4]
    assert set(first.scale_in.unique().tolist()) == {-1.0, 1.0}
    assert (first.scale_in[0] != first.scale_in[1]).any()
    for ones in (first.scale_out, second.scale_in, second.scale_out):
        assert (ones == 1).all()
    assert (first.bias == first.bias[:1]).all()


def test_an_ensemble_predicts_the_mean_probability_and_learns_from_the_mean_loss():
    model, x = make(DNN | dict(members=3)), make_ids()
    y = torch.tensor([1.0, 0, 0, 1], dtype=torch.float64)
    each = torch.sigmoid(model.logits(x))
    assert each.std(0).min() > 1e-3
    torch.testing.assert_close(model.predict(x), each.mean(0))
    torch.testing.assert_close(model.calculate_loss(x, y), F.binary_cross_entropy(each, y.expand(3, -1)))


def test_multi_embedding_learns_from_the_loss_of_its_mean_and_its_models_penalties():
    model, x = make(EULERNET | dict(embeddings=2)), make_ids()
    y = torch.tensor([1.0, 0, 0, 1], dtype=torch.float64)
    mean = (model.models[0](x) + model.models[1](x)) / 2
    penalties = model.models[0].regularisation() + model.models[1].regularisation()
    assert penalties > 0
    torch.testing.assert_close(model.calculate_loss(x, y), F.binary_cross_entropy_with_logits(mean, y) + penalties)


def test_several_fms_are_one_of_a_larger_dimension():
    """The paper's reason why something that is not linear has to follow the interactions."""
    several, one = make(dict(name="fm", embedding_dim=4, embeddings=3)), make(dict(name="fm", embedding_dim=12))
    one.embedding.table.weight.data = torch.cat([m.embedding.table.weight for m in several.models], dim=1) / 3**0.5
    one.linear.weights.table.weight.data = sum(m.linear.weights.table.weight for m in several.models) / 3
    one.linear.bias.data = sum(m.linear.bias for m in several.models) / 3
    torch.testing.assert_close(several(make_ids()), one(make_ids()))


def test_number_of_weights_is_the_formulas():
    def weights(settings):
        return sum(weight.numel() for weight in make(settings).parameters())

    table, n, hidden, k = sum(SIZES) * 4, len(SIZES) * 4, [6, 3], 5
    assert weights(DCNV2 | dict(embeddings=k)) == k * weights(DCNV2)
    matrices = n * hidden[0] + hidden[0] * hidden[1]
    vectors = (n + 2 * hidden[0]) + (hidden[0] + 2 * hidden[1])  # r, s and b of each layer
    assert weights(DNN | dict(members=k)) == table + matrices + k * (vectors + hidden[1] + 1)


def test_an_ensemble_looks_each_row_up_once():
    model, seen = make(NFM | dict(members=3)), []
    for embedding in (model.model.embedding, model.model.linear.weights):
        embedding.read = lambda rows, table=embedding.table: seen.append(rows.shape) or table(rows)
    model(make_ids(5))
    assert seen == [(5, 4), (5, 4)]


def test_a_model_without_an_mlp_has_no_members():
    for settings in (EULERNET, DNN | dict(hidden_units=[]), EULERNET | dict(embeddings=2)):
        with pytest.raises(UserError) as refused:
            make_model(settings | dict(members=2), SIZES)
        assert re.fullmatch(
            r"model\.members=2: (EulerNet|DNN) has no MLP .*; try model\.embeddings", str(refused.value)
        )


@pytest.mark.parametrize("key", ["embeddings", "members"])
def test_more_than_anyone_takes_is_refused_before_it_is_made(key):
    with pytest.raises(UserError, match=rf"model\.{key}=100000: the limit is {MOST}"):
        make_model(DNN | {key: 100_000}, SIZES)


@pytest.mark.parametrize("key", ["embeddings", "members"])
def test_the_key_alone_is_answered_by_the_group(key, run_command):
    assert f"unknown key 'model.{key}'; it comes with wrap={key}" in run_command("train", f"model.{key}=2").err


@pytest.mark.parametrize(
    "asked",
    [
        pytest.param("wrap=embeddings", marks=pytest.mark.slow),
        pytest.param("wrap=members", marks=pytest.mark.slow),
        "wrap=members +model.embeddings=2",
    ],
)
def test_a_run_goes_on_and_comes_back_from_its_folder(asked, run_command, tmp_path):
    """Trained in two parts, the second resumed, it has the bits of one that was not stopped; so has what is pushed."""
    rows = trained.raw_rows(600, 0)
    rows.write_csv(tmp_path / "log.csv")
    setting = [f"raw={tmp_path}/log.csv", "dataset=table", "device=cpu", "model=dcnv2", "model.hidden_units=[8]"]
    for run, epochs in (("whole", 2), ("parts", 1)):
        assert (
            run_command("train", *setting, *asked.split(), f"train.max_epochs={epochs}", f"hydra.run.dir={run}").code
            == 0
        )
    assert run_command("train", "resume=parts", "train.max_epochs=2").code == 0
    one, two = Predictor.load("whole"), Predictor.load("parts")
    assert isinstance(one.model, Ensemble if "members" in asked else MultiEmbedding)
    assert np.array_equal(one.predict(rows), two.predict(rows))
    one.push("pushed")
    assert np.array_equal(one.predict(rows), Predictor.load("pushed").predict(rows))
