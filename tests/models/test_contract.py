"""What training, scoring and export rely on, for every file of conf/model."""

import copy
import re
from contextlib import nullcontext
from functools import cache
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from processes import torch_threads

from eulernet import models
from eulernet.errors import UserError
from eulernet.exporting.graph import load_onnx, load_torch, save_onnx, save_torch, trace
from eulernet.features import Bag, History, Number, Pretrained
from eulernet.models.pieces import may_be_shared, one_by_one
from eulernet.settings import conf_dir

SIZES = [11, 3, 7, 5]
WRAPPED = ("deepfm wrap=embeddings", "eulernet wrap=embeddings", "dcnv2 wrap=members", "afn_plus wrap=members")
PRESETS = [*sorted({file.stem for file in (conf_dir() / "model").glob("*.yaml")} - set(models.REFERENCES)), *WRAPPED]

# What is exported by default: one of each way to compute. An export takes seconds; all of them with -m slow.
FAMILIES = ("eulernet", "fignn", "dcnv2 wrap=members")


def pytest_generate_tests(metafunc):
    rest = [pytest.mark.slow] if metafunc.function is test_exports_for_any_batch_size else []
    metafunc.parametrize("preset", [pytest.param(p, marks=[] if p in FAMILIES else rest) for p in PRESETS])


@cache
def composed(preset):
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        return OmegaConf.to_container(compose("train", f"model={preset}".split()).model)


def make_model(preset, sizes=SIZES, **changes):
    settings = {**copy.deepcopy(composed(preset)), **changes}
    torch.manual_seed(5)
    return models.make_model(settings, sizes)


def rates(preset):
    return [key for key in composed(preset) if key.startswith("drop")]


def make_rows(sizes=SIZES, rows=16):
    torch.manual_seed(4)
    x = torch.stack([torch.randint(size, (rows,), dtype=torch.int32) for size in sizes], dim=1)
    return x, (torch.arange(rows) % 3 == 0).float()


def test_every_weight_gets_a_gradient(preset):
    model, (x, y) = make_model(preset), make_rows()
    model.calculate_loss(x, y).backward()
    assert [name for name, w in model.named_parameters() if w.grad is None or not w.grad.any()] == []
    assert all(w.grad.isfinite().all() for w in model.parameters())


def test_takes_numbers_bags_and_histories_like_any_field(preset):
    """A model sees vectors: a number that is 0 and an empty bag are zero vectors, and every weight still learns."""
    vectors = torch.linspace(0.3, -0.3, 33).view(11, 3).index_fill(0, torch.arange(5), torch.nan)
    given, history = Pretrained(11, 3, True, vectors), History(7, 3, "mean", same_as=4)
    sizes = [given, Number(), Bag(4, 2, "mean"), Bag(5, 3, "sum"), 7, history, 3]
    ids, y = make_rows([11, 4, 4, 5, 5, 5, 7, 7, 7, 7, 3])
    numbers = torch.randn(len(ids), 1).view(torch.int32)
    ids[::3, 2] = -1
    ids[1::3, 1:3] = -1
    ids[::4, 8:10] = -1
    ids[1::4, 7:10] = -1
    x = torch.cat([ids[:, :1], numbers, ids[:, 1:]], dim=1)
    model = make_model(preset, sizes)
    model.calculate_loss(x, y).backward()
    assert [name for name, w in model.named_parameters() if w.grad is None or not w.grad.any()] == []
    alone = torch.cat([model.eval()(x[i : i + 1]) for i in range(len(x))])
    torch.testing.assert_close(model(x), alone, rtol=1e-4, atol=1e-6)


def test_rows_are_independent_when_scoring(preset):
    model, (x, _) = make_model(preset).eval(), make_rows()
    alone = torch.cat([model(x[i : i + 1]) for i in range(len(x))])
    torch.testing.assert_close(model(x), alone, rtol=1e-4, atol=1e-6)


def test_has_members_where_the_guide_says_so(preset):
    page = (Path(__file__).parents[2] / "docs/guide/training.md").read_text()
    able = re.findall(r"`(\w+)`", page.split("<!-- members -->")[1].split("<!-- end of members -->")[0])
    with torch.device("meta"), nullcontext() if preset.split()[0] in able else pytest.raises(UserError, match="no MLP"):
        make_model(preset, members=2)


def test_learns_one_batch_by_heart(preset):
    model, (x, y) = make_model(preset, **dict.fromkeys(rates(preset), 0.0)), make_rows()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    for _ in range(1000):
        optimizer.zero_grad()
        loss = F.binary_cross_entropy_with_logits(model(x), y)
        if loss.item() < 0.01:
            return
        loss.backward()
        optimizer.step()
    pytest.fail(f"the loss stays at {loss.item()}")


def test_scores_in_pieces(preset):
    """Row by row, in threes, or all at once."""
    model = make_model(preset).eval()
    x, _ = make_rows(rows=8)
    with torch.inference_mode(), model.scoring() as score:
        for piece in (1, 3, 8):
            model.piece = piece
            torch.testing.assert_close(score(x), model(x), rtol=1e-5, atol=1e-5)


def test_pieces_side_by_side_have_the_bits_of_one_after_the_other(preset, monkeypatch):
    monkeypatch.setattr("eulernet.models.pieces.LEAST", 3)
    monkeypatch.setattr("eulernet.models.pieces.PIECE", 3)
    model = make_model(preset).eval()
    model.piece = 3
    x, _ = make_rows(rows=62)
    with torch.inference_mode():
        for rounded in (False, True):
            with torch.autocast("cpu", torch.bfloat16, enabled=rounded):
                alone = one_by_one(model)(x)
                with torch_threads(3), model.scoring() as score:
                    torch.testing.assert_close(score(x), alone, rtol=0, atol=0)
    assert may_be_shared(model)


@pytest.mark.parametrize("fields", [1, 7, 60])
def test_any_number_of_fields(preset, fields):
    sizes = [3] * fields
    model, (x, y) = make_model(preset, sizes), make_rows(sizes, rows=2)
    loss = model.calculate_loss(x, y)
    loss.backward()
    assert model(x).shape == (2,)
    assert loss.shape == ()
    assert loss.isfinite()


def test_trains_on_and_scores_a_batch_of_one_row(preset):
    model, (x, y) = make_model(preset), make_rows(rows=1)
    loss = model.calculate_loss(x, y)
    loss.backward()
    assert loss.isfinite()
    assert model.eval()(x).shape == (1,)


def test_weights_round_trip(preset):
    one, two, (x, _) = make_model(preset), make_model(preset), make_rows()
    for weight in one.parameters():
        torch.nn.init.normal_(weight, std=0.1)
    one(x)  # moves running statistics, where there are some
    two.load_state_dict(one.state_dict())
    assert torch.equal(one.eval()(x), two.eval()(x))


def test_works_in_bfloat16(preset):
    model, (x, y) = make_model(preset).eval(), make_rows()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits, loss = model(x), model.calculate_loss(x, y)
    loss.backward()
    torch.testing.assert_close(logits.float(), model(x), rtol=0.1, atol=0.1)
    assert all(w.grad.isfinite().all() for w in model.parameters())


@pytest.mark.usefixtures("quick_onnx")
def test_exports_for_any_batch_size(preset, tmp_path):
    """Both formats, written and read back, repeat the logits."""
    model = make_model(preset).eval().requires_grad_(False)
    for weight in model.parameters():
        torch.nn.init.normal_(weight, std=0.1)
    graph = trace(model, len(SIZES))
    save_onnx(graph, tmp_path / "model.onnx")
    save_torch(graph, tmp_path / "model.pt2")
    for run in (load_onnx(tmp_path / "model.onnx"), load_torch(tmp_path / "model.pt2")):
        for rows in (1, 7, 1000):
            x, _ = make_rows(rows=rows)
            torch.testing.assert_close(torch.from_numpy(run(x.numpy())), model(x), rtol=1e-5, atol=1e-5)


@pytest.mark.slow
def test_compiles(preset, unchecked):
    model, (x, y) = make_model(preset).eval(), make_rows()
    compiled = torch.compile(model, fullgraph=True)
    torch.testing.assert_close(compiled(x), model(x), rtol=1e-4, atol=1e-5)
    F.binary_cross_entropy_with_logits(compiled(x), y).backward()


def test_refuses_impossible_values_in_one_line(preset):
    plain = {**composed(preset), "hidden_units": [4]} if "hidden_units" in composed(preset) else composed(preset)
    impossible = {int: 0, float: -1.0, str: "nonsense", list: [-1]}
    changes = [(key, impossible[type(value)]) for key, value in plain.items() if type(value) in impossible]
    for key, value in [*changes, *((rate, 1.0) for rate in rates(preset))]:
        if key == "name":
            continue
        with pytest.raises(UserError) as refused:
            make_model(preset, **{**plain, key: value})
        assert re.fullmatch(r".*model\..*", str(refused.value)), (key, str(refused.value))
