"""TensorBoard and MLflow have the figures of metrics.csv, each once, also after a resume."""

import csv
import inspect
import re
import sys
import types
from pathlib import Path

from conftest import REPOSITORY
from test_commands import SYNTHETIC, assert_refused

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
    monkeypatch.setitem(sys.modules, "mlflow", None)
    assert_refused(run_command("train", *SYNTHETIC, "logger=mlflow"), "pip install 'eulernet[mlflow]'")


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


def test_a_logger_that_asks_for_a_package_has_an_extra_of_its_name():
    extras = (REPOSITORY / "pyproject.toml").read_text()
    asked = set(re.findall(r"pip install 'eulernet\[(\w+)\]'", inspect.getsource(loggers)))
    assert [name for name in sorted(asked) if f"\n{name} = [" not in extras] == []
