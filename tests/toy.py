"""A small model trained on small data, for the tests of training."""

from dataclasses import replace

import torch

from eulernet.data.dataset import Dataset
from eulernet.data.sets.synthetic import Synthetic
from eulernet.models import EulerNet
from eulernet.training.checkpoint import load_last
from eulernet.training.config import TrainConfig
from eulernet.training.loop import fit

CPU = torch.device("cpu")
CONFIG = TrainConfig(
    optimizer="adam",
    max_epochs=4,
    batch_size=128,
    eval_batch_size=500,
    lr=3e-3,
    embedding_lr=None,
    warmup_steps=0,
    weight_decay=1e-5,
    embedding_l2=0.0,
    net_l2=0.0,
    clip_norm=None,
    cowclip=None,
    cowclip_ratio=1.0,
    patience=4,
    lr_factor=0.1,
    lr_patience=1,
    min_lr=0.0,
    ema=0.9,
    reshuffle=True,
    shuffle_seed=1,
    precision="fp32",
    compile=False,
    embedding="replicated",
    checkpoint_every=None,
)


def new_model(data, seed=5, drop=0.2, embedding_dim=4):
    torch.manual_seed(seed)
    return EulerNet(
        data.field_sizes,
        embedding_dim=embedding_dim,
        orders=[3],
        drop_explicit=drop,
        drop_implicit=drop,
        norm=False,
        init="sigir",
        without="nothing",
        norm_penalty=0.0,
    )


IDENTITY = {"model_name": "eulernet", "dataset": "toy/1"}


def run(data, folder, config=CONFIG, *, seed=5, resume=False):
    folder.mkdir(exist_ok=True)
    model = new_model(data, seed)
    state = load_last(folder, **IDENTITY) if resume else None
    history, test = fit(model, data, config, CPU, folder, identity=IDENTITY, saved=state)
    return model, history, test


def same_epochs(one, two):
    return [replace(e, seconds=0, samples_per_second=0) for e in one] == [
        replace(e, seconds=0, samples_per_second=0) for e in two
    ]


def same_bits(one, two):
    one, two = one.state_dict(), two.state_dict()
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


def toy_data(folder):
    return Dataset.open(
        Synthetic(
            rows=3_000,
            field_sizes=[8, 9, 7],
            interactions=[{"f0": 1.0, "f1": 1.0}, {"f2": -1.0}],
            signal=2.0,
            spread=0.5,
            bias=0.0,
            data_seed=1,
        )([], folder, 2.0)
    )
