"""The search for a recipe: which epoch a monitor keeps, and what a recipe loses."""

import importlib.util
import json
import sys

import pytest
from conftest import REPOSITORY

spec = importlib.util.spec_from_file_location("default_recipe", REPOSITORY / "benchmarks" / "default_recipe.py")
study = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(study)

EPOCHS = [[0.70, 0.50], [0.72, 0.45], [0.71, 0.44], [0.71, 0.46], [0.71, 0.47], [0.80, 0.40]]


@pytest.mark.parametrize(
    ("monitor", "patience", "epoch"), [("auc", 3, 1), ("auc", 4, 5), ("logloss", 2, 2), ("logloss", 3, 5)]
)
def test_a_run_keeps_the_epoch_that_training_would(monitor, patience, epoch):
    assert study.kept(EPOCHS, monitor, patience) == EPOCHS[epoch]


def test_a_loss_is_a_share_of_what_can_be_learned(tmp_path):
    """Entropy at a half is .693: the worse recipe loses half of .2 AUC and a third of .293 nats."""
    runs = [("a", "fm", "good", 0.7, 0.4), ("a", "fm", "bad", 0.6, 0.4 + 0.29314718 / 3), ("b", "fm", "good", 0.9, 0.1),
            ("a", "lr", "good", 0.7, 0.4), ("a", "lr", "bad", 0.7, 0.4), ("c", "fm", "good", 0.7, 0.4),
            ("c", "fm", "bad", 0.7, 0.4)]  # fmt: skip
    with (tmp_path / "runs.jsonl").open("w") as file:
        for name, model, recipe, auc, logloss in runs:
            line = {"set": name, "model": model, "recipe": recipe, "rate": 0.5, "epochs": [[auc, logloss]]}
            file.write(json.dumps(line) + "\n")
    found = study.losses(tmp_path, ["good", "bad"], [("auc", 3)])
    assert found["good", ("auc", 3)] == {("a", "fm"): 0, ("a", "lr"): 0, ("c", "fm"): 0}  # b lacks one of them
    bad = found["bad", ("auc", 3)]
    assert bad["a", "fm"] == pytest.approx((1 / 2 + 1 / 3) / 2)
    assert study.mean_by_set(bad) == pytest.approx(bad["a", "fm"] / 4)
    assert study.mean_by_set(bad, without="a") == 0
