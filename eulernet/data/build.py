"""Raw files to a store, out of core: three passes, whose memory does not depend on the number of rows.

    read    blocks of raw rows    ->  typed values of every field, in columns on disk
    count   field by field        ->  how often each value occurs: threshold, order, ids
    encode  blocks of typed rows  ->  rows of ids, appended to the store

In memory sit a block for each thread, the distinct values of one field, the vocabularies that are kept, and what the
split needs, four to twenty bytes a row. ``memory`` bounds the blocks; counting is left to polars' streaming engine.
Typed columns are called f0, f1, ..., so that no name of a user's gets in the way.
"""

import logging
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from eulernet import memory as process
from eulernet.data import disk, histories, kinds, store
from eulernet.data.columns import describe_raw
from eulernet.data.find import require_distinct
from eulernet.data.growth import DAY, with_days
from eulernet.data.histories import Histories
from eulernet.data.inference import Misjudged
from eulernet.data.kinds import CategoryCoder, Coder, HashedCoder, History
from eulernet.data.kinds.vocabulary import Engine
from eulernet.data.lines import KEPT
from eulernet.data.raw import Piece, require_unchanged, stamp_of
from eulernet.data.recipe import Recipe
from eulernet.data.sampling import said_of_rows, weights_in
from eulernet.data.splits import CHUNK, KEY, LABEL, WEIGHT, Cut, Rows, Splitter
from eulernet.data.threads import in_order
from eulernet.data.values import check_sizes, clicks, evaluate
from eulernet.errors import UserError, choose, require
from eulernet.files import short

log = logging.getLogger(__name__)

VOCABULARIES = {"all": "every row", "train": "training rows only"}
SMALL = 1 << 24  # bytes of typed rows that are counted in memory
IDS_AT_ONCE = 1 << 24  # of rows that a thread encodes
THREADS = pl.thread_pool_size()


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
    process.reset_peak()
    with disk.writing(folder, mark="meta.json") as new:
        with timed(seconds, "read"):
            try:
                in_files = read(recipe, split, files, new, int(memory * 2**30))
            except Misjudged as misjudged:
                misjudged.store = folder
                raise
        for file, stamp in zip(files, before, strict=True):
            require_unchanged(file, stamp)
        fitted, missing, zeros, split_rows, shared = fit_and_encode(
            recipe, split, vocabulary, in_files, new, int(memory * 2**30), seconds
        )
        shares = [gone / sum(in_files) for gone in missing]
        meta = store.seal(
            new,
            **said_of(recipe, fitted, shares, vocabulary, split),
            split=split_rows,
            source={"origin": origin, "files": sums},
        )
        rows_of = dict(zip(sums, in_files, strict=True))
        store.summarise(new, meta, missing, zeros.tolist(), seconds, rows_of, left_out or {}, shared)
    ids = sum(field["size"] for field in meta["fields"] if "same_as" not in field)
    log.info("prepared %s: %s rows, %s ids", short(folder), f"{sum(in_files):,}", f"{ids:,}")
    for name, given in kinds.given_of(fitted).items():
        if given.matrix is not None:  # else an earlier log had them
            log.info("%s: %.2f %% of its values have a vector of %d numbers", name, 100 * given.covered, given.width)
    return folder


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
    in_files: Sequence[int],
    new: Path,
    memory: int,
    seconds: dict[str, float],
) -> tuple[list[Coder], list[int], np.ndarray, dict[str, list[int] | str], dict[str, dict[str, int]]]:
    """The second and the third pass over the typed rows in ``new``, which are deleted after that.

    Returns the coder of each field, in how many rows it is missing, in how many it has id 0; the split; and of hashed
    fields what shares buckets.
    """
    rows, parts = sum(in_files), parts_of(new)
    typed, small = pl.scan_ipc(parts, glob=False), sum(part.stat().st_size for part in parts) < SMALL
    with ThreadPoolExecutor(1) as beside:
        # The shuffle of the paper's split is Python's own: a core busy for half a minute on Criteo.
        cutting = beside.submit(split.cut, Rows(rows, in_files, typed))
        with timed(seconds, "count"):
            counted = typed if vocabulary == "all" else training_rows(typed, cutting.result(), rows, new)
            fitted = count(recipe, counted.collect() if small else counted, rows)
            absent = typed.select(pl.col(key).null_count() for key in recipe.read_fields)
            missing = absent.collect(engine="streaming").row(0, named=True)
        made = {}
        if recipe.logs:
            require_later(recipe, typed, cutting.result())
            with timed(seconds, "histories"):
                made = compute(recipe, fitted, rows, new, memory)
        gone = [missing[f"f{i}"] if f"f{i}" in missing else made[c.name].empty(rows) for i, c in enumerate(fitted)]
        with timed(seconds, "encode"):
            zeros = encode(fitted, made, rows, new, weighted=WEIGHT in typed.collect_schema())
        split_rows = store.write_split(new, {part: cutting.result()[part] for part in split.parts}, rows)
    shared = collisions(fitted, typed, new)
    for folder in ("typed", *(f"history {i}" for i in range(len(made)))):
        shutil.rmtree(new / folder)
    (new / "training").unlink(missing_ok=True)
    kinds.write(fitted, new)
    return fitted, gone, zeros, split_rows, shared


def read(recipe: Recipe, split: Splitter, files: Sequence[Path], new: Path, memory: int) -> list[int]:
    """The first pass: typed columns into ``new``/typed, one file a piece. Returns the rows of each raw file."""
    (new / "typed").mkdir()

    def type_piece(numbered: tuple[int, Piece]) -> tuple[Piece, int]:
        number, piece = numbered
        typed = type_rows(recipe, split, piece.frame(), piece.where)
        typed.write_ipc(new / "typed" / f"{number:08}.arrow")
        return piece, len(typed)

    in_files, seen, pieces = [0] * len(files), 0, enumerate(recipe.pieces(files, memory))
    with disk.progress("reading", " rows") as bar:
        for piece, rows in in_order(type_piece, pieces, threads=THREADS, ahead=THREADS):
            if seen == 0:
                state_space(new, int(rows / piece.done), rows, [getattr(one, "length", 1) for one in recipe.fields])
            in_files[piece.index] += rows
            seen += rows
            bar.total = int(seen / piece.done)
            bar.update(rows)
    if recipe.rows is not None and list(recipe.rows) != in_files:
        message = f"{recipe.name}: {in_files} rows in its files, the published ones have {list(recipe.rows)}"
        require(not recipe.verify, f"{message}; dataset.verify=false takes them")
        log.warning(message)
    return in_files


def type_rows(recipe: Recipe, split: Splitter, frame: pl.DataFrame, where: Callable[[int], str]) -> pl.DataFrame:
    """Labels, weights, typed values and what the split goes by. UserError, with ``where``, for a wrong row."""
    values = dict(zip(recipe.read_fields, recipe.values(), strict=True))
    names = {key: f"field {field.name}" for key, field in recipe.read_fields.items()}
    typed = evaluate(frame, values, names, where)
    check_sizes(typed, names, where)
    logs = [log.typed(frame, name, where) for name, log in recipe.logs.items()]
    keys = evaluate(frame, {} if split.key is None else {KEY: split.key}, {KEY: "the split"}, where)
    if split.check is not None:
        split.check(frame, keys[KEY], where)
    counts = [clicks(frame, recipe.label, where).alias(LABEL)]
    if recipe.weight is not None:
        counts.append(weights_in(frame, recipe.weight, where))
    days = pl.DataFrame() if recipe.day is None else days_of(frame, *recipe.day, where)
    return pl.concat([pl.DataFrame(counts), typed, *logs, keys, days], how="horizontal")


def days_of(frame: pl.DataFrame, column: str, day: pl.Expr, where: Callable[[int], str]) -> pl.DataFrame:
    """The date of each row. UserError for a row without one."""
    days = evaluate(frame, {DAY: day}, {DAY: f"the date in {column}"}, where)
    if days[DAY].null_count():
        row = int(days[DAY].is_null().arg_max() or 0)
        value = frame[KEPT + column][row]
        raise UserError(f"{where(row)}: {column} is {value!r}; it should be a date, as dataset.retire_by has to be")
    return days


def state_space(new: Path, rows: int, read: int, lengths: Sequence[int | None]) -> None:
    """Say how much disk a large dataset takes before it does; UserError if there is not as much."""
    typed = (new / "typed" / f"{0:08}.arrow").stat().st_size / read
    kept = rows * (4 * sum(length or 1 for length in lengths) + 1)
    needed, free = kept + int(rows * typed), shutil.disk_usage(new).free
    if needed > 1e9:
        log.info(
            "about %s rows: %.1f GB of disk while preparing, %.1f GB after; %.1f GB are free",
            f"{rows:,}", needed / 1e9, kept / 1e9, free / 1e9,
        )  # fmt: skip
    disk.require_space(new, needed)


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


def require_later(recipe: Recipe, typed: pl.LazyFrame, cut: Cut) -> None:
    """UserError where a history of clicks would tell a training row the label of a validation or test row."""
    for field in recipe.fields:
        if isinstance(field, History) and field.log is not None and field.log.clicked:
            times = typed.select(f"order {field.name}").collect(engine="streaming").to_series()
            late = {part: times[slice(*rows) if isinstance(rows, tuple) else rows] for part, rows in cut.items()}
            last, order = late.pop("train").max(), field.log.order
            after = any(last is not None and (first := one.min()) is not None and first < last for one in late.values())  # type: ignore[operator]
            why = f"training rows come after others in {order} and would know their labels"
            how = f"give dataset.split=time dataset.split_column={order}"
            require(not after, f"dataset.fields.{field.name}.clicked=true: {why}; {how}")


def compute(recipe: Recipe, fitted: Sequence[Coder], rows: int, new: Path, memory: int) -> dict[str, Histories]:
    """The lists of the histories that are computed, by field, from the typed rows in ``new``."""
    made: dict[str, Histories] = {}
    for coder in fitted:
        if coder.name in recipe.logs:
            logs = (log_of(recipe, fitted, coder.name, typed, first) for first, typed in typed_parts(new))
            folder = new / f"history {len(made)}"
            made[coder.name] = histories.out_of_core(logs, rows, coder.columns, folder, memory // 4)
    return made


def log_of(recipe: Recipe, fitted: Sequence[Coder], name: str, typed: pl.DataFrame, first: int) -> np.ndarray:
    """What the history ``name`` takes from typed rows, the first of which is row ``first``."""
    place = {field.name: i for i, field in enumerate(recipe.fields)}
    field = recipe.fields[place[name]]
    assert isinstance(field, History)
    assert field.log is not None
    of = place[field.log.of]
    ids, values = fitted[of].encode(typed[f"f{of}"]), typed[f"f{of}"]
    listed = values.is_not_null() & (typed[LABEL] == 1) if field.log.clicked else values.is_not_null()
    return histories.rows_of(typed, name, np.where(listed.to_numpy(), ids, -1), first)


def typed_parts(new: Path) -> Iterator[tuple[int, pl.DataFrame]]:
    """The typed rows in ``new``, with the number of the first of each part."""
    first = 0
    for part in parts_of(new):
        typed = pl.scan_ipc(part, glob=False).collect()
        yield first, typed
        first += len(typed)


def encode(
    fitted: Sequence[Coder], made: Mapping[str, Histories], rows: int, new: Path, *, weighted: bool = False
) -> np.ndarray:
    """The third pass: x.npy, y.npy and, where rows have weights, weight.npy, in the order of the files.

    Returns how many rows have id 0, field by field.
    """
    columns = sum(coder.columns for coder in fitted)
    shapes: dict[str, tuple[type, tuple[int, ...]]] = {
        "x.npy": (np.int32, (rows, columns)),
        "y.npy": (np.uint8, (rows,)),
    }
    marks = [LABEL, WEIGHT] if weighted else [LABEL]
    shapes |= {"weight.npy": (np.float32, (rows,))} if weighted else {}
    disk.require_space(new, rows * (4 * columns + 1 + 4 * weighted))
    zeros, written = np.zeros(len(fitted), dtype=np.int64), 0
    values = [f"f{i}" for i, coder in enumerate(fitted) if coder.name not in made]

    def encode_some(some: tuple[int, pl.DataFrame]) -> tuple[list[np.ndarray], list[int]]:
        first, typed = some
        ids, id_0 = kinds.encode(fitted, typed.select(values), histories.fillers(made, first))
        return [ids, *(typed[name].to_numpy() for name in marks)], id_0

    with ExitStack() as opened, disk.progress("encoding", " rows", rows) as bar:
        files = [opened.enter_context((new / name).open("wb")) for name in shapes]
        for file, (dtype, shape) in zip(files, shapes.values(), strict=True):
            header = {"descr": np.lib.format.dtype_to_descr(np.dtype(dtype)), "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(file, header)
        some = slices(typed_parts(new), max(IDS_AT_ONCE // columns, 1))
        for arrays, id_0 in in_order(encode_some, some, threads=THREADS, ahead=THREADS):
            for file, array in zip(files, arrays, strict=True):
                array.tofile(file)
            zeros += id_0
            written += len(arrays[0])
            bar.update(len(arrays[0]))
    assert written == rows
    return zeros


def slices(parts: Iterator[tuple[int, pl.DataFrame]], most: int) -> Iterator[tuple[int, pl.DataFrame]]:
    """The same rows, at most so many at once: a history may make a row far larger than its text."""
    for first, typed in parts:
        for start in range(0, len(typed), most):
            yield first + start, typed[start : start + most]


def hashes_of(coder: Coder) -> HashedCoder | None:
    """What hashes the values of a field, or those without an id of their own."""
    if isinstance(coder, CategoryCoder):
        return coder.hashes if coder.tail else None
    return coder if isinstance(coder, HashedCoder) else None


def collisions(fitted: Sequence[Coder], typed: pl.LazyFrame, new: Path) -> dict[str, dict[str, int]]:
    """Of fields whose values are hashed, maybe the rare ones only: how many values share how many buckets."""
    found, first = {}, 0
    for i, coder in enumerate(fitted):
        if (hashed := hashes_of(coder)) is not None:
            distinct = typed.select(pl.col(f"f{i}").drop_nulls().n_unique()).collect(engine="streaming").item()
            values = distinct - (0 if coder.vocabulary is None else len(coder.vocabulary))
            x, seen = np.load(new / "x.npy", mmap_mode="r")[:, first], np.zeros(hashed.buckets + 1, dtype=bool)
            for start in range(0, len(x), CHUNK):
                ids = x[start : start + CHUNK]
                seen[ids[ids <= hashed.buckets]] = True
            used = int(np.count_nonzero(seen[1:]))
            found[coder.name] = {"values": max(values, used), "buckets": hashed.buckets, "used": used}
        first += coder.columns
    return found


def parts_of(new: Path) -> list[Path]:
    """The files of typed rows, in order."""
    return sorted((new / "typed").iterdir())


@contextmanager
def timed(seconds: dict[str, float], phase: str) -> Iterator[None]:
    start = time.perf_counter()
    yield
    seconds[phase] = round(time.perf_counter() - start, 2)
