"""The files that a run may have, and how large each may be: a folder or an archive may come from anywhere."""

import re
from pathlib import Path

import polars as pl

from eulernet.errors import UserError, require
from eulernet.features import Bag, FieldSize

PARTS = re.compile(
    r"manifest\.json|config\.(json|yaml)|report\.json|evaluation\.json|calibration\.json|README\.md"
    r"|model\.safetensors|model\.safetensors\.index\.json|model-(?:\d{6}-)?\d{5}-of-\d{5}\.safetensors"
    r"|preprocessor/meta\.json|preprocessor/vocab/[^/]+\.parquet"
)
COLUMNS = 100_000  # of the ids of a row
FILES = 20_000  # in all: a field has a vocabulary
# Bytes of a file that is read into memory whole, in MiB. Weights and vocabularies may have any size.
LARGEST = {
    "manifest.json": 16, "report.json": 16, "evaluation.json": 16, "calibration.json": 64,
    "README.md": 1, "config.json": 1, "config.yaml": 1,
    "metrics.csv": 16, "model.safetensors.index.json": 16, "preprocessor/meta.json": 64,
}  # fmt: skip


def check_size(name: str, size: int, shown: str) -> None:
    """UserError if the file ``name`` of a run has more than its limit; ``shown`` is what the error calls it."""
    limit = LARGEST.get(name)
    require(limit is None or size <= limit << 20, f"{shown} has {size:,} bytes; the limit is {limit} MiB")


def check_file(folder: Path, name: str) -> Path:
    """The path of a file of the run in ``folder``. UserError for a pipe, a device, a folder, and beyond its limit."""
    file = folder / name
    try:
        require(file.is_file() or not file.exists(), f"{file} is no plain file; remove it, or get the folder again")
        if file.exists():
            check_size(name, file.stat().st_size, str(file))
    except OSError as error:
        raise UserError(f"{str(file)[:200]}: {error.strerror}") from None
    return file


def vocabularies(folder: Path) -> list[str]:
    """The vocabularies of the run in ``folder``, each checked as ``check_file`` does."""
    files = sorted((folder / "preprocessor/vocab").glob("*.parquet"))
    require(len(files) <= FILES, f"{folder} has {len(files):,} vocabularies; the limit is {FILES:,}")
    names = [f"preprocessor/vocab/{file.name}" for file in files]
    for name in names:
        check_file(folder, name)
    return names


def check_vocabularies(folder: Path) -> None:
    """UserError unless each vocabulary is a table of values, whole numbers or text, and their ids."""
    for name in vocabularies(folder):
        file = folder / name
        try:
            schema = pl.read_parquet_schema(file)
        except (OSError, pl.exceptions.PolarsError) as error:
            raise UserError(f"{file} cannot be read ({str(error).splitlines()[0]})") from None
        value = schema.get("value")
        days = schema.pop("seen", pl.Date()) == pl.Date
        fits = set(schema) == {"value", "id"} and value is not None and (value == pl.String or value.is_integer())
        require(
            fits and days and schema["id"] == pl.Int32, f"{file} is damaged: it should hold a value and an id a row"
        )


def check_columns(sizes: list[FieldSize], folder: Path) -> list[FieldSize]:
    """``sizes`` as they are. UserError if a row of their fields has more columns than any model is given."""
    columns = sum(size.length if isinstance(size, Bag) else 1 for size in sizes)
    require(columns <= COLUMNS, f"{folder}: a row has {columns:,} columns of ids; the limit is {COLUMNS:,}")
    return sizes
