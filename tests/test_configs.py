"""The configuration tree: every tuned cell composes, says something, and builds its model."""

from functools import cache

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from eulernet.models import MODELS
from eulernet.settings import conf_dir, construct, machine_keys
from eulernet.training.config import TrainConfig

CELLS = sorted(file.relative_to(conf_dir() / "tuned").with_suffix("") for file in conf_dir().glob("tuned/*/*.yaml"))
# A composition takes a tenth of a second: by default each eighth cell, all of them with -m slow.
SOME = [pytest.param(cell, marks=[pytest.mark.slow] if i % 8 else []) for i, cell in enumerate(CELLS)]
PRESETS = sorted(file.stem for file in conf_dir().glob("model/*.yaml"))
DATASETS = sorted(file.stem for file in conf_dir().glob("dataset/*.yaml"))


def composed(*overrides):
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        return OmegaConf.to_container(compose("train", list(overrides)), resolve=True)


@cache
def composed_once(*overrides):
    return composed(*overrides)


def leaves(node, *path):
    """(path, value) of every setting in a mapping of mappings."""
    for key, value in node.items():
        if isinstance(value, dict) and value:
            yield from leaves(value, *path, key)
        else:
            yield (*path, key), value


def at(node, path):
    return at(node.get(path[0], {}), path[1:]) if path else node


@pytest.mark.parametrize("cell", SOME, ids=str)
def test_every_tuned_cell_builds_and_says_only_what_differs_from_what_lies_beneath(cell):
    model = max((name for name in PRESETS if cell.name.startswith(name)), key=len)  # eulernet of eulernet_averaged
    group = (f"dataset={cell.parent}", f"model={model}")
    said = OmegaConf.to_container(OmegaConf.load(conf_dir() / "tuned" / f"{cell}.yaml"))
    bases = [f"tuned={base.removeprefix('/tuned/')}" for base in said.pop("defaults", []) if base != "_self_"]
    beneath, tuned = composed_once(*group, *(bases or ["~tuned"])), composed(*group, f"tuned={cell}")
    assert [path for path, value in leaves(said) if at(beneath, path) == value] == []
    assert tuned != beneath or bases
    assert tuned != composed_once(*group, "~tuned")
    assert tuned.keys() == beneath.keys()
    construct(TrainConfig, tuned["train"], "train")
    construct(MODELS[tuned["model"].pop("name")], tuned["model"], "model", field_sizes=[5, 4, 3])


@pytest.mark.parametrize("base", sorted(file.stem for file in conf_dir().glob("tuned/*.yaml")))
def test_a_base_of_tuned_cells_says_only_what_differs(base):
    said = OmegaConf.to_container(OmegaConf.load(conf_dir() / "tuned" / f"{base}.yaml"))
    bases = [f"tuned={one.removeprefix('/tuned/')}" for one in said.pop("defaults", [])]
    beneath = composed("model=deepfm", *(bases or ["~tuned"]))
    assert [path for path, value in leaves(said) if at(beneath, path) == value] == []


def test_the_cell_of_dataset_and_model_is_taken_unasked():
    assert composed("dataset=movielens_1m") == composed("dataset=movielens_1m", "tuned=movielens_1m/eulernet")


def test_an_ablation_is_the_whole_model_in_its_setting_but_for_one_key():
    table = OmegaConf.to_container(OmegaConf.load(conf_dir() / "table/ablation.yaml"))
    setting = ["dataset=movielens_1m", "model=eulernet", f"tuned=movielens_1m/{table['recipe']}"]
    whole = composed(*setting)
    without = {"explicit": "explicit", "implicit": "implicit", "phase_only": "modulus", "modulus_only": "phase"}
    for name, part in without.items():
        row = next(overrides for row, overrides in table["settings"].items() if row.endswith(name))
        assert composed(*setting, *row) == {**whole, "model": whole["model"] | {"without": part}}


def test_an_override_beats_a_tuned_cell():
    assert composed("dataset=movielens_1m", "train.lr=0.5")["train"]["lr"] == 0.5


@pytest.mark.parametrize("dataset", DATASETS)
def test_every_dataset_composes(dataset):
    assert composed(f"dataset={dataset}")["dataset"]["name"] == dataset


def test_the_published_variants_differ_where_protocols_say():
    variants = {
        name: composed(f"model={name}", "~tuned") for name in ("eulernet", "eulernet_fuxictr", "eulernet_recbole")
    }
    assert [v["model"]["init"] for v in variants.values()] == ["sigir", "fuxictr", "recbole"]
    assert [v["model"]["norm_penalty"] for v in variants.values()] == [0.0, 0.0, 1e-5]
    published = {
        "eulernet": dict(weight_decay=1e-5, embedding_l2=0.0, patience=15, lr_factor=1.0, clip_norm=None),
        "eulernet_fuxictr": dict(
            weight_decay=0.0, embedding_l2=1e-5, patience=2, lr_factor=0.1, lr_patience=1, min_lr=1e-6, clip_norm=10.0
        ),
        "eulernet_recbole": dict(weight_decay=0.0, embedding_l2=0.0, patience=10, lr_factor=1.0, clip_norm=None),
    }
    for name, settings in published.items():
        assert {key: variants[name]["train"][key] for key in settings} == settings
    assert all(v["model"]["name"] == "eulernet" for v in variants.values())


def test_a_shuffle_seed_follows_the_seed_and_the_split_does_not():
    cfg = composed("seed=9")
    assert cfg["train"]["shuffle_seed"] == 9
    assert cfg["dataset"]["split_seed"] == 2021


def test_keys_of_the_machine_make_no_other_experiment_and_may_change():
    from eulernet import train, tune
    from eulernet.runs.groups import INCIDENTAL

    keys = {"device", "raw", "data_dir", "accept_terms", "memory"}
    assert set(machine_keys()) == keys
    assert keys <= set(INCIDENTAL) & set(train.MAY_CHANGE) & set(tune.MAY_CHANGE)
