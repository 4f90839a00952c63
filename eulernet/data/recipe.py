"""A dataset as a value: where each field and the label come from. ``build`` turns it into a store."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from eulernet.data import splits, store
from eulernet.errors import choose

log = logging.getLogger(__name__)

VOCABULARIES = {"all": "every row", "train": "training rows only"}


@dataclass(frozen=True)
class Field:
    """One column of ids: its name, how its value comes from the raw table, and when a value is rare."""

    name: str
    value: pl.Expr
    min_count: int = 1  # values seen less often share id 0 with the missing ones


@dataclass(frozen=True)
class Recipe:
    """How raw files become rows: ``scan`` reads and checks them, then each row is its fields and a 0/1 label.

    ``protocol`` says in words what the preprocessing does; it goes into the store and into every report.
    """

    name: str
    version: int  # raise it when scan, a field or the label changes: stores of other versions are not reused
    protocol: str
    scan: Callable[[Sequence[Path]], pl.DataFrame]  # raw files -> rows, in file order; UserError on bad input
    label: pl.Expr
    fields: tuple[Field, ...]

    def describe(self) -> dict[str, Any]:
        """All that the encoded rows depend on, beside the raw files and the split, as plain values."""
        fields = [[field.name, field.min_count] for field in self.fields]
        return {"name": self.name, "version": self.version, "protocol": self.protocol, "fields": fields}


def encode(values: pl.Series, min_count: int, train: np.ndarray | None = None) -> tuple[pl.Series, pl.Series]:
    """Number the values of one field: int32 ids [rows], and the vocabulary, whose i-th value has id i + 1.

    The most frequent value comes first and equal counts are ordered by value, so ids do not depend on threads or
    hash seeds. Missing values and those seen fewer than ``min_count`` times get id 0. With ``train`` (row numbers)
    only these rows are counted, so a value that occurs elsewhere alone gets id 0.
    """
    seen = values if train is None else values.gather(train)
    counts = seen.drop_nulls().alias("value").value_counts(name="rows").filter(pl.col("rows") >= min_count)
    vocabulary = counts.sort("rows", "value", descending=[True, False])["value"]
    ids = pl.int_range(1, len(vocabulary) + 1, dtype=pl.Int32, eager=True)
    return values.replace_strict(vocabulary, ids, default=0, return_dtype=pl.Int32), vocabulary


def build(
    recipe: Recipe,
    files: Sequence[Path],
    data_dir: Path,
    *,
    vocabulary: str,
    split: str,
    split_seed: int,
    origin: str,
) -> Path:
    """The store of ``recipe`` over raw ``files``: made under ``data_dir`` unless it is there already.

    ``vocabulary`` is ``all`` (ids and counts over all rows, as published) or ``train`` (leak-free). Rows are stored
    in the order of the split, so that each part is one range. ``origin`` says in words where the files came from.
    """
    choose(VOCABULARIES, vocabulary, "dataset.vocabulary")
    cut = choose(splits.SPLITS, split, "dataset.split")
    choices = {"vocabulary": vocabulary, "split": split, "split_seed": split_seed}
    sums = store.checksums(files)
    folder = data_dir / recipe.name / store.digest({**recipe.describe(), **choices, "files": sums})
    if folder.exists():
        return folder

    with store.writing(folder, mark="meta.json") as new:
        table = recipe.scan(files)
        store.require_space(new, len(table), len(recipe.fields))
        order, parts = cut(table, split_seed)
        train = order[slice(*parts["train"])] if vocabulary == "train" else None
        x = np.empty((len(table), len(recipe.fields)), dtype=np.int32)
        sizes = []
        for column, field in enumerate(recipe.fields):
            values = table.select(field.value.alias(field.name)).to_series()
            ids, known = encode(values, field.min_count, train)
            x[:, column] = ids.to_numpy()
            sizes.append(len(known) + 1)
            store.write_vocabulary(new, field.name, known)
        y = table.select(recipe.label.cast(pl.UInt8)).to_series().to_numpy()
        np.save(new / "x.npy", x[order])
        np.save(new / "y.npy", y[order])
        store.seal(
            new,
            name=recipe.name,
            protocol=f"{recipe.protocol}; ids from {VOCABULARIES[vocabulary]}; split {split}, seed {split_seed}",
            fields=[field.name for field in recipe.fields],
            field_sizes=sizes,
            split=parts,
            source={"origin": origin, "files": sums},
        )
    log.info("prepared %s: %s rows, %s ids (%s)", recipe.name, f"{len(y):,}", f"{sum(sizes):,}", folder)
    return folder
