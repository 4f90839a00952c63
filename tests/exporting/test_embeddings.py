"""format=embeddings: the vectors of the tables, the values that they are of, and how often training had these."""

import json
import shutil
from pathlib import Path

import numpy as np
import polars as pl
from test_commands import assert_refused
from trained import raw_rows

import eulernet
from eulernet import Predictor
from eulernet.exporting.embeddings import export_embeddings

SHORT = ["train.max_epochs=1", "model.embedding_dim=4", "device=cpu", "reference=false"]


def test_values_vectors_and_counts_are_those_of_the_run(run_command, copy_of_run, trained):
    ended = run_command("export", f"run={copy_of_run}", "format=embeddings", "output=out")
    assert ended.code == 0, ended.err
    files = json.loads(Path("out/fields.json").read_text())["files"]
    data, predictor = trained.data, Predictor.load(trained.run)
    assert list(files) == [field["name"] for field in data.meta["fields"] if field["kind"] != "number"]
    others = pl.read_parquet("out/other/ids.parquet")
    assert others["field"].to_list() == data.fields
    assert others["id"].to_list() == [0] * len(data.fields)
    table, train = predictor.model.embedding, trained.rows[data.train.order.numpy()]
    for f, (name, kind) in enumerate((field["name"], field["kind"]) for field in data.meta["fields"]):
        other = others.filter(field=name)
        if kind == "number":
            np.testing.assert_array_equal(other["vector"].to_numpy(), table.rows_by_field()[f].numpy())
            assert other["count"].to_list() == [len(train)]
            continue
        lines = pl.read_parquet(f"out/{files[name]}")
        assert lines["value"].null_count() == 0
        vectors = np.concatenate([other["vector"].to_numpy(), lines["vector"].to_numpy()])
        np.testing.assert_array_equal(vectors, table.rows_by_field()[f].numpy())
        counts = [*other["count"], *lines["count"]]
        if name in ("user", "city", "store"):
            ids = predictor.encode(train)[:, f]
            assert counts == np.bincount(ids, minlength=len(counts)).tolist()
            frame = train.head(len(lines)).with_columns(lines["value"].cast(train[name].dtype).alias(name))
            assert predictor.encode(frame)[:, f].tolist() == list(range(1, len(lines) + 1))
        elif kind == "bag":
            assert sum(counts) == sum(len(tags.split("|")) for tags in train["tags"].drop_nulls())


def test_without_the_store_counts_are_null_and_elsewhere_is_said(run_command, copy_of_run, trained, tmp_path, caplog):
    predictor = Predictor.load(copy_of_run)
    assert " of 6 fields, vectors of 4 numbers: " in export_embeddings(predictor, copy_of_run, tmp_path / "one", None)
    packed = tmp_path / "packed"
    predictor.push(packed)
    assert export_embeddings(predictor, packed, tmp_path / "two", None)
    assert "no counts" in caplog.text
    assert pl.read_parquet(tmp_path / "two" / "city.parquet")["count"].null_count() > 1
    shutil.rmtree(tmp_path / "two")
    for given, words in (
        (["format=embeddings", f"data_dir={tmp_path / 'none'}"], "there is no store"),
        (["format=onnx", "data_dir=x"], "data_dir= goes with format=embeddings"),
        (["format=embedings"], "did you mean 'embeddings'"),
        (["format=embeddings", f"output={tmp_path / 'one'}"], "is there already"),
        (["format=embeddings", "output=a.tar"], "output=a.tar: give a folder"),
    ):
        assert_refused(run_command("export", f"run={copy_of_run}", *given), words)


def test_buckets_have_no_value_and_a_shared_table_has_one_file(tmp_path):
    """Hashed ids, the tail of a category, a history with the ids of another field; of several tables all vectors."""
    rows = raw_rows(400, 0).select("city", "user", "click").with_columns(seen=pl.lit("1|2|3"))
    fields = {
        "city": {"kind": "hash", "buckets": 7},
        "user": {"kind": "category", "min_count": 12, "buckets": 3},
        "seen": {"kind": "history", "same_as": "user", "length": 3},
    }
    run = eulernet.fit(rows, "click", {"name": "hofm", "order": 3}, fields=fields, overrides=SHORT, verbose=False)
    export_embeddings(run.predictor, run.folder, tmp_path / "out", None)
    assert set(json.loads((tmp_path / "out" / "fields.json").read_text())["files"]) == {"user"}
    user, others = (pl.read_parquet(tmp_path / "out" / name) for name in ("user.parquet", "other/ids.parquet"))
    assert others["field"].to_list() == ["city"] * 8 + ["user"] * 4
    rows_in = run.report["dataset"]["rows"]["train"]
    assert user["count"].sum() + others.filter(field="user")["count"].sum() == rows_in
    assert others.filter(field="city")["count"].sum() == rows_in
    assert user["vector"].dtype == pl.Array(pl.Float32, 8)
