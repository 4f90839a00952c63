"""Checkpoints: state and best weights as one; what is damaged, foreign or half-written; one process to a folder."""

import json
import logging
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from test_commands import SYNTHETIC
from toy import CONFIG, CPU, IDENTITY, new_model, run, same_bits, same_epochs, toy_data

from eulernet.errors import UserError
from eulernet.training import checkpoint
from eulernet.training.checkpoint import Checkpoints, load_last, numbered
from eulernet.training.files import locked_run, writing
from eulernet.training.loop import fit


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return toy_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def whole(data, tmp_path_factory):
    """Four epochs that were never stopped: (model, epochs, test metrics)."""
    return run(data, tmp_path_factory.mktemp("whole") / "run")


@pytest.fixture
def stopped(data, tmp_path, made=[]):  # noqa: B006 (trained once)
    """The folder of a run stopped after two epochs: checkpoints 2 and 3 are there."""
    if not made:
        run(data, tmp_path / "first", replace(CONFIG, max_epochs=2))
        made.append(contents(tmp_path / "first"))
    for name, content in made[0].items():
        (tmp_path / "run" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "run" / name).write_bytes(content)
    return tmp_path / "run"


def contents(folder):
    return {file.relative_to(folder): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def assert_ends_as(whole, data, folder):
    """Resumed, the run has the same weights, epochs and test metrics as the one that was never stopped."""
    model, history, test = run(data, folder, seed=99, resume=True)
    assert same_bits(model, whole[0])
    assert same_epochs(history, whole[1])
    assert test == whole[2]


@pytest.mark.parametrize("keep", [1, 2, 3])
def test_the_newest_checkpoints_stay_and_the_run_folder_shows_the_last(data, tmp_path, keep):
    run(data, tmp_path, replace(CONFIG, max_epochs=4, keep_checkpoints=keep))
    kept = list(numbered(tmp_path))
    assert [int(one.name) for one in kept] == [5, 4, 3][:keep]  # the first was written before the first step
    for name in ("last.ckpt", "model.safetensors"):
        assert (tmp_path / name).samefile(kept[0] / name)
    assert not list(tmp_path.rglob(".*"))


def truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:1000])


def flip_a_bit(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


@pytest.mark.parametrize("name", ["last.ckpt", "model.safetensors", "checkpoint.json"])
@pytest.mark.parametrize("damage", [truncate, flip_a_bit, Path.unlink])
def test_a_damaged_checkpoint_is_named_and_the_one_before_it_goes_on(data, whole, stopped, caplog, name, damage):
    file = stopped / "checkpoints" / "000003" / name
    if (name, damage) == ("checkpoint.json", truncate):
        file.write_text("{")
    else:
        damage(file)
    with caplog.at_level(logging.WARNING):
        assert_ends_as(whole, data, stopped)
    (said,) = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert said.startswith(f"{stopped}/checkpoints/000003 is damaged (")
    assert said.endswith(f"; going on from {stopped}/checkpoints/000002")


def test_where_every_checkpoint_is_damaged_nothing_goes_on(stopped):
    for one in numbered(stopped):
        truncate(one / "last.ckpt")
    before = contents(stopped)
    with pytest.raises(UserError, match=r"000002 is damaged \(last.ckpt is not what was written\); start the run anew"):
        load_last(stopped, **IDENTITY)
    assert contents(stopped) == before


def zeroed(file: Path) -> bytes:
    from safetensors.torch import load_file, save

    return save({name: torch.zeros_like(weight) for name, weight in load_file(file).items()})


@pytest.mark.parametrize("copied", ["the whole folder", "last.ckpt and the weights"])
def test_weights_that_do_not_belong_to_the_checkpoint_are_refused(data, whole, stopped, copied):
    weights = stopped / "model.safetensors"
    weights.write_bytes(zeroed(weights))
    if copied != "the whole folder":
        shutil.rmtree(stopped / "checkpoints")
    before = contents(stopped)
    with pytest.raises(UserError, match=r"model.safetensors does not belong to this run's checkpoint"):
        load_last(stopped, **IDENTITY)
    assert contents(stopped) == before
    if copied == "the whole folder":
        weights.unlink()
        assert_ends_as(whole, data, stopped)


def test_a_run_killed_before_it_showed_its_newest_checkpoint_goes_on_from_that(data, whole, tmp_path, monkeypatch):
    shows = iter(range(10))

    def killed(self, folder):
        if next(shows) == 3:
            raise KeyboardInterrupt
        return show(self, folder)

    show = Checkpoints._show
    with monkeypatch.context() as patch:
        patch.setattr(Checkpoints, "_show", killed)
        with pytest.raises(KeyboardInterrupt):
            run(data, tmp_path / "run")
    assert len(load_last(tmp_path / "run", **IDENTITY)["history"]) == 3
    assert_ends_as(whole, data, tmp_path / "run")


def test_a_run_of_an_older_version_goes_on_to_the_same_bits(data, whole, stopped):
    """It had last.ckpt and the weights alone, and no checksum of them."""
    shutil.rmtree(stopped / "checkpoints")
    state = torch.load(stopped / "last.ckpt")
    del state["best"]
    torch.save(state, stopped / "last.ckpt")
    assert_ends_as(whole, data, stopped)
    assert [int(one.name) for one in numbered(stopped)] == [2, 1]


def test_a_checkpoint_that_cannot_be_written_leaves_the_last_good_one(data, stopped, monkeypatch):
    before = contents(stopped)

    def full(state, file):
        file.write_bytes(b"half of it")
        raise RuntimeError("[enforce fail at inline_container.cc] unexpected pos 512 vs 400")

    monkeypatch.setattr("eulernet.training.checkpoint.torch.save", full)
    with pytest.raises(UserError, match=r"last\.ckpt cannot be written .*; is the disk full\?"):
        run(data, stopped, replace(CONFIG, checkpoint_every=3), resume=True)
    assert contents(stopped) == before


def test_a_disk_without_hard_links_holds_copies(data, whole, tmp_path, monkeypatch):
    def refused(*_):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(os, "link", refused)
    run(data, tmp_path / "run", replace(CONFIG, max_epochs=2))
    assert_ends_as(whole, data, tmp_path / "run")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("about", {"overrides": None, "commit": None}),
        ("about", ["commit"]),
        ("step", -1),
        ("step", "5"),
        ("step", 7),
        ("seconds", float("nan")),
        ("seconds", None),
        ("losses", [0.5]),
        ("losses", torch.tensor([float("inf")])),
        ("history", [{"epoch": 1}]),
        ("history", None),
        ("random", [None]),
        ("shuffle", torch.zeros(3, dtype=torch.uint8)),
        ("scaler", {"scale": "x", "_growth_tracker": None}),
        ("optimizer", {"state": {}, "param_groups": [None]}),
        ("average", None),
        ("model", {}),
    ],
)
def test_a_checkpoint_with_impossible_values_is_one_line(data, stopped, key, value):
    shutil.rmtree(stopped / "checkpoints")
    torch.save({**torch.load(stopped / "last.ckpt"), key: value}, stopped / "last.ckpt")
    with pytest.raises(UserError, match=r"last.ckpt (is damaged|was written with other settings)"):
        run(data, stopped, replace(CONFIG, precision="fp16" if key == "scaler" else "fp32"), resume=True)


def test_a_place_beyond_the_epochs_end_is_of_other_settings(data, stopped):
    shutil.rmtree(stopped / "checkpoints")
    state = torch.load(stopped / "last.ckpt")
    torch.save({**state, "step": 1000, "losses": torch.zeros(1000)}, stopped / "last.ckpt")
    with pytest.raises(UserError, match=r"last.ckpt was written with other settings"):
        run(data, stopped, resume=True)


def test_checkpoints_that_do_not_fit_are_named(data, stopped):
    with pytest.raises(UserError, match="is of model eulernet, this run trains deepfm"):
        load_last(stopped, model_name="deepfm", dataset="toy/1")
    with pytest.raises(UserError, match=r"is of dataset toy/1, this run's data is toy/2; give the raw="):
        load_last(stopped, model_name="eulernet", dataset="toy/2")
    state, wider = load_last(stopped, **IDENTITY), new_model(data, embedding_dim=5)
    with pytest.raises(UserError, match="written with other settings"):
        fit(wider, data, CONFIG, CPU, stopped, identity=IDENTITY, saved=state)


def test_checkpoints_load_without_running_code(stopped):
    state = torch.load(stopped / "last.ckpt", weights_only=True)
    assert json.dumps(state["history"])


def test_a_new_run_takes_nothing_from_an_older_one_in_its_folder(data, tmp_path):
    run(data, tmp_path, replace(CONFIG, max_epochs=4))
    run(data, tmp_path, replace(CONFIG, max_epochs=1))
    assert [int(one.name) for one in numbered(tmp_path)] == [2, 1]
    assert len(load_last(tmp_path, **IDENTITY)["history"]) == 1


def test_two_processes_cannot_train_in_one_folder(run_command):
    assert run_command("train", *SYNTHETIC, "train.max_epochs=1", "hydra.run.dir=run").code == 0
    before = contents(Path("run"))
    with locked_run(Path("run")):
        for args in ([*SYNTHETIC, "hydra.run.dir=run"], ["resume=run", "train.max_epochs=2"]):
            ended = run_command("train", *args)
            assert ended.code == 1
            assert ended.err.startswith("error: run: another process trains there; wait for its end, or give another ")
    assert contents(Path("run")) == before
    Path("run/.lock").touch()  # a killed process leaves the file, but no lock
    assert run_command("train", "resume=run", "train.max_epochs=2").code == 0
    assert not list(Path("run").rglob(".*"))


def test_checksums_are_of_what_is_there(stopped):
    for one in numbered(stopped):
        sums = json.loads((one / "checkpoint.json").read_text())["sha256"]
        assert sums == {name: checkpoint.checksum(one / name) for name in ("last.ckpt", "model.safetensors")}


def test_a_ctrl_c_while_a_file_is_written_stays_one(tmp_path):
    """torch.save, interrupted in its file, raises a RuntimeError over the KeyboardInterrupt."""

    def save(*, stopped):
        with writing(tmp_path / "last.ckpt"):
            try:
                if stopped:
                    raise KeyboardInterrupt
            finally:
                raise RuntimeError("unexpected pos 64 vs 0")

    with pytest.raises(KeyboardInterrupt):
        save(stopped=True)
    with pytest.raises(UserError, match=r"last\.ckpt cannot be written \(unexpected pos"):
        save(stopped=False)


def test_what_a_killed_process_left_among_the_checkpoints_is_removed(stopped):
    """Killed between the last epoch's checkpoint and its tidying: no later checkpoint has that name."""
    left = stopped / "checkpoints" / ".000002.a1b2.new"
    left.mkdir()
    Checkpoints(stopped, 2, load_last(stopped, **IDENTITY))
    assert not left.exists()
