"""What a setting costs: counted by hand, and measured on every setting in turn."""

import pytest
import torch

from eulernet.campaigns.cost import amount, cost_table, costs, flops
from eulernet.models import MODELS
from eulernet.runs.groups import Setting
from eulernet.runs.run import Run


def test_flop_are_those_of_the_products():
    model = MODELS["dnn"](
        field_sizes=[5, 7], embedding_dim=4, hidden_units=[8, 3], activation="relu", norm="none", dropout=0.0
    )
    assert flops(model, torch.tensor([[1, 2], [3, 4], [0, 0]])) == 3 * 2 * (8 * 8 + 8 * 3 + 3)


def test_attention_counts():
    model = MODELS["fignn"](field_sizes=[5, 7], embedding_dim=4, heads=2, steps=1)
    attention = 2 * 2 * 2 * 4  # q k', and its softmax times v: 2 x 2 of 4 numbers each
    linear = 2 * 3 * 16 + 2 * 2 * 4 + 2 * 2 * 16 + 2 * 2 * 4 + 2 * 2 * 3 * 16 + 2 * 4 + 8 * 2
    assert flops(model, torch.tensor([[1, 2]])) == 2 * (attention + linear)


@pytest.mark.parametrize(("value", "shown"), [(1234567.8, "1,234,568"), (3.0, "3"), (3.14159, "3.14"), (0, "0")])
def test_amounts_are_short(value, shown):
    assert amount(value) == shown


def test_costs_are_of_the_runs_and_measured_now(trained):
    setting = Setting("mine", [Run.open(trained.run)])
    (line,) = costs([setting], trained.data, "cpu")
    assert line["parameters"] == setting.runs[0].report["parameters"]
    assert line["best epoch"] == 1
    assert line["kFLOP a sample"] > 0
    assert line["inference samples/s"] > 100
    assert line["training samples/s"] > 100
    assert line["peak memory MiB"] == setting.runs[0].report["peak_memory_bytes"] / 2**20
    assert cost_table([line]).splitlines()[2].startswith("| `mine` |")
