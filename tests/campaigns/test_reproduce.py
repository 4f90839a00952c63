"""eulernet.reproduce trains what is missing, once, goes on where it was killed, and reports what failed."""

import json
import re
import shutil

import pytest
from conftest import REPOSITORY

TABLE = """
datasets: [synthetic]
seeds: 2
first_seed: 5
common:
  - dataset.rows=3000
  - dataset.field_sizes=[9,9]
  - "dataset.interactions=[{{f0:1,f1:1}}]"
  - train.batch_size=500
  - train.max_epochs=2
  - device=cpu
settings:
  small: [model=eulernet, model.embedding_dim=2]
  same: [model=eulernet, model.embedding_dim=2, seed=1]
  linear: [model=lr]
"""


@pytest.fixture(scope="module")
def campaign(in_process, tmp_path_factory):
    folder = tmp_path_factory.mktemp("campaign")
    (folder / "conf" / "table").mkdir(parents=True)
    (folder / "conf" / "table" / "toy.yaml").write_text(TABLE)
    return folder, in_process(folder, "jobs=2")


def runs(folder):
    return {file.parent: file.stat().st_mtime_ns for file in (folder / "outputs").rglob("report.json")}


def test_every_run_is_trained_once(in_process, campaign):
    folder, done = campaign
    assert done.code == 0, done.err
    seeds = sorted((path.parent.name.partition(".")[0], path.name) for path in runs(folder))
    assert seeds == [("linear", "5"), ("linear", "6"), ("small", "5"), ("small", "6")]  # "same" is the same
    assert "6 of 6 runs" in done.out
    assert "| `small` | 2 |" in done.out
    assert "| `same` | 2 |" in done.out
    assert re.search(r"small against linear|linear against small", done.out)
    assert "DeLong" in done.out
    tables = folder / "outputs" / "reproduce" / "tables"
    assert sorted(file.name for file in tables.iterdir()) == ["toy.csv", "toy.md", "toy.tex"]


def test_nothing_is_repeated_and_what_was_killed_goes_on(in_process, campaign):
    folder, _ = campaign
    before = runs(folder)
    (cut,) = [path for path in before if path.match("small.*/5")]
    report = json.loads((cut / "report.json").read_text())
    (cut / "report.json").unlink()  # as if it had been killed before its last file
    (empty,) = [path for path in before if path.match("linear.*/6")]
    for file in ("report.json", "last.ckpt"):
        (empty / file).unlink()  # as if it had been killed in its first epoch
    done = in_process(folder, "jobs=1", "publish=paper")
    assert done.code == 0, done.err
    after = runs(folder)
    assert after.keys() == before.keys()
    assert {path for path in after if after[path] != before[path]} == {cut, empty}
    again = json.loads((cut / "report.json").read_text())
    assert again["test"] == report["test"]
    published = [str(file.relative_to(folder / "paper")) for file in sorted((folder / "paper").rglob("*.*"))]
    assert "synthetic/small/5/report.json" in published
    assert "synthetic/small/5/metrics.csv" in published
    assert "tables/toy.md" in published
    assert not any(str(folder) in file.read_text() for file in (folder / "paper").rglob("*.json"))
    assert not any("/same/" in file for file in published)
    old = folder / "paper" / "synthetic" / "small" / "4"  # as if published before the setting was changed
    old.mkdir()
    was = json.loads((folder / "paper" / "synthetic" / "small" / "5" / "report.json").read_text())
    was["config"]["train"]["lr"] *= 2
    (old / "report.json").write_text(json.dumps(was))
    shutil.copy(old.parent / "5" / "metrics.csv", old)
    assert in_process(folder, "jobs=1", "publish=paper").code == 0
    assert sorted(path.name for path in old.parent.iterdir()) == ["5", "6"]


def test_what_is_published_stays_whole(in_process, campaign):
    folder, _ = campaign
    assert in_process(folder, "missing=skip", "publish=whole").code == 0
    less = in_process(folder, "missing=skip", "models=[linear]", "publish=whole")
    assert less.code == 1
    assert "toy.md stays: this one lacks runs of small on synthetic, same on synthetic; delete it" in less.err
    assert "| `small` | 2 |" in (folder / "whole" / "tables" / "toy.md").read_text()
    # The two settings change their names: each published run keeps its own curve.
    renamed = TABLE.replace("linear:", "was_linear:").replace("small:", "linear:").replace("was_linear:", "small:")
    (folder / "conf" / "table" / "renamed.yaml").write_text(renamed)
    (folder / "whole" / "synthetic" / "linear" / "6" / "report.json").unlink()  # as if killed while it published
    done = in_process(folder, "table=renamed", "missing=skip", "publish=whole")
    assert done.code == 0, done.err
    curves = {
        file.parent.parent.name.partition(".")[0] + file.parent.name: (file.parent / "metrics.csv").read_bytes()
        for file in (folder / "outputs").rglob("report.json")
    }
    published = list((folder / "whole").rglob("report.json"))
    assert len(published) == 4
    for file in published:
        report = json.loads(file.read_text())
        kind = {"lr": "linear", "eulernet": "small"}[report["model"]]
        assert (file.parent / "metrics.csv").read_bytes() == curves[f"{kind}{report['seed']}"]


def test_finished_runs_of_another_folder_count(in_process, campaign):
    folder, _ = campaign
    done = in_process(folder, "out=elsewhere", "reuse=outputs", "missing=skip")
    assert done.code == 0, done.err
    assert "6 of 6 runs" in done.out
    assert not list((folder / "elsewhere").rglob("report.json"))


def test_what_is_named_twice_counts_once(in_process, campaign):
    folder, _ = campaign
    done = in_process(folder, "missing=skip", "datasets=[synthetic,synthetic]", "models=[small,small]")
    assert "2 of 2 runs" in done.out, done.err


def test_another_order_of_rows_is_another_run_and_settings_of_ones_own_reach_the_runs(in_process, campaign):
    folder, _ = campaign
    (folder / "conf" / "model").mkdir()
    (folder / "conf" / "model" / "mine.yaml").write_text((REPOSITORY / "conf" / "model" / "lr.yaml").read_text())
    (folder / "conf" / "table" / "own.yaml").write_text(TABLE.replace("model=lr", "model=mine, ~tuned"))
    overrides = 'overrides=["train.shuffle_seed=7"]'
    done = in_process(folder, "table=own", "models=linear", "seeds=[5]", overrides)
    assert done.code == 0, done.err
    assert "1 of 1 runs" in done.out
    (new,) = [path for path in runs(folder) if path.name == "5.7"]
    assert json.loads((new / "report.json").read_text())["config"]["train"]["shuffle_seed"] == 7


def test_failures_are_collected_not_fatal(in_process, campaign):
    folder, _ = campaign
    args = ("models=[linear,small]", "seeds=[5]", 'overrides=["+train.nonsense=1"]', "out=broken")
    done = in_process(folder, *args)
    assert done.code == 1
    assert done.err.count("unknown key train.nonsense") >= 2
    assert done.err.count("train.log)") >= 2
    assert "Traceback" not in done.err


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (["table=nowhere"], "unknown table 'nowhere'"),
        (["models=[smal]"], "small"),
        (["reuse=nowhere"], "nowhere"),
        (["out="], "out=: give the folder"),
        (["publish="], "publish=: give a folder"),
        (["datasets=[]"], "datasets=[]: give one"),
        (["missing=skip", "out=new"], "in new; missing=train trains them, reuse=[results] takes those that"),
        (["+table.costs=true", "missing=skip", "data_dir=nowhere"], "there is no store nowhere/synthetic/"),
        (["table=toy.yaml"], "unknown table 'toy.yaml'"),
        (["table.common=null"], "common: None"),
        (["table.first_seed=five"], "first_seed=five"),
        (["raw={synthetc: x}"], "unknown dataset in raw= 'synthetc'"),
        (['overrides=["tuned=synthetic/nowhere"]', "out=new"], "no conf/tuned/synthetic/nowhere.yaml"),
        (['overrides=["train.nonsense=1"]', "out=new"], "train.nonsense"),
        (['overrides=["+foo=1"]', "out=new"], "unknown key 'foo'"),
        (['overrides=["model=lr.yaml"]', "out=new"], "unknown model 'lr.yaml'"),
        (["jobs=0"], "jobs=0: give a whole number, 1 or more"),
        (["seeds=[]"], "seeds=[]: give whole numbers"),
        (["missing=maybe"], "unknown missing 'maybe'"),
        (["device=gpu"], "device=gpu: no such device"),
        (["tabel=toy"], "unknown key 'tabel'; 'table' is given already"),
    ],
)
def test_mistakes_end_with_one_line(in_process, campaign, args, told):
    folder, _ = campaign
    done = in_process(folder, *args)
    assert done.code == 1
    assert told in done.err
    assert len(done.err.strip().splitlines()) == 1
    assert not (folder / "new").exists()
