"""Small tables, prepared, and the encoder that an exported folder has of them."""

import importlib.util
import json

import numpy as np
import polars as pl

from eulernet.data.dataset import Dataset
from eulernet.data.preprocessor import Preprocessor
from eulernet.data.sets.table import Table
from eulernet.exporting.bundle import encoder, fields_of, vocabularies_of

DEFAULTS = dict(
    label="click", label_from=None, fields=None, only=None, ignore=[], min_count=1, missing=["NA", "nan"], columns=None,
    separator=None, quote='"', escape=None, vocabulary="all", split="chronological", split_column=None,
    split_values=None, split_seed=1, ratios=[0.8, 0.1, 0.1],
)  # fmt: skip


def prepared(frame, folder, kind=None, *, form="parquet", **changes):
    """What turns rows into ids, and the ids of the rows of ``frame``, which is in a file twenty times over."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = pl.concat([frame] * 20)
    rows = rows.with_columns(click=pl.int_range(len(rows)) % 2)
    file = folder / f"log.{form}"
    rows.write_parquet(file) if form == "parquet" else rows.write_csv(file)
    fields = {"k": kind} if kind else None
    store = Table(**{**DEFAULTS, "fields": fields, **changes})([file], folder / "data", 2.0)
    ids = Dataset.open(store)
    return Preprocessor.open(store), np.load(ids.folder / "x.npy")[: len(frame)]


def exported(prepare, folder):
    """The module that an exported folder has to encode rows with."""
    folder.mkdir()
    about = {"raw": prepare.meta["raw"], "fields": fields_of(prepare)}
    (folder / "fields.json").write_text(json.dumps(about))
    (folder / "vocabularies.json").write_text(json.dumps(vocabularies_of(prepare)))
    (folder / "encode.py").write_text(encoder())
    spec = importlib.util.spec_from_file_location("encode", folder / "encode.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
