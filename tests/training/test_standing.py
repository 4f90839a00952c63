"""Where a run stands: logistic regression on the same rows, and what is said of it."""

import json
from pathlib import Path

import numpy as np
import pytest
from toy import toy_data

from eulernet.measures.metrics import auc, logloss
from eulernet.training import standing
from eulernet.training.standing import Standing, logistic_regression

SMALL = (
    "dataset=synthetic", "dataset.rows=2000", "dataset.field_sizes=[6,7,5]", "dataset.interactions=[{f0:1,f1:1}]",
    "model.embedding_dim=4", "device=cpu", "train.max_epochs=1",
)  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return toy_data(tmp_path_factory.mktemp("data"))


def test_logistic_regression_is_scikit_learns(data):
    """The same probabilities on one-hot rows with its default penalty, C = 1."""
    linear = pytest.importorskip("sklearn.linear_model")

    def one_hot(split):
        x = np.concatenate([x.numpy() for x, _ in split.batches(512)])
        return np.concatenate([np.eye(size)[x[:, i]] for i, size in enumerate(data.field_sizes)], axis=1)

    theirs = linear.LogisticRegression(max_iter=1000, tol=1e-8).fit(one_hot(data.train), data.train.labels.numpy())
    logits, labels = theirs.decision_function(one_hot(data.valid)), data.valid.labels.numpy()
    found = logistic_regression(data)
    assert found.rows == len(data.train)
    assert found.logloss == pytest.approx(logloss(labels, logits), abs=1e-5)
    assert found.auc == pytest.approx(auc(labels, logits), abs=1e-4)


def test_a_large_set_gives_a_part_of_its_rows(data, monkeypatch):
    monkeypatch.setattr(standing, "ROWS", 1000)
    found = logistic_regression(data)
    assert found.rows == 1000
    assert "(logistic regression on 1,000 of the rows, " in found.lines({"auc": 0.9, "logloss": 0.1}, 2400, "")[1]


def test_what_is_said():
    found, valid = Standing(auc=0.9270, logloss=0.3, rows=100, seconds=4.0), {"auc": 0.926, "logloss": 0.31}
    lines = found.lines(valid, 100, "try train=table")
    assert lines == [
        "valid auc=0.926000  logloss=0.310000",
        "  lr  auc=0.927000  logloss=0.300000  (logistic regression, 4.0 s)",
        "note  this setting learned no interactions; try train=table",
    ]
    assert len(found.lines({"auc": 0.93, "logloss": 0.31}, 100, "try")) == 2


@pytest.mark.parametrize(("more", "there"), [((), True), (("reference=false",), False), (("model=lr",), False)])
def test_a_run_ends_by_saying_where_it_stands(run_command, more, there):
    settings = [one for one in SMALL if "embedding_dim" not in one or "model=lr" not in more]
    ended = run_command("train", *settings, *more, "hydra.run.dir=run")
    assert ended.code == 0, ended.err
    assert ("(logistic regression, " in "\n".join(ended.out.splitlines()[-7:])) == there
    report = json.loads(Path("run/report.json").read_text())
    assert (report.get("reference", {}).get("model") == "lr") == there


def test_a_run_of_an_older_version_without_the_keys_goes_on(run_command):
    run_command("train", *SMALL, "hydra.run.dir=run", "reference=false")
    file = Path("run/config.yaml")
    lines = [line for line in file.read_text().splitlines() if "monitor:" not in line and "reference:" not in line]
    file.write_text("\n".join(lines) + "\n")
    ended = run_command("train", "resume=run", "train.max_epochs=2")
    assert ended.code == 0, ended.err
    report = json.loads(Path("run/report.json").read_text())
    assert report["epochs"] == 2
    assert report["reference"]["rows"] == 1600
