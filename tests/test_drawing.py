"""Tables drawn in pieces: the values of torch's own initialisation, and of every number of processes the same."""

import pytest
import torch
from torch import nn

import eulernet
from eulernet import drawing
from eulernet.distributed.ranks import rows_of_rank
from eulernet.features import FieldEmbedding, Pretrained
from eulernet.training.tables import count_weights, embeddings_of, holding_own_rows


@pytest.fixture(autouse=True)
def _small_pieces(monkeypatch):
    monkeypatch.setattr(drawing, "PIECE", 32)


@pytest.mark.parametrize("dim", [1, 3, 16])
@pytest.mark.parametrize("sizes", [[2, 1], [7, 1, 30], [100, 16, 1, 53]])
def test_the_values_are_those_of_torch(sizes, dim):
    torch.manual_seed(1)
    mine, mine_next = FieldEmbedding(sizes, dim).table.weight, torch.rand(3)
    torch.manual_seed(1)
    table = nn.Embedding(sum(sizes), dim)
    for own in table.weight.data.split(sizes):
        nn.init.xavier_uniform_(own)
    assert torch.equal(mine, table.weight)
    assert torch.equal(mine_next, torch.rand(3))


@pytest.mark.parametrize(
    ("init", "draw"),
    [("fuxictr", lambda table: nn.init.normal_(table, std=1e-4)), ("recbole", nn.init.xavier_normal_)],
)
def test_the_variants_draw_as_torch(init, draw):
    torch.manual_seed(1)
    model = eulernet.create_model("eulernet", [40, 9], init=init)
    twin = torch.empty_like(model.embedding.table.weight)
    torch.manual_seed(2)
    model.initialise(init)
    torch.manual_seed(2)
    nn.init.xavier_normal_(model.head.weight)
    draw(twin)
    assert torch.equal(model.embedding.table.weight, twin)


@pytest.mark.parametrize("world", [2, 3, 8])
@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("eulernet", {}),
        ("eulernet", {"init": "fuxictr"}),
        ("eulernet", {"init": "recbole"}),
        ("fm", {}),
        ("ffm", {}),
        ("deepim", {}),
        ("dcnv2", {"members": 2, "embeddings": 2}),
    ],
)
def test_the_rows_of_all_ranks_are_the_table_of_one_process(name, settings, world):
    given = torch.full((9, 4), torch.nan)
    given[[2, 5]] = 1.0
    sizes = [5, Pretrained(9, 4, frozen=False, vectors=given), 1, 3]

    def made(rank, world):
        torch.manual_seed(3)
        with holding_own_rows("sharded", rank, world):
            return eulernet.create_model(name, sizes, **settings)

    whole, parts = made(0, 1), [made(rank, world) for rank in range(world)]
    tables = {f"{name}.table.weight" for name, part in whole.named_modules() if isinstance(part, FieldEmbedding)}
    for key, wanted in whole.state_dict().items():
        found = [part.state_dict()[key] for part in parts]
        if key in tables:
            rows = [rows_of_rank(rank, len(wanted), world) for rank in range(world)]
            assert [len(part) for part in found] == [own.stop - own.start for own in rows]
            assert torch.equal(torch.cat(found), wanted)
        else:
            assert all(torch.equal(part, wanted) for part in found)
    assert tables
    assert {count_weights(part) for part in parts} == {sum(weight.numel() for weight in whole.parameters())}
    for embeddings in zip(*map(embeddings_of, parts), strict=True):
        fields = zip(*(part.rows_by_field() for part in embeddings), strict=True)
        assert [sum(map(len, field)) for field in fields] == embeddings[0].field_sizes
