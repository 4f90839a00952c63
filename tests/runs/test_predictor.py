"""A trained run scores raw rows as it was trained on them, whatever holds them, and refuses what is not a run."""

import gzip
import json
import os
import pickle
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from types import ModuleType

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
import yaml
from conftest import REPOSITORY
from safetensors.torch import load_file, save_file

from eulernet import Predictor
from eulernet.data.dataset import Dataset
from eulernet.data.lines import Format
from eulernet.data.preprocessor import Preprocessor
from eulernet.data.raw import read
from eulernet.data.sets import movielens
from eulernet.data.sets.avazu import make_avazu
from eulernet.data.sets.criteo import make_criteo
from eulernet.errors import UserError
from eulernet.runs.manifest import write_manifest


def as_pandas(rows):
    """A frame of pandas, without pyarrow."""
    return pd.DataFrame(rows.to_dict(as_series=False))


REQUIRED, OPTIONAL = ["user", "store", "age"], ["city", "price", "visits", "tags"]


@pytest.fixture(scope="module")
def predictor(trained):
    return Predictor.load(trained.run)


@pytest.fixture(scope="module")
def tested(trained):
    """The raw rows of the test split without labels, their ids in the store, and their probabilities."""
    rows, ids = trained.test()
    model = Predictor.load(trained.run).model
    with torch.inference_mode():
        return rows.drop("click"), ids.numpy(), model.predict(ids).double().numpy()


# What was encoded in training is encoded alike.


@pytest.mark.parametrize("part", ["train", "valid", "test"])
def test_raw_rows_have_the_ids_of_training(trained, predictor, part):
    split = trained.data.splits[part]
    ids = predictor.encode(trained.rows[split.order.numpy()])
    assert ids.dtype == np.int32
    assert np.array_equal(ids, split.x[split.order].numpy())


def test_the_weights_are_those_that_were_tested(trained, predictor, tested):
    report = json.loads((trained.run / "report.json").read_text())
    clicks = trained.data.test.labels.numpy()
    found = predictor.predict(tested[0])
    assert -np.mean(np.log(np.where(clicks, found, 1 - found))) == pytest.approx(report["test"]["logloss"], abs=1e-6)


def forms(rows, folder):
    """The same rows as people have them."""
    rows.write_csv(folder / "rows.csv")
    rows.write_csv(folder / "rows.tsv", separator="\t")
    rows.write_parquet(folder / "rows.parquet")
    (folder / "rows.csv.gz").write_bytes(gzip.compress((folder / "rows.csv").read_bytes()))
    parts = folder / "parts"
    parts.mkdir()
    rows[:100].write_csv(parts / "a.csv")
    rows[100:].write_parquet(parts / "b.parquet")
    yield from (rows, as_pandas(rows), as_pandas(rows).convert_dtypes(), rows.to_dicts())
    yield from (folder / "rows.csv", str(folder / "rows.tsv"), folder / "rows.csv.gz", folder / "rows.parquet", parts)


def test_the_same_probabilities_from_every_form_of_rows(predictor, tested, tmp_path):
    rows, _, want = tested
    for form in forms(rows, tmp_path):
        found = predictor.predict(form)
        assert (found.dtype, found.shape) == (np.float64, (len(rows),))
        np.testing.assert_allclose(found, want, atol=1e-6, err_msg=str(form)[:200])


def test_order_and_number_of_columns_do_not_matter(predictor, tested, tmp_path):
    rows, ids, want = tested
    changed = rows.select(*reversed(rows.columns), pl.lit("x").alias("more")).sample(fraction=1, shuffle=True, seed=1)
    order = rows.with_row_index().sample(fraction=1, shuffle=True, seed=1)["index"].to_numpy()
    assert np.array_equal(predictor.encode(changed), ids[order])
    for form in forms(changed, tmp_path):
        np.testing.assert_allclose(predictor.predict(form), want[order], atol=1e-6)


def test_a_column_that_training_missed_in_places_may_be_left_out(predictor, tested, tmp_path):
    rows, _, _ = tested
    want = predictor.encode(rows.with_columns(pl.lit(None).alias(name) for name in OPTIONAL))
    assert np.array_equal(predictor.encode(rows.drop(OPTIONAL)), want)
    dicts = [{key: value for key, value in row.items() if value is not None} for row in rows.to_dicts()]
    assert np.array_equal(predictor.encode(dicts), predictor.encode(rows))
    rows.drop(OPTIONAL).write_csv(tmp_path / "rows.csv")
    full = predictor.predict(rows.with_columns(pl.lit(None).alias(name) for name in OPTIONAL))
    assert np.array_equal(predictor.predict(tmp_path / "rows.csv"), full)


@pytest.mark.parametrize("name", REQUIRED)
def test_a_column_that_training_always_had_is_required(predictor, tested, tmp_path, name):
    rows = tested[0].drop(name)
    rows.write_csv(tmp_path / "rows.csv")
    rows.write_parquet(tmp_path / "rows.parquet")
    for form in (rows, as_pandas(rows), tmp_path / "rows.csv", tmp_path / "rows.parquet"):
        with pytest.raises(UserError, match=f"no column '{name}'"):
            predictor.predict(form)
    with pytest.raises(UserError, match=f"row 1 has no '{name}'"):
        predictor.predict(rows.to_dicts())


def test_nothing_is_nothing_however_it_is_written(predictor, tested):
    row = tested[0].row(0, named=True)
    want = predictor.encode([dict(row, city=None, price=None, visits=None, tags=None)])
    for nothing in (float("nan"), "", "NA"):
        assert np.array_equal(predictor.encode([dict(row, **dict.fromkeys(OPTIONAL, nothing))]), want)
    frame = pd.DataFrame([row]).assign(city=pd.NA, price=np.nan, visits=pd.NaT, tags="")
    assert np.array_equal(predictor.encode(frame), want)


def test_whole_numbers_may_come_as_floats_or_text_and_text_as_numbers(predictor, tested):
    rows, ids, _ = tested
    number = pl.col("user", "age", "visits")
    for changed in (
        rows.with_columns(number.cast(pl.Float64)),
        rows.with_columns(number.cast(pl.Int16)),
        rows.with_columns(number.cast(pl.String)),
        rows.with_columns(pl.col("store").cast(pl.Int8)),
        rows.with_columns(pl.col("store").cast(pl.Float32)),
        rows.with_columns(pl.col("city").cast(pl.Categorical)),
        as_pandas(rows).astype({"city": "category", "store": int, "visits": float}),
        rows.with_columns(pl.col("tags").str.split("|")).with_columns(pl.col("tags").list.join("|")),
    ):
        assert np.array_equal(predictor.encode(changed), ids)


def test_a_row_does_not_depend_on_how_others_write_theirs(predictor, tested):
    rows = tested[0].head(4).to_dicts()
    for value in (5, 5.0, "5"):
        mixed = [{**rows[0], "store": value}, {**rows[1], "store": "3"}, {**rows[2], "store": 2.0}, rows[3]]
        alone = np.concatenate([predictor.encode([row]) for row in mixed])
        np.testing.assert_array_equal(predictor.encode(mixed), alone)
        np.testing.assert_array_equal(predictor.encode(mixed)[0], predictor.encode([{**rows[0], "store": "5"}])[0])


def test_values_that_training_never_saw_share_id_0(predictor, tested):
    row = dict(tested[0].row(0, named=True), user=10**9, city="Atlantis", store="-1", tags="no|such|tag")
    ids = predictor.encode([row])[0].tolist()
    names = [field["name"] for field in predictor.preprocessor.meta["fields"]]
    assert [ids[names.index(name)] for name in ("user", "city", "store")] == [0, 0, 0]
    assert ids[names.index("tags") :] == [0, 0, 0]
    assert 0 < predictor.predict([row])[0] < 1


def test_a_text_that_has_the_hash_of_a_known_one_is_still_unknown(predictor, monkeypatch):
    coder = next(coder for coder in predictor.preprocessor.coders if coder.name == "city")
    values = coder.vocabulary.values
    fake = pl.Series([values[0], "Atlantis"])
    hashes = values.hash(coder.vocabulary.index[1])
    monkeypatch.setattr(type(coder.vocabulary), "_numbers", lambda _, given, __: pl.Series([hashes[0]] * len(given)))
    assert coder.vocabulary.ids(fake).tolist() == [1, 0]


# Few rows, many rows.


def test_no_rows_have_no_probabilities(predictor, tested, tmp_path):
    none = tested[0][:0]
    none.write_csv(tmp_path / "rows.csv")
    none.write_parquet(tmp_path / "rows.parquet")
    for form in (none, as_pandas(none), [], tmp_path / "rows.csv", tmp_path / "rows.parquet"):
        assert predictor.predict(form).shape == (0,)
    (tmp_path / "empty.csv").touch()
    with pytest.raises(UserError, match=r"empty\.csv is empty"):
        predictor.predict(tmp_path / "empty.csv")


def test_one_row_is_what_it_is_among_others(predictor, tested):
    rows, _, want = tested
    for i in (0, 7, len(rows) - 1):
        assert predictor.predict(rows[i : i + 1])[0] == pytest.approx(want[i], abs=1e-6)


@pytest.mark.parametrize("count", [150_000, pytest.param(1_000_000, marks=pytest.mark.slow)])
def test_many_rows_are_aligned_with_the_input(predictor, tested, count):
    rows, _, want = tested
    found = predictor.predict(pl.concat([rows] * (count // len(rows) + 1))[:count])
    np.testing.assert_allclose(found, np.resize(want, count), atol=1e-6)


def test_threads_share_a_predictor(predictor, tested):
    rows, _, want = tested
    with ThreadPoolExecutor(8) as pool:
        for found in pool.map(predictor.predict, [rows] * 16):
            np.testing.assert_allclose(found, want, atol=1e-6)


def test_rows_may_come_while_another_thread_is_importing_pandas(predictor, tested, monkeypatch):
    rows = tested[0][:3].to_dicts()
    monkeypatch.setitem(sys.modules, "pandas", ModuleType("pandas"))  # begun, but nothing in it yet
    assert len(predictor.frame(rows)) == 3


def test_predicting_leaves_rows_and_random_state_alone(trained, tested):
    rows = as_pandas(tested[0])
    before, state = rows.copy(), torch.get_rng_state()
    Predictor.load(trained.run).predict(rows)
    pd.testing.assert_frame_equal(rows, before)
    assert torch.equal(torch.get_rng_state(), state)


# What rows cannot be.


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("visits", "many", "row 3: visits is 'many', not a whole number"),
        ("visits", 2.5, "row 3: visits is 2.5, not a whole number"),
        ("visits", 10**30, "row 3: visits is 1000000000000000000000000000000, which is out of range"),
        ("price", "cheap", "row 3: price is 'cheap', not a number"),
        ("price", float("inf"), "row 3: field price: inf is not a number"),
        ("age", [1, 2], "age"),
        ("city", {"a": 1}, "city"),
    ],
)
def test_a_value_that_cannot_be_is_named_with_its_row(predictor, tested, name, value, message):
    rows = [dict(row) for row in tested[0][:5].to_dicts()]
    rows[2][name] = value
    with pytest.raises(UserError) as refused:
        predictor.predict(rows)
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


def test_the_row_of_a_wrong_value_is_counted_from_the_first(predictor, tested):
    many = pl.concat([tested[0].with_columns(pl.col("visits").cast(pl.String))] * 60)[:10_000]
    many = many.with_columns(visits=pl.when(pl.int_range(pl.len()) == 9_000).then(pl.lit("x")).otherwise("visits"))
    with pytest.raises(UserError, match="row 9001: visits is 'x'"):
        predictor.predict(many)


def test_bytes_that_are_no_text_are_named_with_their_line(predictor, tested, tmp_path):
    file = tmp_path / "rows.csv"
    tested[0].write_csv(file)
    lines = file.read_bytes().split(b"\n")
    lines[4] = lines[4].replace(b",", b"\xff,", 1)
    file.write_bytes(b"\n".join(lines))
    with pytest.raises(UserError, match=r"rows\.csv, line 5"):
        predictor.predict(file)


@pytest.mark.parametrize("rows", [7, "no such file.csv", {"user": 1}, [1, 2], None])
def test_what_are_no_rows(predictor, rows):
    with pytest.raises(UserError):
        predictor.predict(rows)


def test_a_column_that_is_there_twice(predictor, tested):
    frame = as_pandas(tested[0])
    with pytest.raises(UserError, match="column user is there twice"):
        predictor.predict(pd.concat([frame, frame[["user"]]], axis=1))


# What is no run.


def refused(run, *words):
    with pytest.raises(UserError) as error:
        Predictor.load(run)
    assert "\n" not in str(error.value)
    for word in words:
        assert word in str(error.value)


def change(file, old, new):
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


def test_a_damaged_or_changed_file_is_named(copy_of_run):
    for name in ("model.safetensors", "config.yaml", "preprocessor/meta.json", "preprocessor/vocab/city.parquet"):
        file = copy_of_run / name
        whole = file.read_bytes()
        for damaged in (whole[:-1], whole[:-1] + bytes([whole[-1] ^ 1]), b""):
            file.write_bytes(damaged)
            refused(copy_of_run, name, "changed")
        file.unlink()
        refused(copy_of_run, name, "missing")
        file.write_bytes(whole)
    assert Predictor.load(copy_of_run)


def test_a_vocabulary_that_was_not_there_is_refused(copy_of_run):
    vocabulary = copy_of_run / "preprocessor" / "vocab"
    shutil.copy(vocabulary / "city.parquet", vocabulary / "more.parquet")
    refused(copy_of_run, "more.parquet")


def test_what_is_not_finished_or_no_run(copy_of_run, tmp_path):
    (copy_of_run / "manifest.json").unlink()
    refused(copy_of_run, "finished run")
    (copy_of_run / "manifest.json").write_text("{")
    refused(copy_of_run, "manifest.json")
    refused(tmp_path / "nowhere", "no such folder")
    (tmp_path / "model.pt").touch()
    refused(tmp_path / "model.pt", "give the folder of a run")


def test_another_format_says_who_reads_it(copy_of_run):
    manifest = copy_of_run / "manifest.json"
    change(manifest, '"format": 1', '"format": 9')
    refused(copy_of_run, "format 9", "this version reads format 1", "update")
    change(manifest, '"format": 9', '"format": 1')
    meta = copy_of_run / "preprocessor" / "meta.json"
    change(meta, '"format": 3', '"format": 9')
    write_manifest(copy_of_run)
    refused(copy_of_run, "format 9", "update")


class Attack:
    """Runs a command when it is unpickled."""

    def __reduce__(self):
        return os.system, ("touch attacked",)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("model.safetensors", pickle.dumps({"head.weight": Attack()})),
        ("config.yaml", b"model: !!python/object/apply:os.system ['touch attacked']\n"),
        ("config.yaml", b"model: {name: 'os.system', command: touch attacked}\n"),
        ("config.yaml", b"model: {name: eulernet, _target_: os.system}\n"),
        ("config.yaml", b"model: {name: lr}\n"),
        ("config.yaml", b"model: [" * 5000),
        ("config.yaml", b"\xff\xfe"),
        ("preprocessor/vocab/city.parquet", pickle.dumps(Attack())),
        ("preprocessor/meta.json", b"[" * 100_000),
    ],
)
def test_nothing_in_a_hostile_run_is_executed(copy_of_run, tmp_path, monkeypatch, name, content):
    monkeypatch.chdir(tmp_path)
    (copy_of_run / name).write_bytes(content)
    write_manifest(copy_of_run)  # who writes a run writes its checksums
    refused(copy_of_run)
    assert not (tmp_path / "attacked").exists()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"transform": "members"', '"transform": "__import__"'),
        ('"transform": "members"', '"transform": ["members"]'),
        ('"kind": "bag"', '"kind": "none"'),
        ('"column": "tags"', '"column": "nothing"'),
        ('"name": "city"', '"name": "../../city"'),
        ('"name": "city"', '"name": 7'),
        ('"edges": [', '"edges": ["x", '),
        ('"pooling": "mean"', '"pooling": "max"'),
        ('"fields": [', '"fields": [7, '),
        ('"mean": ', '"mean": "x", "was": '),
        ('"length": 3', '"length": 1000000000000'),
        ('"raw": {', '"raw": {"code": "x", '),
    ],
)
def test_a_hostile_preprocessor_is_refused(copy_of_run, old, new):
    change(copy_of_run / "preprocessor" / "meta.json", old, new)
    write_manifest(copy_of_run)
    refused(copy_of_run)


def test_weights_of_another_model_are_refused_before_memory_is_taken(copy_of_run):
    weights = copy_of_run / "model.safetensors"
    tensors = load_file(weights)
    save_file({name: value[..., :1].contiguous() for name, value in tensors.items()}, weights)
    write_manifest(copy_of_run)
    refused(copy_of_run, "does not fit")
    config = yaml.safe_load((copy_of_run / "config.yaml").read_text())
    config["model"]["embedding_dim"] = 10**6
    (copy_of_run / "config.yaml").write_text(yaml.safe_dump(config))
    save_file(tensors, weights)
    write_manifest(copy_of_run)
    refused(copy_of_run, "does not fit")


# Real data.


def scanned(files, form):
    return pl.concat([piece.frame() for piece in read(files, form, 1 << 28)])


SETTINGS = dict(vocabulary="all", split="paper", split_seed=2021)


@pytest.mark.parametrize("name", [pytest.param("ml_1m", marks=pytest.mark.slow), "criteo_sample", "avazu_sample"])
def test_real_rows_have_the_ids_of_training(name, request, tmp_path):
    given = request.getfixturevalue(name)
    if name == "ml_1m":
        folder = movielens.make_movielens_1m([given], tmp_path, 2.0, min_count=1, **SETTINGS)
        rows = movielens.LABEL.rows(movielens.scan_1m([given / file for file in movielens.ONE_M]))
    elif name == "criteo_sample":
        folder = make_criteo([given], tmp_path, 2.0, min_count=8, accept_terms=False, **SETTINGS)
    else:
        folder = make_avazu([given], tmp_path, 2.0, min_count=5, **SETTINGS)
    preprocessor, data = Preprocessor.open(folder), Dataset.open(folder)
    if name != "ml_1m":
        form = preprocessor.form
        text = Format(dict.fromkeys(form.columns, pl.String), form.separator, form.header)
        rows = scanned([given], text)  # as if nobody knew their types
    order = data.test.order
    assert np.array_equal(preprocessor.encode(rows[order.numpy()]), data.test.x[order].numpy())


def test_importing_takes_little_more_than_torch():
    """Not the time, which depends on the machine, but what costs it."""
    code = "import sys; from eulernet import Predictor; print(*sorted(sys.modules))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=REPOSITORY)
    loaded = set(found.stdout.split())
    assert not loaded & {"pandas", "hydra", "omegaconf", "sklearn", "scipy", "torch._dynamo"}
    assert not loaded & {"onnx", "onnxruntime", "onnxscript", "starlette", "uvicorn"}
