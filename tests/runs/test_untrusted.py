"""Run folders and archives that came from anywhere: each limit and each damaged file ends as one line that says it."""

import io
import json
import os
import shutil
import tarfile
import tempfile

import numpy as np
import polars as pl
import pytest
import torch
import yaml
from conftest import REPOSITORY
from safetensors.torch import load_file, save_file

from eulernet import Predictor
from eulernet.errors import UserError
from eulernet.files import locked
from eulernet.runs import parts, portable, weights
from eulernet.runs.groups import identity
from eulernet.runs.manifest import check_manifest, write_manifest
from eulernet.runs.run import Run, find_runs


def refused(read, *words):
    with pytest.raises(UserError) as error:
        read()
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 1000
    for word in words:
        assert word in str(error.value), error.value


@pytest.fixture
def tmp(tmp_path, monkeypatch):
    """A temporary folder of this test alone."""
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    return tmp_path / "tmp"


def archive(path, *members, mode="w"):
    with tarfile.open(path, mode) as packed:
        for name, content, what in members:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            for key, value in what.items():
                setattr(member, key, value)
            packed.addfile(member, io.BytesIO(content))
    return path


# Archives.


def header(kind, size):
    """The header of an extended header that says it has ``size`` bytes."""
    member = tarfile.TarInfo("PaxHeader")
    member.type, member.size = kind, size
    return member.tobuf(tarfile.GNU_FORMAT)


@pytest.mark.parametrize("kind", portable.HEADERS)
def test_a_long_header_is_refused_before_it_is_read(tmp_path, tmp, kind):
    (tmp_path / "bad.tar").write_bytes(header(kind, 1 << 30))
    refused(lambda: Predictor.load(tmp_path / "bad.tar"), "a header of 1,073,741,824 bytes", "limit is 65,536")
    assert not list(tmp.glob(".eulernet-run*"))


def test_an_archive_of_many_members_is_refused(tmp_path, tmp, monkeypatch):
    monkeypatch.setattr(portable, "FILES", 5)
    members = [(f"preprocessor/vocab/{i}.parquet", b"", {}) for i in range(6)]
    refused(lambda: Predictor.load(archive(tmp_path / "bad.tar", *members)), "more than 5 files, the limit")
    folders = [(f"folder{i}", b"", {"type": tarfile.DIRTYPE}) for i in range(6)]
    refused(lambda: Predictor.load(archive(tmp_path / "bad.tar", *folders)), "more than 5 files, the limit")


def test_an_archive_that_unpacks_to_far_more_than_it_is(tmp_path, tmp, monkeypatch):
    monkeypatch.setattr(portable, "ALWAYS", 1 << 20)
    packed = archive(tmp_path / "bad.tar.gz", ("model.safetensors", bytes(3 << 20), {}), mode="w:gz")
    refused(lambda: Predictor.load(packed), "unpacks to more than 1 MiB, the limit")
    assert not list(tmp.glob(".eulernet-run*"))


@pytest.mark.parametrize("name", ["config.yaml", "config.json", "README.md"])
def test_a_member_beyond_the_limit_of_its_name(tmp_path, tmp, name):
    packed = archive(tmp_path / "bad.tar", (name, bytes((1 << 20) + 1), {}))
    refused(lambda: Predictor.load(packed), name, "1,048,577 bytes; the limit is 1 MiB")


def test_sparse_members_are_refused(tmp_path, tmp):
    sparse = tarfile.TarInfo("model.safetensors")
    sparse.type = tarfile.GNUTYPE_SPARSE
    (tmp_path / "old.tar").write_bytes(sparse.tobuf(tarfile.GNU_FORMAT) + bytes(1024))
    refused(lambda: Predictor.load(tmp_path / "old.tar"), "is no part of a predictor")
    about = {"GNU.sparse.major": "0", "GNU.sparse.minor": "1", "GNU.sparse.map": "0,1", "GNU.sparse.size": "1000000"}
    packed = archive(tmp_path / "new.tar", ("model.safetensors", b"x", {"pax_headers": about}))
    refused(lambda: Predictor.load(packed), "is no part of a predictor")


def test_over_long_names(tmp_path, tmp):
    name = f"preprocessor/vocab/{'x' * 300}.parquet"
    refused(lambda: Predictor.load(archive(tmp_path / "bad.tar", (name, b"", {}))), "bad.tar")
    refused(lambda: Predictor.load(tmp_path / ("x" * 5000)), "xxx")
    refused(lambda: Predictor.load("a\0b"), "a\0b")


def test_what_a_killed_process_unpacked_is_swept_and_what_a_living_one_holds_is_not(trained, tmp_path, tmp):
    Predictor.load(trained.run).push(tmp_path / "a.tar")
    dead, living = (tmp / f".eulernet-run.{name}.new" for name in ("dead", "living"))
    for folder in (dead, living):
        folder.mkdir()
        (folder / "model.safetensors").write_bytes(b"x")
    with locked(living):
        assert Predictor.load(tmp_path / "a.tar")
        assert list(tmp.glob(".eulernet-run*")) == [living]


def test_what_a_killed_push_left_is_swept(trained, tmp_path):
    (tmp_path / ".pushed.dead.new").mkdir()
    Predictor.load(trained.run).push(tmp_path / "pushed")
    assert [path.name for path in tmp_path.iterdir()] == ["pushed"]


# Folders: what a file may be.


def change(file, **what):
    content = json.loads(file.read_text())
    for key, value in what.items():
        place, (*way, last) = content, key.split("__")
        for name in way:
            place = place[name]
        place[last] = value
    file.write_text(json.dumps(content))


@pytest.mark.parametrize("name", ["manifest.json", "config.yaml", "report.json", "preprocessor/vocab/city.parquet"])
def test_a_pipe_in_place_of_a_file_is_refused(copy_of_run, name):
    (copy_of_run / name).unlink()
    os.mkfifo(copy_of_run / name)
    refused(lambda: Predictor.load(copy_of_run), "is no plain file")


@pytest.mark.parametrize("name", ["metrics.csv", "config.yaml", "report.json", "evaluation.json"])
def test_a_report_of_a_folder_with_a_pipe_is_refused(copy_of_run, name):
    (copy_of_run / name).unlink(missing_ok=True)
    os.mkfifo(copy_of_run / name)
    run = Run(copy_of_run)
    refused(lambda: (run.report, run.history, run.config, run.evaluations), "is no plain file")


@pytest.mark.parametrize("name", ["manifest.json", "report.json", "preprocessor/meta.json", "config.json"])
def test_a_file_that_is_read_whole_has_a_limit(copy_of_run, monkeypatch, name):
    monkeypatch.setitem(parts.LARGEST, name, 0)
    (copy_of_run / name).write_text("{}")
    refused(lambda: Predictor.load(copy_of_run), "2 bytes; the limit is 0 MiB")


@pytest.mark.parametrize("name", ["manifest.json", "report.json", "config.json", "preprocessor/meta.json"])
@pytest.mark.parametrize(
    "content", ["[" * 100_000, '{"a":' * 100_000, "{", "7", "[]", '{"a": 1' + "0" * 5000 + "}", "\udcff"]
)
def test_json_of_any_kind_is_one_line(copy_of_run, name, content):
    (copy_of_run / name).write_bytes(content.encode(errors="surrogateescape"))
    if name != "manifest.json":
        write_manifest(copy_of_run)
    refused(lambda: Predictor.load(copy_of_run))


@pytest.mark.parametrize(
    "content",
    [
        "a: &a [x]\nb: &b [*a, *a]\nmodel: {name: lr}\n",
        "a: " + "[" * 5000,
        "model: lr",
        "- model",
        "model: !!map {name: lr",
    ],
)
def test_yaml_aliases_and_depth_are_one_line(copy_of_run, content):
    (copy_of_run / "config.yaml").write_text(content)
    write_manifest(copy_of_run)
    refused(lambda: Predictor.load(copy_of_run), "config.yaml")


@pytest.mark.parametrize("sums", [None, [], 7, {"../x": "y"}, {"x" * 5000: "y"}, {"model.safetensors": 7}])
def test_a_manifest_that_lists_something_else(copy_of_run, sums):
    change(copy_of_run / "manifest.json", sha256=sums)
    refused(lambda: check_manifest(copy_of_run))


def test_the_report_is_covered_by_the_manifest_and_older_manifests_still_open(copy_of_run):
    change(copy_of_run / "report.json", test__auc=0.99)
    refused(lambda: Predictor.load(copy_of_run), "report.json has changed since the run ended")
    sums = json.loads((copy_of_run / "manifest.json").read_text())["sha256"]
    del sums["report.json"]
    change(copy_of_run / "manifest.json", sha256=sums)  # as version 0.1.0 wrote it
    assert Predictor.load(copy_of_run).report["test"]["auc"] == 0.99
    (copy_of_run / "report.json").unlink()
    assert Predictor.load(copy_of_run).report is None


@pytest.mark.parametrize("count", [2_000, pytest.param(100_000, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    ("name", "key"),
    [("dnn", "hidden_units"), ("dcn", "cross_layers"), ("autoint", "attention_layers"), ("eulernet", "orders")],
)
def test_a_configuration_of_many_layers_is_refused_before_any_is_made(copy_of_run, name, key, count):
    config = yaml.safe_load((copy_of_run / "config.yaml").read_text())
    config["model"] = yaml.safe_load((REPOSITORY / "conf/model" / f"{name}.yaml").read_text())
    config["model"].pop("defaults", None)
    config["model"][key] = count if key.endswith("layers") else [8] * count
    (copy_of_run / "config.yaml").write_text(yaml.safe_dump(config))
    write_manifest(copy_of_run)
    refused(lambda: Predictor.load(copy_of_run), f"model.{key}", f"{count:,} layers; the limit is {weights.LAYERS}")


def test_weights_of_many_tensors_are_refused(copy_of_run, monkeypatch):
    monkeypatch.setattr("eulernet.training.weights.TENSORS", 1)
    refused(lambda: Predictor.load(copy_of_run), "tensors; the limit is 1")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(copy_of_run, value):
    tensors = load_file(copy_of_run / "model.safetensors")
    name = next(iter(tensors))
    tensors[name].view(-1)[0] = value
    save_file(tensors, copy_of_run / "model.safetensors")
    write_manifest(copy_of_run)
    refused(lambda: Predictor.load(copy_of_run), "not finite", name)


VOCABULARIES = {
    "lists": pl.DataFrame({"value": [["a"]], "id": [1]}, schema_overrides={"id": pl.Int32}),
    "floats": pl.DataFrame({"value": [1.0], "id": [1]}, schema_overrides={"id": pl.Int32}),
    "other columns": pl.DataFrame({"value": ["a"]}),
    "more rows": pl.DataFrame(
        {"value": pl.int_range(10**6, eager=True), "id": pl.int_range(10**6, eager=True, dtype=pl.Int32)}
    ),
    "text ids": pl.DataFrame({"value": ["a"], "id": ["b"]}),
}


@pytest.mark.parametrize("kind", VOCABULARIES)
def test_a_vocabulary_of_other_things_is_refused(copy_of_run, kind):
    file = copy_of_run / "preprocessor/vocab/city.parquet"
    VOCABULARIES[kind].write_parquet(file)
    write_manifest(copy_of_run)
    refused(lambda: Predictor.load(copy_of_run), "city.parquet")


def test_a_vocabulary_larger_than_its_weights_is_refused_before_it_is_read(copy_of_run, monkeypatch):
    meta = copy_of_run / "preprocessor/meta.json"
    content = json.loads(meta.read_text())
    for field in content["fields"]:
        if field["name"] == "city":
            field["size"] = 10**8
    meta.write_text(json.dumps(content))
    write_manifest(copy_of_run)
    monkeypatch.setattr("eulernet.runs.run.Preprocessor.open", lambda _: pytest.fail("it was read"))
    refused(lambda: Predictor.load(copy_of_run), "does not fit the model")


# Reports.


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ({"test__auc": "high"}, "test.auc"),
        ({"test__auc": float("nan")}, "test"),
        ({"test__brier": "low"}, "test"),
        ({"valid": 7}, "valid"),
        ({"seed": "one"}, "seed"),
        ({"dataset__name": "a/b"}, "dataset.name"),
        ({"dataset__name": ".."}, "dataset.name"),
        ({"dataset__digest": "../../x"}, "dataset.digest"),
        ({"dataset__rows": {"train": "many", "test": 1}}, "dataset.rows"),
        ({"dataset": ["table"]}, "dataset"),
        ({"best_epoch": 99}, "best_epoch 99 of 1 epochs"),
        ({"config": []}, "config"),
        ({"config__train": None}, "config.train"),
        ({"overrides": [["a"]]}, "overrides"),
        ({"peak_memory_bytes": "much"}, "peak_memory_bytes"),
        ({"seconds": None}, "seconds"),
    ],
)
def test_a_report_of_other_types_is_refused(copy_of_run, what, message):
    change(copy_of_run / "report.json", **what)
    refused(lambda: Run.open(copy_of_run), "report.json", message)
    refused(lambda: find_runs(copy_of_run.parent), message)


@pytest.mark.parametrize(
    "content", ["epoch\n", "epoch,train_loss,valid_auc,valid_logloss\n1,nan,1,1\n", "\0", "\udcff"]
)
def test_a_damaged_history_is_refused(copy_of_run, content):
    (copy_of_run / "metrics.csv").write_bytes(content.encode(errors="surrogateescape"))
    refused(lambda: Run.open(copy_of_run).history, "metrics.csv cannot be read")


def test_a_damaged_evaluation_is_refused(copy_of_run):
    for content in ('{"test": 7}', '{"test": {"metrics": {"auc": {"value": "x"}}}}', '{"test": {"metrics": [1]}}'):
        (copy_of_run / "evaluation.json").write_text(content)
        refused(lambda: Predictor.load(copy_of_run), "evaluation.json is damaged")


def test_all_committed_reports_open():
    runs, unfinished = find_runs(REPOSITORY / "results")
    assert len(runs) >= 170
    assert not unfinished
    assert all(len(run.history["epoch"]) >= run.report["best_epoch"] for run in runs)


def test_the_identities_of_committed_reports_do_not_change():
    """By which ``reproduce`` finds them: another identity would train them all again."""
    known = json.loads((REPOSITORY / "results/movielens_1m/eulernet_averaged/2022/report.json").read_text())
    assert identity(known["config"]) == ("878c3375", 2022, 2022)
    younger = {**known["config"], "train": {**known["config"]["train"], "monitor": "auc"}}
    assert identity(younger) == identity(known["config"])
    younger["train"]["monitor"] = "logloss"
    assert identity(younger) != identity(known["config"])


# Right values through the one door.


def test_a_run_gives_its_configuration_model_store_and_scores(trained):
    run = Run.open(trained.run)
    scores = run.scores("test")
    assert run.open_store().meta == trained.data.meta
    assert np.array_equal(scores.labels, trained.data.test.labels.numpy())
    assert np.array_equal(scores.rows, trained.data.test.order.numpy())
    with torch.inference_mode():
        want = run.model()(torch.from_numpy(scores.x)).double().numpy()
    np.testing.assert_allclose(scores.logits, want, atol=1e-6)
    assert run.config["model"] == run.report["config"]["model"]


def test_a_store_that_is_another_one_is_refused(trained, copy_of_run, tmp_path):
    folder = shutil.copytree(trained.data.folder, tmp_path / "data" / "table" / trained.data.digest)
    assert Run.open(copy_of_run).scores("test", tmp_path / "data")
    change(folder / "meta.json", protocol="another")
    refused(lambda: Run.open(copy_of_run).scores("test", tmp_path / "data"), "is not the one that")
    refused(lambda: Run.open(copy_of_run).scores("tset"), "unknown split 'tset'; did you mean 'test'?")
    refused(lambda: Run.open(copy_of_run).scores("test", tmp_path / "x"), "there is no store", "data_dir=")
