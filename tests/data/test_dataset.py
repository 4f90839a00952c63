"""Batches, and stores that are not what they should be."""

import json
import threading

import pytest
import torch

from eulernet.data import dataset
from eulernet.data.dataset import Dataset, Split
from eulernet.data.sets.synthetic import Synthetic
from eulernet.errors import UserError


@pytest.fixture
def folder(tmp_path):
    return Synthetic(
        rows=400,
        field_sizes=[5, 4],
        interactions=[{"f0": 1.0, "f1": 1.0}],
        signal=1.0,
        spread=0.5,
        bias=0.0,
        data_seed=1,
    )([], tmp_path, 2.0)


def test_batches_in_stored_order_are_slices():
    split = Split(torch.arange(20, dtype=torch.int32).reshape(10, 2), (torch.arange(10) % 2).byte())
    batches = list(split.batches(4))
    assert [len(y) for _, y in batches] == [4, 4, 2]
    assert torch.equal(torch.cat([x for x, _ in batches]), split.x)


def test_shuffled_batches_hold_every_row_once_and_differ_by_epoch():
    split = Split(torch.arange(20, dtype=torch.int32).reshape(10, 2), (torch.arange(10) % 3 == 0).byte())
    generator = torch.Generator().manual_seed(7)
    epochs = [list(split.batches(4, generator)) for _ in range(2)]
    orders = [torch.cat([x[:, 0] // 2 for x, _ in batches]).tolist() for batches in epochs]
    assert [sorted(order) for order in orders] == [list(range(10))] * 2
    assert orders[0] != orders[1]
    for batches in epochs:
        for x, y in batches:
            assert torch.equal(y, (x[:, 0] // 2 % 3 == 0).float())
    again = list(split.batches(4, torch.Generator().manual_seed(7)))
    assert all(torch.equal(a[0], b[0]) for a, b in zip(again, epochs[0], strict=True))


@pytest.mark.parametrize("order", [None, torch.tensor([7, 3, 9, 9, 0, 2, 5])])
def test_batches_of_a_file_equal_those_of_memory(order):
    """Gathered ahead in threads or one by one, shuffled or not: the same rows in the same order."""
    x, y = torch.arange(20, dtype=torch.int32).reshape(10, 2), (torch.arange(10) % 2).byte()
    memory, file = (Split(x, y, order, mapped) for mapped in (False, True))
    for seed in (None, 3):
        one, two = (
            list(split.batches(3, None if seed is None else torch.Generator().manual_seed(seed)))
            for split in (memory, file)
        )
        assert [len(y) for _, y in one] == [3] * (len(memory) // 3) + [len(memory) % 3]
        assert all(torch.equal(a[0], b[0]) and torch.equal(a[1], b[1]) for a, b in zip(one, two, strict=True))


def test_where_a_store_lives_changes_no_row(folder, monkeypatch):
    """In memory, as a file that is read ahead, and as a file that does not fit: the same batches."""
    data = Dataset.open(folder)
    cpu = torch.device("cpu")
    in_memory = data.to(cpu)
    monkeypatch.setattr(dataset, "SMALL", 0)
    read_ahead = data.to(cpu)
    monkeypatch.setattr(dataset.memory, "available", lambda: 0)
    too_large = data.to(cpu)
    assert [d.train.mapped for d in (in_memory, read_ahead, too_large)] == [False, True, True]
    for part in data.splits:
        batches = [
            list(d.splits[part].batches(64, torch.Generator().manual_seed(1)))
            for d in (in_memory, read_ahead, too_large)
        ]
        for a, b, c in zip(*batches, strict=True):
            for i in (0, 1):
                assert torch.equal(a[i], b[i])
                assert torch.equal(b[i], c[i])


def test_an_iterator_that_is_dropped_leaves_no_thread(folder):
    before = threading.active_count()
    batches = Dataset.open(folder).train.batches(8, torch.Generator().manual_seed(1))
    next(batches)
    batches.close()
    assert threading.active_count() == before


def test_writing_to_a_batch_does_not_reach_the_file(folder):
    before = (folder / "x.npy").read_bytes()
    Dataset.open(folder).train.x.zero_()
    assert (folder / "x.npy").read_bytes() == before


@pytest.mark.parametrize("file", ["x.npy", "y.npy"])
def test_a_truncated_array_is_named(folder, file):
    whole = (folder / file).read_bytes()
    (folder / file).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match=rf"{file} is truncated or damaged .* delete that folder and run again"):
        Dataset.open(folder)


def test_an_array_of_another_shape_is_named(folder):
    meta = json.loads((folder / "meta.json").read_text())
    (folder / "meta.json").write_text(json.dumps({**meta, "rows": 300}))
    with pytest.raises(UserError, match=r"x.npy is truncated or damaged \(shape \(400, 2\), expected \(300, 2\)\)"):
        Dataset.open(folder)


def test_a_store_that_lacks_a_part_is_named(folder):
    (folder / "vocab" / "f1.parquet").unlink()
    with pytest.raises(UserError, match=r"no vocab/f1.parquet; delete that folder"):
        Dataset.open(folder)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"format": 0}', "format 0"),
        ("{", "cannot be read"),
        ('{"format": 3}', "meta.json lacks clicks, fields"),
        ("[]", "format None"),
    ],
)
def test_a_store_of_another_format_is_named(folder, text, message):
    (folder / "meta.json").write_text(text)
    with pytest.raises(UserError, match=message):
        Dataset.open(folder)
