"""What happens around the runs that Hydra starts."""

import csv
import json
import os
import shutil
from pathlib import Path

from omegaconf import OmegaConf

from eulernet.cli import callbacks, folders


def report(folder, auc):
    figures = {"auc": auc, "logloss": 0.5}
    folder.mkdir()
    line = {"overrides": [f"seed={folder.name}"], "valid": figures, "test": figures, "best_epoch": 1, "seconds": 1.0}
    (folder / "report.json").write_text(json.dumps(line))


def test_the_table_of_a_sweep_has_its_own_runs_whatever_the_clock_says(tmp_path):
    """The clock is set back an hour amidst the sweep, and another sweep's run lies in the folder, from the future."""
    config, table = OmegaConf.create({"hydra": {"sweep": {"dir": str(tmp_path)}}}), callbacks.SweepTable()
    report(tmp_path / "0", 0.6)
    os.utime(tmp_path / "0" / "report.json", (2**32, 2**32))
    table.on_multirun_start(config)
    report(tmp_path / "1", 0.7)
    os.utime(tmp_path / "1" / "report.json", (1, 1))
    table.on_multirun_end(config)
    with (tmp_path / "results.csv").open() as stream:
        assert [(row["run"], row["test_auc"]) for row in csv.DictReader(stream)] == [("1", "0.7")]


def test_two_runs_refused_at_once_both_take_their_folders_back(tmp_path, monkeypatch):
    """The other process removes a folder above ours between our removals."""
    run = tmp_path / "outputs" / "model" / "run"
    monkeypatch.setattr(folders, "_made", [run, *run.parents[:2]])
    run.mkdir(parents=True)
    remove = shutil.rmtree

    def rmtree(folder):
        remove(folder)
        Path(folder).parent.rmdir()

    monkeypatch.setattr(shutil, "rmtree", rmtree)
    folders.discard_unless_started(run, "last.ckpt")
