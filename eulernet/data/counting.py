"""The second pass of preparing: how often each value occurs, which gives the coder of each field."""

from pathlib import Path

import numpy as np
import polars as pl

from eulernet.data import disk
from eulernet.data.growth import DAY, with_days
from eulernet.data.kinds import CategoryCoder, Coder, HashedCoder, History
from eulernet.data.kinds.vocabulary import Engine
from eulernet.data.recipe import Recipe
from eulernet.data.splits import Cut
from eulernet.errors import require


def training_rows(typed: pl.LazyFrame, cut: Cut, rows: int, new: Path) -> pl.LazyFrame:
    """The typed rows of the training split."""
    train = cut["train"]
    none = train[0] == train[1] if isinstance(train, tuple) else len(train) == 0
    require(not none, f"the train split is empty ({rows} rows in all)")
    if isinstance(train, tuple):
        return typed.slice(train[0], train[1] - train[0])
    member = np.zeros(rows, dtype=bool)
    member[train] = True
    pl.DataFrame({"training": member}).write_ipc(new / "training")
    return pl.concat([typed, pl.scan_ipc(new / "training", glob=False)], how="horizontal").filter("training")


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
    for field in fields:
        if isinstance(field, History) and field.same_as is not None:
            members = fitted[field.same_as]
            assert isinstance(members, CategoryCoder | HashedCoder)
            fitted[field.name] = field.share(members)
    return [fitted[field.name] for field in fields]
