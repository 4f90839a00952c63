"""What a row counts: weights, and probabilities that stay right where negatives were left out of training."""

import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
import yaml
from conftest import REPOSITORY
from toy import CONFIG, CPU, new_model
from trained import raw_rows

import eulernet
from eulernet.data.dataset import Dataset, Split
from eulernet.data.in_memory import table_in_memory
from eulernet.data.preprocessor import Preprocessor
from eulernet.data.sampling import correction
from eulernet.data.sets.table import Table
from eulernet.errors import UserError
from eulernet.exporting.backend import with_onnx
from eulernet.exporting.bundle import FORMATS, Corrected, export
from eulernet.measures import metrics
from eulernet.measures.evaluation import evaluation
from eulernet.measures.table import MEASURES, Metrics
from eulernet.training.loop import train_epoch
from eulernet.training.state import State

DEFAULTS = yaml.safe_load((REPOSITORY / "conf" / "dataset" / "table.yaml").read_text())
DEFAULTS.pop("name")
DRAW = np.random.default_rng(0)
SHORT = ["train.max_epochs=1", "train.lr=0.01", "model.embedding_dim=4", "device=cpu", "reference=false"]


def make(file, **settings):
    return Dataset.open(Table(**{**DEFAULTS, **settings})([file], file.parent / "data", 2.0))


def test_rows_to_score_need_no_weight_without_a_header_either(tmp_path):
    rows_with_weights().write_csv(tmp_path / "log.csv", include_header=False)
    names = ["city", "price", "click", "w"]
    encoder = Preprocessor.open(make(tmp_path / "log.csv", columns=names, weight="w").folder)
    found = [encoder.names_without_header(tmp_path / "log.csv", cells) for cells in (4, 2)]
    assert found == [names, ["city", "price"]]
    with pytest.raises(UserError, match="3 columns where 4 belong, or 2 without click and w; a header makes it clear"):
        encoder.names_without_header(tmp_path / "log.csv", 3)  # the weight or the label may be missing


def rows_with_weights(rows=400):
    return raw_rows(rows, 3).select("city", "price", "click").with_columns(w=pl.int_range(rows) % 4 * 0.5)


# Weights of 2 are two copies of a row


@pytest.mark.parametrize("model", ["deepfm", "fcn", "finalnet", "qnn_alpha", "members"])
def test_in_the_loss_a_weight_of_two_is_two_copies(model):
    """For the models with a loss of their own too; dropout would draw other masks for the copies."""
    torch.manual_seed(0)
    made = (
        eulernet.create_model("dnn", [5, 4], members=2) if model == "members" else eulernet.create_model(model, [5, 4])
    )
    made.double().eval()
    x, y = torch.from_numpy(DRAW.integers(0, 4, (7, 2))), torch.tensor([1, 0, 1, 0, 0, 1, 1], dtype=torch.float64)
    weight = torch.tensor([2, 1, 1, 3, 1, 0, 2], dtype=torch.float64)
    copies = torch.repeat_interleave(torch.arange(7), weight.long())
    assert abs(made.calculate_loss(x, y, weight) - made.calculate_loss(x[copies], y[copies])).item() < 1e-12


def test_in_every_measure_and_the_calibration_table_a_weight_of_two_is_two_copies():
    labels, logits, users = DRAW.integers(0, 2, 300), DRAW.normal(size=300).round(2), DRAW.integers(0, 9, 300)
    weights = DRAW.integers(0, 4, 300)
    copies = np.repeat(np.arange(300), weights)
    one = evaluation(labels, logits, users, weights.astype(float), resamples=0, seed=0)
    two = evaluation(labels[copies], logits[copies], users[copies], resamples=0, seed=0)
    assert set(one["metrics"]) == {measure.name for measure in MEASURES}
    for name, value in one["metrics"].items():
        assert value["value"] == pytest.approx(two["metrics"][name]["value"], abs=1e-12), name
    for mine, theirs in zip(one["calibration"], two["calibration"], strict=True):
        for key in ("predicted", "actual", "lowest", "highest"):
            assert mine[key] == pytest.approx(theirs[key], abs=1e-12), key
    assert metrics.expected_calibration_error(labels, metrics.sigmoid(logits), weights) == pytest.approx(
        one["metrics"]["expected_calibration_error"]["value"]
    )


def test_intervals_resample_rows_whatever_they_weigh():
    """A constant weight changes nothing; a row of weight 0 takes part in no resample."""
    labels, logits = DRAW.integers(0, 2, 200), DRAW.normal(size=200)
    plain, heavy = (evaluation(labels, logits, None, w, resamples=50, seed=1) for w in (None, np.full(200, 7.0)))
    for name, value in plain["metrics"].items():
        assert heavy["metrics"][name] == pytest.approx(value, abs=1e-12)
    none = (DRAW.random(200) < 0.5).astype(float)
    half, other = (evaluation(labels, np.where(none > 0, logits, z), None, none, resamples=50, seed=1) for z in (5, -5))
    assert half["metrics"]["auc"] == other["metrics"]["auc"]
    assert half["metrics"]["auc"]["low"] < plain["metrics"]["auc"]["low"] + 0.2


def test_an_epoch_with_weights_of_two_is_one_of_copies_side_by_side():
    """In stored order, so that both see the same batches: the same steps, and the same mean loss."""
    x, y = torch.from_numpy(DRAW.integers(0, 4, (64, 2)).astype(np.int32)), torch.arange(64).byte() % 2
    twice = torch.arange(64).repeat_interleave(2)
    losses, ends = [], []
    for split, size in (
        (Split(x, y, weight=torch.full((64,), 2.0)), 16),
        (Split(x[twice], y[twice]), 32),
    ):
        config = replace(CONFIG, batch_size=size, reshuffle=False, ema=0.0)
        data = Dataset(
            Path("none"), {"fields": [{"name": name, "kind": "category", "size": 4} for name in "ab"]}, {"train": split}
        )
        state = State(new_model(data, drop=0.0), config, CPU)
        losses.append(train_epoch(state, split, config, lambda: None))
        ends.append(torch.cat([weight.detach().flatten() for weight in state.model.parameters()]))
    assert losses[0] == pytest.approx(losses[1], abs=1e-6)
    torch.testing.assert_close(ends[0], ends[1], atol=2e-6, rtol=0)


def test_an_epoch_with_weights_goes_on_to_the_same_bits():
    x, y = torch.from_numpy(DRAW.integers(0, 4, (64, 2)).astype(np.int32)), torch.arange(64).byte() % 2
    split = Split(x, y, weight=torch.arange(64) % 5 / 2)
    config = replace(CONFIG, batch_size=16, checkpoint_every=3)
    fields = {"fields": [{"name": name, "kind": "category", "size": 4} for name in "ab"]}
    data = Dataset(Path("none"), fields, {"train": split})
    whole, stopped, again = (State(new_model(data), config, CPU) for _ in range(3))
    saved = []

    def stop():
        saved.append(copy.deepcopy(stopped.capture()))
        raise KeyboardInterrupt

    torch.manual_seed(1)  # of dropout
    loss = train_epoch(whole, split, config, lambda: None)
    torch.manual_seed(1)
    with pytest.raises(KeyboardInterrupt):
        train_epoch(stopped, split, config, stop)
    again.restore(saved[0])
    assert train_epoch(again, split, config, lambda: None) == loss
    for one, two in zip(whole.model.parameters(), again.model.parameters(), strict=True):
        assert torch.equal(one, two)


# A column of weights


def test_a_column_of_weights_reaches_store_loss_and_measures(tmp_path):
    """The same from CSV, from Parquet and from a frame; rows of weight 0 are not trained on."""
    frame = rows_with_weights()
    frame.write_csv(tmp_path / "log.csv")
    data = make(tmp_path / "log.csv", weight="w", split="chronological")
    assert data.fields == ["city", "price"]
    assert data.meta["weight"] == "w"
    assert "rows weigh w" in data.meta["protocol"]
    assert (data.train.weight[data.train.order] > 0).all()
    assert len(data.train) == 240
    assert len(data.valid) == 40
    np.testing.assert_array_equal(data.valid.counts, frame["w"][320:360])
    x, y, weight = next(data.to(CPU).train.batches(16, torch.Generator().manual_seed(1)))
    assert len(x) == len(y) == len(weight) == 16
    assert set(weight.tolist()) == {0.5, 1.0, 1.5}
    run = eulernet.fit(frame, "click", weight="w", split="chronological", overrides=SHORT, verbose=False)
    found, rows = run.report["test"], frame[360:]
    logits = run.predictor.logits(rows)
    assert found == pytest.approx(Metrics.of(rows["click"].to_numpy(), logits, rows["w"].to_numpy()).plain(), abs=1e-5)
    assert found["auc"] == pytest.approx(run.evaluate(rows)["auc"], abs=1e-6)
    assert found["auc"] != pytest.approx(metrics.auc(rows["click"].to_numpy(), logits), abs=1e-6)
    frame.write_parquet(tmp_path / "log.parquet")
    other = make(tmp_path / "log.parquet", weight="w", split="chronological")
    for there in (other, run._run.open_store()):
        assert torch.equal(there.train.weight, data.train.weight)
        assert torch.equal(there.train.order, data.train.order)


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        (["1", "-0.5", "1"], r"line 3: the weight w is -0.5; it should be a number from 0"),
        (["1", "", "1"], r"line 3: the weight w is missing"),
        (["1", "NaN", "1"], r"line 3: the weight w is missing"),
        (["1", "inf", "1"], r"line 3: the weight w is inf"),
        (["1", "much", "1"], r"line 3.*(much|number)"),
        (["0", "0", "0"], r"dataset.weight: every training row has the weight 0"),
    ],
)
def test_wrong_weights_are_refused_with_their_row(tmp_path, weights, words):
    file = tmp_path / "log.csv"
    lines = [f"{i % 5},{i % 2},{weights[i % 3] if i < 3 or weights[0] == '0' else 1}" for i in range(60)]
    file.write_text("a,click,w\n" + "\n".join(lines) + "\n")
    with pytest.raises(UserError, match=words) as caught:
        make(file, weight="w")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "data" / "table").exists() or not list((tmp_path / "data" / "table").glob("*/meta.json"))
    with pytest.raises(UserError, match=r"the weight|row 2: w is 'much', not a number"):
        eulernet.fit(pl.read_csv(file, infer_schema=False), "click", weight="w", overrides=SHORT, verbose=False)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"weight": "wieght"}, "dataset.weight: no column 'wieght'; did you mean 'weight'?"),
        ({"weight": "click"}, "dataset.weight: click is the label"),
        ({"weight": "weight", "fields": {"weight": "number"}}, "weight is the weight, which is no field"),
        ({"weight": "a", "split": "time", "split_column": "a"}, "the split goes by a"),
        ({"keep_negatives": 0.0}, "dataset.keep_negatives=0.0: give the share that is kept"),
        ({"negatives_kept": 1.5}, "dataset.negatives_kept=1.5: give the share that is kept"),
    ],
)
def test_settings_that_cannot_be(tmp_path, settings, words):
    file = tmp_path / "log.csv"
    file.write_text("a,click,weight\n" + "".join(f"{i},{i % 2},1\n" for i in range(30)))
    with pytest.raises(UserError) as caught:
        make(file, **settings)
    assert words in str(caught.value)


# Negatives left out


def known_rows(rows=40_000):
    """Rows of which the probability of a click is known: 2 to 30 %, by two fields."""
    draw = np.random.default_rng(5)
    a, b = draw.integers(0, 6, rows), draw.integers(0, 5, rows)
    logit = -4.0 + 0.4 * a + 0.25 * b
    return pl.DataFrame({"a": a, "b": b, "click": (draw.random(rows) < metrics.sigmoid(logit)).astype(int)}), logit


def test_after_down_sampling_probabilities_are_right_with_the_correction_and_far_off_without():
    """Their mean lies in the 95 % interval of the click rate of the untouched test rows; without, far outside."""
    frame, logit = known_rows()
    train = {"max_epochs": 4, "lr": 0.02}
    run = eulernet.fit(
        frame,
        "click",
        "lr",
        dataset={"name": "table", "keep_negatives": 0.1},
        train=train,
        overrides=["reference=false"],
        verbose=False,
    )
    scores = run._run.scores("test")
    rate, rows = scores.labels.mean(), len(scores.labels)
    low, high = metrics.wilson(int(scores.labels.sum()), rows)
    raw = scores.logits - np.log(0.1)
    assert low < metrics.sigmoid(scores.logits).mean() < high
    assert metrics.sigmoid(raw).mean() > rate + 10 * (high - low)
    known = metrics.sigmoid(logit[scores.rows])
    assert np.abs(metrics.sigmoid(scores.logits) - known).mean() < 0.01 < np.abs(metrics.sigmoid(raw) - known).mean()
    assert run.report["test"]["expected_calibration_error"] < 0.02
    np.testing.assert_allclose(run.predictor.logits(frame[scores.rows]), scores.logits, atol=1e-6)


def test_which_negatives_are_kept_depends_on_the_row_and_the_seed_alone(tmp_path, monkeypatch):
    """Not on the container, nor on the size of pieces; the other splits stay whole, and other stores what they were."""
    frame = raw_rows(3000, 1).select("city", "store", "click")
    frame.write_csv(tmp_path / "log.csv")
    frame.write_parquet(tmp_path / "log.parquet")
    whole, thin = (make(tmp_path / "log.csv", keep_negatives=k) for k in (None, 0.3))
    clicks, negatives = (whole.train.labels == label for label in (1, 0))
    kept = np.isin(whole.train.order.numpy(), thin.train.order.numpy())
    assert kept[clicks.numpy()].all()
    low, high = metrics.wilson(int(kept[negatives.numpy()].sum()), int(negatives.sum()), z=4)
    assert low < 0.3 < high
    for part in ("valid", "test"):
        assert torch.equal(whole.splits[part].order, thin.splits[part].order)
        assert thin.splits[part].counts is None
    np.testing.assert_allclose(thin.train.counts, np.where(thin.train.labels == 0, 1 / 0.3, 1.0))
    assert torch.equal(make(tmp_path / "log.parquet", keep_negatives=0.3).train.order, thin.train.order)
    framed = table_in_memory(Table(**{**DEFAULTS, "keep_negatives": 0.3}), {"train": frame}, tmp_path)
    assert torch.equal(framed.train.order, thin.train.order)
    monkeypatch.setattr("eulernet.data.sampling.CHUNK", 7)
    assert torch.equal(make(tmp_path / "log.csv", keep_negatives=0.3, min_count=2).train.order, thin.train.order)
    assert not torch.equal(make(tmp_path / "log.csv", keep_negatives=0.3, split_seed=1).train.order, thin.train.order)
    assert make(tmp_path / "log.csv", keep_negatives=1.0).digest == whole.digest
    assert correction(thin.meta) == pytest.approx(np.log(0.3))
    assert correction(whole.meta) == 0


def test_of_a_log_that_came_down_sampled_negatives_count_several_times_in_measures():
    """So that they are those of the whole log: as if every negative were there 1 / 0.25 times."""
    frame = raw_rows(800, 2).select("city", "click")
    run = eulernet.fit(
        frame, "click", dataset={"name": "table", "negatives_kept": 0.25}, overrides=SHORT, verbose=False
    )
    scores = run._run.scores("test")
    weights = np.where(scores.labels == 0, 4.0, 1.0)
    np.testing.assert_array_equal(scores.weights, weights)
    assert run.report["test"] == pytest.approx(Metrics.of(scores.labels, scores.logits, weights).plain(), abs=1e-6)
    with torch.inference_mode():
        raw = run.model(torch.from_numpy(run.predictor.encode(frame))).double().numpy()
    np.testing.assert_allclose(run.predictor.logits(frame), raw + np.log(0.25), atol=1e-6)
    assert run.report["test"]["auc"] == pytest.approx(metrics.auc(scores.labels, scores.logits), abs=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMATS)
def test_every_exit_gives_the_corrected_probabilities(tmp_path, form, onnx_registry):
    """Predictor, pushed archive, the exported graph and its encoder; the server takes the predictor's scores."""
    frame = raw_rows(600, 2).select("city", "price", "click")
    run = eulernet.fit(frame, "click", dataset={"name": "table", "keep_negatives": 0.5}, overrides=SHORT, verbose=False)
    model, ids = run.model, run.predictor.encode(frame)
    with torch.inference_mode():
        want = model(torch.from_numpy(ids)).double().numpy() + np.log(0.5)
    np.testing.assert_allclose(run.predictor.logits(frame), want, atol=1e-6)
    run.predictor.push(tmp_path / "packed.tar")
    np.testing.assert_allclose(eulernet.Predictor.load(tmp_path / "packed.tar").logits(frame), want, atol=1e-6)
    assert export(run.predictor, tmp_path / "graph", form) < 1e-5
    graph = FORMATS[form].load(tmp_path / "graph" / FORMATS[form].file)
    np.testing.assert_allclose(graph(ids), want, atol=1e-5)
    if form == "onnx":
        (tmp_path / "graph").rename(tmp_path / "onnx")
        np.testing.assert_allclose(with_onnx(run.predictor, tmp_path).logits(frame), want, atol=1e-5)


def test_the_correction_is_a_constant_of_the_logit_and_a_damaged_one_is_refused():
    model = eulernet.create_model("lr", [5, 4]).eval()
    x = torch.from_numpy(DRAW.integers(0, 4, (9, 2)))
    assert correction({"keep_negatives": 0.1, "negatives_kept": 0.5}) == pytest.approx(np.log(0.05))
    torch.testing.assert_close(Corrected(model, -2.0)(x), model(x) - 2)
    for wrong in ("much", 0, 2, True, None):
        with pytest.raises(UserError, match="keep_negatives and negatives_kept should be shares"):
            correction({"keep_negatives": wrong})
