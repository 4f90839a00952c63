"""Permutation importance (Breiman, 2001; Fisher et al., 2019): what AUC is lost when a field's values are mixed up."""

import numpy as np
import torch

from eulernet.measures.metrics import auc
from eulernet.models.base import CTRModel
from eulernet.reporting.charts import intervals
from eulernet.reporting.html import Html
from eulernet.reporting.page import figure, section
from eulernet.runs.run import Run, Scores
from eulernet.runs.weights import load_model
from eulernet.training.checkpoint import WEIGHTS

REPEATS, BATCH = 3, 8192


def permutation_importance(
    model: CTRModel, x: np.ndarray, labels: np.ndarray, columns: list[slice], seed: int, repeats: int = REPEATS
) -> tuple[float, np.ndarray]:
    """The AUC of ``x`` [rows, C], and how much of it is lost, [fields, repeats], with a field's ``columns`` permuted.

    It costs 1 + fields * repeats scorings of the rows; all fields see the same permutations.
    """

    @torch.inference_mode()
    def ranked(ids: np.ndarray) -> float:
        device = next(model.parameters()).device
        parts = [model(part.to(device)).double().cpu().numpy() for part in torch.from_numpy(ids).split(BATCH)]
        return auc(labels, np.concatenate(parts))

    draw, whole = np.random.default_rng(seed), ranked(x)
    orders = [draw.permutation(len(x)) for _ in range(repeats)]
    lost = np.empty((len(columns), repeats))
    for i, place in enumerate(columns):
        for j, order in enumerate(orders):
            mixed = x.copy()
            mixed[:, place] = x[order][:, place]
            lost[i, j] = whole - ranked(mixed)
    return whole, lost


def importance(run: Run, scored: Scores, rows: int, device: torch.device) -> Html:
    """The fields by what they are worth to the model, on at most ``rows`` test rows; empty where there are none."""
    chosen = np.random.default_rng(0).permutation(len(scored.labels))[:rows]
    if not 0 < scored.labels[chosen].sum() < len(chosen):
        return Html()
    lengths = [entry.get("length", 1) for entry in scored.data.meta["fields"]]
    ends = np.cumsum(lengths).tolist()
    places = [slice(end - length, end) for end, length in zip(ends, lengths, strict=True)]
    model = load_model(run.folder / WEIGHTS, run.config["model"], scored.data.field_sizes).to(device)
    whole, lost = permutation_importance(model, scored.x[chosen], scored.labels[chosen], places, seed=0)
    order = np.argsort(-lost.mean(axis=1), kind="stable").tolist()
    fields = scored.data.fields
    shown = [(fields[i], f"{lost[i].mean():.4f}", lost[i].tolist(), lost[i].min(), lost[i].max()) for i in order]
    top = max(float(lost.max()), 0.001)
    what = "AUC lost"
    drawn = intervals(what, shown, (min(float(lost.min()), 0.0), top), 0.0, x_name=what, names=16)
    about = (
        f"What AUC is lost when the values of one field are dealt out anew among {len(chosen):,} test rows (AUC "
        f"{whole:.4f}), {REPEATS} times with fixed seeds: {1 + len(fields) * REPEATS} scorings of these rows. Fields "
        "that say the same share their worth."
    )
    reading = "A dot is one permutation; the number is their mean."
    return section("What the fields are worth", about, figure("Permutation importance", reading, drawn, wide=True))
