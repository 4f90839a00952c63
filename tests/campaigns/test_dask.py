"""reproduce and tune on Dask workers that are processes: as here, also when one of them is killed in a run."""

import csv
import hashlib
import json
import logging
import os
import re
import signal
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from distributed import Client, LocalCluster

TABLE = """
datasets: [synthetic]
seeds: SEEDS
first_seed: 5
common: [dataset.rows=20000, "dataset.field_sizes=[9,9]", "dataset.interactions=[{{f0:1,f1:1}}]", train.batch_size=256,
  train.max_epochs=EPOCHS, train.patience=100, device=cpu]
settings:
  small: [model=eulernet, model.embedding_dim=2]
  linear: [model=lr]
"""
LONG = 25  # epochs, so that a run that has a checkpoint has not ended a moment later
DATA = ("dataset=synthetic", "dataset.rows=20000", "dataset.field_sizes=[9,9]", "dataset.interactions=[{f0:1,f1:1}]")
TUNE = (*DATA, "~tuned", "model=eulernet", "model.embedding_dim=2", "model.norm=false", "train.batch_size=256",
        f"train.max_epochs={LONG}", "train.patience=100", "device=cpu", "trials=2", "prune.keep=1",
        "sweep.model.orders.choices=[[2],[3]]")  # fmt: skip

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def scheduler():
    with LocalCluster(
        n_workers=2, threads_per_worker=1, memory_limit=0, dashboard_address=":0", silence_logs=logging.CRITICAL
    ) as started:
        yield started.scheduler_address


@pytest.fixture
def kill(scheduler):
    """``kill(folder, command)``: what the command made while a worker with a run below ``folder`` was killed."""

    def strike(folder, ended):
        with Client(scheduler, set_as_default=False) as client:
            while not any(len(file.read_text().splitlines()) > 2 for file in folder.rglob("metrics.csv")):
                if ended.wait(0.01):
                    return False
            pids = client.run(os.getpid)
            (victim,) = [worker for worker, keys in client.processing().items() if keys]
            os.kill(pids[victim], signal.SIGKILL)
            return not list(folder.rglob("report.json"))

    def kill_in(folder, command):
        ended = threading.Event()
        with ThreadPoolExecutor(1) as beside:
            struck = beside.submit(strike, folder, ended)
            try:
                made = command()
            finally:
                ended.set()
            assert struck.result(), "the run had ended before its worker was killed"
        return made

    return kill_in


def found(folder):
    """What each run below ``folder`` found, and its weights."""
    reports = {file.parent.relative_to(folder): json.loads(file.read_text()) for file in folder.rglob("report.json")}
    weights = {run: hashlib.sha256((folder / run / "model.safetensors").read_bytes()).hexdigest() for run in reports}
    return {
        run: ({key: report[key] for key in ("valid", "test", "best_epoch", "epochs", "seed")}, weights[run])
        for run, report in reports.items()
    }


def epochs_trained(log):
    """The numbers of the epochs in what a run printed."""
    return [int(epoch) for epoch in re.findall(r"^\S+ \S+ +(\d+) +\d", log.read_text(), re.M)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dask")
    (folder / "conf" / "table").mkdir(parents=True)
    for name, seeds, epochs in (("toy", "2", "2"), ("long", "1", str(LONG))):
        table = TABLE.replace("SEEDS", seeds).replace("EPOCHS", epochs)
        (folder / "conf" / "table" / f"{name}.yaml").write_text(table)
    return folder


def test_a_table_is_the_same(in_process, folder, scheduler):
    for out, more in (("here", ()), ("there", ("engine=dask", f"scheduler={scheduler}")), ("own", ("engine=dask",))):
        done = in_process(folder, "jobs=2", f"out={out}", *more)
        assert done.code == 0, done.err
        assert found(folder / out) == found(folder / "here")
        assert (folder / out / "tables/toy.md").read_text() == (folder / "here/tables/toy.md").read_text()


def test_a_run_of_a_table_goes_on_where_its_worker_was_killed(in_process, folder, scheduler, kill):
    args = ("table=long", "models=[small]")
    assert in_process(folder, *args, "out=calm").code == 0
    afar = ("engine=dask", f"scheduler={scheduler}", "out=killed")
    done = kill(folder / "killed", lambda: in_process(folder, *args, *afar))
    assert done.code == 0, done.err
    assert found(folder / "killed") == found(folder / "calm")
    (log,) = (folder / "killed").rglob("train.log")
    assert len(epochs_trained(log)) <= LONG + 1, "it began again"


def test_a_trial_goes_on_where_its_worker_was_killed(run_command, scheduler, kill, tmp_path):
    afar = ("engine=dask", f"scheduler={scheduler}")
    calm = run_command("tune", *TUNE, "hydra.run.dir=calm")
    assert calm.code == 0, calm.err
    study = tmp_path / "work" / "killed"
    done = kill(study, lambda: run_command("tune", *TUNE, *afar, f"hydra.run.dir={study}"))
    assert done.code == 0, done.err
    assert found(study) == found(study.with_name("calm"))
    rows = [
        [{k: v for k, v in row.items() if not k.endswith("seconds")} for row in csv.DictReader(stream)]
        for stream in [(path / "trials.csv").open() for path in (study, study.with_name("calm"))]
    ]
    assert rows[0] == rows[1]
