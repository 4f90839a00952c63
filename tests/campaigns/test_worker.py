"""A worker tells every epoch, goes on to the same figures, shows a trial no test split, and dies with its parent."""

import json
import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import REPOSITORY
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from eulernet.campaigns import worker
from eulernet.data.dataset import Dataset, Split
from eulernet.data.prepare import prepare
from eulernet.files import locked
from eulernet.settings import conf_dir
from eulernet.training.job import set_up
from eulernet.training.loop import evaluate

OVERRIDES = (
    "dataset=synthetic", "dataset.rows=2000", "dataset.field_sizes=[6,7,5]", "dataset.interactions=[{f0:1,f1:1}]",
    "model.embedding_dim=4", "train.batch_size=256", "train.lr=0.01", "train.max_epochs=3", "device=cpu",
)  # fmt: skip


@pytest.fixture
def cfg(tmp_path):
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        return OmegaConf.to_container(compose("train", [*OVERRIDES, f"data_dir={tmp_path}/data"]), resolve=True)


def test_every_epoch_is_told_and_a_stopped_trial_goes_on_to_the_same_figures(cfg, tmp_path):
    (tmp_path / "whole").mkdir()
    (tmp_path / "parts").mkdir()
    whole, parts, again = [], [], []
    worker.trial(cfg, tmp_path / "whole", [], whole.append)

    def die(epoch):
        parts.append(epoch)
        if len(parts) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        worker.trial(cfg, tmp_path / "parts", [], die)
    worker.trial(cfg, tmp_path / "parts", [], again.append)
    aucs = [epoch.valid_auc for epoch in whole]
    assert [epoch.epoch for epoch in whole] == [1, 2, 3]
    assert [epoch.valid_auc for epoch in parts] == aucs[:2]
    assert [epoch.valid_auc for epoch in again] == aucs


def test_a_trial_never_reads_the_test_split(cfg, tmp_path):
    """With ids on the test rows that no table has, a test fails and a trial does not notice."""
    folder = prepare(cfg)
    x = np.load(folder / "x.npy")
    start, stop = Dataset.open(folder).meta["split"]["test"]
    x[start:stop] = 10**6
    np.save(folder / "x.npy", x)
    worker.trial(cfg, tmp_path, [], lambda epoch: None)
    job = set_up(cfg)
    with pytest.raises(IndexError):
        evaluate(job.model, job.data.to(job.device).test, job.config, "test")


@pytest.mark.parametrize("where", ["slices", "row numbers"])
def test_without_its_test_split_a_dataset_has_the_validation_split_twice(cfg, where):
    data = Dataset.open(prepare(cfg))
    if where == "row numbers":
        x, y = (torch.from_numpy(np.load(data.folder / file)) for file in ("x.npy", "y.npy"))
        splits = {name: Split(x, y, torch.arange(k, 200, 3), mapped=True) for k, name in enumerate(data.splits)}
        data = replace(data, splits=splits, meta={**data.meta, "split": {name: f"{name}.npy" for name in splits}})
    blind = data.without_test()
    for seen in (blind, blind.to(torch.device("cpu"))):
        assert len(seen.test) == len(seen.valid) == len(data.valid)
        assert torch.equal(next(seen.test.batches(50))[0], next(data.valid.batches(50))[0])


def test_a_run_is_trained_once_and_goes_on_where_it_was_killed(cfg, tmp_path):
    told, folder = [], tmp_path / "run"
    folder.mkdir()
    (folder / "half").mkdir()  # of a run that was killed in its first epoch

    def die(epoch):
        told.append(epoch)
        if len(told) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        worker.run(cfg, folder, ["model=eulernet"], die)
    assert not (folder / "half").exists()
    (folder / ".metrics.csv.xyz.new").mkdir()  # of a killed process
    worker.run(cfg, folder, ["model=eulernet"], told.append)
    report = json.loads((folder / "report.json").read_text())
    assert report["epochs"] == 3
    assert report["overrides"] == ["model=eulernet", "device=cpu", "device=cpu"]
    assert not list(folder.glob(".*"))
    before = (folder / "report.json").stat().st_mtime_ns
    manifest = (folder / "manifest.json").read_bytes()
    (folder / "manifest.json").unlink()  # as if it had been killed before the last of its files
    worker.run(cfg, folder, [], told.append)
    assert (folder / "report.json").stat().st_mtime_ns == before
    assert (folder / "manifest.json").read_bytes() == manifest
    assert [epoch.epoch for epoch in told] == [1, 2, 1, 2, 3]


def test_a_run_that_another_process_trains_is_left_alone(cfg, tmp_path):
    with locked(tmp_path), pytest.raises(BlockingIOError):
        worker.run(cfg, tmp_path, [], lambda epoch: None)
    assert list(tmp_path.iterdir()) == [tmp_path / "data"] * (tmp_path / "data").exists()


def start(job, **env):
    process = subprocess.Popen(
        [sys.executable, "-m", "eulernet.campaigns.worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1", **env},
    )
    process.stdin.write(json.dumps(job).encode() + b"\n")
    process.stdin.flush()
    return process


def test_a_trial_speaks_json_and_ends_when_nobody_listens(cfg, tmp_path):
    cfg["train"] |= {"max_epochs": 10_000, "patience": 10_000, "batch_size": 16}
    process = start({"kind": "trial", "cfg": cfg, "folder": str(tmp_path), "overrides": []})
    assert json.loads(process.stdout.readline())["epoch"]["epoch"] == 1
    process.stdin.close()  # as when the search is killed
    assert process.wait() == 1
    assert "Traceback" not in process.stderr.read().decode()


def test_how_a_trial_fails(cfg, tmp_path):
    cfg["train"]["lr"] = 1e30
    process = start({"kind": "trial", "cfg": cfg, "folder": str(tmp_path), "overrides": []})
    assert "not finite" in json.loads(process.stdout.read().splitlines()[-1])["diverged"]
    process.stdin.close()
    process.stdout.close()
    process.stderr.close()
    process.wait()
