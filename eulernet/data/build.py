"""Raw files to a store, out of core: three passes, whose memory does not depend on the number of rows.

    read    blocks of raw rows    ->  typed values of every field, in columns on disk
    count   field by field        ->  how often each value occurs: threshold, order, ids
    encode  blocks of typed rows  ->  rows of ids, appended to the store

In memory sit a block for each thread, the distinct values of one field, the vocabularies that are kept, and what the
split needs: nothing for ranges, 5 to 10 bytes a row for all others (docs/scale.md).
``memory`` bounds the blocks; counting is left to polars' streaming engine. Typed columns are called f0, f1, ..., so
that no name of a user's gets in the way.
"""

import logging
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from eulernet.data import disk, kinds, store
from eulernet.data.columns import describe_raw
from eulernet.data.counting import count, count_apart, rows_of, training_of
from eulernet.data.encoding import Stored, collisions, compute, encode, require_later
from eulernet.data.find import require_distinct
from eulernet.data.inference import Misjudged
from eulernet.data.kinds import Coder
from eulernet.data.raw import require_unchanged, stamp_of
from eulernet.data.reading import Typed, read, unpacked
from eulernet.data.recipe import Recipe
from eulernet.data.sampling import said_of_rows
from eulernet.data.splits import WEIGHT, Rows, Splitter
from eulernet.data.workers import current
from eulernet.errors import choose, require
from eulernet.files import short

log = logging.getLogger(__name__)

VOCABULARIES = {"all": "every row", "train": "training rows only"}
SMALL = 1 << 24  # bytes of typed rows that are counted in memory


def build(
    recipe: Recipe,
    files: Sequence[Path],
    data_dir: Path,
    *,
    vocabulary: str,
    split: Splitter,
    origin: str,
    memory: float,
    left_out: Mapping[str, str] | None = None,
) -> Path:
    """The store of ``recipe`` over the raw ``files``: made under ``data_dir`` unless it is there already.

    ``vocabulary`` is ``all`` (ids and counts over all rows, as published) or ``train`` (leak-free). ``origin`` says in
    words where the files came from, ``memory`` how many GiB the blocks may take, ``left_out`` why other files were not
    read. UserError for what is wrong in the files, with file and line, and for a disk without room.
    """
    choose(VOCABULARIES, vocabulary, "dataset.vocabulary")
    workers = current()
    alone = "engine=dask computes no histories (dataset.history, or by, of and order of a field); leave engine= out"
    require(workers.here or not recipe.logs, alone)
    seconds: dict[str, float] = {}
    before = [stamp_of(file) for file in files]
    with timed(seconds, "checksums"):
        sums = disk.checksums(files, data_dir)
    choices = {"vocabulary": vocabulary, "split": dict(split.describe), "files": list(sums.items())}
    folder = data_dir / recipe.name / store.digest({**recipe.describe(), **choices})
    if folder.exists():  # maybe a link, from what the first rows alone would have been
        return folder.with_name(folder.readlink().name) if folder.is_symlink() else folder

    if recipe.rows is None:  # the files of a published set are known
        require_distinct(files, recipe.form.member)
    workers.reset_peak()
    with disk.writing(folder, mark="meta.json") as new:
        workers.require_seen([*files, new])
        room = workers.share(int(memory * 2**30))
        try:
            with timed(seconds, "read"), unpacked(files, recipe.form.member, new / "unpacked", workers) as texts:
                typed = read(recipe, split, texts, new, room, workers)
        except Misjudged as misjudged:
            misjudged.store = folder
            raise
        for file, stamp in zip(files, before, strict=True):
            require_unchanged(file, stamp)
        fitted, missing, zeros, split_rows, shared = fit_and_encode(
            recipe, split, vocabulary, typed, new, int(memory * 2**30), seconds
        )
        shares = [gone / typed.rows for gone in missing]
        meta = store.seal(
            new,
            **said_of(recipe, fitted, shares, vocabulary, split),
            split=split_rows,
            source={"origin": origin, "files": sums},
        )
        rows_of = dict(zip(sums, typed.in_files, strict=True))
        store.summarise(new, meta, missing, zeros.tolist(), seconds, rows_of, left_out or {}, shared, workers.peak())
    say(folder, typed.rows, meta, fitted)
    return folder


def say(folder: Path, rows: int, meta: Mapping[str, Any], fitted: Sequence[Coder]) -> None:
    """What was prepared, in a line, and how much of a field has a given vector."""
    ids = sum(field["size"] for field in meta["fields"] if "same_as" not in field)
    log.info("prepared %s: %s rows, %s ids", short(folder), f"{rows:,}", f"{ids:,}")
    for name, given in kinds.given_of(fitted).items():
        if given.matrix is not None:  # else an earlier log had them
            log.info("%s: %.2f %% of its values have a vector of %d numbers", name, 100 * given.covered, given.width)


def said_of(
    recipe: Recipe, fitted: Sequence[Coder], missing: Sequence[float], vocabulary: str, split: Splitter
) -> dict[str, Any]:
    """What meta.json says of any rows of ``recipe``; ``missing`` is the share of rows that lack each field."""
    described = ", ".join(f"{key} {value}" for key, value in split.describe.items())
    if recipe.growth is not None:  # a column that earlier rows lacked may be missing in those to come, too
        missing = np.maximum(missing, [field["missing"] for field in recipe.growth.earlier.meta["fields"]]).tolist()
    return {
        "name": recipe.name,
        "protocol": f"{recipe.protocol}; ids from {VOCABULARIES[vocabulary]}; {described}",
        "fields": [
            {**kinds.describe(coder), **field.raw.describe(), "missing": gone}
            for coder, field, gone in zip(fitted, recipe.fields, missing, strict=True)
        ],
        "raw": describe_raw(recipe.scored_form, recipe.label),
        **said_of_rows(recipe.weight, recipe.negatives_kept, split),
    }


def fit_and_encode(
    recipe: Recipe,
    split: Splitter,
    vocabulary: str,
    typed: Typed,
    new: Path,
    memory: int,
    seconds: dict[str, float],
) -> tuple[list[Coder], list[int], np.ndarray, dict[str, list[int] | str], dict[str, dict[str, int]]]:
    """The second and the third pass over the ``typed`` rows, which are deleted after that.

    Returns the coder of each field, in how many rows it is missing, in how many it has id 0; the split; and of hashed
    fields what shares buckets.
    """
    rows, workers, columns = typed.rows, current(), typed.scan()
    with ThreadPoolExecutor(1) as beside:
        # The shuffle of the paper's split is Python's own: a core busy for half a minute on Criteo.
        cutting = beside.submit(split.cut, Rows(rows, typed.in_files, columns, new))
        with timed(seconds, "count"):
            training = None if vocabulary == "all" else training_of(cutting.result(), rows, new)
            if workers.here:
                counted = rows_of(typed.parts, training)
                fitted = count(recipe, counted.collect() if typed.bytes < SMALL else counted, rows)
            else:
                fitted = count_apart(recipe, typed.parts, training, workers)
        kinds.write(fitted, new)
        made = {}
        if recipe.logs:
            require_later(recipe, columns, cutting.result())
            with timed(seconds, "histories"):
                made = compute(recipe, fitted, typed, new, memory)
        stored, missing = Stored(fitted, new), typed.missing
        gone = [missing[f"f{i}"] if f"f{i}" in missing else made[c.name].empty(rows) for i, c in enumerate(fitted)]
        with timed(seconds, "encode"):
            zeros = encode(stored, made, typed, workers, weighted=WEIGHT in columns.collect_schema())
        split_rows = store.write_split(new, {part: cutting.result()[part] for part in split.parts}, rows)
    shared = collisions(stored, typed, workers)
    for folder in ("typed", *(f"history {i}" for i in range(len(made)))):
        shutil.rmtree(new / folder)
    (new / "training").unlink(missing_ok=True)
    return fitted, gone, zeros, split_rows, shared


@contextmanager
def timed(seconds: dict[str, float], phase: str) -> Iterator[None]:
    start = time.perf_counter()
    yield
    seconds[phase] = round(time.perf_counter() - start, 2)
