"""Ids, numbers and bags to vectors, against loops over rows and fields."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from eulernet.features import Bag, FieldEmbedding, FieldLinear, History, Number

kinds = st.integers(1, 6) | st.just(Number()) | st.builds(
    Bag, size=st.integers(1, 5), length=st.integers(1, 4), pooling=st.sampled_from(["mean", "sum"])
)  # fmt: skip


def draw_rows(data, sizes, rows=5):
    """Random columns of x, and for every row and field what it holds: an id, a float, or a list of ids."""
    held = []
    for _ in range(rows):
        row = []
        for size in sizes:
            if isinstance(size, Number):
                row.append(data.draw(st.floats(-5, 5, width=32)))
            elif isinstance(size, Bag):
                row.append(data.draw(st.lists(st.integers(0, size.size - 1), max_size=size.length)))
            else:
                row.append(data.draw(st.integers(0, size - 1)))
        held.append(row)
    columns = []
    for f, size in enumerate(sizes):
        values = [row[f] for row in held]
        if isinstance(size, Number):
            columns.append(torch.tensor(values, dtype=torch.float32).view(torch.int32)[:, None])
        elif isinstance(size, Bag):
            columns.append(torch.tensor([(v + [-1] * size.length)[: size.length] for v in values], dtype=torch.int32))
        else:
            columns.append(torch.tensor(values, dtype=torch.int32)[:, None])
    return torch.cat(columns, dim=1), held


def looked_up(embedding, sizes, held):
    """Row by row and field by field: a table's row, a number times one, or the pooled rows of a bag."""
    tables, out = embedding.table.weight.split(embedding.field_sizes), []
    for row in held:
        vectors = []
        for value, size, table in zip(row, sizes, tables, strict=True):
            if isinstance(size, Number):
                vectors.append(value * table[0])
            elif isinstance(size, Bag):
                members = [table[i] for i in value]
                total = sum(members, 0 * table[0])
                vectors.append(total / max(len(members), 1) if size.pooling == "mean" else total)
            else:
                vectors.append(table[value])
        out.append(torch.stack(vectors))
    return torch.stack(out)


@given(st.lists(kinds, min_size=1, max_size=6), st.data())
def test_every_mixture_of_kinds_equals_the_loop(sizes, data):
    embedding = FieldEmbedding(sizes, 3)
    x, held = draw_rows(data, sizes)
    want = looked_up(embedding, sizes, held)
    torch.testing.assert_close(embedding(x), want)
    gradient = torch.randn_like(want)
    (got,) = torch.autograd.grad(embedding(x), embedding.table.weight, gradient)
    (wanted,) = torch.autograd.grad(want, embedding.table.weight, gradient)
    torch.testing.assert_close(got, wanted)


def test_a_table_has_a_row_for_each_id_and_one_for_a_number():
    embedding = FieldEmbedding([4, Number(), Bag(5, 2, "sum")], 2)
    assert embedding.table.weight.shape == (10, 2)
    assert [len(rows) for rows in embedding.rows_by_field()] == [4, 1, 5]


@pytest.mark.parametrize("pooling", ["mean", "sum"])
def test_an_empty_bag_is_the_zero_vector(pooling):
    embedding = FieldEmbedding([Bag(5, 2, pooling)], 3)
    assert embedding(torch.tensor([[-1, -1]], dtype=torch.int32)).tolist() == [[[0.0, 0.0, 0.0]]]


@pytest.mark.parametrize("pooling", ["mean", "sum"])
def test_a_history_reads_the_rows_of_the_field_that_it_is_the_same_as(pooling):
    """The field may come after it; a linear term has weights of its own for both."""
    sizes = [History(6, 3, pooling, same_as=2), 4, 6, History(5, 2, pooling)]
    embedding = FieldEmbedding(sizes, 3)
    assert [len(rows) for rows in embedding.rows_by_field()] == [0, 4, 6, 5]
    assert FieldLinear(sizes).weights.table.weight.shape == (21, 1)
    x = torch.tensor([[5, 0, -1, 3, 2, 4, -1], [-1, -1, -1, 0, 5, 1, 3]], dtype=torch.int32)
    weight = embedding.table.weight
    members = weight[[4 + 5, 4 + 0]]
    pooled = members.mean(0) if pooling == "mean" else members.sum(0)
    torch.testing.assert_close(embedding(x)[0, [0, 2]], torch.stack([pooled, weight[4 + 2]]))
    assert not embedding(x)[1, 0].any()
