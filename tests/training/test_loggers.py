"""TensorBoard has the figures of metrics.csv, each once, also after a resume."""

import csv
import sys
from pathlib import Path

from test_commands import SYNTHETIC, assert_refused


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
