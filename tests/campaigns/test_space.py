"""Search spaces: every committed one reads for the models that it is for, and every draw is a configuration."""

import optuna
import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import create_trial

from eulernet.campaigns.space import apply, as_overrides, drawn, including, read_space
from eulernet.errors import UserError
from eulernet.models import MODELS, REFERENCES, make_model
from eulernet.settings import conf_dir, construct
from eulernet.training.config import TrainConfig

CFG = {"seed": 1, "model": {"name": "toy", "orders": [7], "norm": False}, "train": {"lr": 1e-3, "batch_size": 64}}
EQUAL = sorted((conf_dir() / "sweep" / "equal").glob("*.yaml"))


def composed(*overrides):
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        cfg = compose("tune", [*overrides, "chosen=null"])  # needs a running Hydra
        return OmegaConf.to_container(cfg, resolve=True)


@pytest.mark.parametrize(
    ("sweep", "model"),
    [
        ("eulernet", "eulernet"), ("recbole", "eulernet_recbole"), ("mlp", "deepfm"), ("mlp", "dcnv2"), ("mlp", "dnn"),
        ("mlp", "masknet_parallel"), ("shallow", "fm"), ("shallow", "ffm"), ("shallow", "hofm"),
    ],
)  # fmt: skip
def test_draws_of_every_space_build_the_model(sweep, model):
    cfg = composed(f"sweep={sweep}", f"model={model}")
    space = read_space(cfg["sweep"], cfg)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
    for _ in range(10):
        values = drawn(study.ask(space))
        assert values.keys() == space.keys()
        setting = apply(values, cfg)
        construct(TrainConfig, setting["train"], "train")
        construct(MODELS[setting["model"].pop("name")], setting["model"], "model", field_sizes=[5, 4, 3])


@pytest.mark.parametrize(
    ("model", "sweep"),
    [
        ("eulernet_recbole", "eulernet"),
        ("deepfm", "equal/deepfm"),
        ("fm", "equal/common"),
        ("sklearn_lr", "equal/sklearn_lr"),
    ],
)
def test_every_model_has_a_space_without_naming_one(model, sweep):
    assert composed(f"model={model}")["sweep"] == composed(f"model={model}", f"sweep={sweep}")["sweep"]


@pytest.mark.parametrize("model", sorted({file.stem for file in EQUAL} - {"common", "dropout", "mlp"}))
def test_a_space_of_equal_effort_is_the_common_one_and_at_most_two_knobs(model):
    cfg, common = composed(f"sweep=equal/{model}", f"model={model}"), composed("sweep=equal/dropout", "model=dnn")
    space, shared = read_space(cfg["sweep"], cfg), read_space(common["sweep"], common)
    if model not in REFERENCES:
        assert {key: of for key, of in space.items() if key.startswith("train.")} == {
            key: of for key, of in shared.items() if key.startswith("train.")
        }
        rates = [key for key in space if key.startswith("model.drop")]
        assert all(space[key] == shared["model.dropout"] for key in rates)
        without = model == "cin"  # its dropout is that of an MLP it does not have
        assert bool(rates) == (any(key.startswith("drop") for key in cfg["model"]) and not without)
        assert sum(key.startswith("model.") for key in space) <= 2 + bool(rates)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
    for _ in range(5):
        make_model(apply(drawn(study.ask(space)), cfg)["model"], [5, 4, 3])


def test_a_space_is_widened_to_hold_what_is_shipped():
    space = {"lists": CategoricalDistribution(["[7]"]), "lr": FloatDistribution(1e-3, 1e-2, log=True)}
    assert including(space["lists"], [7], "lists") is space["lists"]
    assert including(space["lists"], [7, 7], "lists") == CategoricalDistribution(["[7]", "[7, 7]"])
    assert including(space["lr"], 0.5, "lr") == FloatDistribution(1e-3, 0.5, log=True)
    assert including(IntDistribution(2, 8, step=2), 4, "n") == IntDistribution(2, 8, step=2)
    with pytest.raises(UserError, match="the space of lr cannot hold 0, which is shipped; give it choices"):
        including(space["lr"], 0, "lr")


def test_every_space_is_tested():
    assert {file.stem for file in (conf_dir() / "sweep").glob("*.yaml")} == {"eulernet", "recbole", "mlp", "shallow"}


def test_recboles_space_is_the_published_one():
    cfg = composed("sweep=recbole", "model=eulernet_recbole")
    choices = {name.split(".")[1]: dist.choices for name, dist in read_space(cfg["sweep"], cfg).items()}
    assert choices == {
        "lr": (1e-3, 1e-4, 1e-5),
        "norm_penalty": (1e-3, 1e-5, 1e-7),
        "orders": ("[7]", "[10]", "[20]", "[30]"),
        "drop_explicit": (0.0, 0.1, 0.2, 0.3),
        "drop_implicit": (0.0, 0.1, 0.2, 0.3),
        "norm": (True, False),
    }


def test_a_draw_reads_as_overrides_and_leaves_the_configuration_alone():
    tree = {
        "model": {"orders": {"choices": [[7, 7]]}, "norm": {"choices": [True]}},
        "train": {"lr": {"low": 0.0123456, "high": 0.0123456}},
    }
    space = read_space(tree, CFG)
    trial = create_trial(
        value=0.5, params={"model.orders": "[7, 7]", "model.norm": True, "train.lr": 0.0123456}, distributions=space
    )
    assert as_overrides(drawn(trial)) == ["model.orders=[7,7]", "model.norm=true", "train.lr=0.01235"]
    setting = apply(drawn(trial), CFG)
    assert setting["model"] == {"name": "toy", "orders": [7, 7], "norm": True}
    assert setting["train"] == {"lr": 0.01235, "batch_size": 64}
    assert CFG["model"]["orders"] == [7]


def test_null_takes_a_key_out():
    tree = {"model": {"norm": None}, "train": {"lr": {"low": 1e-3, "high": 1e-1, "log": True}}}
    assert list(read_space(tree, CFG)) == ["train.lr"]


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ({"model": {"order": {"choices": [1]}}}, "toy has no model.order; did you mean 'orders'?"),
        ({"dataset": {"min_count": {"choices": [1]}}}, "sweep.dataset: only keys of model and train can be searched"),
        ({"train": {"lr": {"low": 1}}}, "sweep.train.lr={'low': 1}: give {choices: [...]} or {low: ..., high: ...}"),
        ({"train": {"lr": 3}}, "sweep.train.lr=3: give"),
        ({"train": {"lr": {"choices": []}}}, "give {choices: [...]}"),
        ({"train": {"lr": {"low": 1e-3, "high": 1e-4}}}, "sweep.train.lr={'low': 0.001, 'high': 0.0001}: "),
        ({"train": {"lr": {"low": 0.0, "high": 1.0, "log": True}}}, "sweep.train.lr="),
        ({"train": {"lr": {"low": "a", "high": 1.0}}}, "sweep.train.lr="),
        ({"train": {"batch_size": {"low": 1, "high": 9, "steps": 2}}}, "sweep.train.batch_size="),
        ({"train": {"lr": None}}, "the sweep has no range"),
    ],
)
def test_refusals(tree, message):
    with pytest.raises(UserError) as refused:
        read_space(tree, CFG)
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)
