"""scripts/figures.py draws what the runs and reports say, and says in one line what it cannot use."""

import importlib
import json
import shutil
import sys

import pytest
from conftest import REPOSITORY

BASE = REPOSITORY / "results" / "movielens_1m" / "eulernet_averaged"


@pytest.fixture
def figures(tmp_path, monkeypatch):
    """Call the script as from the command line, in an empty folder: None, or the line that it ends with."""
    monkeypatch.syspath_prepend(REPOSITORY / "scripts")
    script = importlib.import_module("figures")
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")

    def call(*words):
        monkeypatch.setattr(sys, "argv", ["figures.py", *words])
        try:
            script.main()
        except SystemExit as ended:
            return ended.code
        return None

    return call


def made(folder):
    return sorted(file.name for file in folder.iterdir())


def settings(folder):
    """A committed report under three seeds, and settings that are it but for what their names do not tell."""
    changes = {
        "eulernet_averaged": {},
        "a": {"orders": [7, 7]},
        "b": {"orders": [14]},
        "c": {"embedding_dim": 8},
        "d": {"norm": True, "orders": [2]},
    }
    for name, change in changes.items():
        for seed in (2022, 2023, 2024):
            report = json.loads((BASE / "2022" / "report.json").read_text())
            report["config"]["model"] |= change
            report["seed"] = report["config"]["seed"] = report["config"]["train"]["shuffle_seed"] = seed
            report["test"]["auc"] = 0.9 + 0.001 * (seed - 2022)
            (folder / name / str(seed)).mkdir(parents=True)
            (folder / name / str(seed) / "report.json").write_text(json.dumps(report))


def test_curves_take_x_from_the_configurations(figures, tmp_path, capsys):
    settings(tmp_path / "results")
    assert figures("curves", f"results={tmp_path / 'results'}", "output=out") is None
    table = (tmp_path / "work" / "out" / "curves.md").read_text()
    points = [tuple(line.strip("| ").split(" | ")[:2]) for line in table.splitlines()[2:]]
    axes = {"layers": ["1", "2"], "order vectors": ["7", "14"], "dimensions": ["8", "16"]}
    assert points == [(name, x) for name, values in axes.items() for x in values]
    assert "| layers | 2 | 3 | 0.90100 ± 0.00100 |" in table
    assert "| layers | 1 | 3 | 0.90100 ± 0.00100 |" in table
    assert made(tmp_path / "work" / "out") == ["curves.md", "curves.png", "curves.svg"]


def test_interactions_of_a_run(figures, trained, tmp_path, capsys):
    words = (f"run={trained.run}", "largest=2", "shuffles=2", "output=out")
    assert figures("interactions", *words) is None
    table = (tmp_path / "work" / "out" / "interactions.md").read_text()
    assert table.count("\n| ") == 3 * 1 + 7 + 7 + 4 - 1
    assert "all of the explicit part" in table
    assert len(made(tmp_path / "work" / "out")) == 5


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("planetd",), "unknown figure 'planetd'; did you mean 'planted'?"),
        (("interactions",), "run=: give the folder of a finished run"),
        (("interactions", "run=nowhere"), "run=nowhere: no such folder"),
        (("interactions", "run=.", "larges=2"), "unknown key 'larges'; did you mean 'largest'?"),
        (("interactions", "run=.", "shuffles=1"), "shuffles=1: should be a whole number from 2"),
        (("interactions", "nowhere"), "cannot read 'nowhere'; write key=value"),
        (("planted", "seeds=two"), "seeds=two: should be whole numbers"),
        (("curves", "results=nowhere"), "results=nowhere: no such folder"),
        (("curves", f"results={BASE.parents[1]}"), "no run there; give a folder of settings"),
        (("curves", f"results={BASE.parent}", "base=eulernt"), "unknown base 'eulernt'; did you mean 'eulernet'?"),
    ],
)
def test_mistakes_end_in_one_line(figures, tmp_path, words, line):
    ended = figures(*words)
    assert ended.startswith("error: ")
    assert line in ended
    assert "\n" not in ended
    assert not any((tmp_path / "work").iterdir())


def test_curves_need_more_than_one_setting(figures, tmp_path):
    shutil.copytree(BASE, tmp_path / "results" / "eulernet_averaged")
    assert "no setting beside eulernet_averaged" in figures("curves", f"results={tmp_path / 'results'}")


def test_a_damaged_report_ends_in_one_line(figures, tmp_path):
    (tmp_path / "results" / "broken" / "1").mkdir(parents=True)
    (tmp_path / "results" / "broken" / "1" / "report.json").write_text('{"dataset": ')
    ended = figures("curves", f"results={tmp_path / 'results'}", "base=broken")
    assert ended.startswith("error: ")
    assert "report.json cannot be read" in ended


def test_the_tables_of_the_case_study_are_those_that_the_script_wrote():
    told = (REPOSITORY / "docs" / "results.md").read_text()
    for name in ("planted", "interactions"):
        for table in (REPOSITORY / "docs" / "figures" / f"{name}.md").read_text().split("\n\n"):
            assert table.strip() in told
