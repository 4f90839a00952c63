"""TensorBoard, MLflow and W&B have the figures of metrics.csv, each once, also after a resume."""

import csv
import inspect
import re
import sys
import types
from pathlib import Path

from conftest import REPOSITORY
from test_commands import SYNTHETIC, assert_refused

from eulernet.campaigns.worker import trial
from eulernet.cli import compose
from eulernet.training import loggers
from eulernet.training.loggers import SCALARS


def scalars(run):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(run / "tensorboard"))
    events.Reload()
    return {tag: [(event.step, event.value) for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def test_tensorboard_has_what_metrics_csv_has(run_command):
    run_command("train", *SYNTHETIC, "train.max_epochs=2", "logger=tensorboard", "hydra.run.dir=run")
    ended = run_command("train", "resume=run", "train.max_epochs=4")
    assert ended.code == 0, ended.err
    with Path("run/metrics.csv").open() as stream:
        lines = list(csv.DictReader(stream))
    assert len(lines) == 4
    found = scalars(Path("run"))
    for tag, column in {"loss/train": "train_loss", "loss/valid": "valid_logloss", "auc/valid": "valid_auc"}.items():
        assert [step for step, _ in found[tag]] == [1, 2, 3, 4]
        assert all(abs(value - float(line[column])) < 1e-6 for (_, value), line in zip(found[tag], lines, strict=True))


def test_refusals(run_command, monkeypatch):
    assert_refused(run_command("train", *SYNTHETIC, "logger=tensorbord"), "did you mean 'tensorboard'?")
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    assert_refused(run_command("train", *SYNTHETIC, "logger=tensorboard"), "pip install 'eulernet[tensorboard]'")
    for name in ("mlflow", "wandb"):
        monkeypatch.setitem(sys.modules, name, None)
        assert_refused(run_command("train", *SYNTHETIC, f"logger={name}"), f"pip install 'eulernet[{name}]'")
    monkeypatch.setitem(sys.modules, "wandb", FakeWandb(key=None))
    monkeypatch.setenv("WANDB_MODE", "online")
    assert_refused(run_command("train", *SYNTHETIC, "logger=wandb"), "or set WANDB_MODE=offline")


class FakeMlflow(types.ModuleType):
    """What the logger uses of mlflow, in memory. It was tried with mlflow-skinny 3.17 and a file store, too."""

    class exceptions:
        class MlflowException(Exception):
            pass

    def __init__(self):
        super().__init__("mlflow")
        self.runs, self.reachable = {}, True

    def get_tracking_uri(self):
        return "http://127.0.0.1:1"

    def MlflowClient(self):
        if not self.reachable:
            raise self.exceptions.MlflowException("API request failed\nand more")
        return self

    def get_experiment_by_name(self, name):
        return types.SimpleNamespace(experiment_id="1") if self.runs else None

    def create_experiment(self, name):
        return "1"

    def create_run(self, experiment, run_name):
        number = f"run{len(self.runs)}"
        self.runs[number] = {}
        return types.SimpleNamespace(info=types.SimpleNamespace(run_id=number))

    def log_artifact(self, number, file):
        assert Path(file).is_file()

    def get_metric_history(self, number, key):
        return self.runs[number].get(key, [])

    def log_metric(self, number, key, value, step):
        self.runs[number].setdefault(key, []).append((step, value))

    def set_terminated(self, number):
        assert number in self.runs


def test_mlflow_has_what_metrics_csv_has(run_command, monkeypatch):
    mlflow = FakeMlflow()
    monkeypatch.setitem(sys.modules, "mlflow", mlflow)
    run_command("train", *SYNTHETIC, "train.max_epochs=2", "logger=mlflow", "hydra.run.dir=run")
    ended = run_command("train", "resume=run", "train.max_epochs=4")
    assert ended.code == 0, ended.err
    with Path("run/metrics.csv").open() as stream:
        lines = list(csv.DictReader(stream))
    (found,) = mlflow.runs.values()
    for key, column in SCALARS.items():
        assert found[key] == [(int(line["epoch"]), float(line[column])) for line in lines]
    mlflow.reachable = False
    ended = run_command("train", "resume=run", "train.max_epochs=5")
    assert ended.code == 1
    assert ended.err == "error: logger=mlflow: API request failed (MLFLOW_TRACKING_URI=http://127.0.0.1:1)"


class FakeWandb(types.ModuleType):
    """What the logger uses of wandb, in memory. It was tried with wandb 0.31 offline, too."""

    class errors:
        class Error(Exception):
            pass

    def __init__(self, key="key"):
        super().__init__("wandb")
        self.api, self.records, self.open = types.SimpleNamespace(api_key=key), {}, set()

    def Settings(self, **given):
        return given

    def init(self, project, id, resume, name, dir, reinit, config, settings):
        assert config["model"]["name"] == "eulernet"
        id = id or f"record{len(self.records)}"
        lines = self.records.setdefault(id, [])
        self.open.add(id)

        def log(figures, step):
            lines.append((step, figures))

        return types.SimpleNamespace(id=id, log=log, finish=lambda: self.open.remove(id))


def test_wandb_has_what_metrics_csv_has(run_command, monkeypatch):
    wandb = FakeWandb()
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    run_command("train", *SYNTHETIC, "train.max_epochs=2", "logger=wandb", "hydra.run.dir=run")
    assert wandb.open == set()
    ended = run_command("train", "resume=run", "train.max_epochs=4")
    assert ended.code == 0, ended.err
    with Path("run/metrics.csv").open() as stream:
        lines = list(csv.DictReader(stream))
    (found,) = wandb.records.values()
    assert [step for step, _ in found] == [1, 2, 3, 4]
    for key, column in SCALARS.items():
        assert [figures[key] for _, figures in found] == [float(line[column]) for line in lines]
    assert wandb.open == set()


def test_each_run_of_a_sweep_is_a_record_of_its_own(run_command, monkeypatch):
    wandb, mlflow = FakeWandb(), FakeMlflow()
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    monkeypatch.setitem(sys.modules, "mlflow", mlflow)
    ended = run_command("train", "-m", *SYNTHETIC, "train.max_epochs=1", "seed=1,2", "logger=wandb,mlflow")
    assert ended.code == 0, ended.err
    assert len(wandb.records) == len(mlflow.runs) == 2
    assert wandb.open == set()


def test_each_trial_of_a_search_is_a_record_of_its_own(monkeypatch, tmp_path):
    """Two trials, each as the worker of a search trains it."""
    mlflow = FakeMlflow()
    monkeypatch.setitem(sys.modules, "mlflow", mlflow)
    cfg = compose("train", [*SYNTHETIC, "train.max_epochs=2", "logger=mlflow", f"data_dir={tmp_path / 'data'}"])
    for name in ("0", "1"):
        (tmp_path / name).mkdir()
        trial(cfg, tmp_path / name, [], lambda epoch: None)
    assert [len(run["auc/valid"]) for run in mlflow.runs.values()] == [2, 2]
    assert compose("tune")["logger"] is None  # which every trial takes over


def test_a_logger_that_asks_for_a_package_has_an_extra_of_its_name():
    extras = (REPOSITORY / "pyproject.toml").read_text()
    asked = set(re.findall(r"pip install 'eulernet\[(\w+)\]'", inspect.getsource(loggers)))
    assert [name for name in sorted(asked) if f"\n{name} = [" not in extras] == []
