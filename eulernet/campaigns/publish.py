"""Copy what a table rests on to a folder that is kept, such as results/: nothing there is lost without a word."""

import csv
import json
import logging
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from eulernet.campaigns.block import Block
from eulernet.campaigns.planned import finished, run_name
from eulernet.errors import require
from eulernet.files import locked, write_atomically
from eulernet.runs.groups import Setting, identity
from eulernet.runs.reading import REPORT
from eulernet.runs.run import Run

log = logging.getLogger(__name__)


def publish_runs(blocks: Sequence[Block], folder: Path) -> None:
    """Copy report.json and metrics.csv of every run that is not there yet to ``folder``/dataset/setting/seed.

    Published runs of another configuration that bore a setting's name are removed, unless the table has them under
    another one.
    """
    wanted = {identity(run.report["config"]) for one in blocks for setting in one.settings for run in setting.runs}
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder):  # another campaign may publish there, too
        there = set(finished([folder]))
        for place, setting in (
            (folder / one.dataset / setting.name, setting) for one in blocks for setting in one.settings
        ):
            there -= remove_others(place, setting, keep=wanted)
            for run in setting.runs:
                key = identity(run.report["config"])
                if key not in there:
                    into = place / run_name(key)
                    taken = (into / REPORT).exists()
                    copy_run(run, place / f"{into.name}.{key[0]}" if taken else into)
                    there.add(key)


def remove_others(place: Path, setting: Setting, keep: set[tuple[str, int, int]]) -> set[tuple[str, int, int]]:
    """Remove the published runs in ``place`` that are of another configuration than ``setting``; their identities."""
    of_setting, removed = {identity(run.report["config"])[0] for run in setting.runs}, set()
    for file in place.glob(f"*/{REPORT}"):
        old = identity(Run.open(file.parent).report["config"])
        if old[0] not in of_setting and old not in keep:
            log.info("removed: %s, of another configuration", file.parent)
            file.unlink()  # first: without it the rest counts for nothing
            shutil.rmtree(file.parent)
            removed.add(old)
    return removed


def copy_run(run: Run, into: Path) -> None:
    """``run`` in the folder ``into``; it is there once its report is."""
    into.mkdir(parents=True, exist_ok=True)
    metrics, report = (run.folder / "metrics.csv").read_bytes(), json.dumps(without_paths(run.report), indent=2) + "\n"
    write_atomically(into / "metrics.csv", lambda file: file.write_bytes(metrics))
    write_atomically(into / REPORT, lambda file: file.write_text(report))


def write_files(name: str, formats: Mapping[str, str], folder: Path) -> list[Path]:
    """The content of a table by suffix, as files in ``folder``; their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / f"{name}.{suffix}" for suffix in formats]
    for file, content in zip(files, formats.values(), strict=True):
        write_atomically(file, lambda path, content=content: path.write_text(content))  # type: ignore[misc]
    return files


def publish_table(files: Sequence[Path], folder: Path) -> None:
    """Copy the table to ``folder``; UserError where it lacks runs that the one there has."""
    (figures,) = (file for file in files if file.suffix == ".csv")
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder):
        old, new = seeds_of(folder / figures.name), seeds_of(figures)
        lost = [
            f"{setting} on {dataset}" for (dataset, setting), n in old.items() if new.get((dataset, setting), 0) < n
        ]
        more = f" and {len(lost) - 3} more" * (len(lost) > 3)
        table = folder / f"{figures.stem}.md"
        require(not lost, f"{table} stays: this one lacks runs of {', '.join(lost[:3])}{more}; delete it to lose them")
        for file in files:
            content = file.read_bytes()
            write_atomically(folder / file.name, lambda path, content=content: path.write_bytes(content))  # type: ignore[misc]


def seeds_of(table: Path) -> dict[tuple[str, str], int]:
    """How many seeds a table has of a dataset's setting; one if it does not say."""
    if not table.is_file():
        return {}
    with table.open(newline="") as file:
        return {
            (line["dataset"], line["setting"]): line.get("seeds", "").count(" ") + 1 for line in csv.DictReader(file)
        }


def without_paths(report: dict[str, Any]) -> dict[str, Any]:
    """A report as others may see it: not where the files were on the machine that made it."""
    kept = [one for one in report["overrides"] if one.partition("=")[0] not in ("raw", "data_dir", "hydra.run.dir")]
    return {**report, "overrides": kept, "config": {**report["config"], "raw": None, "data_dir": "data"}}
