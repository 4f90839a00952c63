"""calibration.json: the calibrator of a run, fitted on its validation rows; predict, export and serve apply it."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from eulernet.errors import UserError, require_known
from eulernet.measures import calibration
from eulernet.runs.manifest import CALIBRATION, check_manifest, write_manifest
from eulernet.runs.parts import check_file
from eulernet.runs.reading import read_json
from eulernet.runs.run import Run
from eulernet.training.files import write_atomically

METHODS = (*calibration.METHODS, "none")


def calibrate(run: Run, method: str, data_dir: str | None, device: torch.device, batch_size: int) -> str:
    """Fit ``method`` on the validation rows of ``run`` and keep it with the run; ``none`` removes it. What was done.

    An older calibrator is replaced: the scores it is fitted on are always those of the model alone.
    """
    require_known(method, METHODS, f"unknown calibrate={method}")
    check_manifest(run.folder, leave_out=CALIBRATION)
    file = run.folder / CALIBRATION
    if method == "none":
        was_there = file.exists()
        file.unlink(missing_ok=True)
        write_manifest(run.folder)
        return "calibration removed" if was_there else "there is no calibration to remove"
    scores = run.scores("valid", data_dir, device, batch_size)
    numbers = calibration.fit(method, scores.labels, scores.logits, scores.weights)
    after = calibration.calibrated(scores.logits, numbers)
    found = calibration.before_and_after(scores.labels, scores.logits, after, scores.weights)
    said = {**numbers, "rows": len(scores.labels), "valid": found}
    write_atomically(file, lambda new: new.write_text(json.dumps(said, indent=1) + "\n"))
    write_manifest(run.folder)
    lines = [f"calibration  {method}, fitted on {len(scores.labels):,} validation rows, {file}"]
    lines += before_and_after_lines(found, "valid")
    if method == "isotonic":
        distinct = [len(np.unique(z)) for z in (scores.logits, after)]
        lines.append(f"isotonic: {distinct[0]:,} different scores become {distinct[1]:,}: some rows tie now")
    return "\n".join(lines)


def read_calibration(folder: Path) -> dict[str, Any] | None:
    """The calibrator of the run in ``folder``, for ``calibrated``; None without one. UserError if it is damaged."""
    file = check_file(folder, CALIBRATION)
    if not file.exists():
        return None
    try:
        return calibration.check(read_json(file))
    except ValueError as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{file} is damaged ({error}); evaluate again with calibrate=none") from None


def before_and_after_lines(found: Mapping[str, Mapping[str, float]], what: str) -> list[str]:
    """A line before, a line after."""
    names = {"auc": "auc", "logloss": "logloss", "expected_calibration_error": "ece"}
    return [
        f"{what} {when:<6}  " + "  ".join(f"{short}={found[when][name]:.6f}" for name, short in names.items())
        for when in ("before", "after")
    ]
