"""start_from=: what a run keeps of the one it starts from, to the bit, what it adds, and what it refuses."""

import json
import runpy
import shutil
import sys
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from safetensors.torch import load_file
from trained import raw_rows

import eulernet
from eulernet.cli.resume import naming, started_config
from eulernet.data.preprocessor import Preprocessor
from eulernet.errors import UserError
from eulernet.exporting.bundle import export
from eulernet.reporting.details import ancestry
from eulernet.runs.manifest import write_manifest
from eulernet.runs.run import Run
from eulernet.runs.start import Parent
from eulernet.runs.train import save_config, train
from eulernet.settings import read_config
from eulernet.training.checkpoint import load_last
from eulernet.training.job import set_up

STILL = ["train.lr=1e-30", "train.weight_decay=0", "train.ema=0", "reference=false"]


def tomorrow(rows=400, seed=1):
    """Rows with new users, cities and tags, and known ones."""
    frame = raw_rows(rows, seed)
    late = pl.int_range(pl.len()) % 3 == 0
    return frame.with_columns(
        user=pl.when(late).then(pl.col("user") + 1000).otherwise("user"),
        city=pl.when(late).then(pl.lit("Enns")).otherwise("city"),
        tags=pl.when(late).then(pl.col("tags") + "|new").otherwise("tags"),
    )


def go_on(parent, raw, folder, *overrides):
    """As the command does, in this process."""
    typed = naming([f"start_from={parent}", f"raw={raw}", *overrides])
    folder.mkdir()
    train(started_config(eulernet.cli.compose("train", typed), typed), folder, typed)
    return folder


@pytest.fixture
def still(trained, tmp_path):
    """A run that started from ``trained`` and trained with a rate of 0 in effect."""
    tomorrow().write_csv(tmp_path / "day_2.csv")
    return go_on(trained.run, tmp_path / "day_2.csv", tmp_path / "second", *STILL)


def rows_of_fields(folder):
    """The vector of each value of each field, by the field's name, from the files alone."""
    weights, meta = load_file(folder / "model.safetensors"), Run.open(folder).preprocessor
    sizes = [field["size"] for field in meta.meta["fields"]]
    table = next(weight for name, weight in weights.items() if "embedding" in name and len(weight) == sum(sizes))
    return dict(zip((field["name"] for field in meta.meta["fields"]), table.split(sizes), strict=True))


def test_known_values_keep_their_ids_and_their_rows_to_the_bit(trained, still):
    before, now = (Preprocessor.open(folder / "preprocessor") for folder in (trained.run, still))
    old, new = rows_of_fields(trained.run), rows_of_fields(still)
    grown = json.loads((still / "report.json").read_text())["grown"]
    for one, other in zip(before.coders, now.coders, strict=True):
        assert torch.equal(new[one.name][: len(old[one.name])], old[one.name])
        assert len(new[one.name]) - len(old[one.name]) == grown.get(one.name, {"new": 0})["new"]
        if one.vocabulary is not None:
            assert other.vocabulary.values[: len(one.vocabulary)].equals(one.vocabulary.values)
    assert set(grown) == {"user", "city", "tags"}
    assert all(one["new"] > 0 == one["retired"] for one in grown.values())
    np.testing.assert_array_equal(before.encode(trained.rows), now.encode(trained.rows))
    a, b = (eulernet.Predictor.load(folder).predict(trained.rows) for folder in (trained.run, still))
    np.testing.assert_array_equal(a, b)
    others = {name: w for name, w in load_file(trained.run / "model.safetensors").items() if "embedding" not in name}
    same = load_file(still / "model.safetensors")
    assert all(torch.equal(same[name], weight) for name, weight in others.items())


def test_moments_go_on_and_new_rows_have_none(trained, tmp_path):
    tomorrow().write_csv(tmp_path / "day_2.csv")
    run = Run.open(trained.run)
    saved = load_last(trained.run, model_name=run.name, dataset=run.store)["optimizer"]
    parent = Parent(trained.run)
    cfg = {**read_config(trained.run / "config.yaml"), "raw": str(tmp_path / "day_2.csv")}
    job = set_up(cfg, None, parent.growth())
    job.data.copy_preprocessor(tmp_path / "preprocessor")
    moments, _ = parent.give(job, tmp_path / "preprocessor")
    table = saved["param_groups"][0]["params"][0]
    sizes = [field["size"] for field in run.preprocessor.meta["fields"]]
    larger = [field["size"] for field in job.data.meta["fields"]]
    for name in ("exp_avg", "exp_avg_sq"):
        parts = zip(saved["state"][table][name].split(sizes), moments["state"][table][name].split(larger), strict=True)
        for before, now in parts:
            assert torch.equal(now[: len(before)], before)
            assert not now[len(before) :].any()
    assert saved["state"][table]["step"] == moments["state"][table]["step"] > 0
    assert moments["steps"][True] == saved["param_groups"][0]["steps"] > 0


@pytest.mark.parametrize("suffix", [pytest.param("csv", marks=pytest.mark.slow), "parquet"])
def test_an_empty_new_day_changes_nothing_to_the_bit(trained, tmp_path, suffix):
    file = tmp_path / f"empty.{suffix}"
    trained.rows.head(0).write_csv(file) if suffix == "csv" else trained.rows.head(0).write_parquet(file)
    run = go_on(trained.run, file, tmp_path / "second")
    for one in sorted(trained.run.rglob("*")):
        name = one.relative_to(trained.run)
        if one.is_file() and str(name) not in ("config.yaml", "report.json", "manifest.json", "train.log"):
            assert (run / name).read_bytes() == one.read_bytes(), name
    a, b = (eulernet.Predictor.load(folder).predict(trained.rows) for folder in (trained.run, run))
    np.testing.assert_array_equal(a, b)
    report = json.loads((run / "report.json").read_text())
    assert [one["run"] for one in report["ancestry"]] == [str(trained.run)]
    assert go_on(run, file, tmp_path / "third").is_dir()


def test_the_same_rows_again_add_no_value_and_keep_every_id(trained, tmp_path):
    run = go_on(trained.run, trained.file, tmp_path / "second", "train.lr=0.001")
    before, now = (Run.open(folder) for folder in (trained.run, run))
    assert now.report["grown"] == {}
    assert before.preprocessor.meta["fields"] == now.preprocessor.meta["fields"]
    np.testing.assert_array_equal(before.preprocessor.encode(trained.rows), now.preprocessor.encode(trained.rows))


@pytest.mark.slow
def test_the_chain_of_runs_stands_in_the_report_and_on_the_card(trained, still, tmp_path):
    tomorrow(seed=2).write_csv(tmp_path / "day_3.csv")
    third = go_on(still, tmp_path / "day_3.csv", tmp_path / "third")
    chain = Run.open(third).report["ancestry"]
    assert [one["run"] for one in chain] == [str(trained.run), str(still)]
    assert chain[0]["store"] == Run.open(trained.run).store
    assert all(len(one["weights"]) == 64 for one in chain)
    predictor = eulernet.Predictor.load(third)
    predictor.push(tmp_path / "packed")
    card = (tmp_path / "packed/README.md").read_text()
    assert all(one["weights"][:16] in card and one["store"] in card for one in chain)
    assert str(tmp_path) not in (tmp_path / "packed/report.json").read_text()
    assert all(one["weights"][:16] in ancestry(Run.open(third)) for one in chain)
    again = eulernet.Predictor.load(tmp_path / "packed")
    np.testing.assert_array_equal(again.predict(tomorrow()), predictor.predict(tomorrow()))


@pytest.mark.slow
def test_a_frame_goes_on_as_a_file_does(trained, tmp_path):
    tomorrow().write_parquet(tmp_path / "day_2.parquet")
    by_file = go_on(trained.run, tmp_path / "day_2.parquet", tmp_path / "second", "train.lr=0.001")
    by_frame = eulernet.fit(tomorrow(), start_from=trained.run, train={"lr": 0.001}, verbose=False)
    a, b = (load_file(Path(folder) / "model.safetensors") for folder in (by_file, by_frame.folder))
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert by_frame.config["model"] == read_config(trained.run / "config.yaml")["model"]
    nothing = eulernet.fit(tomorrow().head(0), start_from=by_frame, verbose=False)
    np.testing.assert_array_equal(nothing.predict_proba(tomorrow()), by_frame.predict_proba(tomorrow()))


@pytest.mark.slow
def test_values_that_were_not_seen_for_long_give_their_row_away(tmp_path):
    first = date(2026, 1, 1)

    def day(number, users):
        rows = raw_rows(300, number).with_columns(day=pl.lit(first + timedelta(days=number)))
        return rows.with_columns(user=pl.Series(np.random.default_rng(number).choice(users, 300)))

    short = {"train": {"max_epochs": 1}, "verbose": False, "overrides": ["model.embedding_dim=4", "reference=false"]}
    run = eulernet.fit(day(0, [1, 2, 3]), "click", dataset={"retire_by": "day", "retire_after": 2}, **short)
    later = eulernet.fit(day(2, [2, 3]), start_from=run, verbose=False)
    assert later.report["grown"].get("user") is None
    last = eulernet.fit(day(3, [2, 7, 8]), start_from=later, verbose=False)
    assert last.report["grown"]["user"] == {"new": 2, "retired": 1}
    before, now = (dict(zip(v.values, range(1, 9), strict=False)) for v in
                   (one.predictor.preprocessor.coders[0].vocabulary for one in (run, last)))  # fmt: skip
    assert now[2] == before[2]
    assert before[1] in (now[7], now[8])
    assert 1 not in now


@pytest.mark.slow
def test_numbers_keep_their_scaling_or_take_the_new_one(trained):
    rows = tomorrow().with_columns(pl.col("price") * 100)
    kept, renewed = (
        eulernet.fit(rows, start_from=trained.run, dataset={"rescale": on}, verbose=False) for on in (False, True)
    )
    old, same, other = (
        next(c for c in p.coders if c.name == "price")
        for p in (Preprocessor.open(trained.run / "preprocessor"), kept.predictor.preprocessor,
                  renewed.predictor.preprocessor)
    )  # fmt: skip
    assert same == old
    assert other.mean > 50 * old.mean


@pytest.mark.slow
def test_the_classifier_gives_new_values_ids_of_their_own():
    X, y = pd.DataFrame({"city": ["a", "b"] * 40}), pd.Series([0, 1, 1, 0] * 20)
    made = eulernet.CTRClassifier(warm_start=True, random_state=0, max_epochs=1, overrides=["model.embedding_dim=4"])
    old = made.fit(X, y).predictor_
    new = made.fit(X.replace("a", "c"), y).predictor_
    assert old.preprocessor.coders[0].vocabulary.values.sort().to_list() == ["a", "b"]
    assert new.preprocessor.coders[0].vocabulary.values.to_list()[2:] == ["c"]


def test_the_classifier_keeps_the_vectors_of_known_values(tmp_path):
    pl.DataFrame({"value": ["a"], "vector": [[1.0, 2.0, 3.0]]}).write_parquet(tmp_path / "v.parquet")
    X, y = pl.DataFrame({"city": ["a", "b"] * 40}), np.array([0, 1, 1, 0] * 20)
    fields = {"city": {"kind": "category", "vectors": str(tmp_path / "v.parquet")}}
    made = eulernet.CTRClassifier("fm", warm_start=True, random_state=0, max_epochs=1, fields=fields)
    made.fit(X, y)
    given = made.fit(X.with_columns(city=pl.col("city").replace("b", "c")), y).predictor_.model.embedding.given[0]
    assert given.vectors.tolist() == [[0, 0, 0], [1, 2, 3], [0, 0, 0], [0, 0, 0]]
    assert given.known.tolist() == [False, True, False, False]


def test_a_run_on_a_frame_has_its_rows_after_an_empty_day():
    short = {"verbose": False, "overrides": ["train.max_epochs=1", "model.embedding_dim=4", "reference=false"]}
    run = eulernet.fit(raw_rows(200, 0), "click", "fm", **short)
    same = eulernet.fit(raw_rows(200, 0).head(0), start_from=run, verbose=False)
    np.testing.assert_array_equal(same._run.scores("test").logits, run._run.scores("test").logits)


def test_only_what_is_typed_changes(trained):
    old = read_config(trained.run / "config.yaml")
    argv = naming([f"start_from={trained.run}", "raw=x.csv", "train.lr=0.5", "seed=7"])
    assert argv[4:] == ["dataset=table", "model=eulernet"]
    cfg = eulernet.cli.compose("train", argv)
    new = started_config(cfg, argv)
    assert new["train"] == {**old["train"], "lr": 0.5, "shuffle_seed": 7}
    assert new["dataset"] == old["dataset"]
    assert new["model"] == old["model"]
    assert (new["raw"], new["seed"]) == ("x.csv", 7)


def refused(work, *args):
    with pytest.raises(UserError) as error:
        work(*args)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_another_dataset_or_model_is_named(trained, tmp_path):
    cfg = eulernet.cli.compose("train", [f"start_from={trained.run}", "raw=x.csv", "dataset=table", "model=deepfm"])
    assert "is a run of model=eulernet, and model=deepfm is asked for" in refused(started_config, cfg, ["model=deepfm"])
    cfg = eulernet.cli.compose("train", [f"start_from={trained.run}", "raw=x.csv"])
    assert "dataset=table, and dataset=movielens_100k" in refused(started_config, cfg, [])
    cfg = eulernet.cli.compose("train", naming([f"start_from={trained.run}", "dataset.ignore=[price]"]))
    said = refused(go_on, trained.run, trained.file, tmp_path / "first", "dataset.label=price")
    assert said == "dataset.label=price: the earlier run's is click, and stays so"
    assert "keeps dataset.ignore as that run has it" in refused(started_config, cfg, ["dataset.ignore=[price]"])
    cfg["dataset"]["missing"] = ["-"]
    assert "keeps dataset.missing as that run has it" in refused(started_config, cfg, ["dataset.missing=['-']"])
    older = read_config(trained.run / "config.yaml")
    del older["dataset"]["keep_negatives"]
    (tmp_path / "older").mkdir()
    save_config(older, tmp_path / "older")
    cfg |= {"start_from": str(tmp_path / "older"), "dataset": {**cfg["dataset"], "keep_negatives": 0.5}}
    assert "keeps dataset.keep_negatives as" in refused(started_config, cfg, ["dataset.keep_negatives=0.5"])
    assert "leave out tuned=" in refused(started_config, cfg, ["tuned=x/y"])
    said = refused(go_on, trained.run, trained.file, tmp_path / "second", "model.embedding_dim=8")
    assert "model.embedding_dim is 4 there, and here 8" in said
    pl.DataFrame({"other": [1, 2], "click": [0, 1]}).write_csv(tmp_path / "other.csv")
    assert "no column" in refused(go_on, trained.run, tmp_path / "other.csv", tmp_path / "third")


def test_a_damaged_run_is_named(trained, copy_of_run, tmp_path):
    tomorrow().write_csv(tmp_path / "day_2.csv")

    def said(number):
        return refused(go_on, copy_of_run, tmp_path / "day_2.csv", tmp_path / f"new{number}")

    meta = copy_of_run / "preprocessor/meta.json"
    whole = meta.read_text()
    meta.write_text(whole.replace('"format": 3', '"format": 2'))
    assert "has changed since the run ended" in said(1)
    write_manifest(copy_of_run)
    assert "format 2, this version reads format 3" in said(2)
    meta.write_text(whole)
    city = copy_of_run / "preprocessor/vocab/city.parquet"
    pl.read_parquet(city).with_columns(pl.col("id") + 1).write_parquet(city)
    write_manifest(copy_of_run)
    assert "does not number its values" in said(3)
    (copy_of_run / "report.json").unlink()
    assert "has not finished" in said(4)
    shutil.rmtree(copy_of_run)
    assert f"start_from={copy_of_run}: no such folder" in refused(Parent, copy_of_run)


def test_retiring_takes_a_date(trained):
    def start(**dataset):
        eulernet.fit(tomorrow(), start_from=trained.run, dataset=dataset, verbose=False)

    assert "counts days: give dataset.retire_by" in refused(lambda: start(retire_after=3))
    assert "it should be a date" in refused(lambda: start(retire_after=3, retire_by="city"))


def test_a_day_without_clicks_is_named(trained):
    rows = tomorrow().with_columns(click=pl.lit(0))
    said = refused(lambda: eulernet.fit(rows, start_from=trained.run, verbose=False))
    assert "every row of the train split is no click" in said


@pytest.mark.slow
def test_histories_share_the_ids_that_grow_and_are_refused_where_the_log_makes_them():
    def rows(seed, first):
        draw = np.random.default_rng(seed)
        items = [f"i{i}" for i in draw.integers(first, first + 20, 300)]
        lists = ["|".join(f"i{i}" for i in draw.integers(0, first + 20, 3)) for _ in items]
        return pl.DataFrame({"item": items, "past": lists, "who": draw.integers(0, 9, 300), "at": range(300),
                             "click": draw.integers(0, 2, 300)})  # fmt: skip

    short = {"train": {"max_epochs": 1}, "overrides": ["model.embedding_dim=4", "reference=false"], "verbose": False}
    fields = {"past": {"kind": "history", "same_as": "item", "length": 3}}
    run = eulernet.fit(rows(0, 0), "click", "din", fields=fields, dataset={"ignore": ["at"]}, **short)
    last = eulernet.fit(rows(1, 10), start_from=run, verbose=False)
    old, new = run.predictor.preprocessor, last.predictor.preprocessor
    known = [coder.vocabulary for coder in (old.coders[0], new.coders[0])]
    assert known[1].values[: len(known[0])].equals(known[0].values)
    assert len(known[1]) > len(known[0])
    same = rows(0, 0).filter(pl.col("item").is_in(known[0].values.implode()))
    np.testing.assert_array_equal(old.encode(same)[:, 0], new.encode(same)[:, 0])
    computed = {"seen": {"kind": "history", "same_as": "item", "by": "who", "of": "item", "order": "at", "length": 3}}
    run = eulernet.fit(rows(0, 0).drop("past"), "click", "din", fields=computed, **short)
    said = refused(lambda: eulernet.fit(rows(1, 10), start_from=run, verbose=False))
    assert "history seen is computed from a log" in said


@pytest.mark.slow
def test_a_run_that_was_stopped_goes_on_to_the_same_bits_and_keeps_its_ancestry(trained, tmp_path):
    tomorrow().write_csv(tmp_path / "day_2.csv")
    more = ("train.max_epochs=3", "train.patience=9", "reference=false")
    whole = go_on(trained.run, tmp_path / "day_2.csv", tmp_path / "whole", *more)

    def stop(history, run):
        if len(history) == 1:
            raise KeyboardInterrupt

    typed = naming([f"start_from={trained.run}", f"raw={tmp_path / 'day_2.csv'}", *more])
    cfg, folder = started_config(eulernet.cli.compose("train", typed), typed), tmp_path / "stopped"
    folder.mkdir()
    with pytest.raises(KeyboardInterrupt):
        train(cfg, folder, typed, stop)
    train({**cfg, "resume": str(folder)}, folder, ["resume=stopped"])
    assert (folder / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()
    one, other = (Run.open(run).report for run in (whole, folder))
    assert one["ancestry"] == other["ancestry"]
    assert one["grown"] == other["grown"]
    assert one["valid"] == other["valid"]


@pytest.mark.slow
@pytest.mark.usefixtures("quick_onnx")
def test_an_exported_folder_has_the_ids_that_grew_and_those_that_went(tmp_path, monkeypatch):
    days = [date(2026, 1, 1), date(2026, 1, 9)]
    first, second = raw_rows(900, 0).with_columns(day=pl.lit(days[0])), tomorrow().with_columns(day=pl.lit(days[1]))
    short = {"train": {"max_epochs": 1}, "overrides": ["model.embedding_dim=4", "reference=false"], "verbose": False}
    run = eulernet.fit(first, "click", fields={"tags": "bag"}, dataset={"retire_by": "day", "retire_after": 3}, **short)
    last = eulernet.fit(second, start_from=run, verbose=False)
    assert any(one["retired"] for one in last.report["grown"].values())
    assert export(last.predictor, tmp_path / "scorer", "onnx") < 1e-5
    rows = pl.concat([first, second]).drop("day").to_dicts()
    monkeypatch.syspath_prepend(str(tmp_path / "scorer"))
    example = runpy.run_path(str(tmp_path / "scorer/example.py"))
    monkeypatch.delitem(sys.modules, "encode")
    ids, scores = example["encode"](rows), example["score"](rows)
    np.testing.assert_array_equal(ids, last.predictor.preprocessor.encode(pl.DataFrame(rows, infer_schema_length=None)))
    np.testing.assert_allclose(scores, last.predict_proba(rows)[:, 1], atol=1e-5)
