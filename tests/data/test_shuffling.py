"""Rows shuffled in blocks: each exactly once an epoch, by any number of ranks, from any batch on, in little memory."""

from dataclasses import replace
from itertools import islice

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from toy import CONFIG

from eulernet import memory
from eulernet.data.dataset import Dataset, Split
from eulernet.data.sets.synthetic import Synthetic
from eulernet.data.shuffling import Blocks, Order, batches_of
from eulernet.errors import UserError
from eulernet.training import job
from eulernet.training.auto import chosen, resolved


def read(rows, size, block, blocks, rank=0, world=1, first=0, notice=lambda pieces: None, seed=3):
    order = Order(rows, block, torch.Generator().manual_seed(seed))

    def share(n):
        return slice(n * rank // world, n * (rank + 1) // world)

    return batches_of(rows, size, order, blocks, share, first, notice)


sizes = st.integers(1, 40)


@settings(max_examples=40, deadline=None)
@given(rows=st.integers(1, 300), size=sizes, block=sizes, window=sizes, streams=st.integers(1, 4), data=st.data())
def test_every_row_once_by_any_number_of_ranks_from_any_batch_on(rows, size, block, window, streams, data):
    """Ranks are disjoint, and together read the same batches, however many they are and wherever they begin."""
    blocks, steps = Blocks(window, streams), -(-rows // size)
    whole = [batch.tolist() for batch in read(rows, size, block, blocks)]
    assert [len(batch) for batch in whole] == [min(size, rows - i * size) for i in range(steps)]
    assert sorted(row for batch in whole for row in batch) == list(range(rows))
    first, world = data.draw(st.integers(0, steps)), data.draw(st.integers(1, 4))
    ranks = [read(rows, size, block, blocks, rank, world, first) for rank in range(world)]
    assert [torch.cat(parts).tolist() for parts in zip(*ranks, strict=True)] == whole[first:]


@pytest.mark.parametrize("streams", [1, 3])
def test_a_rank_reads_one_stretch_of_the_order_a_window_at_a_time(streams):
    """What it is told to read ahead is what it reads; no two ranks read the same row."""
    seen = []
    for rank in range(streams):
        told: list[slice] = []
        rows = torch.cat(list(read(1000, 96, 10, Blocks(120, streams), rank, streams, notice=told.extend))).tolist()
        assert sorted(rows) == sorted(row for piece in told for row in range(piece.start, piece.stop))
        assert len(told) <= 1000 / streams / 10 + 2 * (1000 / 120 + 1)  # pieces are blocks, cut at the ends of windows
        seen += rows
    assert sorted(seen) == list(range(1000))


def test_the_order_of_ten_billion_rows_takes_the_memory_of_a_window():
    """A permutation would take 80 GB. One window's rows come from many places of the file."""
    told: list[list[slice]] = []
    batches = read(10**10, 4096, 10**6, Blocks(10**5), notice=told.append)
    rows = torch.cat(list(islice(batches, 20)))
    assert len(rows.unique()) == len(rows)
    assert all(sum(piece.stop - piece.start for piece in pieces) <= 10**5 for pieces in told)
    assert len(told) == 2


def test_epochs_and_seeds_differ_and_the_same_seed_draws_the_same():
    split = Split(torch.arange(400, dtype=torch.int32).reshape(200, 2), (torch.arange(200) % 2).byte())

    def epochs(seed):
        generator = torch.Generator().manual_seed(seed)
        found = [list(split.batches(16, generator, blocks=Blocks(50))) for _ in range(2)]
        assert all(torch.equal(y, (x[:, 0] // 2 % 2).float()) for batches in found for x, y in batches)
        return [torch.cat([x for x, _ in batches])[:, 0].tolist() for batches in found]

    one, two = epochs(1)
    assert sorted(one) == sorted(two) == list(range(0, 400, 2))
    assert one != two
    assert epochs(1) == [one, two]
    assert epochs(2)[0] != one


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    made = Synthetic(
        rows=3000, field_sizes=[5, 4], interactions=[{"f0": 1.0}], signal=1.0, spread=0.5, bias=0.0, data_seed=1
    )
    return made([], tmp_path_factory.mktemp("data"), 2.0)


@pytest.mark.parametrize("order", [None, torch.arange(0, 2000, 2), torch.arange(2000).flip(0)])
def test_a_file_gives_the_batches_of_memory(store, order, monkeypatch):
    """Rows by range, by rising numbers and falling; what is read ahead lies in the file."""
    asked, read_ahead = [], memory.read_ahead
    monkeypatch.setattr(memory, "read_ahead", lambda part: (asked.append(part), read_ahead(part)))
    data = Dataset.open(store)
    x, y = data.train.x[:2000], data.train.y[:2000]
    found = [
        list(Split(x, y, order, mapped).batches(64, torch.Generator().manual_seed(1), blocks=Blocks(1000)))
        for mapped in (False, True)
    ]
    assert all(torch.equal(a, b) for one, two in zip(*found, strict=True) for a, b in zip(one, two, strict=True))
    rising = order is None or bool((order.diff() > 0).all())
    assert len(asked) > 300 if rising else len(asked) < 10  # pieces of three rows; one row alone cannot fall


def test_auto_takes_full_where_memory_holds_the_store(store, monkeypatch):
    config, data = replace(CONFIG, shuffle="auto"), Dataset.open(store)
    assert job.shuffle_of(config, data) == "full"
    monkeypatch.setattr(memory, "whole", lambda: 2 * data.bytes)
    assert job.shuffle_of(config, data) == "blocks"
    with pytest.raises(UserError, match=r"train.shuffle_window=0.9: two windows take .* GiB in memory"):
        job.shuffle_of(replace(CONFIG, shuffle="blocks", shuffle_window=0.9), data)
    assert chosen({"shuffle": "auto"}, 100) == {}  # a run's config.yaml says what it became
    assert resolved({"shuffle": "auto"}, 100) == {"shuffle": "auto"}


@pytest.mark.parametrize("window", [0, -1, 1.5])
def test_an_impossible_window(window):
    with pytest.raises(UserError, match=r"train.shuffle_window must be a share of the rows"):
        replace(CONFIG, shuffle_window=window)
