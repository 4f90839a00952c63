"""What a model learned of each value, for other programs: one Parquet file a field.

value    text or a whole number, never missing
vector   float32, of one length in all files: what the embedding tables hold, one table after the other
count    in how many training rows the value is, of a bag how often; null where the store is not there

fields.json names the file of each field. ``other/ids.parquet`` (field, id, vector, count) has what is no single value:
id 0 of rare and missing ones, buckets, and the vector that a number is multiplied by. A history that shares the ids of
another field has no vectors of its own.
"""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch

from eulernet.data import kinds
from eulernet.data.dataset import Dataset, places_in
from eulernet.data.store import vocabulary_file
from eulernet.errors import UserError, require
from eulernet.exporting.bundle import write_json
from eulernet.features import FieldEmbedding
from eulernet.runs.portable import is_archive, packing
from eulernet.runs.predictor import Predictor
from eulernet.runs.run import Run

log = logging.getLogger(__name__)
ROWS = 1 << 16  # that are counted at a time


def export_embeddings(predictor: Predictor, run: Path, output: Path, data_dir: str | None) -> str:
    """Write the embeddings of a run into the new folder ``output``, or nothing; what there is, in a line.

    ``run`` is where the predictor comes from, ``data_dir`` where its store is, None where it was. UserError for a model
    without embeddings and for a folder that is there already.
    """
    require(not is_archive(output), f"output={output}: give a folder")
    tables = [module for module in predictor.model.modules() if isinstance(module, FieldEmbedding)]
    require(bool(tables), f"{predictor.config['model']['name']} has no embeddings")
    tables = [table for table in tables if table.table.embedding_dim > 1] or tables  # without the linear term
    meta = predictor.preprocessor.meta
    names = [field["name"] for field in meta["fields"]]
    counts = counts_of(run, data_dir, meta)
    with packing(output) as new:
        files, values, others = dict[str, str](), 0, []
        for f, name in enumerate(names):
            vectors = np.concatenate([vectors_of(table, f) for table in tables], axis=1)
            if len(vectors) == 0:
                continue
            counted = pl.Series(counts[name], dtype=pl.Int64) if counts else pl.lit(None, dtype=pl.Int64)
            shape = pl.Array(pl.Float32, vectors.shape[1])
            lines = pl.DataFrame({"id": np.arange(len(vectors)), "vector": pl.Series(vectors, dtype=shape)})
            lines, of = lines.with_columns(counted.alias("count")), values_of(predictor.preprocessor.coders[f])
            first = len(lines) - len(of)
            others.append(lines[:first].select(pl.lit(name).alias("field"), "id", "vector", "count"))
            if len(of):
                files[name], values = Path(vocabulary_file(name)).name, values + len(of)
                known = lines[first:].select("vector", "count")
                known.insert_column(0, of.alias("value")).write_parquet(new / files[name])
        (new / "other").mkdir()
        pl.concat(others).write_parquet(new / "other" / "ids.parquet")
        write_json(new / "fields.json", {"model": predictor.config["model"], "dataset": meta["name"], "files": files})
    return f"{values:,} values of {len(files)} fields, vectors of {vectors.shape[1]} numbers: {output}"


@torch.inference_mode()
def vectors_of(embedding: FieldEmbedding, field: int) -> np.ndarray:
    """What the model looks up for each id of a field, float32 [ids, D]: with the vectors that were given, if any."""
    rows = embedding.rows_by_field()[field].float()
    if field in embedding.given_fields and len(rows):
        given, ids = embedding.given[embedding.given_fields.index(field)], torch.arange(len(rows))
        rows = given(ids.unsqueeze(1), rows.unsqueeze(1)).squeeze(1)
    return rows.cpu().numpy()


def values_of(coder: kinds.Coder) -> pl.Series:
    """The values of the last ids of a field; none where ids are hashes, or the field is a number."""
    if isinstance(coder, kinds.QuantileCoder):
        return pl.Series(coder.names([*range(1, len(coder.edges) + 2)]))
    return pl.Series([], dtype=pl.String) if coder.vocabulary is None else coder.vocabulary.values


def counts_of(run: Path, data_dir: str | None, meta: Any) -> dict[str, np.ndarray] | None:
    """By field in how many training rows each id is, of a bag how often; None, with a word, without the store."""
    try:
        data = Run.open(run).open_store(data_dir)
        require(data.meta == meta, f"the store {data.folder} is not the one that {run} was trained on")
    except UserError as error:
        require(data_dir is None, str(error))
        log.warning("no counts: %s", error)
        return None
    counts = {field["name"]: np.zeros(field["size"], dtype=np.int64) for field in meta["fields"]}
    numbers = {field["name"] for field in meta["fields"] if field["kind"] == "number"}
    owner = {field["name"]: field.get("same_as", field["name"]) for field in meta["fields"]}
    for x in batches(data):
        for name, place in places_in(meta).items():
            if name in numbers:
                counts[name] += len(x)
            elif owner[name] == name:
                ids = x[:, place].ravel()
                counts[name] += np.bincount(ids[ids >= 0], minlength=len(counts[name]))
    return counts


def batches(data: Dataset) -> Iterator[np.ndarray]:
    return (x.numpy() for x, *_ in data.train.batches(ROWS))
