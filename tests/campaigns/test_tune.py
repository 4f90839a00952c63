"""python -m eulernet.tune as users type it."""

import csv
import json
import shlex
import shutil
from pathlib import Path

import optuna
import pytest
from test_commands import SYNTHETIC, assert_refused

from eulernet.files import program
from eulernet.training import device
from eulernet.training.files import locked_run

TUNE = (*SYNTHETIC, "train.max_epochs=2", "sweep.model.orders.choices=[[2],[3]]", "model.norm=false")


def test_a_search_ends_with_a_setting_that_trains_to_the_same_figure(run_command):
    ended = run_command("tune", *TUNE, "trials=2", "workers=2", "hydra.run.dir=study")
    assert ended.code == 0, ended.err
    study = Path("study")
    with (study / "trials.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [(row["trial"], row["state"], row["seed"], row["epochs"]) for row in rows] == [
        ("0", "complete", "2022", "2"),
        ("1", "complete", "2022", "2"),
    ]
    best = max(float(row["valid_auc"]) for row in rows)
    report = json.loads((study / "best" / "report.json").read_text())
    assert report["valid"]["auc"] == best
    assert "resume" not in str(report["overrides"])
    assert (study / "history.png").exists()
    assert f"best   valid auc={best:.6f}  (trial " in ended.out
    test = f"auc={report['test']['auc']:.6f}  logloss={report['test']['logloss']:.6f}"
    assert ended.out.count("test  auc=") == ended.out.count(f"test  {test}") == 1

    # The line that it prints, as it is.
    (line,) = [line for line in ended.out.splitlines() if line.startswith(f"use    {program('train')} ")]
    ended = run_command("train", *shlex.split(line.partition(program("train"))[2]), "device=cpu", "hydra.run.dir=run")
    assert ended.code == 0, ended.err
    assert json.loads(Path("run/report.json").read_text())["valid"]["auc"] == best

    # Asked again, it repeats what it found, and the test with it.
    ended = run_command("tune", "resume=study")
    assert ended.code == 0, ended.err
    assert f"test  {test}  (as reported before" in ended.out
    shared = optuna.load_study(study_name=None, storage=f"sqlite:///{study / 'study.db'}")
    assert shared.user_attrs["tested"]["owner"] == ""
    shared.set_user_attr("tested", {"owner": "box:/elsewhere", "trial": 0})
    shutil.move(study / "best", "kept")
    ended = run_command("tune", "resume=study")
    assert "test   of trial 0, once, by the search in box:/elsewhere" in ended.out
    assert not (study / "best").exists()
    ended = run_command("tune", "resume=study", "train.lr=1")
    assert "a resumed run keeps its settings: train.lr cannot change; only device, raw, data_dir, " in ended.err
    with locked_run(study):
        ended = run_command("tune", "resume=study")
    assert ended.err.strip().splitlines()[-1].startswith("error: study: another process trains there; wait for its end")
    ended = run_command("tune", *TUNE, "hydra.run.dir=study")
    assert "study already holds a search; give resume=study" in ended.err


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["sweep=eulernett"], "unknown sweep 'eulernett'; did you mean 'eulernet'?"),
        (["trials=0"], "trials=0: should be a whole number, 1 or more"),
        (["workers=1.5"], "workers=1.5: should be a whole number"),
        (["test=maybe"], "test=maybe: give true or false"),
        (["timeout=-1"], "timeout=-1: give minutes"),
        (["prune.keep=2"], "prune.keep must lie in (0, 1], got 2"),
        (["prune.warmup=many"], "prune.warmup=many: should be of type int"),
        (["trial=3"], "unknown key 'trial'; did you mean 'trials'?"),
        (["sweep.train.lr.hihg=3"], "unknown key 'sweep.train.lr.hihg'; did you mean 'sweep.train.lr.high'?"),
        (["+sweep.train.lrr={low: 1, high: 2}"], "eulernet has no train.lrr; did you mean 'lr'?"),
        (["+foo=1"], "unknown key 'foo'"),
        (["resume=nowhere"], "resume=nowhere: no readable config.yaml there"),
        (["storage=nonsense"], "storage=nonsense: cannot be used"),
        (["storage=nonsense://u:pa@ss@host/db"], "storage=nonsense://u:***@host/db: cannot be used"),
        (["storage=nonsense://u:pa,s@s@host/db"], "Ambiguous value for argument 'storage=nonsense://u:***@host/db'"),
        (["model.embedding_dim=0"], "model.embedding_dim must be at least 1, got 0"),
    ],
)  # fmt: skip
def test_refusals(run_command, args, message):
    ended = run_command("tune", *TUNE, *args)
    shutil.rmtree("data", ignore_errors=True)  # a store that was made before the refusal is whole, and stays
    assert_refused(ended, message)


def test_a_space_of_other_models(run_command):
    ended = run_command("tune", *SYNTHETIC, "sweep=mlp")
    shutil.rmtree("data", ignore_errors=True)
    assert_refused(ended, "sweep.model.hidden_units: eulernet has no model.hidden_units")


def test_gpus_are_shared_out(monkeypatch):
    monkeypatch.setattr(device.torch.cuda, "device_count", lambda: 2)
    assert [device.device_of_job("auto", job) for job in range(4)] == ["cuda:0", "cuda:1", "cuda:0", "cuda:1"]
    assert device.device_of_job("cpu", 1) == "cpu"
    monkeypatch.setattr(device.torch.cuda, "device_count", lambda: 0)
    assert device.device_of_job("auto", 1) == "auto"


@pytest.mark.slow  # joblib starts processes that load torch
def test_a_parallel_sweep_ends_with_one_table_and_says_what_failed(run_command):
    parallel = ("hydra/launcher=joblib", "hydra.launcher.n_jobs=2")
    ended = run_command("train", "-m", *parallel, *SYNTHETIC[:4], "train.max_epochs=1", "model.embedding_dim=4,0")
    assert ended.code == 1
    assert "error: 1 of the runs failed" in ended.err
    (folder,) = Path("multirun").iterdir()
    assert "model.embedding_dim must be at least 1, got 0" in (folder / "failed.txt").read_text()
    with (folder / "results.csv").open() as stream:
        assert [row["run"] for row in csv.DictReader(stream)] == ["0"]
