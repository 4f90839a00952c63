"""The commands as users type them: what they leave, what they say, and how they refuse."""

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import polars as pl
import pytest
import torch
import yaml
from conftest import REPOSITORY
from processes import torch_threads
from safetensors.torch import load_file

import eulernet
from eulernet.training import report as run_module
from eulernet.training import saved
from eulernet.training.display import closing

SYNTHETIC = (
    "dataset=synthetic",
    "dataset.rows=2000",
    "dataset.field_sizes=[6,7,5]",
    "dataset.interactions=[{f0:1,f1:1},{f2:-0.5}]",
    "model.embedding_dim=4",
    "train.batch_size=256",
    "train.lr=0.01",
    "device=cpu",
)


def files(folder):
    return sorted(str(file.relative_to(folder)) for file in folder.rglob("*"))


def assert_refused(ended, message):
    """One line that says what is wrong, a non-zero exit, and no file left in the working folder."""
    assert ended.code != 0
    lines = [line for line in ended.err.splitlines() if line.strip()]
    assert len(lines) == 1, ended.err
    assert lines[0].startswith("error: ")
    assert message in lines[0]
    assert "Traceback" not in ended.err + ended.out
    assert files(Path.cwd()) == []


def test_a_run_leaves_a_whole_folder_and_a_closing_line(run_command):
    ended = run_command("train", *SYNTHETIC, "train.max_epochs=3", "seed=7")
    assert ended.code == 0, ended.err
    (run,) = Path("outputs/synthetic/eulernet").iterdir()
    assert {file.name for file in run.iterdir()} == {
        "config.yaml", "checkpoints", "model.safetensors", "last.ckpt", "metrics.csv", "report.json", "train.log",
        "preprocessor", "manifest.json",
    }  # fmt: skip
    report = json.loads((run / "report.json").read_text())
    assert {"dataset", "model", "seed", "parameters", "best_epoch", "epochs", "valid", "test", "seconds", "commit",
            "samples_per_second", "peak_memory_bytes", "device", "versions", "config"} <= set(report)  # fmt: skip
    assert report["seed"] == 7
    assert report["dataset"]["rows"] == {"train": 1600, "valid": 200, "test": 200}
    assert report["versions"]["torch"] == torch.__version__
    assert report["parameters"] == sum(w.numel() for w in load_file(run / "model.safetensors").values())
    assert 10**7 < report["peak_memory_bytes"] < 10**11
    assert ended.out.splitlines()[-3:] == closing(report, run)
    assert all(line in (run / "train.log").read_text() for line in closing(report, run))
    with (run / "metrics.csv").open() as stream:
        assert [row["epoch"] for row in csv.DictReader(stream)] == ["1", "2", "3"]
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert config["train"]["shuffle_seed"] == 7  # resolved
    assert "_target_" not in (run / "config.yaml").read_text()
    vocabulary = pl.read_parquet(run / "preprocessor" / "vocab" / "f1.parquet")
    assert vocabulary.rows() == [(value, value + 1) for value in range(7)]


def test_the_second_run_reuses_the_store(run_command):
    run_command("train", *SYNTHETIC, "train.max_epochs=1")
    (folder,) = Path("data/synthetic").iterdir()
    made = (folder / "meta.json").stat().st_mtime_ns
    assert "prepared" not in run_command("train", *SYNTHETIC, "train.max_epochs=1").out
    assert (folder / "meta.json").stat().st_mtime_ns == made


def test_prepare_says_what_it_made(run_command, ml_100k):
    ended = run_command("prepare", "dataset=movielens_100k", f"raw={ml_100k}")
    assert ended.code == 0, ended.err
    assert "movielens_100k: 72,855 rows, 7 fields, 2.4 MB, store: data/movielens_100k/" in ended.out
    assert re.search(r"^user_id +category +943 +0.00% +0.00%$", ended.out, re.MULTILINE)
    assert re.search(r"^release_year +category +\d+ +0.0\d% +0.00%$", ended.out, re.MULTILINE)
    assert re.search(r"^test +7,285 +\d\d\.\d\d%$", ended.out, re.MULTILINE)
    assert files(Path.cwd())[0] == "data"


LOG = "user,price (€),tags,click\n" + "".join(f"u{i % 7},{i / 3},{'a|b|c'[: i % 6]},{i % 2}\n" for i in range(200))


def test_a_log_is_described_on_the_command_line(run_command):
    Path("log.csv").write_text(LOG)
    kinds = "dataset.fields={'price (€)': {kind: quantiles, classes: 4}, tags: bag}"
    ended = run_command("prepare", "dataset=table", "raw=log.csv", kinds, "+dataset.fields.user=category")
    assert ended.code == 0, ended.err
    assert re.search(r"^price \(€\) +quantiles +4 ", ended.out, re.MULTILINE)
    assert re.search(r"^tags +bag +3 ", ended.out, re.MULTILINE)
    assert "made earlier" not in ended.out
    assert "made earlier: " in run_command("prepare", "dataset=table", "raw=log.csv", kinds).out
    ended = run_command("train", "dataset=table", "raw=log.csv", kinds, "train.max_epochs=1", "device=cpu")
    assert ended.code == 0, ended.err
    assert "made earlier" not in ended.out


def test_a_log_is_described_in_a_file_of_its_own(run_command):
    Path("log.csv").write_text(LOG)
    Path("mine/dataset").mkdir(parents=True)
    Path("mine/dataset/mylog.yaml").write_text("defaults: [table]\nfields: {tags: {kind: bag, pooling: sum}}\n")
    ended = run_command("prepare", "dataset=mylog", "--config-dir", "mine", "raw=log.csv")  # an option between settings
    assert ended.code == 0, ended.err
    assert re.search(r"^tags +bag +3 ", ended.out, re.MULTILINE)


def test_a_killed_preparation_leaves_nothing_that_loads(tmp_path):
    """Killed while it reads; the next run removes what is left and makes the store."""
    (tmp_path / "log.csv").write_text("user,click\n" + "".join(f"u{i % 99999},{i % 2}\n" for i in range(1_000_000)))
    command = [sys.executable, "-m", "eulernet.prepare", "dataset=table", "raw=log.csv", "memory=0.25"]
    env = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    process = subprocess.Popen(command, cwd=tmp_path, env=env, stdout=subprocess.DEVNULL)
    while process.poll() is None and not list(tmp_path.glob("data/table/.*/*/typed/*")):
        time.sleep(0.01)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    assert [path.name for path in (tmp_path / "data" / "table").iterdir() if not path.name.startswith(".")] == []
    subprocess.run(command, cwd=tmp_path, env=env, check=True, stdout=subprocess.DEVNULL)
    (store,) = (tmp_path / "data" / "table").iterdir()
    assert json.loads((store / "meta.json").read_text())["rows"] == 1_000_000


def test_make_train_on_real_ratings(run_command, ml_100k):
    """The default job, shortened: it learns, with the tuned cell of the dataset."""
    ended = run_command("train", f"raw={ml_100k}", "train.max_epochs=2")
    assert ended.code == 0, ended.err
    (run,) = Path("outputs/movielens_100k/eulernet").iterdir()
    assert json.loads((run / "report.json").read_text())["test"]["auc"] > 0.75


def test_a_sweep_ends_with_one_table(run_command):
    ended = run_command(
        "train", "-m", *SYNTHETIC[:4], "train.max_epochs=1", "seed=range(1,3)", "model.embedding_dim=4,8"
    )
    assert ended.code == 0, ended.err
    (folder,) = Path("multirun").iterdir()
    with (folder / "results.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [(row["seed"], row["model.embedding_dim"]) for row in rows] == [
        ("1", "4"),
        ("1", "8"),
        ("2", "4"),
        ("2", "8"),
    ]
    reports = [json.loads((folder / str(i) / "report.json").read_text()) for i in range(4)]
    assert [float(row["test_auc"]) for row in rows] == pytest.approx([r["test"]["auc"] for r in reports])
    assert str(folder / "results.csv") in ended.out
    assert "test_auc" in ended.out


def test_a_failed_run_does_not_stop_a_sweep(run_command):
    ended = run_command("train", "-m", *SYNTHETIC[:4], "train.max_epochs=1", "model.embedding_dim=0,4")
    assert ended.code == 1
    assert "model.embedding_dim must be at least 1, got 0" in ended.err
    assert "1 of the runs failed" in ended.err
    (folder,) = Path("multirun").iterdir()
    with (folder / "results.csv").open() as stream:
        assert [row["model.embedding_dim"] for row in csv.DictReader(stream)] == ["4"]


def test_resume_equals_a_run_that_was_never_stopped(run_command):
    run_command("train", *SYNTHETIC, "train.max_epochs=4", "hydra.run.dir=whole")
    run_command("train", *SYNTHETIC, "train.max_epochs=2", "hydra.run.dir=parts")
    ended = run_command("train", "resume=parts", "train.max_epochs=4")
    assert ended.code == 0, ended.err
    whole, parts = (load_file(f"{run}/model.safetensors") for run in ("whole", "parts"))
    assert all(torch.equal(whole[name], parts[name]) for name in whole)
    reports = [json.loads(Path(run, "report.json").read_text()) for run in ("whole", "parts")]
    assert reports[0]["test"] == reports[1]["test"]
    assert reports[0]["epochs"] == reports[1]["epochs"] == 4
    assert files(Path.cwd()).count("outputs") == 0


def test_training_loads_what_it_uses(tmp_path):
    """The compiler would double the time to the first step, the others add a quarter to it."""
    job = (*SYNTHETIC, "train.max_epochs=1", "reference=false")
    command = [sys.executable, "-X", "importtime", "-m", "eulernet.train", *job]
    env = {**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}
    ended = subprocess.run(command, cwd=tmp_path, env=env, check=True, capture_output=True, text=True)
    imported = {line.split("|")[-1].strip() for line in ended.stderr.splitlines() if line.startswith("import time:")}
    assert "torch" in imported
    assert not imported & {"torch._dynamo", "scipy", "sklearn", "pandas", "pooch", "requests", "optuna", "matplotlib"}


def run_process(*args, cwd, **env):
    return subprocess.Popen(
        [sys.executable, "-m", "eulernet.train", *args],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1", **env},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_leaves_a_run_that_goes_on(tmp_path, stop):
    long = (*SYNTHETIC, "train.patience=1000", "train.batch_size=128")
    process = run_process(*long, "train.max_epochs=1000", "hydra.run.dir=run", cwd=tmp_path)
    while process.poll() is None and not (tmp_path / "run" / "metrics.csv").is_file():
        time.sleep(0.05)
    process.send_signal(stop)
    out, err = process.communicate()
    assert process.returncode == 130
    assert "Traceback" not in err
    assert out.strip().splitlines()[-1] == f"stopped; go on with: {sys.executable} -m eulernet.train resume=run"
    if stop == signal.SIGTERM:
        return
    with (tmp_path / "run" / "metrics.csv").open() as stream:
        epochs = len(list(csv.DictReader(stream))) + 2
    assert run_process("resume=run", f"train.max_epochs={epochs}", cwd=tmp_path).wait() == 0
    assert run_process(*long, f"train.max_epochs={epochs}", "hydra.run.dir=whole", cwd=tmp_path).wait() == 0
    parts, whole = (load_file(tmp_path / run / "model.safetensors") for run in ("run", "whole"))
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


@pytest.mark.slow
def test_a_wheel_runs_from_any_folder(tmp_path):
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path / "dist")]
    subprocess.run([*build, str(REPOSITORY)], check=True, capture_output=True)
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    target = tmp_path / "site"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(target), str(wheel)]
    subprocess.run(pip, check=True, capture_output=True)
    for file in ("train.yaml", "table/overall.yaml", "published.yaml"):
        assert (target / "eulernet" / "conf" / file).is_file()
    process = run_process(*SYNTHETIC, "train.max_epochs=1", cwd=tmp_path, PYTHONPATH=str(target))
    out, err = process.communicate()
    assert process.returncode == 0, err
    assert out.strip().splitlines()[-3].startswith("test  auc=")
    installed = json.loads(next((tmp_path / "outputs").rglob("report.json")).read_text())
    assert installed["versions"]["eulernet"] == eulernet.__version__
    assert installed["commit"] is None


# How the commands refuse.


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["train.emma=1"], "unknown key 'train.emma'; did you mean 'train.ema'?"),
        (["train.lrr=1"], "unknown key 'train.lrr'; 'train.lr' is given already"),
        (["modle=eulernet"], "unknown key 'modle'; did you mean 'model'?"),
        (["dataset=movielens1m"], "unknown dataset 'movielens1m'; did you mean 'movielens_1m'?"),
        (["model=eulernett"], "unknown model 'eulernett'; did you mean 'eulernet'?"),
        (["tuned=movielens_1m/euler"], "unknown tuned 'movielens_1m/euler'; did you mean 'movielens_1m/eulernet'?"),
        (["ema=1"], "unknown key 'ema'; did you mean 'train.ema'?"),
        (["model=eulernet_phase_only"], "model=eulernet_phase_only is now model=eulernet model.without=modulus"),
        (["tuned=avazu/eulernet_without_norm"], "is now tuned=avazu/eulernet model.norm=false"),
        (["+port=1"], "unknown key 'port'; "),
        (["dataset.row=500"], "unknown key 'dataset.row'; 'dataset.rows' is given already"),
        (["model=eulernet.yaml"], "unknown model 'eulernet.yaml'; did you mean 'eulernet'?"),
        (["model.embedding_dim=1000000000000"], "not enough memory"),
        (["train.batch_size=99999999999999999999"], "train.batch_size is too large"),
        (["dataset.rows=100000000000"], "MB are free; give another data_dir="),
        (["+foo=1"], "unknown key 'foo'"),
        (["+model.depth=3"], "unknown key model.depth"),
        (["model=null"], "~tuned leaves out the tuned cell"),
        (["seed"], "cannot read 'seed' on the command line; write key=value"),
        (["seed=1,2"], "to run every value add -m"),
        (["+trian.lr=1"], "unknown key 'trian'; did you mean 'train'?"),
        (["~device"], "~device: only ~tuned can be left out"),
        (["device=null"], "device=None: no such device"),
        (["data_dir=null"], "data_dir=null: give the folder"),
        (["model.name=null"], "unknown model 'None'; known: afm, "),
        (["model.orders=[]"], "model.orders must be at least 1 each, got []"),
        (["seed=99999999999999999999"], "should be a whole number, 0 or more and below 2^63"),
        (["seed=1.5"], "seed=1.5: should be a whole number"),
        (["seed=-1"], "seed=-1: should be a whole number"),
        (["train.lr=fast"], "train.lr=fast: should be of type float"),
        (["train.batch_size=-1"], "train.batch_size must be at least 1, got -1"),
        (["model.embedding_dim=0"], "model.embedding_dim must be at least 1, got 0"),
        (["model.orders=7"], "model.orders=7: should be of type list[int] | None"),
        (["model.orders=[0]"], "model.orders must be at least 1 each"),
        (["model.drop_explicit=1.5"], "model.drop_explicit must lie in [0, 1), got 1.5"),
        (["model.init=xavier"], "unknown model.init 'xavier'"),
        (["dataset.rows=3"], "dataset.rows must be at least 100, got 3"),
        (["raw=somewhere"], "dataset=synthetic makes its own rows"),
        (["device=gpu"], "device=gpu: no such device; use auto, cpu, cuda or cuda:N"),
        (["device=mps"], "device=mps: not supported"),
        (["resume=nowhere"], "resume=nowhere: no readable config.yaml there (no such file)"),
    ],
)  # fmt: skip
def test_refusals(run_command, args, message):
    ended = run_command("train", *SYNTHETIC, *args)
    for store in Path.cwd().glob("data/synthetic/*"):  # a store that was made before the refusal is whole, and stays
        assert (store / "meta.json").is_file()
        subprocess.run(["rm", "-r", "data"], check=True)
    assert_refused(ended, message)


def test_refuses_cuda_where_there_is_none(run_command, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert_refused(run_command("train", *SYNTHETIC, "device=cuda"), "device=cuda: this machine has 0 CUDA devices")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
@pytest.mark.parametrize("key", ["hydra.run.dir", "data_dir"])
def test_refuses_a_folder_without_permission(run_command, tmp_path, key):
    (tmp_path / "locked").mkdir(mode=0o500)
    ended = run_command("train", *SYNTHETIC, f"{key}={tmp_path / 'locked' / 'folder'}")
    assert_refused(ended, "Permission denied")


@pytest.mark.parametrize(
    ("key", "wanted"),
    [("hydra.run.dir", "Not a directory"), ("data_dir", "Not a directory")],
)
def test_refuses_a_folder_that_cannot_be_written(run_command, tmp_path, key, wanted):
    (tmp_path / "file").write_text("")
    ended = run_command("train", *SYNTHETIC, f"{key}={tmp_path / 'file' / 'folder'}")
    assert_refused(ended, wanted)


@pytest.mark.parametrize("dataset", ["movielens_1m", "movielens_100k"])
def test_refuses_to_download_without_a_network(run_command, monkeypatch, dataset):
    for name in ("HTTPS_PROXY", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # nobody listens there
    for name in ("NO_PROXY", "no_proxy", "PIP_FIND_LINKS", "PIP_EXTRA_INDEX_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    ended = run_command("train", f"dataset={dataset}", "device=cpu")
    assert "get the files elsewhere and give their folder: raw=PATH" in ended.err
    assert_refused(ended, "cannot download https://files.grouplens.org/datasets/movielens/ml-1")


@pytest.mark.parametrize(
    ("file", "line", "message"),
    [
        ("ratings.dat", "1::10", "ratings.dat, line 1: 2 columns where 4 belong"),
        ("ratings.dat", "1::10::7::0", "ratings.dat, line 1: rating is 7, not 1 to 5"),
        ("ratings.dat", "77::10::5::0", "ratings.dat, line 1: user_id 77 is not in users.dat"),
        ("users.dat", None, "no users.dat there"),
    ],
)
def test_refuses_bad_raw_files(run_command, tiny_1m, file, line, message):
    if line is None:
        (tiny_1m / file).unlink()
    else:
        (tiny_1m / file).write_text(line + "\n" + (tiny_1m / file).read_text())
    assert_refused(run_command("train", "dataset=movielens_1m", f"raw={tiny_1m}"), message)


def test_refuses_a_damaged_store(run_command):
    run_command("prepare", *SYNTHETIC[:4])
    (store,) = Path("data/synthetic").iterdir()
    whole = (store / "x.npy").read_bytes()
    (store / "x.npy").write_bytes(whole[:-100])
    ended = run_command("train", *SYNTHETIC)
    assert "x.npy is truncated or damaged" in ended.err
    (store / "x.npy").write_bytes(whole)
    meta = json.loads((store / "meta.json").read_text())
    (store / "meta.json").write_text(json.dumps({**meta, "format": 0}))
    older = run_command("train", *SYNTHETIC)
    assert "format 0, this version reads format 3" in older.err
    subprocess.run(["rm", "-r", "data"], check=True)
    assert_refused(ended, "delete that folder and run again")
    assert_refused(older, "delete that folder and run again")


def contents(folder):
    return {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_refuses_a_checkpoint_of_another_run_and_changes_nothing(run_command):
    run_command("train", *SYNTHETIC, "train.max_epochs=1", "hydra.run.dir=one")
    run_command("train", *SYNTHETIC, "train.max_epochs=1", "dataset.data_seed=2", "hydra.run.dir=two")
    subprocess.run(["cp", "-r", "two", "three"], check=True)
    subprocess.run(["rm", "-r", "three/checkpoints"], check=True)  # as an older version leaves a run
    for damage, message in [(Path("one/last.ckpt").read_bytes(), "is of dataset synthetic/"), (b"?", "is damaged")]:
        Path("three/last.ckpt").write_bytes(damage)
        Path("three/model.safetensors").unlink(missing_ok=True)
        before = contents(Path.cwd())
        ended = run_command("train", "resume=three", "train.max_epochs=2")
        assert ended.code == 1
        assert ended.err.count("error: ") == 1
        assert message in ended.err
        assert contents(Path.cwd()) == before
    before = contents(Path.cwd())
    for args, message in [
        (["resume=two", "seed=3"], "seed cannot change"),
        (["resume=two", "hydra.run.dir=three"], "leave out hydra.run.dir"),
        (["resume="], "give the folder of the run to go on with"),
        ([*SYNTHETIC, "hydra.run.dir=one"], "already holds a run"),
    ]:
        ended = run_command("train", *args)
        assert ended.code == 1
        assert message in ended.err
        assert contents(Path.cwd()) == before
    Path("two/config.yaml").write_text("{")
    assert "no readable config.yaml" in run_command("train", "resume=two").err
    Path("two/config.yaml").write_text("seed: 1")
    assert "no readable config.yaml" in run_command("train", "resume=two").err


def test_a_resumed_run_keeps_its_record(run_command):
    run_command("train", *SYNTHETIC, "train.max_epochs=1", "hydra.run.dir=run")
    run_command("train", "resume=run", "train.max_epochs=2")
    report = json.loads(Path("run/report.json").read_text())
    assert report["overrides"] == [*SYNTHETIC, "train.max_epochs=1", "train.max_epochs=2"]
    assert report["config"]["resume"] is None
    assert report["config"]["train"]["max_epochs"] == 2


def test_a_run_that_goes_on_with_other_threads_says_so(run_command):
    """The number is stored in the checkpoint and named by the report; a run of an older eulernet has none."""
    began = torch.get_num_threads()
    warning = f"began with {began} threads, now {began + 1}: the bits will differ; OMP_NUM_THREADS={began} keeps them"
    run_command("train", *SYNTHETIC, "train.max_epochs=1", "hydra.run.dir=run")
    assert json.loads(Path("run/report.json").read_text())["threads"] == began
    assert warning not in run_command("train", "resume=run", "train.max_epochs=2").out
    with torch_threads(began + 1):
        for epochs in (3, 4):  # the second goes on as it was stopped
            ended = run_command("train", "resume=run", f"train.max_epochs={epochs}")
            assert (warning in ended.out) == (epochs == 3)
            assert json.loads(Path("run/report.json").read_text())["threads"] == f"{began}, then {began + 1}"
    about = {"overrides": [], "commit": None}  # as an older eulernet wrote it
    assert saved.CHECKS["about"](about)
    assert not saved.CHECKS["about"]({**about, "threads": [1]})


def test_a_refused_run_removes_only_what_it_made(run_command, tmp_path):
    """Folders and files of the user stay, also a train.log and an empty folder; what Hydra made goes, however deep."""
    mine = tmp_path / "mine"
    (mine / "empty").mkdir(parents=True)
    (mine / "train.log").write_text("my notes")
    for folder in (mine, mine / "empty", mine / "empty" / "deep" / "run", tmp_path / "new" / "deep"):
        assert run_command("train", *SYNTHETIC, "seed=-1", f"hydra.run.dir={folder}").code == 1
    assert files(tmp_path) == ["mine", "mine/empty", "mine/train.log", "work"]
    assert (mine / "train.log").read_text() == "my notes"


def test_data_without_signal_trains_to_a_report(run_command):
    assert run_command("train", *SYNTHETIC, "dataset.signal=0", "train.max_epochs=1", "hydra.run.dir=run").code == 0
    report = json.loads(Path("run/report.json").read_text())
    assert report["bayes"]["test"]["auc"] == 0.5
    assert "learned" not in report


def test_peak_memory_is_that_of_the_run(run_command):
    big = "train", *SYNTHETIC, "train.max_epochs=1"
    run_command(*big, "model.embedding_dim=500", "train.batch_size=1600", "hydra.run.dir=big")
    run_command(*big, "model.embedding_dim=2", "hydra.run.dir=small")
    peaks = [json.loads(Path(run, "report.json").read_text())["peak_memory_bytes"] for run in ("big", "small")]
    assert peaks[1] < peaks[0]


def test_the_commit_is_that_of_the_checkout_and_of_no_other_repository(tmp_path, monkeypatch):
    site = tmp_path / "somebodys" / "site-packages"
    (site / "eulernet" / "training").mkdir(parents=True)
    monkeypatch.setattr(run_module, "__file__", str(site / "eulernet" / "training" / "report.py"))
    git = ["git", "-C", str(tmp_path / "somebodys"), "-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "theirs"], check=True)
    assert run_module.commit() is None
    monkeypatch.setattr(run_module, "__file__", str(tmp_path / "somebodys" / "eulernet" / "training" / "report.py"))
    assert len(run_module.commit()) == 40
