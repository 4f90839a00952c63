"""The command from a run folder to its page: what is on it, what is said when something is missing, how it refuses."""

import json
import re
import shutil
from pathlib import Path
from urllib.parse import unquote

import pytest
from conftest import REPOSITORY
from pages import assert_whole
from test_commands import SYNTHETIC

from eulernet.runs.groups import name_settings
from eulernet.runs.run import Run

ONE = (*SYNTHETIC, "train.max_epochs=2")


def page_of(ended):
    assert ended.code == 0, ended.err
    file = re.search(r"^report of .*: (.+)$", ended.out, re.MULTILINE)[1]
    page = Path(file).read_text()
    assert_whole(page)
    for link in re.findall(r'href="([^#:"]+)"', page):  # to runs
        assert (Path(file).parent / unquote(link)).exists(), link
    return page


def headings(page):
    return re.findall(r"<h[12][^>]*>(.*?)</h", page)


def test_the_page_of_a_run(run_command):
    run_command("train", *ONE, "hydra.run.dir=run")
    report = json.loads(Path("run/report.json").read_text())
    page = page_of(run_command("report", "run=run", "resamples=20"))
    assert headings(page) == [
        "eulernet", "Learning", "Ranking", "Calibration", "Where it ranks well", "What the fields are worth",
        "Learned orders", "Settings",
    ]  # fmt: skip
    for figure in (f"{report['test']['auc']:.5f}", f"{report['test']['logloss']:.5f}", f"{report['parameters']:,}"):
        assert figure in page
    assert "their 95 % intervals, from 20 resamples" in page
    assert "python -m eulernet.train dataset=synthetic" in page
    assert "not of one run" not in page
    assert Path("run/report.html").stat().st_size < 200_000


LOG = "user_id,tags,price,click\n" + "".join(
    f"u{i % 7},{'<script>alert(1)</script>|b|c' if i % 3 else 'b'},{i / 3},{i % 5 % 2}\n" for i in range(400)
)
TABLE = (
    "dataset=table", "raw=log.csv", "train.max_epochs=1", "device=cpu", "model=lr",
    "dataset.fields={tags: {kind: bag}, price: number}",
)  # fmt: skip


def test_users_bags_numbers_and_values_that_look_like_html(run_command):
    Path("log.csv").write_text(LOG)
    assert run_command("train", *TABLE, "hydra.run.dir=run").code == 0
    page = page_of(run_command("report", "run=run", "resamples=0"))
    assert "Within users" in headings(page)
    assert "Learned orders" not in headings(page)
    assert "&lt;script" in page
    assert "their 95 % intervals" not in page
    assert page_of(run_command("report", "run=run", "resamples=0", "user=tags")).count("one tags") == 1
    refused(run_command("report", "run=run", "user=usr"), "user=usr: no such field; did you mean 'user_id'?")


def test_what_cannot_be_shown_is_said(run_command):
    run_command("train", *ONE, "hydra.run.dir=run")
    shutil.move("data", "elsewhere")
    page = page_of(run_command("report", "run=run"))
    assert re.search(
        r"Left out: they take the scores of the test rows, and there is no store data/synthetic/\w+;", page
    )
    assert "Learned orders" in headings(page)
    assert "Left out" not in page_of(run_command("report", "run=run", "data_dir=elsewhere"))
    Path("run/model.safetensors").write_bytes(b"?")
    page = page_of(run_command("report", "run=run", "data_dir=elsewhere"))
    assert page.count("run/model.safetensors cannot be read") == 2
    Path("run/model.safetensors").unlink()
    assert page_of(run_command("report", "run=run")).count("there is no run/model.safetensors") == 2


def test_weights_of_another_run_are_noticed(run_command):
    for seed in (1, 2):
        run_command("train", *ONE, f"seed={seed}", f"hydra.run.dir=run{seed}")
    shutil.copy("run1/model.safetensors", "run2/model.safetensors")
    assert "They are not of one run" in page_of(run_command("report", "run=run2"))


def test_the_page_of_many_runs(run_command):
    for seed in (1, 2):
        run_command("train", *ONE, f"seed={seed}", f"hydra.run.dir=runs/euler/{seed}")
        run_command("train", *ONE, "model=fm", f"seed={seed}", f"hydra.run.dir=runs/fm/{seed}")
    run_command("train", *ONE, "train.lr=0.02", "hydra.run.dir=runs/other")
    Path("runs/other/report.json").unlink()
    Path("runs/fm/2/report.html").touch()
    page = page_of(run_command("report", "run=runs"))
    assert "4 runs, 2 settings. Not finished, and left out: runs/other." in page
    for link in ("euler/1", "euler/2", "fm/1", "fm/2/report.html"):
        assert f'href="{link}">{link.split("/")[1]}</a>' in page
    assert headings(page) == [
        "Comparison of runs", "Results", "Figures of every seed", "Learning", "Ranking and calibration",
    ]  # fmt: skip
    aucs = [
        json.loads(Path(f"runs/{m}/{s}/report.json").read_text())["test"]["auc"] for m in ("euler", "fm") for s in "12"
    ]
    for pair in (aucs[:2], aucs[2:]):
        assert f"{sum(pair) / 2:.5f} ± " in page
    again = page_of(run_command("report", "run=[runs/euler,runs/fm/1,runs/fm]", "output=deep/er/page.html"))
    assert "4 runs, 2 settings." in again
    assert 'href="../../runs/euler/1"' in again
    Path("runs/a_copy").mkdir()
    for file in ("report.json", "metrics.csv"):
        shutil.copy(f"runs/euler/1/{file}", "runs/a_copy")
    ended = run_command("report", "run=runs", "output=page.html")
    assert "1 of 5 are runs that are there already, and count once" in ended.out
    assert "4 runs, 2 settings." in page_of(ended)
    assert "not scored" not in Path("page.html").read_text()  # of the two the one with weights was taken
    run_command("train", *ONE, "dataset.data_seed=5", "hydra.run.dir=runs/another_store")
    page = page_of(run_command("report", "run=runs"))
    assert headings(page).count("Results") == 2


def test_runs_without_a_test_split_are_left_out(run_command):
    """Those of a backtest lie beside others in outputs/."""
    Path("log.csv").write_text(LOG)
    assert run_command("train", *TABLE, "hydra.run.dir=all/one").code == 0
    assert run_command("train", *TABLE, "hydra.run.dir=all/two", "dataset.ratios=[0.9,0.1,0]").code == 0
    ended = run_command("report", "run=all", "resamples=0")
    assert "left out, without a test split: 1 of 2 runs" in ended.out
    assert "Learning" in headings(page_of(ended))
    shutil.copytree("all/two", "none/two")
    assert run_command("train", *TABLE, "hydra.run.dir=none/one", "dataset.ratios=[0.8,0.2,0]").code == 0
    refused(run_command("report", "run=none"), "none of these 2 has a test split")


def test_no_two_settings_have_one_name():
    def run(model, tuned=None, **changes):
        config = {"model": {"name": model, "embedding_dim": 16}, "train": {"max_epochs": 9, **changes}}
        return Run(Path(), {"model": model, "config": config, "overrides": [f"tuned=set/{tuned}"] if tuned else []}, {})

    assert name_settings([run("dnn", "averaged"), run("fm", "averaged"), run("fm", lr=1), run("fm")]) == [
        "dnn averaged", "fm averaged", "fm lr=1", "fm",
    ]  # fmt: skip
    assert name_settings([run("fm"), run("fm")]) == ["fm", "fm (2)"]  # of two stores


def test_committed_reports_have_a_page_without_weights(run_command):
    results = REPOSITORY / "results" / "movielens_1m"
    page = page_of(run_command("report", f"run={results}", "output=page.html"))
    assert "eulernet_<wbr>averaged" in page
    unscored = re.findall(r">(\d+) of \d+ runs not scored</h2>", page)  # a part for each store
    assert sum(map(int, unscored)) == len(list(results.glob("*/*/report.json")))


def refused(ended, message):
    assert ended.code == 1
    (line,) = [line for line in ended.err.splitlines() if line.strip()]
    assert line.startswith("error: ")
    assert message in line


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ([], "run=: give the folder of a run, or of many"),
        (["run="], "run=: give the folder of a run, or of many"),
        (["run=[]"], "run=[]: give the folder"),
        (["run=nowhere"], "run=nowhere: no such folder"),
        (["run=empty"], "run=empty: no report.json there or below"),
        (["run=empty", "resamples=-1"], "resamples=-1: should be a whole number"),
        (["run=empty", "output=empty"], "output=empty: that is a folder"),
        (["run=empty", "device=gpu"], "device=gpu: no such device"),
        (["runs=empty"], "unknown key 'runs'; did you mean 'run'?"),
    ],
)
def test_refusals(run_command, args, message):
    Path("empty").mkdir()
    refused(run_command("report", *args), message)
    assert [path.name for path in Path.cwd().rglob("*")] == ["empty"]


def test_refuses_damaged_and_unfinished_runs(run_command):
    run_command("train", *ONE, "hydra.run.dir=run")
    whole, lines = Path("run/report.json").read_text(), Path("run/metrics.csv").read_text()
    Path("run/report.json").unlink()
    refused(run_command("report", "run=run"), "run in run has not finished; python -m eulernet.train resume=run")
    for damage, message in [
        (whole[:100], "run/report.json cannot be read"),
        ("[]", "run/report.json is damaged: it should hold names and values"),
        ("{}", "run/report.json lacks dataset, model"),
        (json.dumps({**json.loads(whole), "test": {}}), "run/report.json lacks test.auc"),
    ]:
        Path("run/report.json").write_text(damage)
        refused(run_command("report", "run=run"), message)
    Path("run/report.json").write_text(whole)
    for damage, message in [
        ("", "run/metrics.csv cannot be read (no line in it)"),
        ("epoch,train_loss\n1,2\n", "run/metrics.csv cannot be read (no column 'valid_auc')"),
        (lines.replace("1,", "x,", 1), "run/metrics.csv cannot be read"),
    ]:
        Path("run/metrics.csv").write_text(damage)
        refused(run_command("report", "run=run"), message)
    assert not Path("run/report.html").exists()
