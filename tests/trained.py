"""A finished run on rows with every kind of field, for the tests of what comes after training."""

import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from eulernet.data.dataset import Dataset
from eulernet.runs.train import train
from eulernet.settings import conf_dir

WORDS = ("Wien", "Graz", "Linz", "Bad, Ischl", "Köln")


def raw_rows(rows: int, seed: int) -> pl.DataFrame:
    """Rows with every kind of field: a click is likelier in some cities and at some prices."""
    draw = np.random.default_rng(seed)
    city, price = draw.integers(0, len(WORDS), rows), draw.normal(10, 4, rows).round(2)
    tags = [[f"t{tag}" for tag in draw.integers(0, 6, count)] for count in draw.integers(0, 4, rows)]
    frame = pl.DataFrame(
        {
            "user": draw.integers(0, 30, rows),
            "city": [None if draw.random() < 0.1 else WORDS[i] for i in city],
            "store": [str(i) for i in draw.integers(1, 9, rows)],
            "price": [None if draw.random() < 0.1 else float(value) for value in price],
            "age": draw.integers(15, 80, rows),
            "visits": [None if draw.random() < 0.1 else int(value) for value in draw.geometric(0.05, rows)],
            "tags": ["|".join(some) or None for some in tags],
            "click": (draw.random(rows) < 1 / (1 + np.exp(2 - city))).astype(int),
        }
    )
    return frame


@dataclass(frozen=True)
class Trained:
    """A finished run of one epoch, the raw rows that it was trained on, the file they are in, and their store."""

    run: Path
    rows: pl.DataFrame
    file: Path
    data: Dataset

    def test(self) -> tuple[pl.DataFrame, torch.Tensor]:
        """The raw rows of the test split, and their ids in the store."""
        order = self.data.test.order
        return self.rows[order.numpy()], self.data.test.x[order]


@pytest.fixture(scope="session")
def trained(tmp_path_factory) -> Trained:
    folder = tmp_path_factory.mktemp("trained")
    rows, file, run = raw_rows(2000, 0), folder / "log.csv", folder / "run"
    rows.write_csv(file)
    run.mkdir()
    fields = "{store: category, price: number, age: quantiles, visits: log_square, tags: bag}"
    overrides = [
        "dataset=table", f"raw={file}", f"data_dir={folder / 'data'}", f"dataset.fields={fields}",
        "dataset.min_count=3", "model.embedding_dim=4", "train.max_epochs=1", "train.batch_size=256",
        "train.lr=0.01", "device=cpu",
    ]  # fmt: skip
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        train(OmegaConf.to_container(compose("train", overrides), resolve=True), run, overrides)
    (store,) = (folder / "data" / "table").iterdir()
    return Trained(run, rows, file, Dataset.open(store))


@pytest.fixture
def copy_of_run(trained, tmp_path) -> Path:
    """A copy of the finished run, to be damaged."""
    return Path(shutil.copytree(trained.run, tmp_path / "run"))
