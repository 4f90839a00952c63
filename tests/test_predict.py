"""``predict`` scores files of any form, keeps what it is told to, and leaves a whole output or none."""

import gzip
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest
from test_commands import assert_refused, files

import eulernet
from eulernet import Predictor
from eulernet.data import output
from eulernet.errors import UserError


@pytest.fixture(scope="module")
def wanted(trained):
    return Predictor.load(trained.run).predict(trained.rows)


def read(file):
    name = str(file)
    return (
        pl.read_parquet(file)
        if name.endswith("parquet")
        else pl.read_csv(file, separator="\t" if "tsv" in name else ",")
    )


@pytest.mark.parametrize("name", ["out.csv", "out.csv.gz", "out.tsv", "out.parquet"])
def test_a_row_has_its_columns_and_its_probability(run_command, trained, wanted, name):
    ended = run_command("predict", f"run={trained.run}", f"input={trained.file}", f"output={name}", "keep=[user,city]")
    assert ended.code == 0, ended.err
    assert "2,000 rows" in ended.out.strip().splitlines()[-1]
    found = read(name)
    assert found.columns == ["user", "city", "probability"]
    np.testing.assert_allclose(found["probability"].to_numpy(), wanted, atol=1e-12)
    assert found["city"].to_list() == trained.rows["city"].to_list()
    assert files(Path.cwd()) == [name]


def test_pieces_of_files_are_one_output(run_command, trained, wanted, monkeypatch):
    monkeypatch.setattr("eulernet.data.raw.SMALLEST_BLOCK", 1 << 12)
    monkeypatch.setattr("eulernet.runs.predictor.MEMORY", 1 << 14)
    folder = Path("in")
    folder.mkdir()
    trained.rows[:700].write_csv(folder / "a.csv")
    trained.rows[:0].write_csv(folder / "b.csv")
    (folder / "c.csv.gz").write_bytes(gzip.compress(trained.rows[700:].drop("click").write_csv().encode()))
    for name in ("out.csv", "out.parquet"):
        assert run_command("predict", f"run={trained.run}", "input=in", f"output={name}").code == 0
        np.testing.assert_allclose(read(name)["probability"].to_numpy(), wanted, atol=1e-6)


@pytest.mark.parametrize("name", ["out.csv", "out.parquet"])
def test_no_rows_make_an_output_without_rows(run_command, trained, name):
    trained.rows[:0].write_csv("in.csv")
    assert run_command("predict", f"run={trained.run}", "input=in.csv", f"output={name}", "keep=[user]").code == 0
    assert (read(name).columns, len(read(name))) == (["user", "probability"], 0)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"run": "nowhere"}, "nowhere: no such folder"),
        ({"run": ""}, "run=: give the folder of a finished run"),
        ({"input": "nothing.csv"}, "input=nothing.csv: no such file"),
        ({"output": "out.xls"}, "should end in .csv"),
        ({"output": "no/out.csv"}, "there is no folder no"),
        ({"keep": "[usr]"}, "no column 'usr'"),
        ({"keep": "user"}, "keep=[user]"),
        ({"batch_size": "0"}, "batch_size=0"),
        ({"device": "tpu"}, "tpu"),
        ({"inptu": "x"}, "inptu"),
    ],
)
def test_a_mistake_is_one_line(run_command, trained, given, message):
    keys = {"run": trained.run, "input": trained.file, "output": "out.csv", **given}
    assert_refused(run_command("predict", *(f"{key}={value}" for key, value in keys.items())), message)


def test_a_wrong_row_leaves_the_old_output(run_command, trained):
    rows = trained.rows.with_columns(pl.col("price").cast(pl.String))
    rows[1500, "price"] = "cheap"
    rows.write_csv("in.csv")
    Path("out.csv").write_text("old")
    ended = run_command("predict", f"run={trained.run}", "input=in.csv", "output=out.csv")
    assert ended.code != 0
    assert "in.csv, line 1502: price is 'cheap', not a number" in ended.err
    assert Path("out.csv").read_text() == "old"
    assert files(Path.cwd()) == ["in.csv", "out.csv"]


def test_an_output_is_not_an_input(run_command, trained):
    trained.rows.write_csv("in.csv")
    ended = run_command("predict", f"run={trained.run}", "input=in.csv", "output=./in.csv")
    assert "is an input too" in ended.err
    assert len(read("in.csv")) == 2000


def test_parts_of_other_types_are_no_parquet_file(tmp_path):
    with output.writer(tmp_path / "out.parquet") as write:
        write(pl.DataFrame({"a": [1]}))
        with pytest.raises(UserError, match="column a is Int64 in one file and String in another"):
            write(pl.DataFrame({"a": ["x"]}))


def test_rows_are_scored_without_a_header_where_training_had_none(run_command, criteo_sample):
    lines = criteo_sample.read_text().splitlines(keepends=True)[:3000]
    Path("train.txt").write_text("".join(lines))
    small = ["model=lr", "train.max_epochs=1", "dataset.min_count=2", "hydra.run.dir=run"]
    assert run_command("train", "dataset=criteo", "raw=train.txt", *small).code == 0
    Path("new.txt").write_text("".join(line.split("\t", 1)[1] for line in lines[:100]))
    for source in ("train.txt", "new.txt"):
        assert run_command("predict", "run=run", f"input={source}", f"output={source}.csv").code == 0
    assert read("train.txt.csv")[:100].equals(read("new.txt.csv"))
    Path("odd.txt").write_text("1\t2\t3\n")
    ended = run_command("predict", "run=run", "input=odd.txt", "output=odd.csv")
    assert "no header, and 3 columns where 40 belong, or 39 without label" in ended.err


def test_kept_columns_are_as_they_are_written(run_command, trained):
    rows = trained.rows.head(6).with_columns(
        city=pl.Series(["NA", "Wien", None, "null", 'a "b", c', "nan"]),
        price=pl.Series(["1.50", "01", "NA", "", "2", "3"]),
        store=pl.Series(["1", "2", None, "3", "4", "5"]), id=pl.Series(["007", "N/A", "None", "1.0", "x\ny", "\\N"]),
    )  # fmt: skip
    rows.write_csv("in.csv")
    ended = run_command("predict", f"run={trained.run}", "input=in.csv", "output=out.csv", "keep=[id,city,price]")
    assert ended.code == 0, ended.err
    found = pl.read_csv("out.csv", infer_schema=False)
    for name in ("id", "city", "price"):
        assert found[name].fill_null("").to_list() == rows[name].fill_null("").to_list()
    rows.write_parquet("in.parquet")
    run_command("predict", f"run={trained.run}", "input=in.parquet", "output=out.parquet", "keep=[id,city,price]")
    assert pl.read_parquet("out.parquet").drop("probability").equals(rows.select("id", "city", "price"))


def test_columns_that_cannot_be_kept(run_command, trained, tmp_path):
    keys = [f"run={trained.run}", f"input={tmp_path / 'in.parquet'}"]
    trained.rows.with_columns(many=pl.Series([[1, 2]] * 2000)).write_parquet(tmp_path / "in.parquet")
    assert_refused(run_command("predict", *keys, "output=out.csv", "keep=[user,user]"), "keep: user is there twice")
    ended = run_command("predict", *keys, "output=out.csv", "keep=[many]")
    assert_refused(ended, "column many holds List(Int64), which text has no form for; give output=.parquet")
    assert run_command("predict", *keys, "output=out.parquet", "keep=[many]").code == 0
    assert pl.read_parquet("out.parquet")["many"].to_list() == [[1, 2]] * 2000


def test_what_a_killed_predict_left_is_removed(run_command, trained):
    left = Path(".out.csv.killed.new")
    (left / "out.csv.parts").mkdir(parents=True)
    assert run_command("predict", f"run={trained.run}", f"input={trained.file}", "output=out.csv").code == 0
    assert files(Path.cwd()) == ["out.csv"]
    assert not left.exists()


def test_parts_without_rows_are_passed_over(run_command, trained, wanted):
    Path("in").mkdir()
    pl.DataFrame().write_parquet("in/a.parquet")
    Path("in/b.csv").write_text("")
    trained.rows.write_csv("in/c.csv")
    assert run_command("predict", f"run={trained.run}", "input=in", "output=out.csv").code == 0
    np.testing.assert_allclose(read("out.csv")["probability"].to_numpy(), wanted, atol=1e-12)


# evaluate


def test_a_split_and_its_raw_rows_are_measured_alike(run_command, copy_of_run, trained):
    trained.test()[0].write_csv("test.csv")
    common = [f"run={copy_of_run}", "resamples=50"]
    split = run_command("evaluate", *common, "group=user", "predictions=rows.parquet")
    assert split.code == 0, split.err
    raw = run_command("evaluate", *common, "input=test.csv", "group=user")
    assert raw.code == 0, raw.err
    found = json.loads((copy_of_run / "evaluation.json").read_text())
    assert set(found) == {"test", "test.csv"}
    report = json.loads((copy_of_run / "report.json").read_text())
    for one in found.values():
        assert one["metrics"]["auc"]["value"] == pytest.approx(report["test"]["auc"], abs=1e-6)
        assert one["metrics"]["logloss"]["value"] == pytest.approx(report["test"]["logloss"], abs=1e-6)
        for metric in one["metrics"].values():
            assert metric["low"] <= metric["value"] + 0.02
            assert metric["low"] <= metric["high"]
    assert found["test"]["metrics"].keys() == found["test.csv"]["metrics"].keys()
    *_, last = split.out.strip().splitlines()
    assert last == f"wrote {copy_of_run}/evaluation.json"
    assert f"\nauc        {found['test']['metrics']['auc']['value']:.6f}  " in split.out
    rows = pl.read_parquet("rows.parquet")
    assert rows["row"].to_list() == trained.data.test.order.tolist()
    assert rows["label"].to_list() == trained.data.test.labels.tolist()
    assert Predictor.load(copy_of_run).report["evaluation"] == found


def test_what_each_field_is_worth_is_that_of_the_rows_themselves(run_command, copy_of_run, trained):
    """On a split by the command, on raw rows by Python: the ids of a field are permuted, of a bag together."""
    groups = "importance_groups={where: [city, store]}"
    ended = run_command("evaluate", f"run={copy_of_run}", "importance=true", groups, "permutations=2", "resamples=0")
    assert ended.code == 0, ended.err
    fields = [field["name"] for field in trained.data.meta["fields"]]
    assert (
        f"{len(fields) + 1} fields and groups, 2 permutations each: {1 + 2 * (len(fields) + 1)} scorings" in ended.out
    )
    one = json.loads((copy_of_run / "evaluation.json").read_text())["test"]["importance"]
    assert list(one["fields"]) == [*fields, "where"]
    assert "order" in one["fields"]["city"]
    assert "order" not in one["fields"]["where"]
    assert ended.out.index("permuted") < ended.out.index("where ") < ended.out.index("\nauc ")
    rows = eulernet.load(copy_of_run).importance(
        trained.test()[0], {"where": ["city", "store"]}, permutations=2, seed=2022
    )
    for name, line in rows.iterrows():
        assert line["auc"] == pytest.approx(one["fields"][name]["auc"]["value"], abs=1e-6)
        assert line["logloss_high"] == pytest.approx(one["fields"][name]["logloss"]["high"], abs=1e-6)


def test_rows_that_training_leaves_out_count_in_no_measure_of_a_frame(copy_of_run, trained):
    run = eulernet.load(copy_of_run)
    prepare = run.predictor.preprocessor
    rated = replace(prepare, label=replace(prepare.label, at_least=4.0, without=3.0))
    run.__dict__["predictor"] = replace(run.predictor, preprocessor=rated)
    rows = trained.test()[0]
    rows = rows.with_columns(click=np.arange(len(rows)) % 5 + 1)
    told = rows.filter(pl.col("click") != 3)
    # Scored in pieces of other sizes, a row's score may differ in its last digit; other rows would change much more.
    assert run.evaluate(rows) == pytest.approx(run.evaluate(told), rel=1e-3)
    one, other = (run.importance(frame, permutations=1) for frame in (rows, told))
    pd.testing.assert_frame_equal(one, other, atol=1e-3)
    with pytest.raises(UserError, match="permutations=0: should be a whole number"):
        run.importance(rows, permutations=0)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["importance=1"], "importance=1: give true, false or at most how many rows"),
        (["importance=true", "input=rows.csv"], "importance= goes with split="),
        (["importance=true", "permutations=0"], "permutations=0: should be a whole number from 1"),
        (["importance_groups={a: [city]}"], "importance_groups= goes with importance=true"),
        (["importance=true", "importance_groups={a: [citi]}"], "no field 'citi'; did you mean 'city'"),
        (["importance=true", "importance_groups={city: [user]}"], "importance_groups.city: a field is called so"),
        (["importance=true", "importance_groups={a: city}"], "importance_groups.a: give a list of fields"),
        (["importance=2"], "comparing AUCs takes 2 rows of each class"),
        (["calibrate=sigmoid", "group=usr"], "no such field; did you mean 'user'"),
        (["split=tset"], "unknown split 'tset'"),
        (["group=usr"], "no such field; did you mean 'user'"),
        (["data_dir=elsewhere"], "there is no store elsewhere/table/"),
        (["calibrate=sigmoid", "split=tset"], "unknown split 'tset'"),
        (["calibrate=sigmoid", "predictions=rows.txt"], "predictions=rows.txt: should end in .csv"),
        (["resamples=-1"], "resamples=-1"),
        (["input=none.csv"], "input=none.csv: no such file"),
        (["run="], "run=: give the folder"),
        (["run=nowhere"], "run=nowhere: no such folder; give that of a finished run"),
    ],
)
def test_evaluate_refuses_in_one_line(run_command, copy_of_run, given, message):
    assert_refused(run_command("evaluate", f"run={copy_of_run}", *given), message)
    assert not (copy_of_run / "calibration.json").exists()


def test_groups_of_files_that_differ_in_type_are_one(run_command, copy_of_run, trained):
    trained.rows[:1000].write_parquet("a.parquet")
    trained.rows[1000:].write_csv("b.csv")
    trained.rows.write_csv("c.csv")
    found = []
    for source in ("[a.parquet,b.csv]", "c.csv"):
        ended = run_command("evaluate", f"run={copy_of_run}", f"input={source}", "group=user", "resamples=0")
        assert ended.code == 0, ended.err
        found.append(ended.out.split("\ngauc ")[1].split()[0])
    assert found[0] == found[1]


def test_rows_without_labels_cannot_be_evaluated(run_command, copy_of_run, trained):
    trained.rows.drop("click").write_csv("in.csv")
    ended = run_command("evaluate", f"run={copy_of_run}", "input=in.csv")
    assert "no column 'click'" in ended.err
    trained.rows.with_columns(click=2).write_csv("in.csv")
    ended = run_command("evaluate", f"run={copy_of_run}", "input=in.csv")
    assert "in.csv, line 2: the label is 2, it should be 0 or 1" in ended.err
