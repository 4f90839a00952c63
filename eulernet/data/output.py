"""Rows to a file, piece by piece, in bounded memory: there whole, or not at all."""

import gzip
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import polars as pl

from eulernet.errors import require
from eulernet.files import replacing

SEPARATORS = {".csv": ",", ".csv.gz": ",", ".tsv": "\t", ".tsv.gz": "\t"}


def suffix_of(target: Path, key: str) -> str:
    """The suffix of a file that rows can be written to. UserError for any other, which the user gave as ``key``."""
    suffix = next((known for known in (*SEPARATORS, ".parquet") if target.name.lower().endswith(known)), "")
    require(suffix != "", f"{key}={target}: should end in {', '.join(SEPARATORS)} or .parquet")
    require(target.parent.is_dir(), f"{key}={target}: there is no folder {target.parent}")
    require(not target.is_dir(), f"{key}={target} is a folder; give a file")
    return suffix


@contextmanager
def writer(target: Path, key: str = "output") -> Iterator[Callable[[pl.DataFrame], None]]:
    """A function that appends rows to ``target``, which appears, or is replaced, when the block ends without an error.

    The suffix says what it is: .csv, .tsv, either with .gz behind it, or .parquet. ``key`` is what errors call it.
    """
    suffix = suffix_of(target, key)
    with (
        replacing(target, place=f"{key}=") as temporary,
        (_parquet if suffix == ".parquet" else _text)(temporary, SEPARATORS.get(suffix, ","), suffix) as write,
    ):
        yield write


@contextmanager
def _text(file: Path, separator: str, suffix: str) -> Iterator[Callable[[pl.DataFrame], None]]:
    packed = suffix.endswith(".gz")
    with gzip.open(file, "wb", compresslevel=1) if packed else file.open("wb") as stream:
        first = True

        def write(frame: pl.DataFrame) -> None:
            nonlocal first
            for name, dtype in frame.schema.items():
                odd = dtype.is_nested() or dtype == pl.Binary
                require(not odd, f"column {name} holds {dtype}, which text has no form for; give output=.parquet")
            stream.write(frame.write_csv(separator=separator, include_header=first).encode())
            first = False

        yield write


@contextmanager
def _parquet(file: Path, separator: str, suffix: str) -> Iterator[Callable[[pl.DataFrame], None]]:
    """Pieces go into files of their own first: polars writes a Parquet file in one go, but out of core."""
    folder = file.with_name(f"{file.name}.parts")
    folder.mkdir()
    parts: list[Path] = []
    schema: dict[str, pl.DataType] = {}

    def write(frame: pl.DataFrame) -> None:
        for name, dtype in frame.schema.items():
            known = schema.setdefault(name, dtype)
            require(known == dtype, f"column {name} is {known} in one file and {dtype} in another; give output=.csv")
        parts.append(folder / f"{len(parts):08}.arrow")
        frame.write_ipc(parts[-1])

    yield write
    pl.scan_ipc(parts, glob=False).sink_parquet(file)
