"""A table of equal effort: what is searched, chosen, tested and published, once; and after a kill the same."""

import csv
import json
import re
import shutil
import signal
import statistics
import subprocess
import sys
import time
from contextlib import ExitStack

import pytest
import yaml

from eulernet.campaigns.equal_table import Result, notes
from eulernet.campaigns.rows import protocol_of
from eulernet.errors import UserError
from eulernet.files import locked
from eulernet.runs.groups import Setting
from eulernet.runs.run import Run

TABLE = """
datasets: [synthetic]
seeds: 2
first_seed: 1
search:
  {trials: 3, budget: null, random: 1, seed: 0, keep: 0.5, warmup: 20, top: 2, repeats: [6],
   fixed: [train.batch_size=400], pairs: {1: [], 2: [dataset.data_seed=9]}}
common:
  - dataset.rows=2000
  - dataset.field_sizes=[9,9]
  - "dataset.interactions=[{{f0:1,f1:1}}]"
  - train.batch_size=500
  - train.max_epochs=1
settings:
  one: [model=fm, model.embedding_dim=2]
  two: [model=fm, model.embedding_dim=2]
  linear: [model=lr]
"""
FEW = ("models=[one,linear]", "device=cpu")


def table(folder):
    (folder / "conf" / "table").mkdir(parents=True)
    (folder / "conf" / "table" / "toy.yaml").write_text(TABLE)
    return folder


def read(file):
    with file.open(newline="") as lines:
        return list(csv.DictReader(lines))


def trained(folder):
    return {file: file.stat().st_mtime_ns for name in ("report.json", "metrics.csv") for file in folder.rglob(name)}


@pytest.fixture(scope="module")
def campaign(in_process, tmp_path_factory):
    """A campaign by one worker that nothing disturbed."""
    folder = table(tmp_path_factory.mktemp("equal"))
    return folder, in_process(folder, *FEW, "out=out", "publish=paper")


def test_every_row_gets_the_same(campaign):
    folder, done = campaign
    assert done.code == 0, done.err
    for row, keys in (("one", "train.lr train.weight_decay train.ema"), ("linear", "train.lr")):
        trials, again = (read(folder / "out/synthetic" / row / name / "trials.csv") for name in ("search", "repeats"))
        assert len(trials) == 3
        assert {trial["seed"] for trial in trials} == {"0"}
        assert trials[0].keys() >= set(keys.split())
        assert all(0 < float(trial["core_seconds"]) < 100 for trial in trials)
        best = sorted(trials, key=lambda trial: -float(trial["valid_auc"]))[:2]
        assert [(one["of"], one["seed"]) for one in again] == [(one["trial"], "6") for one in best]
    shipped = read(folder / "out/synthetic/one/search/trials.csv")[0]
    assert [shipped[key] for key in ("train.lr", "train.weight_decay", "train.ema")] == ["0.001", "1e-05", "0.0"]


def test_the_shipped_setting_is_tried_as_it_is_and_the_others_share_what_is_fixed(campaign):
    folder, _ = campaign
    for number, batch in enumerate((500, 400, 400)):
        config = (folder / f"out/synthetic/one/search/trials/{number}/config.yaml").read_text()
        assert f"batch_size: {batch}\n" in config


def test_the_best_mean_is_chosen_and_tested_with_a_split_for_each_seed(campaign):
    folder, _ = campaign
    chosen = json.loads((folder / "out/synthetic/one/settings.json").read_text())
    means = [statistics.fmean(one["valid_auc"]) for one in chosen["repeated"]]
    first = chosen["repeated"][means.index(max(means))]
    assert [one["mean"] for one in chosen["repeated"]] == pytest.approx(means)
    assert (first["trial"], len(first["valid_auc"])) == (chosen["trial"], 2)
    (trial,) = [t for t in read(folder / "out/synthetic/one/search/trials.csv") if int(t["trial"]) == chosen["trial"]]
    assert first["valid_auc"][0] == float(trial["valid_auc"])
    reports = [Run.open(file.parent).report for file in folder.glob("out/synthetic/one.*/*/report.json")]
    seen = {report["seed"]: report["config"]["dataset"]["data_seed"] for report in reports}
    assert seen.keys() == {1, 2}
    assert seen[2] == 9 != seen[1]
    assert {report["config"]["train"]["lr"] for report in reports} == {float(trial["train.lr"])}
    written = (folder / "out/synthetic/one/settings.json").stat().st_mtime_ns
    assert all(file.stat().st_mtime_ns > written for file in folder.glob("out/synthetic/one.*/*/report.json"))


def test_a_row_is_done_before_the_next_begins(campaign):
    folder, _ = campaign
    last = max(file.stat().st_mtime_ns for file in folder.glob("out/synthetic/one.*/*/report.json"))
    assert last < (folder / "out/synthetic/linear/search/trials/0/metrics.csv").stat().st_mtime_ns


def test_what_the_table_says_and_what_is_published(campaign):
    folder, done = campaign
    assert "toy: 2 of 2 rows, 4 of 4 final runs" in done.out
    assert "| `linear` | 1 | " in done.out
    assert " | 3 / 0 / 0 | " in done.out
    (line,) = [line for line in read(folder / "out/tables/toy.csv") if line["setting"] == "one"]
    aucs = [json.loads(file.read_text())["test"]["auc"] for file in folder.glob("out/synthetic/one.*/*/report.json")]
    assert float(line["test_auc"]) == pytest.approx(statistics.fmean(aucs))
    assert float(line["test_auc_std"]) == pytest.approx(statistics.stdev(aucs))
    values = [float(trial["valid_auc"]) for trial in read(folder / "out/synthetic/one/search/trials.csv")]
    assert float(line["valid_auc_after_1"]) == pytest.approx(statistics.fmean(values))
    published = {str(file.relative_to(folder / "paper")) for file in (folder / "paper").rglob("*.*")}
    of_row = {"trials.csv", "repeats.csv", "settings.json", "1/report.json", "2/metrics.csv"}
    assert published >= {f"toy/synthetic/one/{name}" for name in of_row}
    assert published >= {"toy/synthetic/linear_shipped/1/report.json", "tables/toy.md"}
    assert not any(str(folder) in file.read_text() for file in (folder / "paper").rglob("*.json"))


def test_a_row_whose_first_trial_took_longer_than_the_cheapest_search_has_no_best_within_it():
    def row(name, *seconds_and_aucs):
        lines = [{"state": "complete" if auc else "fail", "valid_auc": auc, "core_seconds": seconds}
                 for seconds, auc in seconds_and_aucs]  # fmt: skip
        none = Setting(name, [])
        return Result(name, {"protocol": {"top": 1}}, lines, none, none)

    rows = [row("fm", (3, "0.7"), (2, "0.71")), row("dnn", (4, "0.72"), (9, "0.8")), row("cin", (6, "0.9"))]
    assert notes(rows)[-1].endswith(
        "within 5 core-seconds, what the cheapest search took: dnn .7200, fm .7100, cin none yet."
    )
    assert notes([*rows, row("lr", (1, ""))])[-1].endswith(
        "within 1 core-seconds, what the cheapest search took: lr none yet, fm none yet, dnn none yet, cin none yet."
    )


def test_nothing_is_repeated(in_process, campaign):
    folder, _ = campaign
    before = trained(folder / "out")
    assert in_process(folder, *FEW, "out=out", "jobs=2").code == 0
    assert trained(folder / "out") == before
    changed = in_process(folder, *FEW, "out=out", "trials=4")
    assert changed.code == 1
    assert "settings.json was chosen with other trials; give another out=" in changed.err
    assert trained(folder / "out") == before
    changed = in_process(folder, *FEW, "out=out", "missing=skip", 'overrides=["dataset.rows=2100"]')
    assert changed.code == 1
    assert "settings.json was chosen with other default; give another out=" in changed.err
    assert trained(folder / "out") == before


def test_what_was_searched_elsewhere_gives_the_same_table_and_nothing_is_trained(in_process, campaign, tmp_path):
    folder, _ = campaign
    table(tmp_path)
    done = in_process(tmp_path, *FEW, "out=out", f"reuse=[{folder / 'paper'}]", "missing=skip", "publish=paper")
    assert done.code == 0, done.err
    for name in ("toy.md", "toy.csv"):
        assert (tmp_path / "out/tables" / name).read_bytes() == (folder / "out/tables" / name).read_bytes()
    files = {file.relative_to(folder) for file in (folder / "paper").rglob("*.*")}
    assert {file.relative_to(tmp_path) for file in (tmp_path / "paper").rglob("*.*")} == files
    assert trained(tmp_path / "out") == {}


def test_the_folder_of_another_campaign_is_taken_like_a_published_one(in_process, campaign, tmp_path):
    folder, _ = campaign
    table(tmp_path)
    done = in_process(tmp_path, "models=[linear]", "out=out", f"reuse=[{folder / 'out'}]", "missing=skip")
    assert "toy: 1 of 1 rows, 2 of 2 final runs" in done.out
    for name in ("settings.json", "search/trials.csv", "repeats/trials.csv"):
        copies = [one / "out/synthetic/linear" / name for one in (tmp_path, folder)]
        assert copies[0].read_bytes() == copies[1].read_bytes()


def test_what_answered_another_question_is_not_taken(in_process, campaign, tmp_path):
    folder, _ = campaign
    table(tmp_path)
    reuse = f"reuse=[{folder / 'paper'}]"
    done = in_process(tmp_path, "models=[one]", "out=out", reuse, "missing=skip", "trials=4")
    assert (done.code, "one/settings.json was chosen with other trials, not taken" in done.err + done.out) == (1, True)
    done = in_process(tmp_path, "models=[two]", "out=out", reuse, "missing=skip")
    assert "toy: no row has its setting yet; missing=train searches, reuse=[results] takes what is" in done.err
    assert not list((tmp_path / "out").rglob("settings.json"))
    (tmp_path / "cut/synthetic/one").mkdir(parents=True)
    (tmp_path / "cut/synthetic/one/settings.json").write_text('{"row": "o')
    done = in_process(tmp_path, "models=[one]", "out=out", "reuse=[cut]", "missing=skip")
    assert (done.code, done.err.count("\n")) == (1, 1)
    assert "cut/synthetic/one/settings.json cannot be read" in done.err
    shutil.copy(folder / "paper/toy/synthetic/one/settings.json", tmp_path / "cut/synthetic/one")
    done = in_process(tmp_path, "models=[one]", "out=half", "reuse=[cut]", "missing=skip")
    assert (done.code, done.err.count("\n")) == (1, 1)
    assert "there is no cut/synthetic/one/trials.csv" in done.err
    assert not list(tmp_path.glob("half/synthetic/one/*"))


@pytest.mark.slow  # that a killed search goes on, and killed runs do, test_tune and test_reproduce say
def test_killed_twice_it_ends_as_if_nothing_had_been(in_process, campaign, tmp_path):
    folder, _ = campaign
    table(tmp_path)
    args = [sys.executable, "-m", "eulernet.reproduce", f"--config-dir={tmp_path}/conf", "table=toy", *FEW, "out=out"]
    for until in ("one/search/trials/1/metrics.csv", "one/repeats/trials/1/metrics.csv"):
        process = subprocess.Popen(args, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while not (tmp_path / "out/synthetic" / until).exists():
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.wait()
    done = in_process(tmp_path, *FEW, "out=out")
    assert done.code == 0, done.err
    timed = ("seconds", "core_seconds", "trial", "of", "folder")  # a trial that was begun twice has two numbers
    for name in ("search", "repeats"):
        one, two = ([{key: value for key, value in line.items() if key not in timed} for line in read(place / file)]
                    for place in (folder, tmp_path) for file in [f"out/synthetic/one/{name}/trials.csv"])  # fmt: skip
        assert one == two
    ours, theirs = (read(place / "out/tables/toy.csv") for place in (tmp_path, folder))
    same = ("setting", "group", "test_auc", "shipped_test_auc", "valid_auc_after_1", "overrides", "complete")
    assert [[line[key] for key in same] for line in ours] == [[line[key] for key in same] for line in theirs]


def test_one_model_under_two_names_is_searched_differently_and_shipped_alike(in_process, campaign):
    folder, _ = campaign
    done = in_process(folder, "models=[one,two]", "device=cpu", "out=out", "missing=train", "jobs=2")
    assert done.code == 0, done.err
    one, two = (read(folder / f"out/synthetic/{name}/search/trials.csv") for name in ("one", "two"))
    assert one[0]["valid_auc"] == two[0]["valid_auc"]  # the shipped setting
    assert one[1]["train.lr"] != two[1]["train.lr"]
    lines = read(folder / "out/tables/toy.csv")
    assert lines[0]["shipped_test_auc"] == lines[1]["shipped_test_auc"]


@pytest.mark.slow  # test_pool says the same of the runs
def test_what_another_campaign_has_at_work_is_passed_over(in_process, tmp_path, monkeypatch):
    (tmp_path / "out/synthetic/one").mkdir(parents=True)
    held = ExitStack()
    held.enter_context(locked(tmp_path / "out/synthetic/one"))
    monkeypatch.setattr("eulernet.campaigns.equal.time.sleep", lambda _: held.close())
    table(tmp_path)
    done = in_process(tmp_path, *FEW, "trials=1", "seeds=1", "out=out")
    assert done.code == 0, done.err
    begun = [line.split(" on ")[0] for line in done.out.splitlines() if ": searching " in line]
    assert begun == ["linear", "one"]


def test_a_budget_in_core_seconds_ends_the_search(in_process, tmp_path):
    table(tmp_path)
    done = in_process(tmp_path, "models=one", "device=cpu", "seeds=1", "budget=1e-3", "out=out")
    assert done.code == 0, done.err
    assert len(read(tmp_path / "out/synthetic/one/search/trials.csv")) == 1  # it began within the budget
    assert "core-seconds" in done.out


def test_a_row_that_fails_does_not_end_the_others(in_process, tmp_path):
    table(tmp_path)
    bad = TABLE.replace("  one: [model=fm, model.embedding_dim=2]", "  one: [model=fm, model.embedding_dim=0]")
    (tmp_path / "conf/table/toy.yaml").write_text(bad)
    done = in_process(tmp_path, *FEW, "trials=1", "seeds=1", "out=out")
    assert done.code == 1
    assert "1 rows or runs failed; one on synthetic: model.embedding_dim must be at least 1, got 0" in done.err
    assert "toy: 1 of 2 rows, 1 of 2 final runs" in done.out


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"trials": 0}, "trials=0: give a whole number, 1 or more"),
        ({"budget": -1}, "budget=-1.0: give core-seconds"),
        ({"search": {"trials": None}}, "a search without an end: give trials= or budget="),
        ({"search": {"repeats": [0, 6]}}, "table.search.repeats has 0, the seed of the search itself"),
        ({"search": {"trails": 3}}, "unknown key table.search.trails; did you mean 'trials'?"),
        ({"seeds": 3}, "table.search.pairs has no seed 3; seeds= may be of 1, 2"),
    ],
)
def test_a_protocol_that_cannot_be_meant(changes, told):
    content = yaml.safe_load(TABLE)
    content["search"] |= changes.get("search", {})
    cfg = {"table": content, "trials": None, "budget": None, "seeds": 2}
    assert protocol_of(cfg | {"table": yaml.safe_load(TABLE)}).trials == 3
    with pytest.raises(UserError, match=re.escape(told)):
        protocol_of(cfg | {key: value for key, value in changes.items() if key != "search"})


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (["missing=skip", "out=new"], "toy: no row has its setting yet"),
        (["reuse=[nowhere]"], "reuse=nowhere: no such folder"),
        (["models=[tow]"], "unknown models 'tow'; did you mean 'two'?"),
        (["table=overall", "trials=3"], "trials=3: this table searches nothing; table=equal_effort does"),
    ],
)
def test_mistakes_end_with_one_line(in_process, campaign, args, told):
    folder, _ = campaign
    done = in_process(folder, *args)
    assert done.code == 1
    assert told in done.err
    assert len(done.err.strip().splitlines()) == 1
