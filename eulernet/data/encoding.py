"""The third pass of preparing: typed rows to rows of ids, in the store."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import polars as pl

from eulernet.data import disk, histories, kinds
from eulernet.data.histories import Histories
from eulernet.data.kinds import CategoryCoder, Coder, HashedCoder, History
from eulernet.data.reading import parts_of
from eulernet.data.recipe import Recipe
from eulernet.data.splits import CHUNK, LABEL, WEIGHT, Cut
from eulernet.data.threads import in_order
from eulernet.errors import require

IDS_AT_ONCE = 1 << 24  # of rows that a thread encodes
THREADS = pl.thread_pool_size()


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
