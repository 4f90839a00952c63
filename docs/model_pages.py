"""A page for each model and one that lists them, written before Sphinx reads: docs/models/*.md (not committed).

What they say is in the docstrings of the model's file, in ``conf/model`` and in ``results/tables/overall.csv``.
"""

import csv
import inspect
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from sphinx.application import Sphinx

from eulernet import model_defaults
from eulernet.cli.comments import comments_of, read_comments
from eulernet.models import MODELS, REFERENCES

DOCS = Path(__file__).parent
FILES = {file.stem: file for file in sorted((DOCS.parent / "conf" / "model").glob("*.yaml"))}
CLASSES = {**MODELS, **REFERENCES}
RESULTS = DOCS.parent / "results"
INDEX = """\
# Models

Each maps ids `[B, C]` to logits `[B]`. A page has the paper, the formula, the settings with their values, and the
results on MovieLens-1M: test AUC, mean and standard deviation over seeds; here the best of a model's settings
([how, and what the differences mean](../results.md)). `python -m eulernet.train model=NAME` trains it,
`eulernet.create_model("NAME", field_sizes)` makes it.

| model | paper | `model=` | test AUC |
|---|---|---|--:|
"""
REACHED = """
## On MovieLens-1M

| setting of [table `overall`](../results.md) | seeds | test AUC | test logloss | parameters |
|---|--:|--:|--:|--:|
"""


def setup(app: Sphinx) -> None:
    app.connect("builder-inited", lambda _: write_pages(DOCS / "models"))


def write_pages(folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    all_results = results()
    rows = []
    names = sorted(CLASSES, key=lambda name: CLASSES[name].__name__.lower())
    for name in names:
        model, presets = CLASSES[name], [preset for preset in FILES if class_of(preset) == name]
        reached = [row for row in all_results if row["model"] == name]
        write(folder / f"{name}.md", "".join(page(model, presets, reached)))
        best = auc(reached[0]) if reached else ""
        cells = [f"[{model.__name__}]({name}.md)", paper(model), ", ".join(f"`{one}`" for one in presets), best]
        rows.append(f"| {' | '.join(cells)} |\n")
    write(folder / "index.md", INDEX + "".join(rows) + "\n```{toctree}\n:hidden:\n\n" + "\n".join(names) + "\n```\n")


def write(file: Path, text: str) -> None:
    """Only if it changed: Sphinx reads again what is newer."""
    if not file.is_file() or file.read_text() != text:
        file.write_text(text)


def page(model: type, presets: list[str], reached: list[dict[str, str]]) -> Iterator[str]:
    yield f"# {model.__name__}\n\n{paper(model)}.\n\n"
    yield f"```{{eval-rst}}\n.. autoclass:: {model.__module__}.{model.__name__}\n"
    yield "   :exclude-members: __init__, __new__\n```\n\n## Settings\n\n"
    for preset in presets:
        about = read_comments(FILES[preset]).about.removeprefix("@package _global_ ")
        yield f"* `python -m eulernet.train dataset=movielens_1m model={preset}`: {about}\n"
    values = [model_defaults(preset) for preset in presets]
    comments = comments_of(presets[0], FILES, "model.")
    heads = " | ".join(f"`{preset}`" for preset in presets)
    yield f"\n| setting | {heads} | meaning |\n|---|{'---|' * len(presets)}---|\n"
    for key in values[0]:
        cells = [f"`{shown(preset[key])}`" for preset in values]
        comment = comments.get(f"model.{key}", "").replace("\n", " ").replace("|", r"\|")
        yield f"| `model.{key}` | {' | '.join(cells)} | {comment} |\n"
    if reached:
        yield REACHED
    for row in reached:
        logloss, seeds = float(row["test_logloss"]), len(row["seeds"].split())
        yield f"| `{row['setting']}` | {seeds} | {auc(row)} | {logloss:.5f} | {int(row['parameters']):,} |\n"


def results() -> list[dict[str, str]]:
    """The rows of MovieLens-1M, the best first, each with the model that its reports are of."""
    with (RESULTS / "tables" / "overall.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["dataset"] == "movielens_1m"]
    for row in rows:
        report = next((RESULTS / "movielens_1m" / row["setting"]).glob("*/report.json"))
        row["model"] = json.loads(report.read_text())["model"]
    return sorted(rows, key=lambda row: -float(row["test_auc"]))


def class_of(preset: str) -> str:
    """The name of the class that a file of conf/model is of: its own, or that of the file which it begins with."""
    plain = yaml.safe_load(FILES[preset].read_text())
    return plain["name"] if "name" in plain else class_of(plain["defaults"][0].partition("@")[0])


def paper(model: type) -> str:
    """The paper, as the first lines of the model's file cite it in brackets."""
    first = (inspect.getdoc(sys.modules[model.__module__]) or "").split("\n\n")[0].replace("\n", " ")
    cited = re.search(r"\((.*)\)", first)
    assert cited is not None, f"{model.__module__} should begin with its paper in brackets"
    return cited[1]


def auc(row: dict[str, str]) -> str:
    spread = f" ± {float(row['test_auc_std']):.5f}" if row["test_auc_std"] else ""  # of one seed there is none
    return f"{float(row['test_auc']):.5f}{spread}"


def shown(value: Any) -> str:
    return json.dumps(value) if not isinstance(value, str) else value
