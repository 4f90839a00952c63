"""What a run shows: one header, a line an epoch that fits a terminal, the best marked; bars where people look."""

import io
import logging
import sys
import types
from dataclasses import replace

import pytest

from eulernet.bars import bar
from eulernet.cli.screen import Screen
from eulernet.python.fit import showing
from eulernet.training import display
from eulernet.training.display import EpochTable, clock, closing
from eulernet.training.history import Epoch

AUCS = [0.7, 0.8, 0.79, 0.785, 0.9]


@pytest.fixture
def lines(monkeypatch, caplog):
    """The table of five epochs that take ten seconds each, with a patience of 3 and at most 6 epochs."""
    caplog.set_level(logging.INFO)
    now = [100.0]
    monkeypatch.setattr(display.time, "monotonic", lambda: now[0])
    config = types.SimpleNamespace(patience=3, max_epochs=6, monitor="auc")
    table = EpochTable(config, done=0)
    history = []
    for number, auc in enumerate(AUCS, 1):
        history.append(Epoch(number, 0.61234, auc, 0.5, 1e-2, 1.46, 12_345_678.9))
        now[0] += 10
        table.show(history)
    return caplog.records


def test_the_table_has_one_header_and_fits_a_terminal(lines):
    text = [record.getMessage() for record in lines]
    assert text[0].split() == ["epoch", "train", "valid", "auc", "logloss", "lr", "seconds", "rows/s", "left"]
    assert len(text) == 1 + len(AUCS)
    assert max(map(len, text)) <= 78
    assert text[1].split()[:7] == ["1", "0.61234", "0.700000", "0.500000", "0.01", "1.5", "12,345,679"]


def test_each_best_epoch_so_far_is_marked(lines):
    assert [record.getMessage().endswith(" *") for record in lines[1:]] == [True, True, False, False, True]
    assert [record.best for record in lines[1:]] == [True, True, False, False, True]


def test_the_time_left_is_that_until_training_stops_if_no_better_epoch_comes(lines):
    """Three epochs of patience after each best one, two after one in vain; the fifth of at most six leaves one."""
    assert [record.getMessage().split()[7] for record in lines[1:]] == ["0:30", "0:30", "0:20", "0:10", "0:10"]


def test_a_run_that_goes_on_counts_its_own_epochs_alone(monkeypatch, caplog):
    caplog.set_level(logging.INFO)
    now = [0.0]
    monkeypatch.setattr(display.time, "monotonic", lambda: now[0])
    table = EpochTable(types.SimpleNamespace(patience=9, max_epochs=4, monitor="auc"), done=2)
    now[0] = 7.0
    one = Epoch(1, 0.6, 0.7, 0.5, 1e-2, 1.0, 1.0)
    table.show([one, replace(one, epoch=2), replace(one, epoch=3)])
    assert caplog.messages[-1].split()[7] == "0:07"


@pytest.mark.parametrize(("seconds", "text"), [(0.4, "0:00"), (65, "1:05"), (3599.6, "1:00:00"), (36_005, "10:00:05")])
def test_a_time_is_read_as_a_clock(seconds, text):
    assert clock(seconds) == text


def test_a_run_closes_with_its_figures_its_folder_and_what_to_type_next(tmp_path):
    report = {"test": {"auc": 0.8706, "logloss": 0.361}, "best_epoch": 16, "epochs": 22}
    test, run, then = closing(report, tmp_path)
    assert test == "test  auc=0.870600  logloss=0.361000  (best epoch 16 of 22)"
    assert run == f"run   {tmp_path}"
    assert then.startswith("next  ")
    assert then.endswith(f"report run={tmp_path}")
    learned = closing({**report, "learned": {"auc": 0.9731}}, tmp_path)[0]
    assert learned.endswith("(best epoch 16 of 22, 97.3% of the learnable AUC)")


@pytest.mark.parametrize(
    ("terminal", "env", "green"),
    [(True, {}, True), (False, {}, False), (True, {"NO_COLOR": "1"}, False), (True, {"TERM": "dumb"}, False)],
)
def test_the_best_epoch_is_green_on_a_terminal_alone(monkeypatch, terminal, env, green):
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "stdout", types.SimpleNamespace(isatty=lambda: terminal))
    record = logging.makeLogRecord({"msg": "a line", "best": True})
    other = logging.makeLogRecord({"msg": "a line"})
    assert Screen("%(message)s").format(record) == ("\033[32ma line\033[0m" if green else "a line")
    assert Screen("%(message)s").format(other) == "a line"


def test_a_bar_is_shown_in_notebooks_and_not_in_files(monkeypatch):
    monkeypatch.delitem(sys.modules, "ipykernel", raising=False)
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    with bar("rows", "row", 10) as shown:
        assert shown.disable
    monkeypatch.setitem(sys.modules, "ipykernel", types.ModuleType("ipykernel"))
    with bar("rows", "row", 10) as shown:
        assert not shown.disable
    with bar("rows", "row", 10, shown=False) as hidden:
        assert hidden.disable
    with showing(verbose=False), bar("rows", "row", 10) as hidden:  # as fit and CTRClassifier do
        assert hidden.disable
    with bar("rows", "row", 10) as shown:
        assert not shown.disable
