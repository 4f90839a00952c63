"""The configuration tree: every tuned cell composes, says something, and builds its model."""

import re
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from eulernet.models import MODELS
from eulernet.settings import conf_dir, construct
from eulernet.training.config import TrainConfig

CELLS = sorted(file.relative_to(conf_dir() / "tuned").with_suffix("") for file in conf_dir().glob("tuned/*/*.yaml"))
ABLATIONS = [cell for cell in CELLS if re.match("eulernet_(without|phase|modulus)", cell.name)]
ML_1M = Path("movielens_1m")
PRESETS = sorted(file.stem for file in conf_dir().glob("model/*.yaml"))
DATASETS = sorted(file.stem for file in conf_dir().glob("dataset/*.yaml"))


def composed(*overrides):
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        return OmegaConf.to_container(compose("train", list(overrides)), resolve=True)


@pytest.mark.parametrize("cell", CELLS, ids=str)
def test_every_tuned_cell_changes_the_configuration_and_builds(cell):
    model = max((name for name in PRESETS if cell.name.startswith(name)), key=len)  # eulernet of eulernet_averaged
    group = (f"dataset={cell.parent}", f"model={model}")
    plain, tuned = composed(*group, "~tuned"), composed(*group, f"tuned={cell}")
    assert plain != tuned
    assert plain.keys() == tuned.keys()
    construct(TrainConfig, tuned["train"], "train")
    construct(MODELS[tuned["model"].pop("name")], tuned["model"], "model", field_sizes=[5, 4, 3])


def test_the_cell_of_dataset_and_model_is_taken_unasked():
    assert composed("dataset=movielens_1m") == composed("dataset=movielens_1m", "tuned=movielens_1m/eulernet")


@pytest.mark.parametrize("ablation", ABLATIONS, ids=str)
def test_an_ablation_is_the_whole_model_in_its_setting_but_for_one_key(ablation):
    dataset, name = ablation.parent, ablation.name
    whole = composed(f"dataset={dataset}", f"tuned={dataset}/{'eulernet_averaged' if dataset == ML_1M else 'eulernet'}")
    cut = composed(f"dataset={dataset}", f"model={name}")
    model = {"eulernet_without_norm": {"norm": False}}.get(name, {"without": cut["model"]["without"]})
    assert cut["model"] == whole["model"] | model
    assert cut["train"] == whole["train"]


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
