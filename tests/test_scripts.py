"""The scripts run, and what they print is what they are for."""

import csv
import json
import os
import re
import statistics
import subprocess
import sys

import pytest
import torch
from conftest import REPOSITORY

from eulernet.campaigns.planned import finished


def run(script, *args, cwd, path=str(REPOSITORY)):
    env = {**os.environ, "PYTHONPATH": path}
    command = [sys.executable, str(next(REPOSITORY.glob(f"*/{script}"))), *args]
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, check=True).stdout


@pytest.mark.slow
def test_bench_measures_training_evaluation_and_start(tmp_path):
    overrides = ("dataset=synthetic", "dataset.rows=2000", "train.batch_size=100", "device=cpu")
    out = run("bench.py", "--threads=1", "--runs=1", "--steps=4", "--json=bench.json", *overrides, cwd=tmp_path)
    figures = json.loads((tmp_path / "bench.json").read_text())
    assert figures["batch_size"] == 100
    assert figures["threads"] == 1
    assert figures["training_samples_per_second"]["median"] > 100
    assert figures["evaluation_samples_per_second"]["median"] > 100
    assert 0.5 < figures["seconds_to_first_step"]["median"] < 60
    assert "seconds_to_first_step" in out
    assert {path.name for path in tmp_path.iterdir()} == {"bench.json", "data"}


def test_bench_says_where_a_step_goes(tmp_path):
    overrides = ("dataset=synthetic", "dataset.rows=2000", "train.batch_size=100", "device=cpu")
    out = run("bench.py", "--threads=1", "--steps=4", "--profile", "--json=profile.json", *overrides, cwd=tmp_path)
    figures = json.loads((tmp_path / "profile.json").read_text())
    step, limits = figures["milliseconds"], figures["limits"]
    assert min(step["products"], step["dropout, random"], step["embedding"], step["optimizer"]) > 0
    # Two products [B, F D] x [F D, F D] forward, their two gradients each, and the small ones of orders and head.
    mix = 2 * 100 * (6 * 16) ** 2 * 2 * 3 / 1e9
    assert mix < limits["gflop_a_step"] < 1.25 * mix
    assert limits["fp32"]["best_gflops"] > 1
    assert "of the limit reached" in out


@pytest.mark.slow
def test_the_gpu_kit_passes_where_the_device_is_the_cpu(tmp_path):
    own = f"{tmp_path}{os.pathsep}{REPOSITORY}"  # so that it is not forked: polars hung once in it, in a forked process
    out = run("gpu.py", "--device=cpu", "--only=checks", "--json=gpu.json", cwd=tmp_path, path=own)
    checks = json.loads((tmp_path / "gpu.json").read_text())["checks"]
    assert len(checks) == out.count("\nok   ") == 11
    assert {check["name"]: check["difference"] for check in checks}["resume"] == 0


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a card")
def test_the_gpu_kit_says_that_there_is_no_card(tmp_path):
    with pytest.raises(subprocess.CalledProcessError) as ended:
        run("gpu.py", cwd=tmp_path)
    assert ended.value.stderr == "error: there is no CUDA device here; --device cpu runs what needs none\n"


@pytest.mark.slow
def test_peers_are_measured_in_turn(tmp_path):
    options = ("--settings=movielens", "--batch-sizes=256", "--thread-counts=1", "--seconds=.05", "--runs=1")
    variant = ("--starts=0", "--ours-options=small: model.embedding_dim=4", "--json=t.json")
    out = run("bench_peers.py", "train", "--peers=ours", *options, *variant, cwd=tmp_path)
    (cell,) = json.loads((tmp_path / "t.json").read_text())["cells"]
    assert list(cell["systems"]) == ["ours", "ours, small"]
    for result in cell["systems"].values():
        assert result["train_samples_per_second"]["median"] > 100
        assert result["peak_mib"] > 100
    assert "| ours, small |" in out


def test_documents_have_the_tables_that_were_published(monkeypatch):
    monkeypatch.syspath_prepend(REPOSITORY / "scripts")
    import table

    for document in table.DOCUMENTS:
        places = list(table.PLACE.finditer((REPOSITORY / document).read_text()))
        assert places, document
        for place in places:
            assert place["text"] == table.table(place), f"{document}: python scripts/table.py: {place['name']}"


def test_a_place_takes_the_rows_and_columns_that_it_names(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(REPOSITORY / "scripts")
    import table

    (tmp_path / "results" / "tables").mkdir(parents=True)
    (tmp_path / "results/tables/toy.md").write_text(
        "| a | b | c |\n| --- | --: | --: |\n| `x` | 1 | 2 |\n| `y` | 3 | 4 |\n"
    )
    monkeypatch.setattr(table, "ROOT", tmp_path)
    place = table.PLACE.search("<!-- table: toy, first 1 rows, columns 3 1 -->\nold\n<!-- end of table -->")
    assert table.table(place) == "| c | a |\n| --: | --- |\n| 2 | `x` |\n"


def test_published_tables_are_those_of_the_committed_reports():
    with (REPOSITORY / "results" / "tables" / "overall.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) > 20
    for row in rows:
        folder = REPOSITORY / "results" / row["dataset"] / row["setting"]
        reports = [json.loads((folder / seed / "report.json").read_text()) for seed in row["seeds"].split()]
        for split, metric in (("test", "auc"), ("test", "logloss"), ("valid", "auc")):
            mean = statistics.mean(report[split][metric] for report in reports)
            assert float(row[f"{split}_{metric}"]) == pytest.approx(mean, abs=1e-12)


def test_tables_of_equal_effort_are_those_of_the_committed_reports():
    tables = sorted((REPOSITORY / "results" / "tables").glob("equal_*.csv"))
    for file in tables:
        with file.open(newline="") as lines:
            rows = list(csv.DictReader(lines))
        assert len(rows) >= 6
        for row in rows:
            table = re.match("equal_[a-z]+", file.name)[0]
            places = [
                REPOSITORY / "results" / name / row["dataset"] / row["setting"] for name in (table, "equal_effort")
            ]
            folder = next(place for place in places if place.joinpath("1/report.json").is_file())  # a run lies once
            reports = [json.loads((folder / seed / "report.json").read_text()) for seed in row["seeds"].split()]
            for metric in ("auc", "logloss", "expected_calibration_error"):
                mean = statistics.mean(report["test"][metric] for report in reports)
                assert float(row[f"test_{metric}"]) == pytest.approx(mean, abs=1e-12)


def test_committed_reports_are_whole_and_name_a_clean_commit():
    reports = sorted((REPOSITORY / "results").rglob("report.json"))
    assert len(finished([REPOSITORY / "results"])) == len(reports) > 0  # as reuse=[results] reads them
    for file in reports:
        report, (dataset, _, seed) = json.loads(file.read_text()), file.parts[-4:-1]
        assert report["dataset"]["name"] == dataset
        assert str(report["seed"]) == seed
        for commit in report["commit"].split(", then "):  # of a run that was resumed by a newer one, each
            assert len(commit) == 40  # a "+" behind it would say that the checkout had changes
        assert 0.5 < report["test"]["auc"] < 1
