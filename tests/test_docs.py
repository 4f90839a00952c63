"""What the documents tell a reader to type works: commands take these keys, Python blocks run."""

import re
import shlex

import pytest
from conftest import REPOSITORY
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser

from eulernet.cli.words import readable
from eulernet.training.display import HEADER

DOCUMENTS = [REPOSITORY / name for name in ("README.md", "CONTRIBUTING.md", "data/README.md")]
GENERATED = (REPOSITORY / "docs" / "_build", REPOSITORY / "docs" / "models")
DOCUMENTS += sorted(file for file in (REPOSITORY / "docs").rglob("*.md") if not {*GENERATED} & {*file.parents})
BLOCK = re.compile(r"<!-- (checked|runnable) -->\n```\w*\n(.*?)```", re.DOTALL)
COMMAND = re.compile(r"(?:python -m eulernet\.|eulernet )(\w+) (.*)")


def blocks(kind):
    for document in DOCUMENTS:
        for place in BLOCK.finditer(document.read_text()):
            if place[1] == kind:
                yield pytest.param(place[2], id=f"{document.relative_to(REPOSITORY)}-{place.start()}")


@pytest.mark.parametrize("block", list(blocks("runnable")))
def test_python_in_the_documents_runs(block, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    exec(compile(block, "block", "exec"), {})


@pytest.mark.parametrize("block", list(blocks("checked")))
def test_commands_in_the_documents_take_these_settings(block):
    commands = COMMAND.findall(block.replace("\\\n", " "))
    assert commands
    with initialize_config_dir(str(REPOSITORY / "conf"), version_base="1.3"):
        for name, arguments in commands:
            given = [word for word in shlex.split(arguments, comments=True) if "=" in word or word.startswith("~")]
            assert (REPOSITORY / "eulernet" / f"{name}.py").is_file(), name
            compose(name, [first_value(override) for override in readable(given)])


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda file: str(file.relative_to(REPOSITORY)))
def test_tables_have_a_heading(document):
    """The first cell alone may be empty, where rows are named below it."""
    heads = re.findall(r"^(\|.*)\n\|[ :|-]+\|$", document.read_text(), re.MULTILINE)
    empty = [head for head in heads if not all(cell.strip() for cell in head.strip("|").split("|")[1:])]
    assert not empty


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda file: str(file.relative_to(REPOSITORY)))
def test_links_lead_to_files_of_the_repository(document):
    """Where a reader sees the sources, pages that the build makes are not there."""
    targets = {document.parent / link for link in re.findall(r"\]\(([^()#:`]+?)(?:#[^()]*)?\)", document.read_text())}
    there = {
        target
        for target in targets
        if target.exists() and not {*GENERATED} & {target.resolve(), *target.resolve().parents}
    }
    assert not targets - there


@pytest.mark.parametrize("document", ["README.md", "docs/guide/quickstart.md"])
def test_the_output_in_the_documents_is_what_a_run_prints(document):
    shown = next(block for block in re.findall(r"```text\n(.*?)```", (REPOSITORY / document).read_text(), re.DOTALL))
    head, _, *epochs, valid, lr, test, run, then = shown.splitlines()
    assert head == HEADER
    assert [len(line) for line in epochs] == [len(HEADER)] * len(epochs)
    assert re.fullmatch(r"valid auc=0\.\d{6}  logloss=0\.\d{6}", valid)
    assert re.fullmatch(r"  lr  auc=0\.\d{6}  logloss=0\.\d{6}  \(logistic regression, 0\.\d s\)", lr)
    assert re.fullmatch(r"test  auc=0\.\d{6}  logloss=0\.\d{6}  \(best epoch \d+ of \d+\)", test)
    assert run.startswith("run   outputs/")
    assert then.startswith("next  ")


def first_value(override):
    """An override of a sweep with the first of its values."""
    parsed = OverridesParser.create().parse_override(override)
    if not parsed.is_sweep_override():
        return override
    return f"{parsed.key_or_group}={next(iter(parsed.sweep_string_iterator()))}"
