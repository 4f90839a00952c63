"""create_model, list_models and model_defaults say what conf/model says; ``import eulernet`` takes nothing heavy."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from toy import same_bits

import eulernet
from eulernet.cli import compose
from eulernet.features import Bag, Number
from eulernet.layers.dropout import Dropout
from eulernet.models import make_model
from eulernet.settings import conf_dir

SIZES = [30, 20, 10]


def test_every_file_of_conf_is_a_model():
    names = eulernet.list_models()
    assert names == sorted(file.stem for file in (conf_dir() / "model").glob("*.yaml"))
    assert eulernet.list_models("gdcn*") == ["gdcn_parallel", "gdcn_stacked"]
    assert eulernet.list_models("none of them") == []


@pytest.mark.parametrize("name", ["deepfm", "cin", "eulernet_fuxictr"])
def test_the_values_of_conf_are_the_defaults(name):
    settings = compose("train", ["dataset=criteo_x4", f"model={name}", "~tuned"])["model"]
    assert eulernet.model_defaults(name) == {key: value for key, value in settings.items() if key != "name"}
    torch.manual_seed(3)
    ours = eulernet.create_model(name, SIZES)
    torch.manual_seed(3)
    assert same_bits(ours, make_model(settings, SIZES))


def test_settings_change_the_defaults_and_nothing_else():
    model = eulernet.create_model("deepfm", field_sizes=np.array(SIZES), hidden_units=[8], dropout=0.5)
    assert {layer.p for layer in model.modules() if isinstance(layer, Dropout)} == {0.5}
    assert model(torch.tensor([[1, 2, 3], [0, 0, 9]])).shape == (2,)
    eulernet.model_defaults("deepfm")["hidden_units"].append(7)  # a caller's copy
    assert eulernet.model_defaults("deepfm")["hidden_units"] == [400, 400, 400]


def test_fields_of_numbers_and_bags():
    model = eulernet.create_model("fm", [5, Number(), Bag(9, 3, "mean")])
    assert model(torch.tensor([[1, 0, 2, 3, -1]], dtype=torch.int32)).shape == (1,)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: eulernet.create_model("depfm", SIZES), "did you mean 'deepfm'"),
        (lambda: eulernet.create_model(3, SIZES), r"give a name of eulernet.list_models\(\), got int"),
        (lambda: eulernet.model_defaults("eulernt"), "did you mean 'eulernet'"),
        (lambda: eulernet.list_models(None), "takes a pattern"),
        (lambda: eulernet.create_model("deepfm", SIZES, droput=0.1), "did you mean 'dropout'"),
        (lambda: eulernet.create_model("deepfm", SIZES, dropout="much"), "model.dropout=much"),
        (lambda: eulernet.create_model("deepfm", SIZES, dropout=1.5), r"model.dropout must lie in \[0, 1\)"),
        (lambda: eulernet.create_model("deepfm", []), "it is empty"),
        (lambda: eulernet.create_model("deepfm", 7), "give a list with the number of ids"),
        (lambda: eulernet.create_model("deepfm", {"user": 7}), "give a list with the number of ids"),
        (lambda: eulernet.create_model("deepfm", [3, "four"]), r"field_sizes\[1\] is 'four'"),
        (lambda: eulernet.create_model("deepfm", [3, 0]), r"field_sizes\[1\] is 0"),
        (lambda: eulernet.create_model("deepfm", [3, 2.5]), r"field_sizes\[1\] is 2.5"),
    ],
)
def test_bad_input_is_one_clear_line(call, words):
    with pytest.raises(eulernet.UserError, match=words) as refused:
        call()
    assert isinstance(refused.value, ValueError)
    assert "\n" not in str(refused.value)


def test_names_are_there_for_completion():
    assert set(dir(eulernet)) == set(eulernet.__all__) >= {"create_model", "Predictor"}
    assert all(getattr(eulernet, name) is not None for name in eulernet.__all__)
    with pytest.raises(AttributeError, match="no attribute 'fti'"):
        eulernet.fti  # noqa: B018


def test_importing_eulernet_takes_nothing_heavy():
    code = "import sys; before = set(sys.modules); import eulernet; dir(eulernet); print(*set(sys.modules) - before)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    heavy = {"torch", "polars", "pandas", "numpy", "hydra", "omegaconf", "sklearn", "scipy", "yaml", "tqdm"}
    assert {name.split(".")[0] for name in out.split()} & heavy == set()
    assert len([name for name in out.split() if name.startswith("eulernet")]) == 1
