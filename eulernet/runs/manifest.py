"""``manifest.json``: which files make up a predictor, and their checksums, so that a changed one is refused."""

import json
from pathlib import Path
from typing import Any

import eulernet
from eulernet.errors import require
from eulernet.files import checksum, write_atomically
from eulernet.runs.parts import FILES, check_file, vocabularies
from eulernet.runs.reading import REPORT, read_json
from eulernet.training.checkpoint import LAST, sums_of
from eulernet.training.weights import INDEX, WEIGHTS, is_weights, weight_files

FORMAT = 1
MANIFEST, CALIBRATION = "manifest.json", "calibration.json"


def write_manifest(folder: Path) -> None:
    """List what is in ``folder``: configuration, weights, preprocessor with its vocabularies, calibration, report."""
    sums = {name: checksum(folder / name) for name in parts(folder)}
    manifest = {"format": FORMAT, "eulernet": eulernet.__version__, "sha256": sums}
    text = json.dumps(manifest, indent=2) + "\n"
    write_atomically(folder / MANIFEST, lambda file: file.write_text(text))


def check_manifest(folder: Path, leave_out: str | None = None) -> None:
    """UserError unless every part of the predictor in ``folder`` is what it was when the run ended.

    An older eulernet did not list report.json: it is then not checked. Nor is ``leave_out``, which is to be replaced.
    """
    file = check_file(folder, MANIFEST)
    require(folder.is_dir(), f"{folder}: no such folder; give the folder of a finished run")
    again = f"train resume={folder} finishes one"
    require(file.exists(), f"{folder}: no {MANIFEST}; give the folder of a finished run ({again})")
    manifest = read_json(file)
    found = manifest.get("format")
    if isinstance(found, int) and found > FORMAT:
        by = f"eulernet {str(manifest.get('eulernet'))[:80]}"
        require(False, f"{folder}: format {found}, written by {by}; this version reads format {FORMAT}: update it")
    require(found == FORMAT, f"{file}: format {str(found)[:80]}, this version reads format {FORMAT}")
    sums: Any = manifest.get("sha256")
    fits = isinstance(sums, dict) and len(sums) <= FILES
    require(fits, f"{file} is damaged: it should list at most {FILES:,} files")
    there = [name for name in parts(folder) if name != REPORT or name in sums]
    for name in sorted((set(sums) | set(there)) - {leave_out}):
        require(name in there, f"{folder}: {name[:200]!r} is missing; {way_out(folder, name, 'copy the whole folder')}")
        same = name in sums and checksum(folder / name) == sums[name]
        changed = f"{folder}: {name} has changed since the run ended (its checksum differs)"
        require(same, f"{changed}; {way_out(folder, name, 'get the folder')}")


def way_out(folder: Path, name: str, get: str) -> str:
    """What to do about a changed file ``name``: to ``get`` it again, or to end what was stopped in this folder."""
    if name == CALIBRATION and (folder / "config.yaml").exists():  # a predictor that was pushed has none
        return f"calibrate again: evaluate run={folder} calibrate=isotonic (or sigmoid, none)"
    return f"{get} again" + (f", or train resume={folder} if it was stopped" if (folder / LAST).exists() else "")


def of_these_weights(folder: Path) -> bool:
    """Whether the manifest in ``folder`` lists the weights that are there now."""
    try:
        sums = dict(read_json(folder / MANIFEST)["sha256"])
    except (OSError, ValueError, TypeError, LookupError):  # none, or damaged
        return False
    return {name: found for name, found in sums.items() if is_weights(name)} == sums_of(folder)


def parts(folder: Path) -> list[str]:
    """The files of ``folder`` that a prediction depends on, and its report."""
    files = ["config.json", "config.yaml", INDEX, WEIGHTS, CALIBRATION, REPORT, "preprocessor/meta.json"]
    weights = [name for name in weight_files(folder) if name not in files]
    names = files + weights
    return [name for name in names if check_file(folder, name).exists()] + vocabularies(folder)
