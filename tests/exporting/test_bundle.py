"""An exported folder scores raw rows as the run does, with neither eulernet nor, for ONNX, torch."""

import copy
import csv
import importlib.util
import json
import runpy
import shutil
import subprocess
import sys
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import torch
from served import ROWS, ask, get, in_thread
from test_commands import assert_refused

from eulernet import Predictor
from eulernet.data.dataset import field_sizes
from eulernet.data.preprocessor import Preprocessor
from eulernet.data.sets.avazu import make_avazu
from eulernet.data.sets.criteo import make_criteo
from eulernet.data.values import TRANSFORMS
from eulernet.errors import UserError
from eulernet.exporting.backend import GraphModel, with_onnx
from eulernet.exporting.bundle import FORMATS, describe, draw_ids, export, write_json
from eulernet.features import Bag, Number
from eulernet.measures import calibration
from eulernet.models import MODELS
from eulernet.runs.run import Run
from eulernet.serving.backends import load

pytestmark = pytest.mark.usefixtures("quick_onnx")

# Run the example where these packages cannot be imported, and print the ids and probabilities that it makes.
RUN = """
import json, runpy, sys
for package in ("eulernet", "torch", "polars", "pandas"):
    sys.modules[package] = None
sys.path.insert(0, sys.argv[1])
example = runpy.run_path(sys.argv[1] + "/example.py")
rows = json.loads(sys.stdin.read())
print(json.dumps([example["encode"](rows).tolist(), example["score"](rows).tolist()]))
"""


def run_example(folder, rows):
    command = [sys.executable, "-c", RUN, str(folder)]
    ended = subprocess.run(command, input=json.dumps(rows), capture_output=True, text=True, cwd=folder.parent)
    assert ended.returncode == 0, ended.stderr
    ids, scores = json.loads(ended.stdout)
    return np.array(ids, dtype=np.int32), np.array(scores)


def assert_alike(found, predictor, rows, together=None):
    """Ids exactly, but numbers to their rounding; probabilities to 1e-5."""
    wanted = np.concatenate([predictor.encode(part) for part in together or [rows]])
    sizes = field_sizes(predictor.preprocessor.meta)
    numbers = [kind for size in sizes for kind in [isinstance(size, Number)] * getattr(size, "length", 1)]
    ids, scores = found
    one, two = ids[:, numbers].view(np.float32), wanted[:, numbers].view(np.float32)
    np.testing.assert_allclose(one, two, rtol=1e-6, atol=1e-7)
    kinds = ~np.array(numbers)
    np.testing.assert_array_equal(ids[:, kinds], wanted[:, kinds])
    np.testing.assert_allclose(scores, 1 / (1 + np.exp(-predictor.score(wanted))), atol=1e-5)


@pytest.fixture(scope="module")
def predictor(trained):
    return Predictor.load(trained.run)


@pytest.fixture(scope="module")
def scorer(predictor, tmp_path_factory):
    folder = tmp_path_factory.mktemp("exported") / "onnx"
    assert export(predictor, folder, "onnx") < 1e-5
    return folder


def test_the_folder(scorer):
    assert sorted(file.name for file in scorer.iterdir()) == [
        "encode.py", "example.py", "fields.json", "model.onnx", "vocabularies.json",
    ]  # fmt: skip
    assert len((scorer / "example.py").read_text().splitlines()) <= 32


def test_raw_rows_without_eulernet_or_torch(trained, predictor, scorer):
    """Those of the file, as values and as text, and rows that somebody wrote by hand."""
    values = trained.rows.drop("click").to_dicts()[:300]
    texts = [{name: "" if value is None else str(value) for name, value in row.items()} for row in values]
    row = dict(user=7, city="Wien", store="3", price=2.5, age=30, visits=9, tags="t1|t2")
    by_hand = [
        row,
        {**row, "city": "Atlantis", "user": 10**9, "store": "-1", "tags": "no|t1|such|t2"},
        {**row, "city": None, "price": float("nan"), "visits": "", "tags": None},
        {**row, "store": 3, "price": "1e1", "age": 200, "visits": 10**9, "tags": "||t3|"},
        {**row, "store": 3.0, "age": 30.0, "visits": -1, "price": -7},
        {key: row[key] for key in ("user", "store", "age")},
    ]
    found = run_example(scorer, [*values, *texts, *by_hand])
    assert_alike(found, predictor, None, [values, texts, *([row] for row in by_hand)])


def test_the_example_reads_the_file_that_was_trained_on(trained, predictor, scorer):
    command = [sys.executable, str(scorer / "example.py"), str(trained.file)]
    ended = subprocess.run(command, capture_output=True, text=True, cwd=scorer.parent)
    np.testing.assert_allclose(
        np.array(ended.stdout.split(), dtype=float), predictor.predict(trained.file), atol=1e-5, err_msg=ended.stderr
    )


@pytest.mark.parametrize("method", ["isotonic", "sigmoid"])
def test_an_exported_run_is_calibrated_as_the_run_is(trained, predictor, scorer, tmp_path, method):
    """The folder of a calibrated run differs from that of the same run in what fields.json says."""
    valid = Run(trained.run).scores("valid")
    numbers = calibration.check(calibration.fit(method, valid.labels, valid.logits))
    ours, folder = replace(predictor, calibration=numbers), shutil.copytree(scorer, tmp_path / "scorer")
    write_json(folder / "fields.json", describe(ours, FORMATS["onnx"]))
    rows = trained.rows.drop("click")[:300].to_dicts()
    scores = run_example(folder, rows)[1]
    np.testing.assert_allclose(scores, ours.predict(rows), atol=1e-5)
    assert np.abs(scores - predictor.predict(rows)).max() > 1e-3


PUBLISHED = dict(vocabulary="all", split="paper", split_seed=2021)


@pytest.mark.parametrize("dataset", ["criteo", "avazu"])
def test_published_logs_in_their_own_form(dataset, request, tmp_path):
    """Ids exactly, from lines of the real file, and from a row without anything."""
    lines = request.getfixturevalue(f"{dataset}_sample").read_text().splitlines(keepends=True)[:3000]
    raw = tmp_path / "train.txt"
    raw.write_text("".join(lines))
    if dataset == "criteo":
        store = make_criteo([raw], tmp_path, 0.5, min_count=8, accept_terms=False, **PUBLISHED)
    else:
        store = make_avazu([raw], tmp_path, 0.5, min_count=5, **PUBLISHED)
    prepare = Preprocessor.open(store)
    torch.manual_seed(2)
    model = MODELS["fm"](field_sizes(prepare.meta), embedding_dim=4).eval().requires_grad_(False)
    predictor = Predictor(model, prepare, {"model": {"name": "fm"}})
    export(predictor, tmp_path / "out", "onnx")
    about = json.loads((tmp_path / "out" / "fields.json").read_text())["raw"]
    with raw.open(newline="") as file:
        rows = list(csv.DictReader(file, about["names"], delimiter=about["separator"], quoting=csv.QUOTE_NONE))
    rows.append(dict.fromkeys(rows[0], "") | ({"hour": "14103123"} if dataset == "avazu" else {}))
    assert_alike(run_example(tmp_path / "out", rows), predictor, rows)


COUNTS, HOURS = [-3, 0, 1, 2, 3, 4, 77, 10**6, 2**31 - 1], [14102100, 14103123, 14102505, 14102611, 15010107, 16022923]
EXAMPLES = {
    "as_is": ["a"], "text": [7], "whole": [9.0, -2.0], "log_square": COUNTS, "floor_log_square": COUNTS,
    "hexadecimal": ["00000000", "68fd1e64", "ffffffff"], "hour": HOURS, "weekday": HOURS, "weekday_from_sunday": HOURS,
    "weekend": HOURS, "first_two": ["", "9", "98765", "äöü"], "decade": [0, 1, 10, 11, 61, 95, 96],
    "members": [["a", "", None, "b"], []],
}  # fmt: skip


@pytest.mark.parametrize("name", TRANSFORMS)
def test_every_transform_in_plain_python_is_that_of_training(name, scorer):
    spec = importlib.util.spec_from_file_location("encode", scorer / "encode.py")
    plain = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(plain)
    wanted = pl.DataFrame({"value": EXAMPLES[name]}).select(TRANSFORMS[name](pl.col("value"))).to_series()
    assert [plain.TRANSFORMS[name](value) for value in EXAMPLES[name]] == wanted.to_list()


def test_a_field_with_a_fraction_where_whole_numbers_belong(scorer):
    with pytest.raises(AssertionError, match=r"visits is 1\.5, not a whole number"):
        run_example(scorer, [dict(user=1, store="1", age=3, visits=1.5)])


def test_refuses_what_is_there_and_what_it_does_not_know(predictor, tmp_path):
    for output, name, message in (
        (tmp_path / "new", "tflite", "unknown format 'tflite'; known: onnx, torch_export"),
        (tmp_path, "onnx", "is there already"),
        (tmp_path / "new.tar", "onnx", "give a folder"),
    ):
        with pytest.raises(UserError, match=message):
            export(predictor, output, name)
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_left_of_an_export_that_fails(predictor, tmp_path, monkeypatch):
    monkeypatch.setattr("eulernet.exporting.bundle.vocabularies_of", lambda _: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        export(predictor, tmp_path / "new", "torch_export")
    assert list(tmp_path.iterdir()) == []


def test_a_missing_extra_is_named(predictor, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(UserError, match=r"ONNX needs onnxscript: pip install 'eulernet\[export\]'"):
        export(predictor, tmp_path / "new", "onnx")
    assert list(tmp_path.iterdir()) == []


def test_drawn_ids_stay_in_their_fields():
    x = draw_ids([5, Number(), Bag(4, 3, "sum")], 500, np.random.default_rng(0))
    assert x.dtype == np.int32
    assert x.shape == (500, 5)
    assert (x[:, 0].min(), x[:, 0].max()) == (0, 4)
    assert (x[:, 2:].min(), x[:, 2:].max()) == (-1, 3)
    assert (np.diff(x[:, 2:] == -1, axis=1) >= 0).all()  # -1 after the last member


def test_the_command(trained, predictor, run_command, tmp_path, monkeypatch, capfd):
    ended = run_command("export", f"run={trained.run}", "format=torch_export", f"output={tmp_path / 'out'}")
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.startswith("eulernet on table as torch_export: logits differ by ")
    monkeypatch.setattr(sys, "argv", ["example.py", str(trained.file)])
    monkeypatch.syspath_prepend(tmp_path / "out")  # as for every script
    runpy.run_path(str(tmp_path / "out" / "example.py"), run_name="__main__")
    found = np.array(capfd.readouterr().out.split(), dtype=float)
    np.testing.assert_allclose(found, predictor.predict(trained.file), atol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run=x", "format=onyx"], "unknown format 'onyx'; did you mean 'onnx'?"),
        ([], "run=: give the folder of a finished run"),
        (["run=nowhere"], "nowhere: no such folder"),
        (["outptu=x"], "unknown key 'outptu'; did you mean 'output'?"),
    ],
)
def test_the_command_refuses_in_one_line(run_command, arguments, message):
    assert_refused(run_command("export", *arguments), message)


def test_the_example_refuses_what_is_no_row_of_training(scorer, tmp_path):
    header = ",".join(json.loads((scorer / "fields.json").read_text())["raw"]["columns"])
    for text, said in (
        (f"{header}\n", ""),
        ("who,age\n1,2\n", "a row has no"),
        (f"{header}\n1,2\n", "2 columns where"),
    ):
        (tmp_path / "rows.csv").write_text(text)
        command = [sys.executable, str(scorer / "example.py"), str(tmp_path / "rows.csv")]
        ended = subprocess.run(command, capture_output=True, text=True)
        assert said in ended.stderr
        assert bool(ended.returncode) == bool(said)
        assert ended.stdout.strip() == ""


@pytest.fixture
def run_with_graph(trained, scorer, tmp_path):
    """The run, with the folder that an export leaves in it."""
    shutil.copytree(trained.run, tmp_path / "run")
    shutil.copytree(scorer, tmp_path / "run" / "onnx")
    return tmp_path / "run"


def test_a_server_on_onnxruntime_answers_as_one_on_torch(predictor, run_with_graph):
    """Probabilities, metadata and errors, before and after a reload."""
    bodies = [ROWS, ROWS[:1], [], [{**ROWS[0], "age": None}], [{**ROWS[0], "age": "old"}], [7]]
    ours = load(run_with_graph, torch.device("cpu"), "onnx")
    assert not list(ours.model.parameters())
    with (
        in_thread(predictor, run_with_graph) as plain,
        in_thread(ours, run_with_graph, backend="onnx") as served,
    ):
        for _ in range(2):
            assert get(served.port, "/metadata") == get(plain.port, "/metadata")
            for body in bodies:
                (want_status, want), (status, found) = ask(plain.port, body), ask(served.port, body)
                assert status == want_status
                scores = [one.pop("probabilities", []) for one in (found, want)]
                np.testing.assert_allclose(*scores, rtol=0, atol=1e-5)
                assert found == want
            assert ask(served.port, path="/reload")[0] == 200
            assert isinstance(served.service.batcher.predictor.model, GraphModel)


def test_a_graph_is_made_where_none_was_exported(predictor, scorer, tmp_path, monkeypatch):
    monkeypatch.setattr("eulernet.exporting.bundle.Corrected.trace", lambda _: "graph")
    monkeypatch.setattr(
        "eulernet.exporting.graph.save_onnx", lambda _, file: shutil.copyfile(scorer / "model.onnx", file)
    )
    found = with_onnx(predictor, tmp_path)
    assert list(tmp_path.iterdir()) == []
    np.testing.assert_allclose(found.predict(ROWS), predictor.predict(ROWS), rtol=0, atol=1e-5)


def test_a_graph_that_is_not_the_runs_is_refused(predictor, run_with_graph):
    file = run_with_graph / "onnx" / "model.onnx"
    other = copy.deepcopy(predictor.model)
    other.head.bias.data += 1
    for spoil in (lambda: replace(predictor, model=other), lambda: file.write_bytes(b"nothing") and predictor):
        with pytest.raises(
            UserError, match=r"model\.onnx is not the graph of this run \(.*\); take it away, or export"
        ):
            with_onnx(spoil(), run_with_graph)


def test_what_onnxruntime_cannot_do_is_said(trained, predictor, tmp_path, monkeypatch):
    with pytest.raises(UserError, match=r"backend=onnx runs on the CPU; give device=cpu"):
        load(trained.run, torch.device("cuda"), "onnx")
    with pytest.raises(UserError, match=r"unknown backend 'onyx'; did you mean 'onnx'\?"):
        load(trained.run, torch.device("cpu"), "onyx")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(UserError, match=r"ONNX needs onnxruntime: pip install 'eulernet\[export\]'"):
        with_onnx(predictor, tmp_path)
