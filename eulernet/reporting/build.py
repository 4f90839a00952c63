"""From folders of runs to the page."""

import logging
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

import eulernet
from eulernet.errors import UserError, require, require_known
from eulernet.reporting.compare import StoreScores
from eulernet.reporting.many import many
from eulernet.reporting.page import page
from eulernet.reporting.single import single
from eulernet.reporting.slices import user_field
from eulernet.runs.groups import base_name, distinct
from eulernet.runs.run import Run, Scores, find_runs

log = logging.getLogger(__name__)


def build(
    folders: Sequence[Path],
    data_dir: Path | None,
    device: torch.device,
    user: str | None,
    resamples: int,
    importance: int,
    output: Path,
) -> tuple[str, int]:
    """The report of the runs in or below ``folders``, as HTML, and how many runs it shows.

    ``data_dir`` None looks for each run's store where it was trained. ``output`` is where the page will lie: its links
    to runs begin there. UserError without a run, or with a damaged one.
    """
    found: dict[Path, Run] = {}
    unfinished: list[Path] = []
    for folder in folders:
        runs, more = find_runs(folder)
        found |= {run.folder.absolute(): run for run in runs}
        unfinished += more
    runs, made_by = distinct(found.values()), f"Made by eulernet {eulernet.__version__}: python -m eulernet.report"
    if twice := len(found) - len(runs):
        log.info("%d of %d are runs that are there already, and count once", twice, len(found))
    if len(runs) > 1:
        tested = [run for run in runs if run.report["test"]]
        require(bool(tested), f"runs are compared on test rows, and none of these {len(runs)} has a test split")
        if untested := len(runs) - len(tested):
            log.warning("left out, without a test split: %d of %d runs, as a backtest makes them", untested, len(runs))
        runs = tested
    if len(runs) > 1:
        scores, unscored = score_all(runs, data_dir, device)
        return page("Comparison of runs", *many(runs, scores, unscored, unfinished, output), made_by=made_by), len(runs)
    (run,) = runs
    scored: Scores | str
    try:
        scored = run.scores("test", data_dir, device)
    except UserError as error:
        scored = str(error)
    if isinstance(scored, Scores):
        fields = scored.data.fields
        if user is not None:
            require_known(user, fields, f"user={user}: no such field")
        user = user or user_field(scored)
    title = f"{base_name(run)} on {run.dataset}"
    return page(title, *single(run, scored, user, resamples, importance), made_by=made_by), 1


def score_all(
    runs: Sequence[Run], data_dir: Path | None, device: torch.device
) -> tuple[dict[str, StoreScores], dict[str, list[str]]]:
    """Labels and logits by store, and by store why runs of it could not be scored."""
    marks: dict[str, tuple[np.ndarray, np.ndarray | None]] = {}
    logits: dict[str, dict[Path, np.ndarray]] = defaultdict(dict)
    unscored: dict[str, list[str]] = defaultdict(list)
    for run in runs:
        try:
            scored = run.scores("test", data_dir, device)
        except UserError as error:
            unscored[run.store].append(str(error))
        else:
            marks[run.store], logits[run.store][run.folder] = (scored.labels, scored.weights), scored.logits
    return {store: StoreScores(of[0], logits[store], of[1]) for store, of in marks.items()}, unscored
