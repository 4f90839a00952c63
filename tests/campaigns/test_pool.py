"""Workers that are tiny programs: what a campaign hears of them, and two campaigns in one folder."""

import json
import os
import signal
import sys
import threading
import time
from contextlib import suppress

import pytest
from distributed import LocalCluster

from eulernet.campaigns import missing, pool
from eulernet.campaigns.planned import PlannedRun, finished
from eulernet.campaigns.pool import LOG, Pool, placed, sweep
from eulernet.errors import UserError, require
from eulernet.files import locked
from eulernet.training import device

EPOCH = dict(epoch=1, train_loss=0.5, valid_auc=0.6, valid_logloss=0.5, lr=0.1, seconds=1.0, samples_per_second=9.0)
PROGRAM = (
    f"""
epoch = {EPOCH}
"""
    + """
import json, os, sys, time
order = json.loads(sys.stdin.readline())
def tell(**message):
    print(json.dumps(message), flush=True)
print("in the log", file=sys.stderr)
tell(epoch=epoch)
do, report = order["cfg"]["do"], os.path.join(order["folder"], "report.json")
if do == "device":
    tell(failed=order["cfg"]["device"])
if do == "stop":
    os.kill(os.getpid(), 15)
if do == "hang":
    sys.stdin.read()
    sys.exit()
if do == "busy once" and not os.path.exists(order["folder"] + ".busy"):
    open(order["folder"] + ".busy", "w").close()
    tell(busy=True)
    sys.exit()
if do.startswith(("train", "busy")):
    content = dict.fromkeys(("seed", "parameters", "best_epoch", "epochs", "seconds"), 1)
    content |= dict.fromkeys(("valid", "test"), {"auc": 0.6, "logloss": 0.5})
    content |= {"model": "toy", "config": {"model": {}, "train": {}}}
    content["dataset"] = {"name": "toy", "digest": "0", "rows": {"train": 1, "test": 1}}
    with open(report, "w") as file:
        json.dump(content, file)
tell(done=True)
"""
)


@pytest.fixture(autouse=True)
def toy(monkeypatch):
    monkeypatch.setattr(pool, "PROGRAM", [sys.executable, "-c", PROGRAM])


def said_by(workers):
    """All that ``workers`` say until all of them have ended."""
    while workers.workers:
        yield from workers.hear(1.0)


def test_every_message_and_every_end_is_heard(tmp_path):
    with Pool(3) as workers:
        for do in ("train", "stop", "device"):
            workers.start(do, "run", tmp_path / do, {"do": do, "device": "cpu"}, [])
        assert not workers.free
        said = {do: [] for do in ("train", "stop", "device")}
        for worker, kind, content in said_by(workers):
            said[worker.task].append((kind, content))
    epoch = ("epoch", EPOCH)
    assert said["train"] == [epoch, ("done", True)]
    assert said["stop"] == [epoch, ("stopped", "stopped by a signal")]
    assert said["device"] == [epoch, ("failed", f"cpu (see {tmp_path / 'device' / LOG})")]
    assert (tmp_path / "train" / LOG).read_text() == "in the log\n"


@pytest.fixture(scope="module")
def scheduler():
    with LocalCluster(processes=False, n_workers=1, threads_per_worker=4, dashboard_address=":0") as started:
        yield started.scheduler_address


def test_runs_on_a_cluster_are_heard_and_ended_as_those_here(scheduler, tmp_path, monkeypatch):
    tasks = ("train", "stop", "device", "hang")
    with placed({"engine": "dask", "scheduler": scheduler, "worker_wait": 60}), Pool(4) as workers:
        for do in tasks:
            workers.start(do, "run", tmp_path / do, {"do": do, "device": "cpu"}, [])
        said = {do: [] for do in tasks}
        while len(workers.workers) > 1 or not said["hang"]:
            for worker, kind, content in workers.hear(1.0):
                said[worker.task].append((kind, content))
        (hanging,) = workers.workers
        workers.end(hanging)
        assert hanging.process.future.done()
        with monkeypatch.context() as patch:
            patch.setattr("eulernet.campaigns.afar.os", None)
            hanging.process.end(
                hanging.process.future
            )  # the cluster says so late: its pipe may be another run's by now
        with pytest.raises(UserError, match=r"device=cuda: no worker of the cluster says that it has a GPU"):
            workers.start("gpu", "run", tmp_path / "gpu", {"do": "train", "device": "cuda"}, [])
    epoch = ("epoch", EPOCH)
    assert said["train"] == [epoch, ("done", True)]
    assert said["stop"] == [epoch, ("stopped", "stopped by a signal")]
    assert said["device"] == [epoch, ("failed", f"cpu (see {tmp_path / 'device' / LOG})")]
    assert said["hang"] == [epoch]
    assert (tmp_path / "train" / LOG).read_text() == "in the log\n"


def test_runs_that_no_worker_is_left_for_are_stopped(scheduler, tmp_path, monkeypatch):
    from eulernet.campaigns import afar
    from eulernet.data.cluster import Cluster

    gone = threading.Event()
    monkeypatch.setattr(afar, "PATIENCE", 0.01)
    monkeypatch.setattr(Cluster, "require_workers", lambda _: require(not gone.is_set(), "engine=dask: no worker"))
    with placed({"engine": "dask", "scheduler": scheduler, "worker_wait": 60}), Pool(4) as workers:
        workers.start("one", "run", tmp_path / "one", {"do": "hang", "device": "cpu"}, [])
        said = []
        for _, kind, content in said_by(workers):
            said.append((kind, content))
            gone.set()
        assert said == [("epoch", EPOCH), ("stopped", "stopped by a signal")]
        with pytest.raises(UserError, match="engine=dask: no worker"):
            workers.start("two", "run", tmp_path / "two", {"do": "train", "device": "cpu"}, [])


@pytest.mark.parametrize(
    ("engine", "scheduler", "message"),
    [("processes", "tcp://h:1", "scheduler=tcp://h:1 goes with engine=dask"), ("threads", None, "unknown engine")],
)
def test_an_engine_that_there_is_not(engine, scheduler, message):
    with pytest.raises(UserError, match=message), placed({"engine": engine, "scheduler": scheduler}):
        pass


def test_slots_share_the_gpus(tmp_path, monkeypatch):
    monkeypatch.setattr(device.torch.cuda, "device_count", lambda: 2)
    with Pool(3) as workers:
        for slot in range(3):
            workers.start(slot, "run", tmp_path / str(slot), {"do": "device", "device": "auto"}, [])
        ends = {worker.task: content for worker, kind, content in said_by(workers) if kind == "failed"}
    assert [ends[slot].split()[0] for slot in range(3)] == ["cuda:0", "cuda:1", "cuda:0"]


def test_whatever_ends_a_campaign_ends_its_workers(tmp_path):
    pids = []
    (tmp_path / "0" / ".last.ckpt.a1b2.new").mkdir(parents=True)  # what it was writing
    with suppress(KeyboardInterrupt), Pool(2) as workers:
        for i in (0, 1):
            pids.append(workers.start(i, "run", tmp_path / str(i), {"do": "hang", "device": "cpu"}, []).process.pid)
        raise KeyboardInterrupt
    assert len(pids) == 2
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)
    assert [path.name for path in (tmp_path / "0").iterdir()] == [LOG]


def planned(folder, *names, do="train"):
    config = {"do": do, "device": "cpu"}
    return [PlannedRun("toy", name, 1, (), (name, 1, 1), folder / name, config) for name in names]


def test_two_campaigns_in_one_folder_train_each_run_once(tmp_path):
    """One has run ``a`` at work: the other trains ``b`` meanwhile, waits for ``a``, and does not train it again."""
    a, b = planned(tmp_path, "a", "b")
    a.folder.mkdir()
    failures = []
    other = threading.Thread(target=lambda: failures.append(missing.train_missing([a, b], {}, 2, "cpu")))
    with locked(a.folder):
        other.start()
        while not (b.folder / "report.json").exists():
            time.sleep(0.01)
        (a.folder / "report.json").write_text("{}")
    other.join(60)
    assert failures == [{}]
    assert (b.folder / LOG).exists()
    assert not (a.folder / LOG).exists()


def test_a_run_that_another_campaign_took_first_waits_again(tmp_path):
    runs = planned(tmp_path, "a", do="busy once")
    assert missing.train_missing(runs, {}, 1, "cpu") == {}
    assert (tmp_path / "a" / "report.json").exists()


def test_a_failed_run_stops_no_other(tmp_path):
    stopped, trained = *planned(tmp_path, "a", do="stop"), *planned(tmp_path, "b")
    assert missing.train_missing([stopped, trained], {}, 1, "cpu") == {stopped: "stopped by a signal"}
    assert (tmp_path / "b" / "report.json").exists()


def test_what_killed_processes_left_is_swept_and_nothing_else(tmp_path):
    (tmp_path / ".report.json.a1b2.new").mkdir()
    (tmp_path / ".last.ckpt.123").touch()
    (tmp_path / ".gitignore").touch()
    (tmp_path / "report.json").write_text(json.dumps({}))
    sweep(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".gitignore", "report.json"]


def test_finished_runs_are_found_while_others_are_trained(tmp_path, monkeypatch):
    """A folder that a writer makes for a moment may be gone when it is looked into."""
    half = tmp_path / "run" / ".metrics.csv.a1b2.new"
    half.mkdir(parents=True)
    scan = os.scandir

    def vanishing(path="."):
        if str(path) == str(half):
            raise FileNotFoundError(2, "No such file or directory", str(half))
        return scan(path)

    monkeypatch.setattr(os, "scandir", vanishing)
    assert finished([tmp_path]) == {}
