"""The configuration of a command, asked for in Python: that of the command line, to the value."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
import yaml
from hydra import compose as composed_by_hydra
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra

from eulernet.cli import compose
from eulernet.cli.composing import compose_with_seeds
from eulernet.errors import UserError

COMMANDS = ("train", "prepare", "tune", "backtest", "reproduce", "predict", "evaluate", "report", "export", "serve")


@pytest.mark.parametrize("command", COMMANDS)
def test_it_is_what_the_command_shows(run_command, command):
    ended = run_command(command, "--cfg", "job", "--resolve")
    assert compose(command) == yaml.safe_load(ended.out)


def test_overrides_and_seeds():
    overrides = ["dataset=movielens_1m", "model=deepfm", "train.lr=0.5"]
    found = compose("train", overrides)
    assert found["train"]["lr"] == 0.5
    assert found["model"]["name"] == "deepfm"
    assert compose_with_seeds("train", overrides, [3, 4]) == [
        compose("train", [*overrides, f"seed={seed}"]) for seed in (3, 4)
    ]
    assert compose_with_seeds("train", overrides, [3])[0]["train"]["shuffle_seed"] == 3


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("train.learning_rate=1", "unknown key 'train.learning_rate'; did you mean 'train.lr'?"),
        ("learning_rate=1", "unknown key 'learning_rate'; did you mean 'train.lr'?"),
        ("trian.epochs=3", "unknown key 'trian.epochs'; did you mean 'train.max_epochs'?"),
        ("model.embedding_size=4", "unknown key 'model.embedding_size'; did you mean 'model.embedding_dim'?"),
        ("model=deepf", "unknown model 'deepf'; did you mean 'deepfm'?"),
        ("+foo=1", "unknown key 'foo'; known: "),
        ("~seed", "~seed: only ~tuned can be left out"),
    ],
)
def test_a_wrong_name_is_a_line_with_the_name_that_was_meant(override, said):
    with pytest.raises(UserError) as refused:
        compose("train", [override])
    assert str(refused.value).startswith(said)


def test_any_name_can_stand_in_quotes():
    names = ["prix (€)", "nb vues", "a.b~c", "it's", 'a "quote"', "100%", "a%20b", "\\", "", "plain"]
    value = {"kind": "bag", "separator": '", "x": '}  # looks like a key, and is none
    words = []
    for name, quote in zip(names, "\"'" * 5, strict=True):
        escaped = name.replace("\\", "\\\\").replace(quote, f"\\{quote}")
        words.append(f'{quote}{escaped}{quote}: {{kind: bag, separator: \'", "x": \'}}')
    found = compose("train", ["dataset=table", f"dataset.fields={{{', '.join(words)}, last one: number}}"])
    assert found["dataset"]["fields"] == {**dict.fromkeys(names, value), "last one": "number"}


def test_a_name_that_cannot_be_read_is_told_where_to_go():
    with pytest.raises(UserError, match=r"odd names in quotes: .*; or a file with --config-dir"):
        compose("train", ["dataset=table", "dataset.fields={prix (€): number}"])


def test_a_dictionary_that_takes_no_more_is_told_how_to_add(tmp_path, run_command):
    (tmp_path / "dataset").mkdir()
    (tmp_path / "dataset" / "mine.yaml").write_text("defaults: [table]\nfields: {prix €: number}\n")
    given = ["prepare", "--config-dir", str(tmp_path), "dataset=mine", "--cfg", "job"]
    ended = run_command(*given, 'dataset.fields={"n°": number}')
    assert (ended.code, ended.err.strip()) == (
        1,
        "error: dataset.fields has no 'n°' yet; to add it write +dataset.fields=...",
    )
    assert run_command(*given, '+dataset.fields={"n°": number}').code == 0


def test_what_is_given_already_is_not_what_was_meant():
    with pytest.raises(UserError) as refused:
        compose("train", ["train.lr=1", "train.learning_rate=1"])
    assert str(refused.value) == "unknown key 'train.learning_rate'; 'train.lr' is given already"


def test_a_program_with_a_hydra_of_its_own_keeps_it(tmp_path):
    (tmp_path / "mine.yaml").write_text("a: 1")
    with initialize_config_dir(str(tmp_path), version_base="1.3"):
        assert compose("train")["seed"] == 2022
        assert composed_by_hydra("mine") == {"a": 1}
    assert not GlobalHydra.instance().is_initialized()


def test_threads_may_ask_at_once():
    models = ["deepfm", "fm", "lr", "dnn"] * 3
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda model: compose("train", [f"model={model}"]), models))
    assert [one["model"]["name"] for one in found] == models


def test_it_takes_no_torch():
    program = "import sys; from eulernet.cli import compose; compose('train'); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0
