"""The notebooks of the documentation give what they show. Their outputs are written anew by
EULERNET_RAW=FOLDER python tests/test_notebooks.py
"""

import re
from pathlib import Path
from tempfile import TemporaryDirectory

import nbformat
import pytest

NOTEBOOKS = sorted((Path(__file__).parents[1] / "docs" / "notebooks").glob("*.ipynb"))


def executed(file, folder):
    from nbclient import NotebookClient

    notebook = nbformat.read(file, as_version=4)
    where = {"metadata": {"path": str(folder)}}
    return NotebookClient(notebook, timeout=None, record_timing=False, resources=where).execute()


def outputs(notebook):
    """The outputs of each cell of code."""
    return [cell.outputs for cell in notebook.cells if cell.cell_type == "code"]


def numbers(outputs):
    """What stands in tables and text: there is a tolerance for another machine's arithmetic."""
    texts = [one.data.get("text/markdown", one.data.get("text/plain", "")) for one in outputs if "data" in one]
    return [float(word) for text in texts for word in re.findall(r"(?<![\w.])\d*\.\d+", text)]


@pytest.mark.parametrize("file", NOTEBOOKS, ids=lambda file: file.stem)
def test_a_notebook_shows_no_error_and_no_place_of_a_machine(file):
    notebook, text = nbformat.read(file, as_version=4), file.read_text()
    nbformat.validate(notebook)
    assert {one.output_type for cell in outputs(notebook) for one in cell} <= {"execute_result", "display_data"}
    assert re.findall(r"/(?:home|root|tmp|work|Users)/\S*", text) == []
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1)), "run from the first cell on"


@pytest.mark.slow
@pytest.mark.parametrize("file", NOTEBOOKS, ids=lambda file: file.stem)
def test_a_notebook_gives_what_it_shows(file, tmp_path, monkeypatch):
    from conftest import raw_folder

    monkeypatch.setenv("EULERNET_RAW", str(raw_folder("ml-100k", "u.data").parent.resolve()))
    shown, found = outputs(nbformat.read(file, as_version=4)), outputs(executed(file, tmp_path))
    assert [[one.output_type for one in cell] for cell in found] == [
        [one.output_type for one in cell] for cell in shown
    ]
    for before, now in zip(shown, found, strict=True):
        assert numbers(now) == pytest.approx(numbers(before), abs=0.01, rel=0.05)  # rel: a gain in %


if __name__ == "__main__":
    for file in NOTEBOOKS:
        with TemporaryDirectory() as folder:
            nbformat.write(executed(file, folder), file)
