"""Frames to a dataset in memory: what ``build`` makes of files, to the same ids, without a disk."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from torch import Tensor

from eulernet.data import disk, histories, kinds, store
from eulernet.data.build import VOCABULARIES, said_of
from eulernet.data.columns import conform
from eulernet.data.counting import count
from eulernet.data.dataset import Dataset, splits_of
from eulernet.data.encoding import log_of, require_later
from eulernet.data.growth import Growth, NothingNew
from eulernet.data.kinds import Coder
from eulernet.data.lines import KEPT, Format
from eulernet.data.reading import Typist
from eulernet.data.recipe import Recipe
from eulernet.data.sets.later import later
from eulernet.data.sets.table import Table
from eulernet.data.splits import LABEL, WEIGHT, Cut, Rows, Splitter, by_file, with_test
from eulernet.errors import choose, require, require_there


@dataclass(frozen=True)
class InMemory(Dataset):
    """A dataset made of frames: all rows as x [rows, C] and y [rows], and which of them each split has.

    ``folder`` is where ``write`` puts it as a store; it may never be there.
    """

    x: Tensor
    y: Tensor
    cut: Cut
    coders: tuple[Coder, ...]
    weight: Tensor | None = None  # how much each row counts

    @property
    def bytes(self) -> int:
        return self.x.nbytes + self.y.nbytes + (0 if self.weight is None else self.weight.nbytes)

    def to(self, device: torch.device) -> "InMemory":
        """The same data on ``device``; each split is a view, or has the numbers of its rows."""
        columns = (self.x, self.y) if self.weight is None else (self.x, self.y, self.weight)
        rows: dict[str, Sequence[int] | Tensor] = {
            part: where if isinstance(where, tuple) else torch.from_numpy(where).to(device)
            for part, where in self.cut.items()
        }
        return replace(self, splits=splits_of(self.meta, rows, *(column.to(device) for column in columns)))

    def vectors(self, field: str, shape: tuple[int, int]) -> Tensor:
        matrix = kinds.given_of(self.coders)[field].matrix
        assert matrix is not None
        return torch.from_numpy(matrix)

    def copy_preprocessor(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        kinds.write(self.coders, folder)
        (folder / "meta.json").write_text(json.dumps(self.meta, indent=2) + "\n")

    def write(self) -> None:
        """Make the store in ``folder``: other commands can then read the rows."""
        with disk.writing(self.folder, mark="meta.json") as new:
            np.save(new / "x.npy", self.x.numpy())
            np.save(new / "y.npy", self.y.numpy())
            if self.weight is not None:
                np.save(new / "weight.npy", self.weight.numpy())
            store.write_split(new, self.cut, len(self.y))
            self.copy_preprocessor(new)


def table_in_memory(
    table: Table, frames: Mapping[str, pl.DataFrame], data_dir: Path, growth: Growth | None = None
) -> InMemory:
    """The dataset of the frames train, and maybe valid and test; a part that is not given is split off train.

    ``data_dir`` is where its store would lie, ``growth`` what encoded the rows of the run that goes on with these.
    UserError as for files.
    """
    if growth is not None and len(frames["train"]) == 0:
        raise NothingNew("train: no rows")
    for name, frame in frames.items():
        require(len(frame) > 0, f"{name}: the frame has no rows")
    if "valid" in frames and table.split in ("random", "paper"):  # then nothing is drawn
        table = replace(table, split="files")
    there, prefix = frames["train"], "" if growth is None else KEPT
    if growth is None:
        form = Format({}, ",", header=True, quote=table.quote, missing=tuple(table.missing))
        clicks = table.clicks_of(there)
        recipe = table.recipe(form, there, clicks, [], table.judge(there, clicks).guess)
    else:
        recipe = later(table, growth, there)
        for name, frame in frames.items():
            growth.earlier.require_columns(frame.schema, name)
        frames = {name: growth.earlier.completed(frame) for name, frame in frames.items()}
    for name, frame in frames.items():
        require_there([*recipe.form.columns, *recipe.form.kept], frame.schema, name)
    if "valid" in frames:
        split = by_file(list(frames))
    elif "test" in frames:
        shares = [share / sum(table.ratios[:2]) for share in table.ratios[:2]]
        split = with_test(replace(table, ratios=[*shares, 0.0]).splitter([], there, prefix))
    else:
        split = table.splitter([], there, prefix)
    split = table.counted(split)
    return build_in_memory(recipe, frames, data_dir, vocabulary=table.vocabulary, split=split)


def build_in_memory(
    recipe: Recipe,
    frames: Mapping[str, pl.DataFrame],
    data_dir: Path,
    *,
    vocabulary: str,
    split: Splitter,
) -> InMemory:
    """The dataset of ``recipe`` over the raw rows of ``frames``, which ``split`` takes for files one after the other.

    Messages call a frame by its name. UserError for what is wrong in the frames, with the row.
    """
    choose(VOCABULARIES, vocabulary, "dataset.vocabulary")
    typed = pl.concat([typed_rows(recipe, split, frame, name) for name, frame in frames.items()])
    in_frames = [len(frame) for frame in frames.values()]
    found = split.cut(Rows(len(typed), in_frames, typed.lazy()))
    cut, values = {part: found[part] for part in split.parts}, typed.select(list(recipe.read_fields))
    counted = typed if vocabulary == "all" else rows_of(typed, cut["train"])
    require(len(counted) > 0, f"the train split is empty ({len(typed)} rows in all)")
    require_later(recipe, typed.lazy(), cut)
    coders = count(recipe, counted, len(counted))
    made = {
        coder.name: histories.in_memory(log_of(recipe, coders, coder.name, typed, 0), coder.columns)
        for coder in coders
        if coder.name in recipe.logs
    }
    x, y = kinds.encode(coders, values, histories.fillers(made, 0))[0], typed[LABEL].to_numpy()
    missing = values.null_count().row(0, named=True)
    gone = [missing.get(f"f{i}", made[c.name].empty(len(typed)) if c.name in made else 0) for i, c in enumerate(coders)]
    weights = typed[WEIGHT].to_numpy() if recipe.weight is not None else None
    meta = store.describe(
        y,
        cut,
        weights=weights,
        **said_of(recipe, coders, [count / len(typed) for count in gone], vocabulary, split),
        split={part: list(rows) if isinstance(rows, tuple) else f"{part}.npy" for part, rows in cut.items()},
        source={"origin": "a frame", "files": {}},
    )
    described: dict[str, Any] = {**recipe.describe(), "vocabulary": vocabulary, "split": dict(split.describe)}
    sum_ = hashlib.sha256(typed.rechunk().write_ipc(None).getbuffer()).hexdigest()
    folder = data_dir / recipe.name / store.digest({**described, "frames": [in_frames, sum_]})
    weight = None if weights is None else torch.tensor(weights)
    data = InMemory(folder, meta, {}, torch.from_numpy(x), torch.tensor(y), cut, tuple(coders), weight)
    return data.to(torch.device("cpu"))


def typed_rows(recipe: Recipe, split: Splitter, frame: pl.DataFrame, name: str) -> pl.DataFrame:
    """Labels and typed values of the raw rows of a frame."""
    where, form = partial(row_of, name), recipe.form
    return Typist.of(recipe, split).rows(raw_rows(frame, form, where, name), where)


def row_of(name: str, row: int) -> str:
    return f"{name}, row {row + 1}"


def raw_rows(frame: pl.DataFrame, form: Format, where: Any, name: str) -> pl.DataFrame:
    """The wanted columns of a frame with the types that are wanted, and those that are kept, as of a Parquet file."""
    kept = frame.select(pl.col(column).alias(KEPT + column) for column in form.kept)
    words = [column for column, dtype in form.columns.items() if frame[column].dtype == pl.String != dtype]
    frame = frame.with_columns(pl.col(words).str.strip_chars()) if words else frame
    return conform(frame, form.columns, form.missing, where, name).hstack(kept)


def rows_of(frame: pl.DataFrame, part: tuple[int, int] | np.ndarray) -> pl.DataFrame:
    return frame[slice(*part)] if isinstance(part, tuple) else frame[part]
