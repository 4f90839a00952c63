"""Completion: what may follow is what the command takes, and bash puts it in."""

import subprocess

import pytest

from eulernet.cli.completion import SCRIPT, proposals
from eulernet.cli.front import COMMANDS, main
from eulernet.settings import conf_dir


def of(typed):
    return list(proposals(typed, COMMANDS))


@pytest.mark.parametrize(
    ("typed", "found"),
    [
        ("eulernet ", [f"{name} " for name in COMMANDS]),
        ("eulernet  re", ["reproduce ", "report "]),
        ("eulernet train see", ["seed="]),
        ("eulernet train model=deepfm  train.max_ep", ["train.max_epochs="]),
        ("eulernet train mod", ["model=", "model."]),
        ("eulernet train model=eulernet model.norm", ["model.norm=", "model.norm_penalty="]),
        ("eulernet train accept_terms=", ["accept_terms=true ", "accept_terms=false "]),
        ("eulernet train train.lr=", []),
        ("eulernet train nothing", []),
        ("eulernet report user", ["user="]),
    ],
)
def test_what_may_follow(typed, found):
    assert of(typed) == found


@pytest.mark.parametrize("typed", ["eulernet nothing x", "eulernet train model=nothing x", ""])
def test_of_a_line_that_is_wrong_nothing_follows(monkeypatch, capsys, typed):
    monkeypatch.setattr("sys.argv", ["eulernet", "--complete", typed])
    main()
    assert capsys.readouterr() == ("", "")


def test_a_group_has_its_files():
    assert of("eulernet train model=") == [
        f"model={file.stem} " for file in sorted((conf_dir() / "model").glob("*.yaml"))
    ]
    assert of("eulernet train dataset=movielens_1m 'train.lr=1e-3 tuned=movielens_1m/eulernet_av") == [
        "tuned=movielens_1m/eulernet_averaged "
    ]


@pytest.mark.parametrize(
    ("line", "said", "put_in"),
    [
        ("eulernet train mod", "model=\nmodel.", "[model=][model.]"),
        ("eulernet train model=deepf", "model=deepfm ", "[deepfm ]"),  # bash takes model= for a word of its own
        ("eulernet train raw=", "", ""),
    ],
)
def test_bash_puts_in_what_follows_the_sign(line, said, put_in):
    script = f"""{SCRIPT}
        eulernet() {{ [ "$1" = --complete ] && [ "$2" = {line!r} ] && printf %s {said!r}; }}
        COMP_LINE={line + " tail"!r} COMP_POINT={len(line)} COMP_WORDBREAKS=' =:'
        _eulernet; [ ${{#COMPREPLY[@]}} = 0 ] || printf '[%s]' "${{COMPREPLY[@]}}" """
    script = script.replace(repr(said), "$" + repr(said))
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == (put_in, "")
