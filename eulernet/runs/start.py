"""``start_from=``: a run that goes on where a finished one ended, with rows that came later."""

import json
import logging
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from eulernet.data.growth import Growth, kept_of
from eulernet.data.preprocessor import Preprocessor
from eulernet.errors import UserError, require
from eulernet.files import write_atomically
from eulernet.models.reference import Reference
from eulernet.runs.manifest import CALIBRATION, check_manifest, write_manifest
from eulernet.runs.reading import REPORT
from eulernet.runs.run import STORES, Run
from eulernet.training import shards
from eulernet.training.checkpoint import CHECKPOINTS, LAST, digest, link, load_last, sums_of
from eulernet.training.growth import grow_moments, grow_weights
from eulernet.training.job import Job
from eulernet.training.weights import weight_files

log = logging.getLogger(__name__)


class Parent:
    """The finished run in ``folder`` that a new one starts from. UserError if there is none, or a damaged one."""

    def __init__(self, folder: str | Path) -> None:
        try:
            self.run = Run.open(folder)
        except UserError as error:
            raise UserError(f"start_from={str(error).removeprefix('run=')}") from None
        check_manifest(self.run.folder)

    @property
    def folder(self) -> Path:
        return self.run.folder

    def growth(self) -> Growth:
        assert self.run.field_sizes  # checks its files, which may come from anywhere
        return Growth.of(self.folder / "preprocessor")

    def ancestry(self) -> list[dict[str, Any]]:
        """The runs before the new one, the first of all first, each with the digests of its weights and its rows."""
        report = self.run.report
        own = {"run": str(self.folder), "weights": digest(sums_of(self.folder)), "store": self.run.store}
        return [*report.get("ancestry", []), {**own, "rows": report["dataset"]["rows"]["train"]}]

    def require_same(self, cfg: Mapping[str, Any]) -> None:
        """UserError where ``cfg`` describes another dataset or another model; a rate of dropout may change."""
        for group in ("dataset", "model"):
            before, now = self.run.config[group], cfg[group]
            keys = ("name",) if group == "dataset" else [key for key in before if key in now and "drop" not in key]
            for key in keys:
                differs = f"start_from={self.folder}: {group}.{key} is {before[key]} there, and here {now[key]}"
                require(before[key] == now[key], f"{differs}; only rows and tables may be others")

    def give(self, job: Job, preprocessor: Path) -> tuple[dict[str, Any] | None, dict[str, dict[str, int]]]:
        """Put the weights into the model of ``job``, whose ids are in the folder ``preprocessor``.

        Returns the optimizer's state, None where moments start anew, and what is new of each field: how many values,
        and how many were retired.
        """
        require(not isinstance(job.model, Reference), "start_from: a model of another library learns all rows at once")
        before, now = self.run.preprocessor.coders, Preprocessor.open(preprocessor).coders
        kept = kept_of(before, now)
        old = self.run.model()
        grow_weights(old, job.model, kept)
        found = {}
        for coder, ids in zip(now, kept, strict=True):
            retired = int((~ids).sum())
            shared = getattr(coder, "same_as", None) is not None  # with a field that is counted itself
            if not shared and (new := coder.settings()["size"] - len(ids) + retired):
                found[coder.name] = {"new": new, "retired": retired}
        saved = self._saved(job)
        return None if saved is None else grow_moments(saved["optimizer"], old, job.model, kept), found

    def _saved(self, job: Job) -> dict[str, Any] | None:
        """The last checkpoint, where its moments are of use."""
        there, here = self.run.config["train"].get("optimizer"), job.config.optimizer
        if there != here:
            log.info("moments start anew: train.optimizer was %s", there)
            return None
        if not (self.folder / LAST).is_file():
            log.info("moments start anew: %s has no %s", self.folder, LAST)
            return None
        saved = load_last(self.folder, model_name=self.run.name, dataset=self.run.store)
        return {**saved, "optimizer": shards.read(saved["optimizer"], "optimizer", saved["checkpoint"])}

    def repeat(self, cfg: dict[str, Any], folder: Path, overrides: list[str]) -> float:
        """Make ``folder`` a run that is this one, for there were no new rows; its validation AUC.

        Its files are the same to the bit, but for what says where it comes from.
        """
        require(not folder.samefile(self.folder), f"start_from={self.folder}: that is the folder of the new run")
        for name in (*weight_files(self.folder), LAST, "metrics.csv", CALIBRATION):
            if (self.folder / name).exists():
                (folder / name).unlink(missing_ok=True)  # of a process that was killed here
                link(self.folder / name, folder / name)
        for name in (CHECKPOINTS, STORES, "preprocessor"):  # the last one last: stopped before it, all is done again
            if (self.folder / name).is_dir():
                shutil.rmtree(folder / name, ignore_errors=True)
                shutil.copytree(
                    self.folder / name, folder / name, copy_function=lambda old, new: link(Path(old), Path(new))
                )
        about = {"ancestry": self.ancestry(), "grown": {}, "overrides": overrides, "config": cfg}
        text = json.dumps({**self.run.report, **about}, indent=2) + "\n"
        write_atomically(folder / REPORT, lambda file: file.write_text(text))
        write_manifest(folder)
        log.info("no new rows: the run stays what it was in %s", self.folder)
        return self.run.report["valid"]["auc"]


def line(found: Mapping[str, Mapping[str, int]]) -> str:
    """What is new, field by field, the most first."""
    ordered = sorted(found.items(), key=lambda one: -one[1]["new"])
    retired = sum(one["retired"] for one in found.values())
    shown = ", ".join(f"{name} {one['new']:,}" for name, one in ordered[:5]) + ", ..." * (len(ordered) > 5)
    total = sum(one["new"] for one in found.values())
    return f"{total:,} new values" + f" ({shown})" * bool(shown) + f", {retired:,} retired" * bool(retired)
