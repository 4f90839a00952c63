"""Vectors that values have before training: in models against a loop, in stores, in exports; and bad files."""

from datetime import date
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
import torch
from safetensors.torch import save_file
from tables import prepared

import eulernet
from eulernet.data.dataset import Dataset, field_sizes
from eulernet.data.growth import Growth
from eulernet.data.kinds import CategoryCoder
from eulernet.data.kinds.vectors import Given, Vectors
from eulernet.data.kinds.vocabulary import Vocabulary
from eulernet.errors import UserError
from eulernet.features import FieldEmbedding, FieldLinear, History, Pretrained
from eulernet.models import make_model
from eulernet.runs.weights import load_model
from eulernet.training.growth import grow_weights

FM = {"name": "fm", "embedding_dim": 4}
DIN = {
    "name": "din", "embedding_dim": 4, "attention_units": [3], "attention_activation": "dice", "hidden_units": [4],
    "activation": "relu", "norm": "none", "dropout": 0.1,
}  # fmt: skip


def matrix_of(width, size=7, without=(0, 2)):
    torch.manual_seed(1)
    return torch.randn(size, width).index_fill_(0, torch.tensor(without), torch.nan)


@pytest.mark.parametrize("width", [4, 6])
@pytest.mark.parametrize("frozen", [True, False])
def test_an_id_with_a_vector_has_it_plus_what_is_learned(width, frozen):
    """In the field and in a history of it; an id without one has its row of the table alone."""
    given = matrix_of(width)
    sizes = [3, Pretrained(7, width, frozen, given), History(7, 2, "sum", same_as=1)]
    embedding = FieldEmbedding(sizes, 4)
    project = embedding.given[0].project if width == 6 else lambda vector: vector
    x = torch.tensor([[0, i, 6 - i, (i + 2) % 7] for i in range(7)], dtype=torch.int32)

    def vector(i):
        row = embedding.table.weight[3 + i]
        return row if given[i].isnan().any() else project(given[i]) + (0 * row if frozen else row)

    wanted = torch.stack([torch.stack([vector(row[1]), vector(row[2]) + vector(row[3])]) for row in x.tolist()])
    torch.testing.assert_close(embedding(x)[:, 1:], wanted)
    weights, probe = list(embedding.parameters()), torch.randn_like(wanted)
    torch.testing.assert_close(
        torch.autograd.grad(embedding(x)[:, 1:], weights, probe), torch.autograd.grad(wanted, weights, probe)
    )
    assert FieldLinear(sizes).weights.table.weight.shape == (17, 1)  # a linear term learns all of its weights


@pytest.mark.parametrize("name", ["fm", "eulernet_recbole"])
def test_training_starts_at_the_vectors_and_leaves_frozen_ones_alone(name):
    given = matrix_of(4)
    for frozen in (True, False):
        model = eulernet.create_model(name, [3, Pretrained(7, 4, frozen, given)], embedding_dim=4)
        embedding = next(part for part in model.modules() if isinstance(part, FieldEmbedding) and part.given)
        x = torch.tensor([[i % 3, i] for i in range(7)], dtype=torch.int32)
        known = ~given.isnan().any(1)
        assert torch.equal(embedding(x)[known, 1], given[known])
        before = embedding(x)[:, 1].detach()
        optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
        model.calculate_loss(x, torch.tensor([1.0, 0, 1, 0, 0, 1, 1])).backward()
        optimizer.step()
        assert torch.equal(embedding(x)[known, 1], before[known]) == frozen
        assert not torch.equal(embedding(x)[~known, 1], before[~known])


def test_weights_hold_the_vectors():
    """Whoever loads a run needs no file of vectors."""
    one, two = (make_model(FM, [3, Pretrained(7, 6, True, given)]) for given in (matrix_of(6), None))
    two.load_state_dict(one.state_dict())
    x = torch.tensor([[i % 3, i] for i in range(7)], dtype=torch.int32)
    assert torch.equal(one(x), two(x))


@pytest.mark.parametrize("width", [4, 6])
def test_a_run_that_goes_on_keeps_the_vectors_of_known_values(width):
    """New values have none, and neither has what took the row of a retired one."""
    given = matrix_of(width)
    old = make_model(FM, [3, Pretrained(7, width, True, given)])
    torch.manual_seed(2)
    new = make_model(FM, [3, Pretrained(9, width, True)])
    retired = 5
    grow_weights(old, new, [np.ones(3, dtype=bool), np.arange(7) != retired])
    x = torch.tensor([[0, i] for i in range(9)], dtype=torch.int32)
    before, now = old.embedding(x[:7])[:, 1], new.embedding(x)[:, 1]
    same = torch.arange(7) != retired
    assert torch.equal(now[:7][same], before[same])
    rows = new.embedding.table.weight[3:]
    assert torch.equal(now[[retired, 7, 8]], rows[[retired, 7, 8]])
    assert rows[[retired, 7, 8]].all()


ITEMS = {"value": ["a", "b", "never"], "vector": [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]}


def test_a_store_has_the_vectors_of_its_ids(tmp_path, caplog):
    caplog.set_level("INFO", "eulernet")
    pl.DataFrame(ITEMS).write_parquet(tmp_path / "items.parquet")
    kind = {"kind": "category", "vectors": str(tmp_path / "items.parquet"), "frozen": False}
    encoder, stored = prepared(pl.DataFrame({"k": ["a", "b", "c", None]}), tmp_path / "text", kind)
    folder = next((tmp_path / "text").rglob("x.npy")).parent
    size = Dataset.open(folder).field_sizes[0]
    assert (size.size, size.width, size.frozen) == (4, 2, False)
    assert [size.vectors[i].tolist() for i in stored[:2, 0]] == ITEMS["vector"][:2]
    assert size.vectors[[0, stored[2, 0]]].isnan().all()
    assert field_sizes(encoder.meta)[0].vectors is None
    assert "k: 66.67 % of its values have a vector of 2 numbers" in caplog.text
    _, stored = prepared(
        pl.DataFrame({"k": ["a", "b", "c"]}), tmp_path / "tail", {**kind, "buckets": 5, "min_count": 2}
    )
    folder = next((tmp_path / "tail").rglob("x.npy")).parent
    assert [Dataset.open(folder).field_sizes[0].vectors[i].tolist() for i in stored[:2, 0]] == ITEMS["vector"][:2]
    whole = pl.DataFrame({"value": [7.0, 3.0], "vector": pl.Series([[1, 2], [3, 4]], dtype=pl.Array(pl.Int32, 2))})
    whole.write_parquet(tmp_path / "items.parquet")  # other bytes, another store
    _, stored = prepared(pl.DataFrame({"k": [3, 7, 9]}), tmp_path / "whole", kind)
    folder = next((tmp_path / "whole").rglob("x.npy")).parent
    assert Dataset.open(folder).field_sizes[0].vectors[stored[:2, 0]].tolist() == [[3, 4], [1, 2]]


@pytest.mark.parametrize("retire_after", [None, 2])
def test_the_share_of_values_with_vectors_counts_new_ones(retire_after):
    """Two of three values have one. Two more have none; one of these may take the id of an old one."""
    seen = pl.Series([date(2026, 1, day) for day in (1, 8, 9)])
    known = CategoryCoder("k", Vocabulary(pl.Series(["a", "b", "c"]), seen), given=Given(2, True, 2 / 3))
    earlier = SimpleNamespace(coders=[known])
    rows = pl.LazyFrame({"value": ["d", "e"], "day": [date(2026, 1, 9)] * 2})
    grown = Growth(earlier, "", retire_after=retire_after).fit(0, SimpleNamespace(min_count=1), rows, "in-memory")
    assert len(grown.vocabulary) == (5 if retire_after is None else 4)
    wanted = 2 / 5 if retire_after is None else 2 / 3 * 2 / 4
    assert grown.settings()["vectors"]["covered"] == pytest.approx(wanted)
    assert known.vocabulary.values.to_list() == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        ({"value": ["a"], "numbers": [[1.0]]}, "no column 'vector'"),
        ({"id": ["a"], "vector": [[1.0]]}, "no column 'value'"),
        ({"value": ["a", "b"], "vector": [[1.0, 2.0], [3.0]]}, "row 2 has not 2 numbers, as the first row has"),
        ({"value": ["a", "b"], "vector": [[1.0], None]}, "row 2 has not 1 numbers"),
        ({"value": ["a"], "vector": [[]]}, "not lists of numbers|row 1 has not 0 numbers"),
        ({"value": ["a", "b", "a"], "vector": [[1.0], [2.0], [3.0]]}, "row 3 has a value that is there twice"),
        ({"value": ["a", None], "vector": [[1.0], [2.0]]}, "row 2 has no value"),
        (
            {"value": ["a", "b"], "vector": [[1.0, 2.0], [1.0, float("nan")]]},
            "row 2 has a number that is missing or not",
        ),
        (
            {"value": ["a", "b"], "vector": [[1.0, 2.0], [1.0, None]]},
            "row 2 has a number that is missing or not finite",
        ),
        ({"value": ["a"], "vector": ["1 2"]}, "the column vector holds String, not lists of numbers"),
        ({"value": [], "vector": []}, "has no rows"),
    ],
)
def test_a_file_that_cannot_be_is_refused_in_one_line(frame, message, tmp_path):
    pl.DataFrame(frame).write_parquet(tmp_path / "items.parquet")
    with pytest.raises(UserError, match=message) as refused:
        Vectors.read(tmp_path / "items.parquet", True)
    assert "\n" not in str(refused.value)


def test_files_that_do_not_fit_are_refused(tmp_path):
    (tmp_path / "items.parquet").write_text("value,vector")
    kind = {"kind": "category", "vectors": str(tmp_path / "items.parquet")}
    rows = pl.DataFrame({"k": ["a", "b"]})
    with pytest.raises(UserError, match="cannot be read as Parquet"):
        prepared(rows, tmp_path / "one", kind)
    with pytest.raises(UserError, match=r"missing.parquet cannot be read"):
        prepared(rows, tmp_path / "two", {**kind, "vectors": str(tmp_path / "missing.parquet")})
    pl.DataFrame({"value": ["y", "z"], "vector": [[1.0], [2.0]]}).write_parquet(tmp_path / "items.parquet")
    with pytest.raises(UserError, match="field k: none of the 2 values in vectors occurs in the training rows"):
        prepared(rows, tmp_path / "three", kind)
    pl.DataFrame({"value": ["3", "3.0"], "vector": [[1.0], [2.0]]}).write_parquet(tmp_path / "items.parquet")
    with pytest.raises(UserError, match=r"field k: vectors has '3.0' twice, in two spellings"):
        prepared(pl.DataFrame({"k": [3, 4]}), tmp_path / "four", kind)
    for key, value in (("vectors", 7), ("frozen", "yes")):
        with pytest.raises(UserError, match=rf"fields\.k\.{key}={value}: should be"):
            prepared(rows, tmp_path / "five", {**kind, key: value})
    assert list(tmp_path.rglob("x.npy")) == []


def test_a_run_is_loaded_without_its_file_of_vectors(tmp_path):
    """Its weights are made where there is no memory first."""
    sizes = [3, Pretrained(7, 6, True, matrix_of(6)), History(7, 2, "mean", same_as=1)]
    for settings in (FM, DIN):
        torch.manual_seed(3)
        model = make_model(settings, sizes).eval()
        save_file(model.state_dict(), tmp_path / "model.safetensors")
        again = load_model(tmp_path / "model.safetensors", settings, [3, Pretrained(7, 6, True), sizes[2]])
        x = torch.tensor([[i % 3, i, 6 - i, -1] for i in range(7)], dtype=torch.int32)
        assert torch.equal(model(x), again(x))
