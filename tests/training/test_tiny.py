"""Weights and moments that are as good as zero become zero, and nothing else changes."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from toy import CONFIG, CPU, IDENTITY, new_model, same_epochs, toy_data

from eulernet.models import make_model
from eulernet.runs.weights import load_model
from eulernet.training import optimizers, state
from eulernet.training.checkpoint import load_last
from eulernet.training.loop import fit
from eulernet.training.state import State
from eulernet.training.tiny import SIGNED, TINY, clear_tiny
from eulernet.training.weights import WEIGHTS, save_weights


@given(st.lists(st.floats(width=32), max_size=70))
def test_what_is_tiny_becomes_zero_and_the_rest_keeps_its_bits(values):
    numbers = torch.tensor(values, dtype=torch.float32)
    tiny = numbers.abs() <= torch.tensor(TINY)
    cleared = numbers.clone()
    clear_tiny([cleared])
    assert (cleared[tiny] == 0).all()
    assert torch.equal(cleared[~tiny].view(torch.int32), numbers[~tiny].view(torch.int32))  # NaN and infinity too


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return toy_data(tmp_path_factory.mktemp("data"))


def tiny_in(saved) -> int:
    """How many numbers of a checkpoint, or of a part of it, are tiny but not zero."""
    if isinstance(saved, torch.Tensor):
        return int(((saved != 0) & (saved.abs() <= TINY)).sum()) if saved.is_floating_point() else 0
    parts = saved.values() if isinstance(saved, dict) else saved if isinstance(saved, list | tuple) else []
    return sum(map(tiny_in, parts))


@pytest.mark.parametrize("optimizer", ["adam", "touched_adam", "rowwise_adagrad"])
def test_no_weight_moment_or_average_stays_tiny_and_no_measure_changes(data, tmp_path, optimizer, monkeypatch):
    config = replace(CONFIG, optimizer=optimizer)

    def train(folder):
        folder.mkdir()
        model = new_model(data)
        with torch.no_grad():  # an id that no row has; Adam's first moment of it becomes as small
            model.embedding.table.weight[0] = 1e-33
        history, test = fit(model, data, config, CPU, folder, identity=IDENTITY)
        return history, test, tiny_in(load_last(folder, **IDENTITY)), tiny_in(model.state_dict())

    history, test, *tiny = train(tmp_path / "cleared")
    assert tiny == [0, 0]
    for module in (optimizers, state):
        monkeypatch.setattr(module, "clear_tiny", list)
    history_uncleared, test_uncleared, *tiny_uncleared = train(tmp_path / "uncleared")
    assert min(tiny_uncleared) > 0
    assert same_epochs(history, history_uncleared)
    assert test == test_uncleared


def test_a_saved_model_of_a_gpu_or_an_older_version_is_cleared(data, tmp_path):
    settings = dict(name="fm", embedding_dim=4)
    model = make_model(settings, data.field_sizes)
    with torch.no_grad():
        model.embedding.table.weight[0] = 1e-33
    save_weights(model.state_dict(), tmp_path)
    assert not load_model(tmp_path / WEIGHTS, settings, data.field_sizes).embedding.table.weight[0].any()


def test_within_an_epoch_tables_that_step_by_rows_are_left_out(data):
    """To read all of a large table would take longer than the steps."""
    model = new_model(data)
    trained = State(model, replace(CONFIG, optimizer="touched_adam"), CPU)
    with torch.no_grad():
        for weight in model.parameters():
            weight.fill_(-1e-33)

    def left():
        return {name for name, weight in model.named_parameters() if weight.any()}

    signed = {name for name in left() if name.endswith(SIGNED)}
    trained.clear_tiny()
    assert left() == {"embedding.table.weight", *signed}
    trained.clear_tiny(every_row=True)
    assert left() == signed


@pytest.mark.parametrize("name", ["modulus", "layers.0.mix.bias"])
def test_a_tiny_number_whose_sign_counts_stays(data, name):
    """A negative modulus turns a phase by pi; with a tiny bias ReLU passes the gradient of a dead unit, with 0 not."""
    model, (x, y) = new_model(data, drop=0.0), next(data.test.batches(100))
    trained = State(model, CONFIG, CPU)

    def found():
        model.zero_grad()
        model.calculate_loss(x, y.float()).backward()
        return torch.cat([model(x), model.layers[0].mix.bias.grad])

    with torch.no_grad():
        model.layers[0].log_modulus_bias.fill_(9.0)
        model.layers[0].mix.weight.zero_()
        model.get_parameter(name)[0] = -1e-31 if name == "modulus" else 1e-31
    before = found()
    trained.clear_tiny(every_row=True)
    assert torch.equal(found(), before)
    with torch.no_grad():
        model.get_parameter(name)[0] = 0.0
    assert not torch.allclose(found(), before)
