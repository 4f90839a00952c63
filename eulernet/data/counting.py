"""The second pass of preparing: how often each value occurs, which gives the coder of each field."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl

from eulernet.data import disk
from eulernet.data.growth import DAY, with_days
from eulernet.data.kinds import Category, CategoryCoder, Coder, Field, HashedCoder, History, Quantiles
from eulernet.data.kinds.vocabulary import Engine, counted
from eulernet.data.reading import Part
from eulernet.data.recipe import Recipe
from eulernet.data.splits import Cut
from eulernet.data.threads import Coming, taken
from eulernet.data.workers import Workers
from eulernet.errors import require

PARTS = 8  # of typed rows, that a task counts
Training = tuple[int, int] | Path | None  # rows from one to another, those that a file marks, or all


def training_of(cut: Cut, rows: int, new: Path) -> Training:
    """The rows of the training split, marked in a file in ``new`` where they do not adjoin."""
    train = cut["train"]
    none = train[0] == train[1] if isinstance(train, tuple) else len(train) == 0
    require(not none, f"the train split is empty ({rows} rows in all)")
    if isinstance(train, tuple):
        return train
    member = np.zeros(rows, dtype=bool)
    member[train] = True
    pl.DataFrame({"training": member}).write_ipc(new / "training")
    return new / "training"


def rows_of(parts: Sequence[Part], training: Training) -> pl.LazyFrame:
    """The typed rows of consecutive parts, or those of them that train."""
    typed = pl.scan_ipc([part.file for part in parts], glob=False)
    first, rows = parts[0].first, sum(part.rows for part in parts)
    if isinstance(training, Path):
        marks = pl.scan_ipc(training, glob=False).slice(first, rows)
        return pl.concat([typed, marks], how="horizontal").filter("training")
    if training is None:
        return typed
    start, stop = (min(max(row - first, 0), rows) for row in training)
    return typed.slice(start, stop - start)


def count(recipe: Recipe, typed: pl.LazyFrame | pl.DataFrame, rows: int) -> list[Coder]:
    """The second pass: the coder of every field, from the rows that ids come from; a frame is read faster."""
    fitted: dict[str, Coder] = {}
    days, fields = [] if recipe.day is None else [DAY], recipe.fields
    engine: Engine = "in-memory" if isinstance(typed, pl.DataFrame) else "streaming"
    with disk.progress("counting", " values", rows * len(fields)) as bar:
        for i, field in enumerate(fields):
            if getattr(field, "same_as", None) is None:
                if isinstance(typed, pl.DataFrame):
                    values = pl.LazyFrame({"value": typed[f"f{i}"], **{day: typed[day] for day in days}})
                else:
                    values = typed.select(pl.col(f"f{i}").alias("value"), *days)
                if recipe.growth is not None:
                    fitted[field.name] = recipe.growth.fit(i, field, values, engine)
                else:
                    coder = field.fit(values, engine)
                    fitted[field.name] = with_days(coder, values) if days else coder
            bar.update(rows)
    return with_shared(fields, fitted)


def with_shared(fields: Sequence[Field], fitted: dict[str, Coder]) -> list[Coder]:
    """The coder of every field; some histories have the ids of another field."""
    for field in fields:
        if isinstance(field, History) and field.same_as is not None:
            members = fitted[field.same_as]
            assert isinstance(members, CategoryCoder | HashedCoder)
            fitted[field.name] = field.share(members)
    return [fitted[field.name] for field in fields]


def count_apart(recipe: Recipe, parts: Sequence[Part], training: Training, workers: Workers) -> list[Coder]:
    """``count`` by workers elsewhere: categories and classes in a tree over the parts, other fields whole."""
    assert recipe.growth is None
    apart = {i: field for i, field in enumerate(recipe.fields) if getattr(field, "same_as", None) is None}
    groups = [parts[i : i + PARTS] for i in range(0, len(parts), PARTS)]
    dated = recipe.day is not None

    def start(i: int) -> Coming[Coder]:
        field = apart[i]
        if isinstance(field, Category | Quantiles) and not dated:
            plain = replace(field, vectors=None) if isinstance(field, Category) else field  # they may be large
            return workers.total(partial(counts_of, i, training), groups, added, partial(of_counts, plain))
        return workers.submit(partial(fit_column, field, i, training, dated), parts)

    fitted: dict[str, Coder] = {}
    with disk.progress("counting", " fields", len(recipe.fields)) as bar:
        for field, coder in zip(apart.values(), taken(start, apart, len(apart)), strict=True):
            if isinstance(field, Category) and isinstance(coder, CategoryCoder):
                coder = field.with_vectors(coder)
            fitted[field.name] = coder
            bar.update(1)
    return with_shared(recipe.fields, fitted)


def counts_of(i: int, training: Training, parts: Sequence[Part]) -> pl.DataFrame:
    """How often each value of field number ``i`` is there in some parts."""
    return counted(rows_of(parts, training).select(pl.col(f"f{i}").alias("value"))).collect()


def added(counts: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """The sum of several ``counts_of``."""
    return counted(pl.concat(counts).lazy()).collect()


def of_counts(field: Category | Quantiles, counts: pl.DataFrame) -> Coder:
    return field.fit(counts.lazy(), "in-memory")


def fit_column(field: Field, i: int, training: Training, dated: bool, parts: Sequence[Part]) -> Coder:
    """The coder of field number ``i`` by all ``parts``; ``dated``: it knows when it saw each value."""
    values = rows_of(parts, training).select(pl.col(f"f{i}").alias("value"), *([DAY] if dated else []))
    coder = field.fit(values, "streaming")
    return with_days(coder, values) if dated else coder
