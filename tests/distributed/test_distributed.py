"""Several processes train as one does: the same losses, weights and metrics, whatever the layout of the tables."""

import json
import os
import pickle
import re
import shutil
import signal
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import processes
import pytest
import torch
from conftest import REPOSITORY
from omegaconf import OmegaConf
from processes import SYNTHETIC, strike
from processes import run_command as command
from safetensors.torch import load_file, save

from eulernet.data.sets.synthetic import Synthetic
from eulernet.distributed import launch
from eulernet.errors import UserError
from eulernet.training import shards
from eulernet.training.checkpoint import load, load_last, numbered
from eulernet.training.config import TrainConfig

EULERNET = {
    "name": "eulernet", "embedding_dim": 4, "orders": [3], "drop_explicit": 0.0, "drop_implicit": 0.0, "norm": True,
    "init": "sigir", "without": "nothing", "norm_penalty": 1e-4,
}  # fmt: skip
DROPPING = {**EULERNET, "drop_explicit": 0.2, "drop_implicit": 0.2}
DCNV2 = {
    "name": "dcnv2", "embedding_dim": 4, "structure": "parallel", "cross_layers": 2, "rank": None, "hidden_units": [16],
    "activation": "relu", "norm": "none", "dropout": 0.0,
}  # fmt: skip
FM = {"name": "fm", "embedding_dim": 4}  # two tables
# 17 steps an epoch; the last batch has 3 of the 2,400 rows: one of four processes gets none of them.
DEFAULT = OmegaConf.to_container(
    OmegaConf.merge(OmegaConf.load(REPOSITORY / "conf/train/default.yaml"), {"shuffle_seed": 1})
)
PLAIN = replace(TrainConfig(**DEFAULT), max_epochs=2, batch_size=141, eval_batch_size=100)
SETTINGS = {
    "eulernet": (EULERNET, PLAIN),
    "averaged": (EULERNET, replace(PLAIN, ema=0.9, clip_norm=0.02, weight_decay=1e-3)),
    "fm": (FM, replace(PLAIN, checkpoint_every=7)),  # its rows have weights, some of them 0
    "dcnv2": (DCNV2, replace(PLAIN, max_epochs=1)),
    "touched": (EULERNET, replace(PLAIN, optimizer="touched_adam", cowclip=1e-3, max_epochs=1)),
    "adagrad": (FM, replace(PLAIN, optimizer="rowwise_adagrad", embedding_lr=3e-2, ema=0.9)),
}
LAYOUTS = ("replicated", "sharded")


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    made = Synthetic(
        rows=3_000,
        field_sizes=[8, 40, 7],  # with id 0 of each 58 rows, which four cannot share evenly
        interactions=[{"f0": 1.0, "f1": 1.0}, {"f2": -1.0}],
        signal=2.0,
        spread=0.5,
        bias=0.0,
        data_seed=1,
    )([], tmp_path_factory.mktemp("data"), 2.0)
    weighted = shutil.copytree(made, made.with_name("weighted"))
    meta = json.loads((made / "meta.json").read_text())
    (weighted / "meta.json").write_text(json.dumps({**meta, "weight": "w"}))
    np.save(weighted / "weight.npy", np.arange(meta["rows"], dtype=np.float32) % 7 // 2)
    return made


def job(name, layout="replicated", **changes):
    model, config = SETTINGS[name]
    return {
        "name": f"{name}_{layout}",
        "model": model,
        "config": replace(config, embedding=layout),
        "weighted": name == "fm",
        **changes,
    }


@pytest.fixture(scope="module")
def one(store, tmp_path_factory):
    """What one process ends with, name of the setting -> result."""
    folder, results = tmp_path_factory.mktemp("one"), {}
    for name in SETTINGS:
        processes.train(folder / name, store, job(name), folder / f"{name}.pt")
        results[name] = torch.load(folder / f"{name}.pt")
    return folder, results


@pytest.fixture(scope="module", params=[2, *(pytest.param(many, marks=pytest.mark.slow) for many in (4, 8))])
def several(request, store, tmp_path_factory):
    """The same of 2, 4 and 8 processes: how many, and their folder."""
    world, folder = request.param, tmp_path_factory.mktemp("several")
    many = [job(name, layout) for name in SETTINGS for layout in LAYOUTS]
    processes.run(world, processes.jobs, folder, store, many, folder=folder)
    return world, folder


def results_of(folder, name, world):
    return [torch.load(folder / name / f"{world}_{rank}.pt") for rank in range(world)]


# Two rows whose scores differ in their last digit may change places, near the top of the order, too.
PAIR = {"auc": 1e-4, "valid_auc": 1e-4, "grouped_auc": 1e-4, "pr_auc": 1e-3}


def assert_close(got, wanted):
    """Up to rounding: sums over processes are taken in another order."""
    for epoch, other in zip(got["epochs"], wanted["epochs"], strict=True):
        assert_measures_close(epoch, other)
    assert_measures_close(flat(got["test"]), flat(wanted["test"]))


def assert_measures_close(got, wanted):
    assert got.keys() == wanted.keys()
    for name, value in got.items():
        assert value == pytest.approx(wanted[name], rel=1e-5, abs=PAIR.get(name, 1e-6)), name


def flat(metrics):
    return {name: value for name, value in metrics.items() if name != "others"} | metrics["others"]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", SETTINGS)
def test_the_loss_curve_is_that_of_one_process(one, several, name, layout):
    world, folder = several
    results = results_of(folder, f"{name}_{layout}", world)
    assert_close(results[0], one[1][name])
    for other in results[1:]:  # every process has the same metrics, so all stop at the same epoch
        assert other["epochs"] == results[0]["epochs"]
        assert other["test"] == results[0]["test"]
    kept = load_file(folder / f"{name}_{layout}" / "model.safetensors")
    for weight, wanted in one[1][name]["weights"].items():
        torch.testing.assert_close(kept[weight], wanted, rtol=1e-3, atol=2e-5)


def test_replicas_are_equal_to_the_bit_and_shards_are_parts(several):
    world, folder = several
    for name in SETTINGS:
        first, *others = results_of(folder, f"{name}_replicated", world)
        for other in others:
            assert all(torch.equal(weight, other["weights"][key]) for key, weight in first["weights"].items())
        parts = results_of(folder, f"{name}_sharded", world)
        file = folder / f"{name}_sharded" / "model.safetensors"
        whole = load_file(file)
        assert file.read_bytes() == save(whole)  # as safetensors would have written it
        for key in whole:
            if key.endswith("table.weight"):
                assert max(len(part["weights"][key]) for part in parts) == -(-len(whole[key]) // world)
                assert torch.equal(torch.cat([part["weights"][key] for part in parts]), whole[key])
            else:
                assert all(torch.equal(part["weights"][key], whole[key]) for part in parts)


def test_checkpoints_of_every_layout_are_read_as_one(one, several):
    def shape(tree):
        if isinstance(tree, dict):
            return {key: shape(value) for key, value in tree.items()}
        return (tree.shape, tree.dtype, type(tree)) if isinstance(tree, torch.Tensor) else type(tree)

    for name in SETTINGS:
        wanted = torch.load(one[0] / name / "last.ckpt")
        for layout in LAYOUTS:
            (folder, _) = numbered(several[1] / f"{name}_{layout}")
            assert (folder / "tables").is_dir() == (layout == "sharded")
            saved = load(folder)
            assert saved.pop("checkpoint") == folder
            state = {key: shards.read(value, key, folder) for key, value in saved.items()}
            assert shape(state) == shape({**wanted, "format": state["format"]})
            for key, weight in wanted["model"].items():
                torch.testing.assert_close(state["model"][key], weight, rtol=1e-3, atol=2e-5)


def test_a_sharded_checkpoint_runs_no_code_and_needs_its_tables(several, tmp_path):
    copy = shutil.copytree(several[1] / "fm_sharded", tmp_path / "run")
    (newest, _) = numbered(copy)
    saved = load(newest)
    (newest / "tables" / ".metadata").write_bytes(pickle.dumps(print))
    with pytest.raises(UserError, match=r"tables cannot be read \(it names builtins.print\)"):
        shards.read(saved["model"], "model", newest)
    shutil.rmtree(copy / "checkpoints")
    with pytest.raises(UserError, match=r"run lacks tables, which has the tables of last.ckpt: copy the whole folder"):
        load_last(copy, model_name="it", dataset="toy")


def look_up(folder: Path) -> None:
    """A table of 11 rows, sharded: what each rank is told, what its gradient becomes, and the bytes that it sends."""
    import torch.distributed as dist

    from eulernet.distributed import ranks
    from eulernet.features import FieldEmbedding
    from eulernet.training.tables import Table, all_reduce_gradients

    dist.init_process_group("gloo")
    rank, sent, exchange = dist.get_rank(), [], dist.all_to_all_single

    def counting(out, given, *sizes):
        to = sizes[1] if sizes else [1] * dist.get_world_size()
        others = sum(to) - to[rank]
        sent.append((bool(sizes), others * given[:1].numel() * given.itemsize))
        return exchange(out, given, *sizes)

    ranks.dist.all_to_all_single = counting
    torch.manual_seed(1)
    embedding = FieldEmbedding([11], 4)
    whole, table = embedding.table.weight.detach().clone(), Table(embedding)
    table.shard(torch.device("cpu"))
    table.keep_gradient()
    rows = [torch.tensor([[3, 10, 3], [0, 9, 3]]), torch.tensor([[10], [5]])][rank]
    table.clear_gradient()
    vectors = embedding.read(rows)
    (vectors * (rows + 1).unsqueeze(-1)).sum().backward()
    all_reduce_gradients([table], idle=False)
    kept = table.gradient.clone()
    with pytest.raises(UserError, match=r"train.embedding=sharded: the loss reads a table apart from its look-ups"):
        embedding.table.weight.to_local().square().sum().backward()
    torch.save(
        {
            "vectors": torch.equal(vectors, whole[rows]),
            "gradient": kept,
            "touched": [each.tolist() for each in table.touched_rows()],
            "bytes": sum(count for is_rows, count in sent if is_rows),
        },
        folder / f"{rank}.pt",
    )
    dist.barrier()
    dist.destroy_process_group()


def test_a_sharded_look_up_sends_each_different_row_once(tmp_path):
    """Rows 0 to 5 are of rank 0, 6 to 10 of rank 1. Rank 0 asks for 0, 3, 9, 10 and rank 1 for 5, 10."""
    processes.run(2, look_up, tmp_path, folder=tmp_path)
    one, other = (torch.load(tmp_path / f"{rank}.pt") for rank in range(2))
    assert one["vectors"]
    assert other["vectors"]
    wanted = torch.zeros(11, 4)
    for row, times in {0: 1, 3: 3, 5: 1, 9: 1, 10: 2}.items():
        wanted[row] = times * (row + 1)
    assert torch.equal(torch.cat([one["gradient"], other["gradient"]]), wanted)
    assert one["touched"] == [[0, 3, 5], [1, 3, 1]]
    assert other["touched"] == [[3, 4], [1, 2]]  # rows 9 and 10
    dim, ids, gradients = 4, 4, 8
    assert one["bytes"] == 2 * ids + 1 * 4 * dim + 2 * (gradients + 4 * dim)  # asks for 9 and 10; is asked for 5
    assert other["bytes"] == 1 * ids + 2 * 4 * dim + 1 * (gradients + 4 * dim)


def stop_at(step: int, model) -> None:
    """Process 1 is killed when it comes to its ``step``-th batch."""
    if os.environ["RANK"] != "1":
        return
    steps, calculate_loss = iter(range(1, 10**6)), model.calculate_loss

    def killed(x, y):
        if next(steps) == step:
            os.kill(os.getpid(), signal.SIGKILL)
        return calculate_loss(x, y)

    model.calculate_loss = killed


@pytest.mark.parametrize("layout", [pytest.param("replicated", marks=pytest.mark.slow), "sharded"])
def test_a_run_goes_on_after_a_process_was_killed(store, tmp_path, layout):
    """Step 30 is the 13th of epoch 2; the checkpoint of step 10 of it was the last. With dropout, to the same bits."""
    config = replace(PLAIN, checkpoint_every=5, embedding=layout)
    whole, parts = ({"name": name, "model": DROPPING, "config": config} for name in ("whole", "parts"))
    processes.run(2, processes.jobs, tmp_path, store, [whole], folder=tmp_path)
    stopped = {**parts, "stop": partial(stop_at, 30)}
    codes = processes.finish(processes.start(2, processes.jobs, tmp_path, store, [stopped], folder=tmp_path), tmp_path)
    assert codes == [1, -signal.SIGKILL]
    assert torch.load(tmp_path / "parts" / "last.ckpt")["step"] == 10
    processes.run(2, processes.jobs, tmp_path, store, [{**parts, "resumed": True, "seed": 99}], folder=tmp_path)
    for rank in range(2):
        one, other = (torch.load(tmp_path / name / f"2_{rank}.pt") for name in ("whole", "parts"))
        assert one["epochs"] == other["epochs"]
        assert one["test"] == other["test"]
        assert all(torch.equal(weight, other["weights"][key]) for key, weight in one["weights"].items())


@pytest.mark.parametrize("name", ["averaged", pytest.param("adagrad", marks=pytest.mark.slow)])
def test_a_checkpoint_goes_on_with_any_number_of_processes_and_any_layout(one, store, tmp_path, name):
    """An epoch in one process, some steps in four with divided tables, the rest in two with whole ones."""
    model, config = SETTINGS[name]

    def part(**changes):
        return {"name": "run", "model": model, "config": replace(config, **changes)}

    processes.train(tmp_path / "run", store, part(max_epochs=1), tmp_path / "1.pt")
    sharded = part(embedding="sharded", checkpoint_every=5)
    stopped = {**sharded, "resumed": True, "stop": partial(stop_at, 14)}
    processes.finish(processes.start(4, processes.jobs, tmp_path, store, [stopped], folder=tmp_path), tmp_path)
    assert torch.load(tmp_path / "run" / "last.ckpt")["step"] == 10
    processes.run(2, processes.jobs, tmp_path, store, [{**part(), "resumed": True}], folder=tmp_path)
    assert_close(results_of(tmp_path, "run", 2)[0], one[1][name])


def test_the_command_leaves_one_run_and_only_the_first_process_speaks(tmp_path):
    assert command(tmp_path, *SYNTHETIC, "train.embedding=sharded") == [0, 0], processes.printed(tmp_path, 0)
    assert [processes.printed(tmp_path, 1, what) for what in ("out", "err")] == ["", ""]
    (run,) = (tmp_path / "work" / "outputs" / "synthetic" / "eulernet").iterdir()
    assert {file.name for file in run.iterdir()} == {
        "config.yaml", "checkpoints", "model.safetensors", "last.ckpt", "metrics.csv", "report.json", "manifest.json",
        "preprocessor", "train.log",
    }  # fmt: skip
    report = json.loads((run / "report.json").read_text())
    assert report["processes"] == 2
    assert report["config"]["train"]["embedding"] == "sharded"
    said = processes.printed(tmp_path, 0, "out").splitlines()
    assert [line for line in said if line.startswith("test ") and f"{report['test']['auc']:.6f}" in line], said[-3:]
    rows = re.findall(r"^\S+ \S+ +([12]) +0\.", (run / "train.log").read_text(), re.MULTILINE)
    assert rows == ["1", "2"]  # of the table of epochs
    assert command(tmp_path, f"resume={run.relative_to(tmp_path / 'work')}", "train.max_epochs=3") == [0, 0]
    assert json.loads((run / "report.json").read_text())["epochs"] == 3


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["train.batch_size=1"], "train.batch_size=1 leaves some of 2 processes without a row"),
        (["train.embedding=sharded", "train.precision=fp16"], "train.embedding=sharded cannot do train.precision=fp16"),
        (["device=cuda:0"], "device=cuda:0: each of 2 processes has its own; give cuda, cpu or auto"),
        (["train.embeding=sharded"], "unknown key 'train.embeding'; did you mean 'train.embedding'?"),
        (["-m", "seed=1,2"], "-m runs one process after the other: leave it out under torchrun"),
        (["train.lr=1e30"], "not finite"),
    ],
)
def test_a_mistake_is_one_line_of_the_first_process(tmp_path, args, message):
    assert command(tmp_path, *SYNTHETIC, *args) == [1, 1]
    (line,) = processes.printed(tmp_path, 0).splitlines()
    assert line.startswith("error: ")
    assert message in line
    assert processes.printed(tmp_path, 1) == ""
    if "train.lr=1e30" not in args:
        assert not (tmp_path / "work" / "outputs").exists()


@pytest.mark.parametrize(
    ("struck", "what"),
    [
        pytest.param(0, signal.SIGKILL, id="first", marks=pytest.mark.slow),
        pytest.param(1, signal.SIGKILL, id="other"),
        pytest.param(1, signal.SIGSTOP, id="frozen", marks=pytest.mark.slow),
    ],
)
def test_the_rank_that_is_left_says_how_to_go_on(tmp_path, struck, what):
    """Also when the other one is there, but frozen: after train.rank_timeout."""
    (tmp_path / "work").mkdir()
    args = [*SYNTHETIC, "train.rank_timeout=5", "hydra.run.dir=run"]
    members = processes.start(2, strike, struck, what, tmp_path / "work", *args, folder=tmp_path)
    left = 1 - struck
    members[left].wait()
    members[struck].kill()
    assert members[left].returncode == 1, processes.printed(tmp_path, left)
    (line,) = processes.printed(tmp_path, left).splitlines()
    assert line.startswith(f"error: process {left}: another process of this run ended, or did not answer; go on with: ")
    assert "torchrun --standalone --nproc-per-node 2 -m eulernet.train resume=" in line
    assert not list((tmp_path / "work" / "run").rglob("*.new"))
    assert command(tmp_path, f"resume={line.rpartition('resume=')[2]}") == [0, 0]


def full_disk(rank: int, folder: Path, *args: str) -> None:
    """The command, in which ``rank`` cannot make its copy of the store."""
    from eulernet.data.dataset import Dataset

    def full(*_):
        raise OSError(28, "No space left on device", "data")

    if int(os.environ["RANK"]) == rank:
        Dataset.open = full
    processes.command(folder, *args)


@pytest.mark.parametrize("error", [RuntimeError("out of memory\nmore"), UserError("no such device")])
def test_rank_0_hears_of_whatever_keeps_another_from_starting(monkeypatch, error):
    """It would wait for a day."""
    store = torch.distributed.HashStore()
    store.set(f"job {launch.NAME}", '{"group": "first"}')
    monkeypatch.setattr(launch, "rendezvous_store", lambda: store)
    monkeypatch.setenv("RANK", "1")

    def build(job):
        raise error

    with pytest.raises((RuntimeError, SystemExit)):
        launch.follow(build)
    assert store.get(f"ready first {launch.NAME}").decode() == str(error).splitlines()[0]


def test_another_ranks_full_disk_is_one_line_of_the_first(tmp_path):
    (tmp_path / "work").mkdir()
    members = processes.start(2, full_disk, 1, tmp_path / "work", *SYNTHETIC, folder=tmp_path)
    assert processes.finish(members, tmp_path) == [1, 1]
    assert processes.printed(tmp_path, 0) == "error: process 1: [Errno 28] No space left on device: 'data'\n"
    assert processes.printed(tmp_path, 1) == ""
