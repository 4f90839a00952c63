"""eulernet.fit does what the command does, to the bit; what it returns; what it refuses."""

import json
import logging
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from safetensors.torch import load_file
from trained import raw_rows

import eulernet
from eulernet.data.dataset import Dataset
from eulernet.reporting.build import build as report_page

FIELDS = {"store": "category", "price": "number", "age": "quantiles", "visits": "log_square", "tags": "bag"}
SHORT = ["train.max_epochs=2", "train.lr=0.01", "model.embedding_dim=4", "device=cpu"]
QUICK = {"overrides": [*SHORT, "reference=false"], "verbose": False}
ROWS = raw_rows(900, 0)


@pytest.fixture(scope="module")
def run():
    return eulernet.fit(ROWS, label="click", fields=FIELDS, **QUICK)


def same_weights(one, two):
    one, two = load_file(Path(one) / "model.safetensors"), load_file(Path(two) / "model.safetensors")
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


@pytest.mark.parametrize("model", ["eulernet", "deepfm"])
@pytest.mark.parametrize("split", ["random", "chronological"])
def test_a_frame_and_its_parquet_file_give_the_command_s_weights(run_command, model, split):
    ROWS.write_parquet("log.parquet")
    short = [*SHORT, f"model={model}", f"dataset.split={split}", "seed=3"]
    fields = "{store: category, price: number, age: quantiles, visits: log_square, tags: bag}"
    where = ["dataset=table", "raw=log.parquet", "hydra.run.dir=theirs", f"dataset.fields={fields}"]
    assert run_command("train", *where, *short).code == 0
    ours = eulernet.fit(ROWS, "click", model, fields=FIELDS, split=split, seed=3, overrides=SHORT, verbose=False)
    assert same_weights(ours.folder, "theirs")
    theirs = json.loads(Path("theirs/report.json").read_text())
    assert {part: ours.report[part] for part in ("valid", "test")} == {part: theirs[part] for part in ("valid", "test")}
    (store,) = Path("data/table").iterdir()
    here, there = Dataset.open(next((ours.folder / "store/table").iterdir())), Dataset.open(store)
    assert torch.equal(here.train.x, there.train.x)
    assert here.meta["fields"] == there.meta["fields"]


def test_a_path_gives_the_command_s_weights(run_command):
    short = ["train.max_epochs=1", "model.embedding_dim=4"]
    ROWS.drop("tags").write_csv("log.csv")
    assert run_command("train", "dataset=table", "raw=log.csv", "hydra.run.dir=theirs", *short).code == 0
    ours = eulernet.fit(Path("log.csv"), train={"max_epochs": 1}, model={"embedding_dim": 4}, verbose=False)
    assert same_weights(ours.folder, "theirs")
    assert ours.report["config"]["train"] == json.loads(Path("theirs/report.json").read_text())["config"]["train"]


def test_pandas_polars_and_dictionaries_are_one_frame(run):
    for rows in (pd.DataFrame(ROWS.to_dicts()), ROWS.to_dicts()):
        other = eulernet.fit(rows, label="click", fields=FIELDS, **QUICK)
        assert same_weights(run.folder, other.folder)


def test_text_and_numbers_of_a_frame_and_of_a_csv_have_equal_ids(tmp_path):
    rows = ROWS.select("city", "price", "click")
    rows.write_csv(tmp_path / "log.csv")
    one = eulernet.fit(rows, **QUICK)
    two = eulernet.fit(tmp_path / "log.csv", overrides=[*QUICK["overrides"], f"data_dir={tmp_path}"], verbose=False)
    assert same_weights(one.folder, two.folder)


def test_what_a_run_gives(run, tmp_path):
    probabilities = run.predict_proba(ROWS)
    assert probabilities.shape == (len(ROWS), 2)
    np.testing.assert_array_equal(probabilities[:, 1], run.predictor.predict(ROWS))
    np.testing.assert_array_equal(probabilities.sum(1), 1)
    test = ROWS[Dataset.open(next((run.folder / "store/table").iterdir())).test.order.numpy()]
    assert run.evaluate(test)["auc"] == pytest.approx(run.report["test"]["auc"], abs=1e-12)
    assert run.evaluate(test, group="user")["grouped_auc"] is not None
    assert list(run.history.index) == [1, 2]
    assert run.history["valid_auc"].max() == run.report["valid"]["auc"]
    assert repr(run).startswith("Run(eulernet on table, seed")
    assert repr(run).endswith("temporary folder)")
    assert f"{run.report['test']['auc']:.5f}" in run._repr_html_()
    assert repr(run.predictor).startswith("Predictor(eulernet on table, 7 fields: user")


def test_a_saved_run_opens_everywhere(run, tmp_path):
    saved = run.save(tmp_path / "deep" / "run")
    again = eulernet.load(saved)
    np.testing.assert_array_equal(again.predict_proba(ROWS), run.predict_proba(ROWS))
    assert again.report == run.report
    page, count = report_page([saved], None, torch.device("cpu"), None, 0, 0, tmp_path / "page.html")
    assert count == 1
    assert "ROC curve" in page  # the store is in the folder: test rows can be scored
    with pytest.raises(eulernet.UserError, match="is there already"):
        run.save(saved)


def test_plot_draws_both_figures(run, monkeypatch):
    monkeypatch.setenv("MPLBACKEND", "agg")
    pytest.importorskip("matplotlib").use("agg")
    auc, losses = run.plot()
    assert list(auc.lines[0].get_ydata()) == list(run.history["valid_auc"])
    assert [line.get_label() for line in losses.lines][:2] == ["train loss", "valid logloss"]


def test_no_test_split(tmp_path):
    run = eulernet.fit(ROWS, fields=FIELDS, test=False, **QUICK)
    assert run.report["test"] == {}
    assert run.report["dataset"]["rows"]["test"] == 0
    assert sum(run.report["dataset"]["rows"].values()) == len(ROWS)
    saved = run.save(tmp_path / "run")
    assert "test" not in repr(eulernet.load(saved)).split("/")[0]
    page, _ = report_page([saved], None, torch.device("cpu"), None, 0, 0, tmp_path / "page.html")
    assert "nothing was tested" in page


def test_splits_of_one_s_own():
    train, valid, test = ROWS[:500], ROWS[500:700], ROWS[700:]
    run = eulernet.fit(train, fields=FIELDS, valid=valid, test=test, **QUICK)
    assert run.report["dataset"]["rows"] == {"train": 500, "valid": 200, "test": 200}
    assert run.evaluate(test)["auc"] == pytest.approx(run.report["test"]["auc"], abs=1e-12)
    rows = eulernet.fit(train, fields=FIELDS, test=test, **QUICK).report["dataset"]["rows"]
    assert rows["test"] == 200
    assert rows["train"] + rows["valid"] == 500
    assert eulernet.fit(train, fields=FIELDS, valid=valid, **QUICK).report["test"] == {}


def test_nothing_of_the_caller_s_changes(run, caplog):
    level, handlers, numbers = logging.root.level, list(logging.root.handlers), torch.get_rng_state()
    rows = ROWS.clone()
    other = eulernet.fit(rows, label="click", fields=FIELDS, **{**QUICK, "verbose": True})
    assert (logging.root.level, logging.root.handlers) == (level, handlers)
    assert logging.getLogger("eulernet").handlers == []
    assert torch.equal(torch.get_rng_state(), numbers)
    frame = pd.DataFrame(ROWS.to_dicts()).set_index(np.zeros(len(ROWS), int))  # an index says nothing
    before = other.predict_proba(frame)
    frame["price"] = 0.0  # changed afterwards
    np.testing.assert_array_equal(other.predict_proba(ROWS), before)
    assert same_weights(other.folder, run.folder)
    folder = other.folder
    del other
    assert not folder.exists()


def test_columns_called_by_numbers_and_settings_of_a_table():
    rows = pd.DataFrame({0: [f"v{i % 2}" for i in range(200)], 1: [2**70 + i % 3 for i in range(200)]})
    rows["click"] = np.arange(200) % 2
    made = eulernet.fit(rows, dataset={"min_count": 2}, model="fm", **QUICK)
    ids = [
        made.predictor.encode(each).tolist()
        for each in (
            rows,
            rows.to_dict("records"),
            pl.DataFrame({str(name): rows[name].astype(str).tolist() for name in rows}),
        )
    ]
    assert [field["kind"] for field in made.predictor.preprocessor.meta["fields"]] == ["category", "category"]
    assert ids[0] == ids[1] == ids[2]
    assert {tuple(row) for row in ids[0]} == {(a, b) for a in (1, 2) for b in (1, 2, 3)}


def test_ctrl_c_leaves_a_usable_run(monkeypatch, tmp_path):
    from eulernet.runs import train

    def after_three(history, run):
        if len(history) == 3 and not (tmp_path / "stopped").exists():
            (tmp_path / "stopped").touch()
            raise KeyboardInterrupt

    monkeypatch.setattr(train, "loggers", lambda name: [after_three])
    settings = ["train.lr=0.01", "model.embedding_dim=4", "train.patience=50", "reference=false"]
    run = eulernet.fit(ROWS, fields=FIELDS, overrides=[*settings, "train.max_epochs=9"], verbose=False)
    assert len(run.history) == 3
    monkeypatch.undo()
    three = eulernet.fit(ROWS, fields=FIELDS, overrides=[*settings, "train.max_epochs=3"], verbose=False)
    assert same_weights(run.folder, three.folder)
    assert run.report["test"] == three.report["test"]


def twice(frame):
    frame = pd.DataFrame(frame.to_dicts())
    return pd.concat([frame, frame[["city"]]], axis=1)


@pytest.mark.parametrize(
    ("rows", "given", "words"),
    [
        (7, {}, "data is given as int; give a pandas or polars frame"),
        ([], {}, "data is given as list"),
        ("no/such.csv", {}, "no such file"),
        (ROWS[:0], {}, "the frame has no rows"),
        (ROWS, {"label": "clik"}, "no column 'clik'; did you mean 'click'"),
        (ROWS.drop("click"), {}, "say which column has the clicks"),
        (ROWS, {"label": "user"}, "the label is .*, it should be 0 or 1"),
        (ROWS.with_columns(click=pl.Series([*[None], *[0, 1] * 449, 0])), {}, "row 1: the label is missing"),
        (ROWS.with_columns(click=pl.Series([*[float("nan")], *[0.0, 1] * 449, 0])), {}, "row 1: the label is nan"),
        (ROWS.with_columns(click=1), {}, "every row of the train split is a click"),
        (twice(ROWS), {}, "column city is there twice"),
        (ROWS, {"fields": {"prise": "number"}}, "no column 'prise'; did you mean 'price'"),
        (ROWS, {"fields": {"price": "numbr"}}, "did you mean 'number'"),
        (ROWS, {"fields": ["price"]}, "fields: give a dictionary"),
        (ROWS, {"model": "eulernt"}, "unknown model 'eulernt'; did you mean 'eulernet'"),
        (ROWS, {"train": {"learning_rate": 1}}, "train.learning_rate; did you mean 'lr'"),
        (ROWS, {"train": {"lr": "fast"}}, "train.lr=fast: should be of type float"),
        (ROWS, {"train": {"lr": object()}}, "train.lr: a object is no setting"),
        (ROWS, {"overrides": "train.lr=1"}, "overrides: give a list"),
        (ROWS, {"overrides": ["train.learning_rate=1"]}, "did you mean 'train.lr'"),
        (ROWS, {"seed": 1.5}, "seed=1.5: give a whole number"),
        (ROWS, {"device": "tpu"}, "device=tpu"),
        (ROWS, {"split": "tim"}, "did you mean 'time'"),
        (ROWS, {"split": "files"}, "give the frames valid= and test="),
        (ROWS, {"valid": "valid.csv"}, "valid: give a frame, got a str"),
        (ROWS, {"valid": ROWS.drop("city")}, "valid: no column 'city'; the columns are user, "),
        (ROWS, {"valid": ROWS.rename({"city": "citty"})}, "valid: no column 'city'; did you mean 'citty'"),
        (ROWS, {"test": True}, "test: give a frame, got a bool"),
        (ROWS, {"dataset": "criteo"}, "a frame goes with dataset=table"),
        (pd.DataFrame({"click": [0, 1], "z": [1j, 2j]}), {}, "column z holds Object: make text of it, or leave it out"),
        ([{"click": 1}, 3], {}, "data is given as list"),
        (ROWS, {"label": ["click"]}, "label: give the name of a column, got a list"),
        (ROWS, {"model": torch.nn.Linear(2, 1)}, "model: a module of your own is not taken here"),
        (ROWS, {"model": 3}, "model=3: give a name, or a dictionary"),
        (ROWS, {"train": {"batch_size": 0}}, "batch_size=0: should be a whole number from 1"),
        (ROWS, {"run": 3}, "run=3: give the folder"),
        ([{1: 0, "1": 1, "click": 1}], {}, "a row has two keys of one name, as 1 and '1'"),
    ],
)
def test_bad_input_is_one_clear_line(rows, given, words, tmp_path):
    with pytest.raises(eulernet.UserError, match=words) as refused:
        eulernet.fit(rows, **{"verbose": False, "run": tmp_path / "run", **given})
    assert isinstance(refused.value, ValueError)
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda run: run.predict_proba(ROWS.drop("user")), "rows: no column 'user'"),
        (lambda run: run.predict_proba(ROWS.rename({"user": "usr"})), "rows: no column 'user'; did you mean 'usr'"),
        (lambda run: run.predict_proba(3), "rows are given as int"),
        (lambda run: run.predict_proba(pl.DataFrame(height=3)), "rows: no column"),
        (lambda run: run.predictor.predict(pl.DataFrame({"other": [1]})), "rows: no column"),
        (lambda run: run.evaluate(ROWS.drop("click")), "rows: no column 'click'"),
        (lambda run: run.evaluate(ROWS, group="usr"), "no column 'usr'; did you mean 'user'"),
        (lambda run: run.evaluate(ROWS.with_columns(click=pl.col("user"))), "the label is"),
        (lambda run: run.evaluate(ROWS[:0]), "the frame has no rows"),
        (lambda run: run.evaluate(3), "give a frame or a path"),
        (lambda run: run.predict_proba([{"user": 1}, 3]), "rows are given as list"),
        (lambda run: run.save(3), "give a new folder for the run, got 3"),
        (lambda run: run.save(run.folder / "inner"), "lies in the folder of the run itself"),
        (lambda run: eulernet.load(run.folder, device="tpu"), "device=tpu: no such device"),
        (lambda run: eulernet.load("no/such/run"), "no such folder"),
        (lambda run: eulernet.load(3), "give the folder of a finished run"),
        (lambda run: eulernet.fit(ROWS, run=run.folder, verbose=False), "already holds a run"),
    ],
)
def test_bad_input_to_a_run_is_one_clear_line(run, call, words):
    with pytest.raises(eulernet.UserError, match=words):
        call(run)
