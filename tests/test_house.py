"""The tables of the house: each entry has its YAML, its line of documentation, its slow twin. What lacks is named."""

import ast
from pathlib import Path

import pytest
import yaml
from reference_models import TWINS

import eulernet
from eulernet.data import values
from eulernet.data.kinds import KINDS
from eulernet.data.kinds.number import SCALINGS
from eulernet.data.sets import DATASETS
from eulernet.data.sets.presplit import BENCHMARKS
from eulernet.measures.table import MEASURES
from eulernet.models import MODELS
from eulernet.settings import conf_dir
from eulernet.training.loggers import LOGGERS
from eulernet.training.optimizers import OPTIMIZERS

PACKAGE = Path(eulernet.__file__).parent
REPOSITORY = PACKAGE.parent
TWIN_ELSEWHERE = {"EulerNet"}  # tests/reference.py, by complex numbers
PRESETS = {yaml.safe_load(file.read_text()).get("name") for file in (conf_dir() / "model").glob("*.yaml")}
LONG = {"data/build.py:build"}
COMMANDS = ["evaluate", "export", "predict", "prepare", "report", "reproduce", "serve", "train", "tune"]


def text(*names):
    return "".join((REPOSITORY / name).read_text() for name in names)


@pytest.mark.parametrize("name", MODELS)
def test_a_model_is_whole(name):
    assert name in PRESETS, f"no file in conf/model says name: {name}"
    made = MODELS[name]
    assert made.__doc__, f"{made.__name__} has no docstring"
    assert made.__name__ in TWINS.keys() | TWIN_ELSEWHERE, f"tests/reference_models.py has no twin of {made.__name__}"


@pytest.mark.parametrize("name", DATASETS)
def test_a_dataset_is_whole(name):
    assert (conf_dir() / "dataset" / f"{name}.yaml").is_file(), f"no conf/dataset/{name}.yaml"
    assert f"| `{name}` |" in text("data/README.md"), f"data/README.md has no row of {name}"
    mentioned = name in BENCHMARKS or any(
        name in file.read_text() for file in (REPOSITORY / "tests/data").rglob("*.py")
    )
    assert mentioned, f"no test in tests/data names {name}"


@pytest.mark.parametrize("name", KINDS)
def test_a_kind_of_field_is_whole(name):
    assert f"\n#   {name} " in text("conf/dataset/table.yaml"), f"conf/dataset/table.yaml does not describe {name}"
    assert f"| `{name}` |" in text("data/README.md"), f"data/README.md has no row of the kind {name}"
    assert KINDS[name].twin.__module__.startswith("eulernet.data.kinds"), f"{name} has no plain twin"
    assert f'"{name}"' in text("tests/data/test_one_value_one_text.py"), (
        f"tests/data/test_one_value_one_text.py does not try {name}"
    )


@pytest.mark.parametrize("name", SCALINGS)
def test_a_scaling_is_whole(name):
    assert name in text("conf/dataset/table.yaml"), f"conf/dataset/table.yaml does not describe the scaling {name}"
    assert f'"{name}"' in text("tests/data/test_one_value_one_text.py"), f"no test of the scaling {name}"


@pytest.mark.parametrize("name", values.TRANSFORMS)
def test_a_transform_has_its_plain_twin(name):
    assert name == "members" or f'\n    "{name}": ' in text("eulernet/exporting/encode.py"), (
        f"exporting/encode.py has no {name}"
    )


@pytest.mark.parametrize("measure", MEASURES, ids=lambda measure: measure.name)
def test_a_measure_is_whole(measure):
    assert all([measure.title, measure.short]), f"{measure.name} has no name to show"
    tested = any(measure.name in file.read_text() for file in (REPOSITORY / "tests/measures").glob("*.py"))
    assert tested, f"no test in tests/measures names {measure.name}"


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_optimizer_is_whole(name):
    assert f"\n# {name}: " in text("conf/train/default.yaml"), f"conf/train/default.yaml does not describe {name}"


@pytest.mark.parametrize("name", LOGGERS)
def test_a_logger_is_whole(name):
    assert f"logger={name}" in text("docs/guide/training.md"), f"docs/guide/training.md does not name logger={name}"
    assert name in text("tests/training/test_loggers.py"), f"tests/training/test_loggers.py does not test {name}"


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_is_a_door(name):
    lines = (PACKAGE / f"{name}.py").read_text().splitlines()
    assert len(lines) <= 60, f"{name}.py has {len(lines)} lines"
    assert f'eulernet-{name} = "eulernet.{name}:main"' in text("pyproject.toml")


def test_no_function_is_longer_than_a_screen():
    long = {
        f"{file.relative_to(PACKAGE)}:{node.name}": node.end_lineno - node.lineno + 1
        for file in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno - node.lineno >= 60
    }
    assert long.keys() <= LONG
