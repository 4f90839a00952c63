"""Weights in parts with an index: written where they are large, read wherever one file is."""

import json
import shutil
from contextlib import suppress
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from toy import CONFIG, run, same_bits, toy_data

from eulernet import Predictor
from eulernet.errors import UserError
from eulernet.runs.manifest import check_manifest, write_manifest
from eulernet.runs.run import Run
from eulernet.runs.start import Parent
from eulernet.training import checkpoint
from eulernet.training.checkpoint import LAST, load_weights, numbered
from eulernet.training.weights import INDEX, WEIGHTS, Weights, save_weights, weight_files

TENSORS = {"a": torch.arange(6.0), "b": torch.arange(40.0).view(20, 2), "c": torch.ones(()), "d": torch.ones(3)}
LIMIT = "eulernet.training.weights.LIMIT"


@pytest.mark.parametrize(
    ("limit", "parts"), [(200, None), (199, [["a", "b", "c"], ["d"]]), (20, [["a"], ["b"], ["c", "d"]])]
)
def test_a_file_holds_what_fits_and_at_least_one_tensor(tmp_path, monkeypatch, limit, parts):
    monkeypatch.setattr(LIMIT, limit)
    save_weights(TENSORS, tmp_path)
    if parts is None:
        assert weight_files(tmp_path) == [WEIGHTS]
    else:
        names = [f"model-000000-{n:05}-of-{len(parts):05}.safetensors" for n in range(1, len(parts) + 1)]
        assert weight_files(tmp_path) == [INDEX, *names]
        assert [sorted(load_file(tmp_path / name)) for name in names] == parts
        index = json.loads((tmp_path / INDEX).read_text())  # as Hugging Face's libraries read it
        assert index["weight_map"] == {key: name for name, part in zip(names, parts, strict=True) for key in part}
        assert index["metadata"] == {"total_size": 200}
    found = Weights(tmp_path / WEIGHTS)
    assert found.shapes == {name: tuple(tensor.shape) for name, tensor in TENSORS.items()}
    assert all(torch.equal(found.all()[name], tensor) for name, tensor in TENSORS.items())
    assert torch.equal(found.rows("b", slice(3, 7)), TENSORS["b"][3:7])


def test_a_run_in_parts_ends_and_goes_on_as_one_in_a_file(tmp_path, monkeypatch):
    data = toy_data(tmp_path / "data")
    short = replace(CONFIG, max_epochs=2)
    whole = run(data, tmp_path / "whole", short)
    monkeypatch.setattr(LIMIT, 200)
    run(data, tmp_path / "run", replace(CONFIG, max_epochs=1))
    model, *_ = run(data, tmp_path / "run", short, seed=99, resume=True)
    assert same_bits(model, whole[0])
    names = weight_files(tmp_path / "run")
    assert len(names) > 2
    newest = next(numbered(tmp_path / "run"))
    assert all((tmp_path / "run" / name).samefile(newest / name) for name in names)
    assert {*names} < {*json.loads((newest / "checkpoint.json").read_text())["sha256"]}
    with torch.no_grad():
        model.modulus.zero_()
    load_weights(model, tmp_path / "run")
    assert same_bits(model, whole[0])


@pytest.fixture
def in_parts(trained, tmp_path, monkeypatch):
    """A copy of the run ``trained`` with its weights in parts."""
    monkeypatch.setattr(LIMIT, 400)
    copy = shutil.copytree(trained.run, tmp_path / "run")
    (copy / WEIGHTS).unlink()
    save_weights(load_file(trained.run / WEIGHTS), copy)
    write_manifest(copy)
    return copy


def test_every_door_reads_them(trained, in_parts, tmp_path):
    wanted = Predictor.load(trained.run).predict(trained.rows)
    predictor = Predictor.load(in_parts)
    assert np.array_equal(predictor.predict(trained.rows), wanted)
    for name in ("pushed", "pushed.tar"):
        predictor.push(tmp_path / name)
        assert np.array_equal(Predictor.load(tmp_path / name).predict(trained.rows), wanted)
    assert len(weight_files(tmp_path / "pushed")) > 2
    assert np.array_equal(Run.open(in_parts).scores().logits, Run.open(trained.run).scores().logits)
    assert len(Parent(in_parts).ancestry()[-1]["weights"]) == 64


def test_parts_that_are_missing_changed_or_of_another_index_are_refused(in_parts, tmp_path):
    index, part = in_parts / INDEX, in_parts / weight_files(in_parts)[1]
    before = part.read_bytes()
    part.write_bytes(before[:-1])
    with pytest.raises(UserError, match="has changed since the run ended"):
        check_manifest(in_parts)
    with pytest.raises(UserError, match=f"{part.name} cannot be read"):
        Run.open(in_parts).model()
    save_file({"other": torch.ones(1)}, part)
    with pytest.raises(UserError, match=f"{INDEX} names other tensors than its parts hold"):
        Run.open(in_parts).model()
    part.unlink()
    with pytest.raises(UserError, match=f"there is no {part}"):
        Run.open(in_parts).model()
    for text in ("{", "[]", '{"weight_map": {"a": "../../secret.safetensors"}}', '{"weight_map": {}}'):
        index.write_text(text)
        with pytest.raises(UserError, match=f"{INDEX} is damaged; get it again"):
            Run.open(in_parts).model()


@pytest.mark.parametrize("links", range(5))
def test_a_kill_while_parts_are_shown_mixes_no_two_epochs(links, tmp_path, monkeypatch):
    monkeypatch.setattr("eulernet.training.weights.LIMIT", 100)
    model, log = nn.Sequential(nn.Linear(5, 5), nn.Linear(5, 5)), []
    saving = checkpoint.Checkpoints(tmp_path, 2, None)
    saving.save(dict, model)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(1)
    real = checkpoint.link

    def killed(old, new):
        log.append(new)
        if len(log) > links:
            raise KeyboardInterrupt
        real(old, new)

    monkeypatch.setattr(checkpoint, "link", killed)
    with suppress(KeyboardInterrupt):
        saving.save(dict, model)
    found = Weights(tmp_path / WEIGHTS).all()
    shown = [all(torch.equal(found[name], of[name]) for name in found) for of in (before, model.state_dict())]
    assert sum(shown) == 1, shown
    checkpoint._require_belonging(torch.load(tmp_path / LAST), tmp_path, list(checkpoint.numbered(tmp_path)))
