"""What another library trains scores as that library does, to the same bits for the same seed."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from test_commands import SYNTHETIC

from eulernet.errors import UserError
from eulernet.features import Bag, Number
from eulernet.models import REFERENCES, make_model
from eulernet.models.boosted_trees import BoostedTrees

KINDS = [40, Number(), 7, 2]
TREES = {
    "name": "lightgbm", "num_iterations": 30, "learning_rate": 0.2, "num_leaves": 15, "min_data_in_leaf": 5,
    "feature_fraction": 0.7, "lambda_l2": 0.0, "cat_smooth": 1.0, "early_stopping_round": 5,
}  # fmt: skip
LOGISTIC = {"name": "sklearn_lr", "c": 0.5, "max_iter": 500, "tol": 1e-6}


def rows(count, seed, sizes=KINDS):
    """Rows of which some ids, and a number's middle, are likelier to be clicks."""
    draw = np.random.default_rng(seed)
    columns = []
    for size in sizes:
        if isinstance(size, Number):
            columns.append(draw.normal(0, 1, (count, 1)).astype(np.float32).view(np.int32))
        elif isinstance(size, Bag):
            held = np.arange(size.length) < draw.integers(0, size.length + 1, (count, 1))
            columns.append(np.where(held, draw.integers(0, size.size, (count, size.length)), -1))
        else:
            columns.append(draw.integers(0, size, (count, 1)))
    x = np.concatenate(columns, axis=1).astype(np.int32)
    number = x[:, 1].view(np.float32)
    y = draw.random(count) < 1 / (1 + np.exp(-((x[:, 0] % 3) - 1.0 + (np.abs(number) < 0.7))))
    return torch.from_numpy(x), torch.from_numpy(y).float()


def trained(settings, sizes=KINDS, seed=3):
    torch.manual_seed(seed)
    model = make_model(settings, sizes)
    loss = model.learn(rows(3000, 1, sizes), rows(600, 2, sizes))
    return model.eval(), loss


def test_trees_score_as_lightgbm_does():
    model, loss = trained(TREES)
    x, _ = rows(600, 2)
    columns = np.column_stack([x[:, 0], x[:, 1].numpy().view(np.float32), x[:, 2:]]).astype(float)
    wanted = model.booster.predict(columns, raw_score=True)
    assert model.booster.best_iteration > 3
    assert 0.3 < loss < 0.69
    model.booster = None
    torch.testing.assert_close(model(x), torch.from_numpy(wanted).float(), rtol=1e-6, atol=1e-6)
    assert (torch.cat([model(x[:7]), model(x[7:])]) == model(x)).all()
    strange = torch.tensor([[10_000, 0, -1, 33]], dtype=torch.int32)  # ids that no set holds
    assert model(strange).isfinite().all()


def test_trees_are_what_lightgbm_makes_of_the_same_rows():
    import lightgbm

    settings = {key: value for key, value in TREES.items() if key != "name"}
    (x, y), (stop_x, stop_y) = rows(3000, 1, [40, Number(), 7]), rows(600, 2, [40, Number(), 7])
    direct = lightgbm.LGBMClassifier(
        n_estimators=settings.pop("num_iterations"), learning_rate=settings.pop("learning_rate"), random_state=3,
        num_leaves=settings.pop("num_leaves"), min_child_samples=settings.pop("min_data_in_leaf"),
        colsample_bytree=settings.pop("feature_fraction"), reg_lambda=settings.pop("lambda_l2"),
        cat_smooth=settings.pop("cat_smooth"), deterministic=True, force_row_wise=True, n_jobs=1, verbose=-1,
    )  # fmt: skip
    frames = [np.column_stack([some[:, 0], some[:, 1].numpy().view(np.float32), some[:, 2]]) for some in (x, stop_x)]
    direct.fit(
        frames[0], y.numpy(), categorical_feature=[0, 2], eval_set=[(frames[1], stop_y.numpy())], eval_metric="auc",
        callbacks=[lightgbm.early_stopping(5, first_metric_only=True, verbose=False)],
    )  # fmt: skip
    model, _ = trained(TREES, [40, Number(), 7])
    wanted = direct.predict_proba(frames[1])[:, 1]
    np.testing.assert_allclose(model.predict(stop_x).numpy(), wanted, rtol=1e-5, atol=1e-6)


def test_logistic_regression_is_scikit_learns_on_one_hot_rows():
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import OneHotEncoder

    (x, y), (other, _) = rows(3000, 1), rows(600, 2)
    encoder = OneHotEncoder(categories=[range(40), range(7), range(2)]).fit(x[:, [0, 2, 3]].numpy())

    def one_hot(some):
        return np.column_stack([encoder.transform(some[:, [0, 2, 3]].numpy()).toarray(),
                                some[:, 1].numpy().view(np.float32)])  # fmt: skip

    direct = LogisticRegression(C=0.5, max_iter=500, tol=1e-6).fit(one_hot(x), y.numpy())
    model, loss = trained(LOGISTIC)
    wanted = direct.decision_function(one_hot(other))
    np.testing.assert_allclose(model(other).detach().numpy(), wanted, rtol=1e-3, atol=1e-4)
    given = direct.predict_proba(one_hot(x))[np.arange(3000), y.long().numpy()]
    assert loss == pytest.approx(-np.log(given).mean(), rel=1e-5)


def test_a_bag_is_shared_out_as_its_vectors_are_pooled():
    sizes = [40, Number(), Bag(5, 3, "mean"), Bag(4, 2, "sum")]
    model, _ = trained(LOGISTIC, sizes)
    x, _ = rows(50, 2, sizes)
    with torch.no_grad():
        weights, bias = model.linear.weights.table.weight[:, 0].numpy(), model.linear.bias.item()
        np.testing.assert_allclose(model.one_hot(x) @ weights + bias, model(x).numpy(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("settings", [TREES, LOGISTIC], ids=["lightgbm", "sklearn_lr"])
def test_same_seed_same_bits(settings):
    one, two = trained(settings)[0].state_dict(), trained(settings)[0].state_dict()
    assert one.keys() == two.keys()
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_another_seed_draws_other_fields():
    assert not torch.equal(trained(TREES)[0].leaf, trained(TREES, seed=4)[0].leaf)


def test_trees_that_lead_nowhere_are_refused():
    model, _ = trained(TREES)
    state = {name: value.clone() for name, value in model.state_dict().items()}
    fresh = make_model(TREES, KINDS)
    fresh.load_state_dict(state)
    assert torch.equal(fresh(rows(50, 2)[0]), model(rows(50, 2)[0]))
    wrong = {"left": 0, "right": 10_000, "column": 4, "root": 10_000, "words": 10_000, "first_word": -1}
    for name, value in wrong.items():
        with pytest.raises(UserError, match="the trees of these weights are damaged"):
            make_model(TREES, KINDS).load_state_dict({**state, name: torch.full_like(state[name], value)})


def test_a_lone_leaf_is_a_model():
    model = BoostedTrees(KINDS, **{key: value for key, value in TREES.items() if key != "name"})
    x, y = rows(100, 1)
    model.learn((x, y), (x, 1 - y))  # no tree is better than none for long
    model.booster = None
    again = make_model(TREES, KINDS)
    again.load_state_dict(model.state_dict())
    assert again(x).isfinite().all()


@pytest.mark.parametrize("name", REFERENCES)
def test_stopped_while_the_library_trains_it_goes_on(name, run_command, monkeypatch):
    settings = [one for one in SYNTHETIC if "embedding_dim" not in one] + [f"model={name}", "~tuned"]
    settings += ["model.num_iterations=20"] if name == "lightgbm" else []
    assert run_command("train", *settings, "hydra.run.dir=whole").code == 0

    def stop(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(REFERENCES[name], "learn", stop)
        ended = run_command("train", *settings, "hydra.run.dir=run")
        assert ended.code == 130
        assert "resume=run" in ended.out
    ended = run_command("train", "resume=run")
    assert ended.code == 0, ended.err
    whole, went_on = (load_file(f"{run}/model.safetensors") for run in ("whole", "run"))
    assert whole.keys() == went_on.keys()
    assert all(torch.equal(whole[key], went_on[key]) for key in whole)


def test_what_is_refused(monkeypatch):
    with pytest.raises(UserError, match="lightgbm takes no bags and no histories: leave out these 1 columns"):
        make_model(TREES, [3, Bag(4, 2, "mean")])
    with pytest.raises(UserError, match=r"model.num_leaves must be at least 2, got 1"):
        make_model({**TREES, "num_leaves": 1}, KINDS)
    for settings, module in ((TREES, "lightgbm"), (LOGISTIC, "sklearn.linear_model")):
        monkeypatch.setitem(sys.modules, module, None)
        with pytest.raises(UserError, match=r"pip install 'eulernet\[references\]'"):
            trained(settings)


@pytest.mark.parametrize("name", REFERENCES)
def test_as_users_type_it(run_command, name):
    few = [one for one in SYNTHETIC if "embedding_dim" not in one]
    few += ["model.num_iterations=20"] if name == "lightgbm" else []
    ended = run_command(
        "train",
        *(one for one in SYNTHETIC if "embedding_dim" not in one),
        f"model={name}",
        "~tuned",
        *few,
        "hydra.run.dir=run",
    )
    assert ended.code == 0, ended.err
    assert "best epoch 1" in ended.out
    run = Path("run")
    tested = next(line for line in ended.out.splitlines() if line.startswith("test  "))[:50]
    (run / "report.json").rename("before.json")
    ended = run_command("train", "resume=run")
    assert ended.code == 0, ended.err
    assert tested in ended.out
    ended = run_command("evaluate", "run=run", "split=test")
    assert ended.code == 0, ended.err
    ended = run_command("export", "run=run", "format=torch_export", "output=graph")
    assert (ended.code == 0) == (name == "sklearn_lr")
    assert ended.code == 0 or "trees cannot be exported as a graph; eulernet.predict and eulernet.serve" in ended.err
