"""Settings that say ``auto``: what they become, that a run says it, and that a resumed run keeps it."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from eulernet.cli import compose
from eulernet.errors import UserError
from eulernet.settings import read_config
from eulernet.training.auto import chosen, resolved

TABLE = compose("train", ["dataset=table"])["train"]
SMALL = (
    "dataset=synthetic", "dataset.rows=2000", "dataset.field_sizes=[6,7,5]", "dataset.interactions=[{f0:1,f1:1}]",
    "model.embedding_dim=4", "device=cpu", "~tuned", "train=table",
)  # fmt: skip


@pytest.mark.parametrize("rows", [10, 300, 6_399, 20_000, 58_284, 591_210, 45_840_617])
def test_auto_follows_the_rows(rows):
    """About 100 steps an epoch within the limits; a decay of 10 over the rows; an average over .3 epochs."""
    found = resolved(TABLE, rows)
    size = found["batch_size"]
    assert size & (size - 1) == 0
    assert 64 <= size <= 4096
    assert size in (64, 4096) or 100 / 2**0.5 <= rows / size <= 100 * 2**0.5
    assert found["weight_decay"] * rows == pytest.approx(10, rel=5e-3)
    assert 1 - found["ema"] == pytest.approx(min(size / rows / 0.3, 1), rel=5e-3)
    assert "auto" not in {*found, *map(str, found.values())}
    assert chosen(TABLE, rows) == {key: found[key] for key in ("batch_size", "weight_decay", "ema")}


def test_what_is_given_is_taken_and_the_average_follows_the_given_batch_size():
    found = resolved({**TABLE, "batch_size": 500, "weight_decay": 0.0}, 100_000)
    assert (found["batch_size"], found["weight_decay"], found["ema"]) == (500, 0.0, 0.9833)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"lr": "auto"}, "train.lr=auto: only batch_size, weight_decay and ema can be"),
        ({"auto": None}, "train.batch_size=auto: there is no rule for it; give train=table too"),
        ({"auto": {**TABLE["auto"], "decay": 0}}, "train.auto.decay must be positive"),
        ({"auto": {**TABLE["auto"], "least": 8192}}, "hold no batch size"),
        ({"auto": {**TABLE["auto"], "step": 3}}, "unknown key train.auto.step; did you mean 'steps'"),
    ],
)
def test_impossible_rules(changes, message):
    with pytest.raises(UserError, match=message):
        resolved({**TABLE, **changes}, 1000)


def test_tables_of_ones_own_take_the_recipe_and_published_sets_do_not():
    taking = {
        name
        for name in ("table", "kdd12", "movielens_100k", "movielens_1m", "criteo", "avazu", "criteo_x4", "synthetic")
        if "auto" in compose("train", [f"dataset={name}", "~tuned"])["train"]
    }
    assert taking == {"table", "kdd12"}
    assert compose("train", ["dataset=table", "train=default"])["train"]["batch_size"] == 1024
    assert "auto" in compose("tune", ["dataset=table"])["train"]


def test_a_run_says_what_auto_became_and_a_resumed_one_keeps_it(run_command):
    ended = run_command("train", *SMALL, "train.max_epochs=4", "hydra.run.dir=whole")
    assert "batch_size 64, weight_decay 0.00625, ema 0.867\n" in ended.out
    run_command("train", *SMALL, "train.max_epochs=2", "hydra.run.dir=parts")
    assert run_command("train", "resume=parts", "train.max_epochs=4").code == 0
    whole, parts = (load_file(f"{run}/model.safetensors") for run in ("whole", "parts"))
    assert all(torch.equal(whole[name], parts[name]) for name in whole)
    for run in ("whole", "parts"):
        report = json.loads(Path(run, "report.json").read_text())
        assert report["auto"] == {"batch_size": 64, "weight_decay": 0.00625, "ema": 0.867}
        assert report["epochs"] == 4
        assert read_config(Path(run, "config.yaml"))["train"]["batch_size"] == "auto"  # by which it is found again
