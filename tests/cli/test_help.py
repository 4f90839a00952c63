"""What the commands say of themselves: every setting has a comment, every example works, and none of it takes torch."""

import re
import shlex
import subprocess
import sys
from contextlib import suppress

import pytest
import yaml
from conftest import REPOSITORY
from hydra import compose, initialize_config_dir
from test_docs import first_value

from eulernet.cli import front
from eulernet.cli.comments import comments_of, read_comments
from eulernet.cli.completion import SCRIPT
from eulernet.cli.front import COMMANDS
from eulernet.cli.help import entries, manual, page, row, shown
from eulernet.cli.keys import GROUPS
from eulernet.settings import conf_dir


def without_comment(found):
    return [entry.key for entries in found.sections.values() for entry in entries if not entry.comment]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_setting_of_a_command_has_a_comment(command):
    found = manual(command)
    assert without_comment(found) == [], "these keys have no comment in conf"
    assert "Others" not in found.sections


@pytest.mark.parametrize("group", [group for group in GROUPS if group != "tuned"])
def test_every_setting_of_a_group_has_a_comment(group):
    files = {file.stem: file for file in (conf_dir() / group).glob("*.yaml")}
    of_train = comments_of("default", {"default": conf_dir() / "train" / "default.yaml"}, "train.")
    lacking = []
    for name, file in files.items():
        own = yaml.safe_load(file.read_text())
        own.pop("defaults", None)
        package = read_comments(file).package or group
        whole = own if package == "_global_" else {package: own}
        comments = of_train | comments_of(name, files, f"{group}.")
        found = [entry for key, value in whole.items() for entry in entries(key, value, comments)]
        lacking += [f"{file.name}: {entry.key}" for entry in found if not entry.comment]
        lacking += [f"{file.name}: its first line"] * (not read_comments(file).about)
    assert lacking == [], f"conf/{group} lacks these comments"


@pytest.mark.parametrize("command", COMMANDS)
def test_help_shows_the_settings_of_that_command_alone(command):
    keys = {entry.key for entries in manual(command).sections.values() for entry in entries} - {"hydra.run.dir"}
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        cfg = compose(command)
    assert {key.split(".")[0] for key in keys} == cfg.keys() - {"chosen"}


@pytest.mark.parametrize("command", COMMANDS)
def test_the_examples_of_help_are_commands_that_work(command):
    about = read_comments(conf_dir() / f"{command}.yaml")
    assert about.examples
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        for example in about.examples:
            program, name, *words = shlex.split(example, comments=True)
            assert (program, name) == ("eulernet", command)
            compose(name, [first_value(word) for word in words if word != "-m"])


def test_help_shows_the_chosen_groups_and_values():
    text = page("train", ["model=deepfm", "train.lr=0.25", "--help"])
    assert "\n  model.hidden_units=[400, 400, 400]" in text
    assert re.search(r"^  train.lr=0.25 +learning rate$", text, re.MULTILINE)
    assert "model.orders" not in text
    assert (
        text.index("Examples") < text.index("Choices") < text.index("\nSettings") < text.index("\nmodel=deepfm: DeepFM")
    )


def test_help_shows_what_a_file_adds_to_another_group():
    text = page("train", ["model=deepfm", "wrap=members", "--help"])
    assert re.search(r"^  model.members=8 +of an ensemble", text, re.MULTILINE)
    assert re.search(r"^  wrap=null +or embeddings, members$", page("train", ["--help"]), re.MULTILINE)


def test_help_shows_a_file_of_ones_own(tmp_path):
    (tmp_path / "dataset").mkdir()
    (tmp_path / "dataset" / "mine.yaml").write_text("# My rows.\ndefaults: [table]\nmin_count: 7 # my reason\n")
    text = page("train", ["--config-dir", str(tmp_path), "dataset=mine", "--help"])
    assert re.search(r"^  dataset.min_count=7 +my reason$", text, re.MULTILINE)
    assert re.search(r"^  dataset.label=null +column with 0 and 1", text, re.MULTILINE)
    assert "\ndataset=mine: My rows." in text


def test_a_comment_stands_beside_its_key_or_above_it(tmp_path):
    file = tmp_path / "some.yaml"
    file.write_text(
        "# What it is,\n# in two lines.\n#   eulernet some a=1\n\n"
        'a: "# no comment" # one\n# above\nb: {c: 1}\nd: # of all\n  e: [1,\n    2] # late\n  f: 3\n'
    )
    found = read_comments(file)
    assert found.about == "What it is, in two lines."
    assert found.examples == ["eulernet some a=1"]
    assert found.keys == {"a": "one", "b": "above", "d": "of all", "d.e": "late"}


def test_a_row_keeps_within_its_width():
    for setting in ("a=1", "a.rather.long.key=with_a_long_value"):
        lines = row(setting, "word " * 60, 80)
        assert max(map(len, lines)) <= 80
        assert " ".join(" ".join(lines).split()) == f"{setting} {'word ' * 60}".strip()


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "null"),
        (True, "true"),
        (1e-3, "0.001"),
        ([1, [2]], "[1, [2]]"),
        ({"a": None}, "{a: null}"),
        ("x" * 99, "..."),
    ],
)
def test_a_value_is_shown_as_one_types_it(value, text):
    assert shown(value) == text


ANSWERS = [
    (["--help"], 0, "Examples"),
    (["train.lrr=1"], 1, "did you mean 'train.lr'?"),
    (["model=deepfn"], 1, "did you mean 'deepfm'?"),
    (["--lr", "1e-3"], 1, "error: a setting has no dashes: write train.lr=1e-3 instead of --lr"),
    (["--epochs=3"], 1, "write train.max_epochs=3 instead of --epochs=3"),
    (["--frobnicate"], 1, "unknown option '--frobnicate'"),
    (["train.lr", "1e-3"], 1, "a setting is one word: write train.lr=1e-3 instead of train.lr 1e-3"),
    (["~seed"], 1, "~seed: only ~tuned can be left out"),
    (["+foo=1"], 1, "unknown key 'foo'"),
]


def test_answers_take_no_torch(tmp_path):
    """One process for all: it would import torch at the first of them that does, and says which."""
    program = f"""
import contextlib, io, sys
from eulernet import evaluate, export, predict, prepare, report, reproduce, serve, train, tune
assert "torch" not in sys.modules, "imported by a command"
for args, code, text in {ANSWERS!r}:
    sys.argv = ["eulernet train", *args]
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        try:
            train.main()
        except SystemExit as end:
            said = f"{{end.code or ''}}{{out.getvalue()}}"
    assert said.startswith("error: ") == bool(code), (args, said)
    assert text in said, (args, said)
    assert "torch" not in sys.modules, args
"""
    ended = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_command_that_takes_run_answers_the_option_of_that_name(run_command):
    assert "write run=outputs/x instead of --run" in run_command("report", "--run", "outputs/x").err


def test_the_front_door(monkeypatch, capsys):
    def said(*args):
        monkeypatch.setattr(sys, "argv", ["eulernet", *args])
        with suppress(SystemExit):
            front.main()
        return capsys.readouterr().out

    listed = said()
    assert listed == said("--help")
    assert [name for name in COMMANDS if f"\n{name} " not in listed] == []
    assert [name for name in COMMANDS if f" eulernet {name} " not in listed] == []
    assert "\n  seed=2022 " in said("train", "--help")
    assert re.fullmatch(r"eulernet \d\S*, torch \d\S*, (cpu|cuda) \(.*\)\n", said("--version"))
    assert said("train", "--version") == said("--version")
    assert said("--completion") == f"{SCRIPT}\n"
    assert said("--complete", "eulernet tu") == "tune \n"
    monkeypatch.setattr(sys, "argv", ["eulernet", "trian"])
    with pytest.raises(SystemExit, match=r"^error: there is no command 'trian'; did you mean 'train'\?$"):
        front.main()


def test_the_package_is_a_program():
    listed = subprocess.run([sys.executable, "-m", "eulernet"], capture_output=True, text=True, cwd=REPOSITORY)
    assert listed.stdout == f"{front.overview()}\n"
