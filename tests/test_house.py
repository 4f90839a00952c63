"""The tables of the house: each entry has its YAML, its line of documentation, its slow twin. What lacks is named."""

import ast
import re
from pathlib import Path

import pytest
import yaml
from reference_models import TWINS

import eulernet
from eulernet.data import values
from eulernet.data.kinds import KINDS, POSSIBLE
from eulernet.data.kinds.number import SCALINGS
from eulernet.data.sets import DATASETS
from eulernet.data.sets.presplit import BENCHMARKS
from eulernet.measures import metrics, table
from eulernet.measures.table import MEASURES
from eulernet.models import MODELS, REFERENCES
from eulernet.models.wrappers import WRAPS
from eulernet.settings import conf_dir
from eulernet.training.loggers import LOGGERS
from eulernet.training.optimizers import OPTIMIZERS

PACKAGE = Path(eulernet.__file__).parent
REPOSITORY = PACKAGE.parent
TWIN_ELSEWHERE = {"EulerNet"}  # tests/reference.py, by complex numbers
PRESETS = {yaml.safe_load(file.read_text()).get("name") for file in (conf_dir() / "model").glob("*.yaml")}
COMMANDS = ["backtest", "evaluate", "export", "predict", "prepare", "report", "reproduce", "serve", "train", "tune"]


def text(*names):
    return "".join((REPOSITORY / name).read_text() for name in names)


def require_whole(pieces):
    """``pieces`` are {what it lacks otherwise: whether it is there}; all that is missing is named at once."""
    missing = [what for what, there in pieces.items() if not there]
    assert missing == [], "; ".join(missing)


def has_word(name, *files):
    return re.search(rf"\b{name}\b", text(*files)) is not None


@pytest.mark.parametrize("name", MODELS)
def test_a_model_is_whole(name):
    made = MODELS[name]
    require_whole(
        {
            f"no file in conf/model says name: {name}": name in PRESETS,
            f"{made.__name__} has no docstring": made.__doc__,
            f"tests/reference_models.py has no twin of {made.__name__}": made.__name__ in TWINS.keys() | TWIN_ELSEWHERE,
            f"tests/models/test_laws.py has no law of {name}": f'"{name}"' in text("tests/models/test_laws.py"),
        }
    )


@pytest.mark.parametrize("name", WRAPS)
def test_a_wrapper_of_models_is_whole(name):
    require_whole(
        {
            f"no conf/wrap/{name}.yaml": (conf_dir() / "wrap" / f"{name}.yaml").is_file(),
            f"docs/guide/training.md does not say wrap={name}": f"`wrap={name} " in text("docs/guide/training.md"),
            f"tests/models/test_wrappers.py does not try {name}": has_word(name, "tests/models/test_wrappers.py"),
        }
    )


@pytest.mark.parametrize("name", REFERENCES)
def test_a_reference_is_whole(name):
    require_whole(
        {
            f"no conf/model/{name}.yaml": (conf_dir() / "model" / f"{name}.yaml").is_file(),
            f"docs/guide/training.md does not name model={name}": f"model={name}" in text("docs/guide/training.md"),
            f"tests/models/test_references.py does not try {name}": f'"{name}"'
            in text("tests/models/test_references.py"),
        }
    )


@pytest.mark.parametrize("name", DATASETS)
def test_a_dataset_is_whole(name):
    tests = (REPOSITORY / "tests/data").rglob("*.py")
    require_whole(
        {
            f"no conf/dataset/{name}.yaml": (conf_dir() / "dataset" / f"{name}.yaml").is_file(),
            f"data/README.md has no row of {name}": f"| `{name}` |" in text("data/README.md"),
            f"no test in tests/data names {name}": name in BENCHMARKS
            or any(name in file.read_text() for file in tests),
        }
    )


@pytest.mark.parametrize("name", KINDS)
def test_a_kind_of_field_is_whole(name):
    kind, tried = KINDS[name], "tests/data/test_one_value_one_text.py"
    unknown = kind.field.settings.keys() - POSSIBLE.keys()
    require_whole(
        {
            f"conf/dataset/table.yaml does not describe {name}": f"\n#   {name} " in text("conf/dataset/table.yaml"),
            f"data/README.md has no row of the kind {name}": f"| `{name}` |" in text("data/README.md"),
            f"{name} has no plain twin": kind.twin.__module__.startswith("eulernet.data.kinds"),
            f"KINDS_TRIED in {tried} lacks {name}": f'"{name}"' in text(tried),
            f"POSSIBLE in data/kinds does not say what may be {sorted(unknown)} of {name}": not unknown,
        }
    )


@pytest.mark.parametrize("name", SCALINGS)
def test_a_scaling_is_whole(name):
    tried = "tests/data/test_one_value_one_text.py"
    require_whole(
        {
            f"conf/dataset/table.yaml does not describe the scaling {name}": has_word(name, "conf/dataset/table.yaml"),
            f"data/README.md does not name the scaling {name}": has_word(name, "data/README.md"),
            f"test_a_number_is_scaled in {tried} does not try {name}": f'("{name}", ' in text(tried),
        }
    )


@pytest.mark.parametrize("name", values.TRANSFORMS)
def test_a_transform_has_its_plain_twin(name):
    assert f'\n    "{name}": ' in text("eulernet/exporting/encode.py"), (
        f"TRANSFORMS in exporting/encode.py has no {name}, which exported folders need"
    )


@pytest.mark.parametrize("measure", MEASURES, ids=lambda measure: measure.name)
def test_a_measure_is_whole(measure):
    name = measure.name
    require_whole(
        {
            f"{name} has no name to show": measure.title and measure.short,
            f"eulernet/measures/metrics.py has no plain function {name}": callable(getattr(metrics, name, None)),
            f"the top of measures/table.py does not describe {name}": f"\n{name} " in table.__doc__,
            f"docs/api.md does not list {name}": has_word(name, "docs/api.md"),
            f"tests/measures/test_evaluation.py does not try metrics.{name}": f"metrics.{name}("
            in text("tests/measures/test_evaluation.py"),
        }
    )


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_optimizer_is_whole(name):
    require_whole(
        {
            f"conf/train/default.yaml does not describe {name}": f"\n# {name}: " in text("conf/train/default.yaml"),
            f"tests/training/test_optimizers.py has no test of {name}'s steps": f'"{name}"'
            in text("tests/training/test_optimizers.py"),
        }
    )


@pytest.mark.parametrize("name", LOGGERS)
def test_a_logger_is_whole(name):
    choices = next(line for line in text("conf/train.yaml").splitlines() if line.startswith("logger:"))
    require_whole(
        {
            f"the line logger: of conf/train.yaml does not name {name}": name in choices,
            f"docs/guide/training.md does not name logger={name}": f"logger={name}" in text("docs/guide/training.md"),
            f"tests/training/test_loggers.py does not test {name}": f"logger={name}"
            in text("tests/training/test_loggers.py"),
        }
    )


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
    assert not long
