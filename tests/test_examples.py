"""The scripts of examples/: short, and they do what their first lines say."""

import re
import subprocess
import sys

import pytest
import trained
from conftest import REPOSITORY, raw_folder

EXAMPLES = sorted((REPOSITORY / "examples").glob("*.py"))


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.stem)
def test_an_example_is_short_and_says_how_to_run_it(file):
    text = file.read_text()
    assert len(text.splitlines()) <= 40
    assert f"python examples/{file.name}" in text.split('"""')[1]


def said_by(name, *arguments, folder):
    command = [sys.executable, str(REPOSITORY / "examples" / f"{name}.py"), *map(str, arguments)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_a_log_of_ones_own_is_trained_kept_and_served(tmp_path):
    trained.raw_rows(600, 0).write_parquet(tmp_path / "clicks.parquet")
    kept = tmp_path / "mine"
    assert f"kept in {kept}" in said_by("your_log", "clicks.parquet", "click", kept, folder=tmp_path)
    assert re.search(r"'probabilities': \[0\.\d+\]", said_by("serve", kept, folder=tmp_path))


@pytest.mark.slow
def test_models_are_compared(tmp_path):
    trained.raw_rows(600, 0).write_parquet(tmp_path / "clicks.parquet")
    lines = said_by("compare", "clicks.parquet", "click", folder=tmp_path).splitlines()
    assert [line.split()[0] for line in lines[-5:]] == ["sklearn_lr", "lightgbm", "fm", "deepfm", "eulernet"]


@pytest.mark.slow
def test_a_loop_of_ones_own_learns(tmp_path):
    losses = [float(line.split()[-1]) for line in said_by("your_model", folder=tmp_path).splitlines()]
    assert len(losses) == 2
    assert all(loss < 0.6 for loss in losses)  # a coin has .693


@pytest.mark.slow
def test_films_have_neighbours(tmp_path):
    raw = raw_folder("ml-100k", "u.item")
    lines = said_by("neighbours", raw, folder=tmp_path).splitlines()[-3:]
    assert [line.split(" -> ")[0] for line in lines] == ["Star Wars (1977)", "Toy Story (1995)", "Scream (1996)"]
    assert all(len(line.split("; ")) == 5 for line in lines)


@pytest.mark.slow
def test_the_quickstart_learns(tmp_path):
    assert "auc" in said_by("quickstart", folder=tmp_path)
