"""A run that was stopped at an unusual moment goes on, and what it says of itself is of the weights that it has."""

import json
import re
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from test_commands import SYNTHETIC
from trained import raw_rows

import eulernet
from eulernet.errors import DiskFull, Diverged
from eulernet.runs import train as runs_train
from eulernet.training.checkpoint import Checkpoints
from eulernet.training.resume import saying_how_to_resume

QUICK = (*SYNTHETIC, "reference=false")


def stop(*_, **__):
    raise KeyboardInterrupt


def same_weights(one, other):
    one, other = (load_file(f"{run}/model.safetensors") for run in (one, other))
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def stop_after_an_epoch(self, capture, best=None, save=Checkpoints.save):
    save(self, capture, best)
    if self.number > 1 and best is not None:
        raise KeyboardInterrupt


def test_stopped_before_its_first_checkpoint_it_begins_anew(run_command, monkeypatch):
    assert run_command("train", *QUICK, "train.max_epochs=2", "hydra.run.dir=whole").code == 0
    Path("there").mkdir()  # a folder that was there before is not removed
    with monkeypatch.context() as patch:
        patch.setattr(Checkpoints, "save", stop)
        assert run_command("train", *QUICK, "train.max_epochs=2", "hydra.run.dir=there").code == 130
    refused = run_command("train", *QUICK, "train.max_epochs=2", "hydra.run.dir=there")
    assert "already holds a run; give resume=there" in refused.err
    ended = run_command("train", "resume=there")
    assert ended.code == 0, ended.err
    assert "it begins anew" in ended.out
    assert same_weights("whole", "there")
    assert json.loads(Path("there/report.json").read_text())["overrides"] == [*QUICK, "train.max_epochs=2"]
    assert not list(Path("there").glob(".*"))


def test_a_finished_run_that_goes_on_says_nothing_of_its_older_weights(run_command, monkeypatch):
    more = "train.max_epochs=6"
    assert run_command("train", *QUICK, "train.max_epochs=1", "hydra.run.dir=run").code == 0
    assert run_command("evaluate", "run=run", "split=valid", "calibrate=sigmoid").code == 0
    ended = run_command("train", "resume=run")
    assert "had ended after 1 epochs, and nothing is left to train" in ended.out
    assert Path("run/calibration.json").exists()  # its weights are the same
    with monkeypatch.context() as patch:
        patch.setattr(Checkpoints, "save", stop_after_an_epoch)
        assert run_command("train", "resume=run", more).code == 130
    assert "has not finished; python -m eulernet.train resume=run" in run_command("report", "run=run").err
    ended = run_command("train", "resume=run", more)
    assert ended.code == 0, ended.err
    assert "removed calibration.json and evaluation.json, of the weights before" in ended.out
    left = {file.name for file in Path("run").iterdir()}
    assert not left & {"calibration.json", "evaluation.json"}
    assert run_command("evaluate", "run=run", "split=test").code == 0


@pytest.mark.parametrize("name", ["calibration.json", "config.yaml"])
def test_a_changed_file_says_what_to_do(name, run_command):
    assert run_command("train", *QUICK, "train.max_epochs=1", "hydra.run.dir=run").code == 0
    assert run_command("evaluate", "run=run", "split=valid", "calibrate=sigmoid").code == 0
    with Path("run", name).open("a") as file:
        file.write("\n")
    said = run_command("evaluate", "run=run", "split=test").err
    assert f"run: {name} has changed since the run ended" in said
    ways = {"calibration.json": "calibrate again: evaluate run=run calibrate=", "config.yaml": "or train resume=run if"}
    assert ways[name] in said


@pytest.mark.parametrize("change", ["grown", "gone"])
def test_it_goes_on_from_its_store_whatever_became_of_the_raw_file(change, run_command, monkeypatch):
    rows = raw_rows(600, 0).select("city", "price", "click")
    rows.write_csv("log.csv")
    typed = ["dataset=table", "raw=log.csv", "model=lr", "reference=false", "device=cpu", "train.max_epochs=3"]
    assert run_command("train", *typed, "hydra.run.dir=whole").code == 0
    with monkeypatch.context() as patch:
        patch.setattr(Checkpoints, "save", stop_after_an_epoch)
        assert run_command("train", *typed, "hydra.run.dir=run").code == 130
    Path("log.csv").unlink()
    if change == "grown":
        raw_rows(700, 1).select("city", "price", "click").write_csv("log.csv")
    ended = run_command("train", "resume=run")
    assert ended.code == 0, ended.err
    assert same_weights("whole", "run")


def test_a_day_without_rows_keeps_the_run_that_was_saved_and_may_be_stopped(trained, run_command, monkeypatch):
    eulernet.load(trained.run).save("saved")
    trained.rows.head(0).write_parquet("empty.parquet")
    typed = ("start_from=saved", "raw=empty.parquet", "device=cpu")
    assert run_command("train", *typed, "hydra.run.dir=second").code == 0
    assert same_weights("saved", "second")
    with monkeypatch.context() as patch:
        patch.setattr("eulernet.runs.start.write_manifest", stop)
        assert run_command("train", *typed, "hydra.run.dir=third").code == 130
    for gone in ("manifest.json", "report.json", "preprocessor"):  # killed a moment earlier, and earlier still
        path = Path("third", gone)
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        ended = run_command("train", "resume=third")
        assert ended.code == 0, ended.err
        assert same_weights("saved", "third")
        assert Path("third/manifest.json").exists()


def test_no_rows_given_to_a_run_that_goes_on_change_nothing(trained, run_command):
    shutil.copytree(trained.run, "first")
    raw_rows(400, 1).write_csv("day_2.csv")
    trained.rows.head(0).write_parquet("empty.parquet")
    typed = ("start_from=first", "raw=day_2.csv", "device=cpu", "train.max_epochs=1", "reference=false")
    assert run_command("train", *typed, "hydra.run.dir=second").code == 0
    before = {file: file.read_bytes() for file in Path("second").rglob("*") if file.is_file()}
    ended = run_command("train", "resume=second", "raw=empty.parquet")
    assert ended.code == 1
    assert "no rows; leave raw= out, second goes on with those that it has" in ended.err
    after = {file: file.read_bytes() for file in Path("second").rglob("*") if file.is_file()}
    assert {file for file in before if before[file] != after.get(file)} <= {Path("second/train.log")}


def test_a_run_that_started_from_another_goes_on_without_it(trained, run_command, monkeypatch):
    shutil.copytree(trained.run, "first")
    raw_rows(400, 1).write_csv("day_2.csv")
    typed = ("start_from=first", "raw=day_2.csv", "device=cpu", "train.max_epochs=2", "reference=false")
    assert run_command("train", *typed, "hydra.run.dir=whole").code == 0
    with monkeypatch.context() as patch:
        patch.setattr(Checkpoints, "save", stop_after_an_epoch)
        assert run_command("train", *typed, "hydra.run.dir=run").code == 130
    Path("first").rename("elsewhere")
    ended = run_command("train", "resume=run")
    assert ended.code == 0, ended.err
    assert same_weights("whole", "run")
    one, other = (json.loads(Path(run, "report.json").read_text()) for run in ("whole", "run"))
    assert one["ancestry"] == other["ancestry"]


def test_a_frame_s_run_that_was_stopped_says_how_it_goes_on(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("run").mkdir()
    rows = raw_rows(300, 0).select("city", "price", "click")
    with monkeypatch.context() as patch:
        patch.setattr(runs_train, "fit", stop)
        with pytest.raises(KeyboardInterrupt):
            eulernet.fit(rows, "click", "lr", run="run", verbose=False)
    with pytest.raises(eulernet.UserError, match=r"already holds a run; .*eulernet.train resume=run"):
        eulernet.fit(rows, "click", "lr", run="run", verbose=False)


def test_a_full_disk_says_how_to_go_on_once_there_is_a_checkpoint(tmp_path):
    full = DiskFull("last.ckpt: the disk is full; free some space, or give another hydra.run.dir=")
    with pytest.raises(DiskFull) as said, saying_how_to_resume(tmp_path, "train resume=run"):
        raise full
    assert str(said.value) == str(full)
    (tmp_path / "last.ckpt").touch()
    with pytest.raises(DiskFull) as said, saying_how_to_resume(tmp_path, "train resume=run"):
        raise full
    went_on = "last.ckpt: the disk is full; free some space, then go on with: train resume=run"
    assert str(said.value) == went_on


def test_a_run_that_diverged_can_end_with_the_epochs_before(run_command, monkeypatch):
    assert run_command("train", *QUICK, "train.max_epochs=1", "hydra.run.dir=first").code == 0

    def diverging(losses, epoch):
        if epoch == 2:
            raise Diverged("the training loss is not finite at epoch 2, step 1")

    with monkeypatch.context() as patch:
        patch.setattr("eulernet.training.loop.check_finite", diverging)
        stopped = run_command("train", *QUICK, "train.max_epochs=3", "hydra.run.dir=run")
    assert stopped.code == 1
    assert "not finite at epoch 2" in stopped.err
    offer = re.search(
        r"to end with the best of them: .* -m eulernet\.train (resume=run train\.max_epochs=1)$", stopped.out, re.M
    )
    assert offer, stopped.out
    ended = run_command("train", *offer.group(1).split())
    assert ended.code == 0, ended.err
    assert same_weights("first", "run")
    assert json.loads(Path("run/report.json").read_text())["epochs"] == 1
