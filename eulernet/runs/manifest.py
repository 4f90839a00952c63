"""``manifest.json``: which files make up a predictor, and their checksums, so that a changed one is refused."""

import hashlib
import json
from pathlib import Path
from typing import Any

import eulernet
from eulernet.errors import UserError, require

FORMAT = 1
MANIFEST = "manifest.json"


def write_manifest(folder: Path) -> None:
    """List what is in ``folder``: the configuration, the weights, and the preprocessor with its vocabularies."""
    sums = {name: checksum(folder / name) for name in parts(folder)}
    manifest = {"format": FORMAT, "eulernet": eulernet.__version__, "sha256": sums}
    temporary = folder / f".{MANIFEST}"
    try:
        temporary.write_text(json.dumps(manifest, indent=2) + "\n")
        temporary.replace(folder / MANIFEST)
    finally:
        temporary.unlink(missing_ok=True)  # of a full disk


def check_manifest(folder: Path) -> None:
    """UserError unless every part of the predictor in ``folder`` is what it was when the run ended."""
    try:
        manifest: Any = json.loads((folder / MANIFEST).read_text())
    except FileNotFoundError:
        raise UserError(
            f"{folder}: no {MANIFEST}; give the folder of a finished run (train resume={folder} finishes one)"
        ) from None
    except (OSError, ValueError) as error:
        raise UserError(f"{folder / MANIFEST} cannot be read ({error})") from None
    found = manifest.get("format") if isinstance(manifest, dict) else None
    if isinstance(found, int) and found > FORMAT:
        by = f"eulernet {manifest.get('eulernet')}"
        raise UserError(f"{folder}: format {found}, written by {by}; this version reads format {FORMAT}: update it")
    require(found == FORMAT, f"{folder / MANIFEST}: format {found}, this version reads format {FORMAT}")
    sums = manifest.get("sha256")
    require(isinstance(sums, dict), f"{folder / MANIFEST} is damaged: it lists no files")
    there = parts(folder)
    for name in sorted(set(sums) | set(there)):
        require(name in there, f"{folder}: {name} is missing; copy the whole folder again")
        same = name in sums and checksum(folder / name) == sums[name]
        require(same, f"{folder}: {name} has changed since the run ended (its checksum differs); get the folder again")


def parts(folder: Path) -> list[str]:
    """The files of ``folder`` that a prediction depends on."""
    names = ["config.json", "config.yaml", "model.safetensors", "preprocessor/meta.json"]
    found = [name for name in names if (folder / name).is_file()]
    return found + sorted(
        f"preprocessor/vocab/{file.name}" for file in (folder / "preprocessor/vocab").glob("*.parquet")
    )


def checksum(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
