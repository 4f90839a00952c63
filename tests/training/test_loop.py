"""Training: same seed, same bits; a stopped run goes on to the same bits; the schedule, the penalties, the average."""

import csv
import os
import shutil
from dataclasses import replace

import pytest
import torch
from optimizing import make
from safetensors.torch import load_file
from toy import CONFIG, CPU, IDENTITY, new_model, run, same_bits, same_epochs, toy_data

from eulernet.errors import UserError
from eulernet.models import EulerNet
from eulernet.models.dnn import DNN
from eulernet.training import loop
from eulernet.training.average import Average
from eulernet.training.checkpoint import load_last
from eulernet.training.history import Epoch, best_of
from eulernet.training.loop import fit, learning_rate
from eulernet.training.optimizers import OPTIMIZERS, Method
from eulernet.training.report import overconfident


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return toy_data(tmp_path_factory.mktemp("data"))


def test_same_seed_same_bits_and_each_seed_matters(data, tmp_path):
    model, history, test = run(data, tmp_path / "a")
    again, history_again, test_again = run(data, tmp_path / "b")
    assert same_bits(model, again)
    assert same_epochs(history, history_again)
    assert test == test_again
    assert not same_bits(model, run(data, tmp_path / "c", seed=6)[0])
    assert not same_bits(model, run(data, tmp_path / "d", replace(CONFIG, shuffle_seed=2))[0])
    assert not same_bits(model, run(data, tmp_path / "e", replace(CONFIG, reshuffle=False))[0])


CHANGES = [
    dict(ema=0.0),
    dict(ema=0.9),
    dict(optimizer="touched_adam"),
    dict(optimizer="rowwise_adagrad", embedding_lr=3e-2),
    dict(warmup_steps=60, cowclip=1e-3, embedding_lr=1e-3),
]


@pytest.mark.parametrize("changes", CHANGES)
def test_a_run_stopped_between_epochs_goes_on_to_the_same_bits(data, tmp_path, changes):
    config = replace(CONFIG, **changes)
    model, history, test = run(data, tmp_path / "whole", config)
    run(data, tmp_path / "parts", replace(config, max_epochs=2))
    resumed, history_resumed, test_resumed = run(data, tmp_path / "parts", config, seed=99, resume=True)
    assert same_bits(model, resumed)
    assert same_epochs(history, history_resumed)
    assert test == test_resumed


@pytest.mark.parametrize("changes", [{}, dict(shuffle="blocks", shuffle_window=0.1, checkpoint_every=5)])
def test_a_run_killed_within_an_epoch_goes_on_to_the_same_bits(data, tmp_path, monkeypatch, changes):
    config = replace(CONFIG, **changes)
    model, history, _ = run(data, tmp_path / "whole", config)
    steps, calculate_loss = iter(range(10**6)), EulerNet.calculate_loss

    def interrupted(self, x, y):
        if next(steps) == 50:  # the third epoch: 19 steps each
            raise KeyboardInterrupt
        return calculate_loss(self, x, y)

    with monkeypatch.context() as patch:
        patch.setattr(EulerNet, "calculate_loss", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run(data, tmp_path / "killed", config)
    resumed, history_resumed, _ = run(data, tmp_path / "killed", config, seed=99, resume=True)
    assert same_bits(model, resumed)
    assert same_epochs(history, history_resumed)


@pytest.mark.parametrize("clip_norm", [None, 1.0])
def test_a_run_killed_between_checkpoints_goes_on_from_the_last_step_to_the_same_bits(
    data, tmp_path, monkeypatch, clip_norm
):
    config = replace(CONFIG, checkpoint_every=5, clip_norm=clip_norm, max_epochs=3)
    model, history, test = run(data, tmp_path / "whole", replace(config, checkpoint_every=None))
    trained, calculate_loss = [], EulerNet.calculate_loss

    def interrupted(self, x, y):
        trained.append(len(y))
        if len(trained) == 51:  # step 13 of the third epoch: 19 steps each
            raise KeyboardInterrupt
        return calculate_loss(self, x, y)

    with monkeypatch.context() as patch:
        patch.setattr(EulerNet, "calculate_loss", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run(data, tmp_path / "killed", config)
        trained.clear()
        resumed, history_resumed, test_resumed = run(data, tmp_path / "killed", config, seed=99, resume=True)
    assert len(trained) == 9  # steps 11 to 19
    assert same_bits(model, resumed)
    assert same_epochs(history, history_resumed)
    assert test == test_resumed


@pytest.fixture(scope="module")
def in_float32(data, tmp_path_factory):
    return run(data, tmp_path_factory.mktemp("fp32"), replace(CONFIG, lr_factor=1.0))


@pytest.mark.parametrize("precision", ["tf32", "bf16", "fp16"])
def test_other_precisions_learn_the_same(data, in_float32, tmp_path, precision):
    """Metrics near those of float32, weights and scores in float32, and the same seed, the same bits."""
    config = replace(CONFIG, lr_factor=1.0)
    model, _, exact = in_float32
    rounded, _, test = run(data, tmp_path / "a", replace(config, precision=precision))
    again, _, test_again = run(data, tmp_path / "b", replace(config, precision=precision))
    assert (test.auc, test.logloss) == pytest.approx((exact.auc, exact.logloss), abs=0.01)
    assert same_bits(rounded, model) == (precision == "tf32")  # a CPU has none
    assert same_bits(rounded, again)
    assert test == test_again
    assert {weight.dtype for weight in rounded.parameters()} == {torch.float32}
    scores = loop.score(rounded, data.test, 100, precision, "test")
    in_fp32 = loop.score(rounded, data.test, 100, "fp32", "test")
    assert len(scores.unique()) == pytest.approx(len(in_fp32.unique()), rel=0.05)  # bf16 has some 100 numbers there


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_compiled_model_learns_the_same(data, tmp_path, precision, unchecked):
    config = replace(CONFIG, lr_factor=1.0, precision=precision)
    _, _, plain = run(data, tmp_path / "plain", config)
    _, _, compiled = run(data, tmp_path / "compiled", replace(config, compile=True))
    assert (compiled.auc, compiled.logloss) == pytest.approx((plain.auc, plain.logloss), abs=0.005)


def test_best_weights_are_kept_and_tested(data, tmp_path):
    model, history, test = run(data, tmp_path / "run", replace(CONFIG, max_epochs=6))
    best = max(history, key=lambda epoch: epoch.valid_auc)
    kept = load_file(tmp_path / "run" / "model.safetensors")
    assert all(torch.equal(kept[name], weight) for name, weight in model.state_dict().items())
    valid = loop.evaluate(model, data.valid, CONFIG, "valid")
    assert (valid.auc, valid.logloss) == pytest.approx((best.valid_auc, best.valid_logloss), abs=1e-7)
    assert test == loop.evaluate(model, data.test, CONFIG, "test")
    with (tmp_path / "run" / "metrics.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [float(row["valid_auc"]) for row in rows] == [epoch.valid_auc for epoch in history]


def test_training_finds_the_planted_signal(data, tmp_path):
    config = replace(CONFIG, max_epochs=20, patience=20, lr=2e-2, lr_factor=1.0)
    _, _, test = run(data, tmp_path / "run", config)
    assert test.auc > 0.5 + 0.9 * (data.meta["bayes"]["test"]["auc"] - 0.5)


def test_early_stopping_waits_for_patience(data, tmp_path, monkeypatch):
    aucs = iter([0.6, 0.7, 0.69, 0.7, 0.68, 0.9])

    def scripted(model, split, config, what):
        return loop.Metrics(auc=next(aucs) if what.startswith("validation") else 0.5, logloss=0.5)

    monkeypatch.setattr(loop, "evaluate", scripted)
    _, history, _ = run(data, tmp_path / "run", replace(CONFIG, max_epochs=9, patience=3))
    assert [epoch.valid_auc for epoch in history] == [0.6, 0.7, 0.69, 0.7, 0.68]


@pytest.mark.parametrize(("monitor", "kept", "last"), [("auc", 4, 6), ("logloss", 2, 4)])
def test_the_monitor_picks_the_epoch_and_stops(data, tmp_path, monkeypatch, monitor, kept, last):
    """By logloss the epoch with the smallest is kept and waited for; the other figure decides nothing."""
    figures = [(0.6, 0.5), (0.7, 0.4), (0.69, 0.45), (0.8, 0.41), (0.79, 0.43), (0.7, 0.42), (0.9, 0.1)]
    weights = []

    def scripted(model, split, config, what):
        if what.startswith("validation"):
            weights.append({name: weight.clone() for name, weight in model.state_dict().items()})
        return loop.Metrics(*figures[len(weights) - 1])

    monkeypatch.setattr(loop, "evaluate", scripted)
    config = replace(CONFIG, max_epochs=7, patience=2, monitor=monitor, lr_factor=1.0)
    model, history, _ = run(data, tmp_path / "run", config)
    assert len(history) == last
    assert best_of(history, monitor).epoch == kept
    assert all(torch.equal(weight, model.state_dict()[name]) for name, weight in weights[kept - 1].items())


def test_a_resumed_run_keeps_its_monitor(data, tmp_path):
    config = replace(CONFIG, monitor="logloss", max_epochs=8, patience=2, lr=2e-2)  # overfits soon
    model, history, test = run(data, tmp_path / "whole", config)
    run(data, tmp_path / "parts", replace(config, max_epochs=2))
    resumed, history_resumed, test_resumed = run(data, tmp_path / "parts", config, seed=99, resume=True)
    assert same_bits(model, resumed)
    assert same_epochs(history, history_resumed)
    assert test == test_resumed


def test_probabilities_that_became_worse_are_told():
    """Entropy .5 at a rate of .2: the best epoch learned .1, and a twentieth of that is .005."""
    clicks, best = 0.2, Epoch(1, 0.0, 0.70, 0.4004024, 0.0, 0.0, 0.0)
    near, far = (replace(best, epoch=2, valid_auc=0.71, valid_logloss=0.4004024 + by) for by in (0.0049, 0.0051))
    assert overconfident([best, near], clicks) is None
    assert overconfident([best], clicks) is None
    said = "epoch 2 has the best validation AUC at logloss 0.40550; epoch 1 had 0.40040, at AUC 0.70000"
    assert (overconfident([best, far], clicks) or "").startswith(said)
    unlearned = [replace(best, valid_logloss=0.6), replace(far, valid_logloss=0.7)]  # worse than the click rate
    assert "train.monitor=logloss" in (overconfident(unlearned, clicks) or "")


def test_learning_rate_falls_on_a_plateau():
    config = replace(CONFIG, lr=1.0, lr_factor=0.1, lr_patience=2, min_lr=0.005)
    aucs = [0.6, 0.7, 0.69, 0.7, 0.68, 0.8, 0.7, 0.7, 0.7, 0.7, 0.7, 0.7]
    history = [Epoch(i + 1, 0.0, auc, 0.0, 0.0, 0.0, 0.0) for i, auc in enumerate(aucs)]
    rates = [learning_rate(config, history[:n]) for n in range(len(history) + 1)]
    assert rates == pytest.approx([1, 1, 1, 1, 0.1, 0.1, 0.1, 0.1, 0.01, 0.01, 0.005, 0.005, 0.005])
    assert learning_rate(replace(config, lr_factor=1.0), history) == 1.0
    other = [replace(epoch, valid_auc=0.0, valid_logloss=1 - epoch.valid_auc) for epoch in history]
    by_logloss = replace(config, monitor="logloss")
    assert [learning_rate(by_logloss, other[:n]) for n in range(len(history) + 1)] == rates


def test_the_optimizer_steps_with_the_scheduled_rate(data, tmp_path):
    rates = []

    class Watched(torch.optim.Adam):
        def step(self, closure=None):
            rates.append(self.param_groups[0]["lr"])
            super().step(closure)

    config = replace(CONFIG, max_epochs=8, patience=8, lr=2.0)  # far too large: the rate falls soon
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(OPTIMIZERS, "adam", Method(Watched))
        history, _ = fit(new_model(data), data, config, CPU, tmp_path, identity=IDENTITY)
    assert [rates[19 * i] for i in range(8)] == [epoch.lr for epoch in history]  # 19 steps an epoch
    assert min(rates) < 2.0


def test_without_reshuffling_every_epoch_sees_the_stored_order(data, tmp_path, monkeypatch):
    seen, calculate_loss = [], EulerNet.calculate_loss

    def watched(self, x, y):
        seen.append(x)
        return calculate_loss(self, x, y)

    monkeypatch.setattr(EulerNet, "calculate_loss", watched)
    run(data, tmp_path / "run", replace(CONFIG, max_epochs=2, reshuffle=False))
    assert torch.equal(torch.cat(seen), torch.cat([data.train.x, data.train.x]))


def test_the_averaged_model_takes_running_statistics_as_they_are():
    settings = dict(embedding_dim=2, hidden_units=[3], activation="relu", norm="batch", dropout=0.0)
    source = DNN([4, 5], **settings)
    average = Average(source, 0.9)
    for _ in range(3):
        source(torch.randint(4, (8, 2)))
        average.update()
    assert source.deep.hidden.layers[1].num_batches_tracked == 3
    for kept, buffer in zip(average.model.buffers(), source.buffers(), strict=True):
        assert torch.equal(kept, buffer)


def test_average_is_the_exponential_average_of_the_weights(data, tmp_path):
    """With the first step's weights as its start, as torch.optim.swa_utils defines it."""
    config, seen = replace(CONFIG, max_epochs=1, ema=0.8), []
    model = new_model(data, drop=0.0)

    class Watched(torch.optim.Adam):
        def step(self, closure=None):
            super().step(closure)
            seen.append(model.head.weight.detach().clone())

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(OPTIMIZERS, "adam", Method(Watched))
        fit(model, data, config, CPU, tmp_path, identity=IDENTITY)
    wanted = seen[0]
    for weight in seen[1:]:
        wanted = 0.8 * wanted + 0.2 * weight
    torch.testing.assert_close(model.head.weight, wanted)


def test_squared_l2_equals_a_penalty_in_the_loss(data):
    """The FuxiCTR port adds lambda/2 |w|^2 to the loss; here it is decay in the optimizer: the same steps."""
    x, y = data.train.x[:64], data.train.y[:64].float()
    one, two = new_model(data, drop=0.0).double(), new_model(data, drop=0.0).double()
    decayed = make("adam", one, embedding_l2=0.05, net_l2=0.01)
    plain = make("adam", two)
    for _ in range(5):
        for model, optimizer in ((one, decayed), (two, plain)):
            optimizer.zero_grad()
            loss = torch.nn.functional.binary_cross_entropy_with_logits(model(x), y.double())
            if model is two:
                for name, weight in model.named_parameters():  # FuxiCTR 2.3.2 spares mu, the orders and their biases
                    plain_name = name.rpartition(".")[2] in ("weight", "bias")
                    penalty = 0.05 if name.startswith("embedding.") else 0.01 * plain_name
                    loss = loss + penalty / 2 * (weight**2).sum()
            loss.backward()
            optimizer.step()
    for a, b in zip(one.parameters(), two.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)


def test_clipping_bounds_the_gradient(data, tmp_path):
    norms = []

    class Watched(torch.optim.Adam):
        def step(self, closure=None):
            grads = [w.grad for group in self.param_groups for w in group["params"]]
            norms.append(torch.stack([g.norm() for g in grads]).norm().item())
            super().step(closure)

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(OPTIMIZERS, "adam", Method(Watched))
        fit(new_model(data), data, replace(CONFIG, clip_norm=1e-3), CPU, tmp_path, identity=IDENTITY)
    assert max(norms) <= 1e-3 * 1.001


def test_a_loss_that_is_not_finite_names_epoch_and_step(data, tmp_path, monkeypatch):
    steps, calculate_loss = iter(range(10**6)), EulerNet.calculate_loss
    monkeypatch.setattr(
        EulerNet,
        "calculate_loss",
        lambda self, x, y: calculate_loss(self, x, y) * (float("nan") if next(steps) == 30 else 1.0),
    )
    with pytest.raises(UserError, match="not finite at epoch 2, step 12"):  # 19 steps an epoch
        run(data, tmp_path / "run")


def test_scores_that_are_not_finite_are_refused(data):
    model = new_model(data)
    torch.nn.init.constant_(model.head.bias, float("inf"))
    with pytest.raises(UserError, match="validation of epoch 3: scores are not finite"):
        loop.evaluate(model, data.valid, CONFIG, "validation of epoch 3")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(batch_size=-1), "train.batch_size must be at least 1, got -1"),
        (dict(lr=0.0), "train.lr must be positive"),
        (dict(weight_decay=-1e-5), "train.weight_decay must not be negative"),
        (dict(ema=1.0), r"train.ema must lie in \[0, 1\)"),
        (dict(lr_factor=0.0), r"train.lr_factor must lie in \(0, 1\]"),
        (dict(clip_norm=0.0), "train.clip_norm must be positive or null"),
        (dict(checkpoint_every=0), "train.checkpoint_every must be at least 1, or null"),
        (dict(precision="bf61"), "unknown train.precision 'bf61'; did you mean 'bf16'"),
        (dict(cowclip=0.0), "train.cowclip must be positive or null"),
        (dict(cowclip_ratio=-1.0), "train.cowclip_ratio must be positive"),
        (dict(embedding_lr=0.0), "train.embedding_lr must be positive or null"),
        (dict(warmup_steps=-1), "train.warmup_steps must not be negative"),
        (dict(monitor="loss"), "unknown train.monitor 'loss'; did you mean 'logloss'"),
        (dict(optimizer="adamm"), "unknown train.optimizer 'adamm'; did you mean 'adam'"),
    ],
)
def test_impossible_settings(changes, message):
    with pytest.raises(UserError, match=message):
        replace(CONFIG, **changes)


def test_a_store_cut_short_while_training_is_one_line(tmp_path, monkeypatch):
    """Before the next epoch reads what is missing."""
    monkeypatch.setattr("eulernet.data.dataset.SMALL", 0)  # stays a file
    data = toy_data(tmp_path / "data")

    def cut(history, _):
        os.truncate(data.folder / "x.npy", 1000)

    with pytest.raises(UserError, match=r"x\.npy"):
        fit(new_model(data), data, CONFIG, CPU, tmp_path, identity=IDENTITY, loggers=[cut])
    assert len(load_last(tmp_path, **IDENTITY)["history"]) == 1


def test_a_store_removed_while_training_stays_readable(tmp_path, monkeypatch):
    monkeypatch.setattr("eulernet.data.dataset.SMALL", 0)
    data = toy_data(tmp_path / "data")

    def remove(history, _):
        shutil.rmtree(data.folder, ignore_errors=True)

    history, _ = fit(new_model(data), data, CONFIG, CPU, tmp_path, identity=IDENTITY, loggers=[remove])
    assert len(history) == 4
