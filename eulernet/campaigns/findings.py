"""What a search found, as files: a table of the trials, a setting that trains, two plots."""

import csv
import logging
import warnings
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from eulernet.campaigns.space import drawn
from eulernet.campaigns.study import counted
from eulernet.files import write_atomically

log = logging.getLogger(__name__)

COLUMNS = (
    "best_epoch", "epochs", "valid_auc", "valid_logloss", "seconds", "core_seconds",
    "seed", "sampler_seed", "folder", "owner",
)  # fmt: skip
REASONS = ("error", "diverged")
GOOD, DULL, INK = "#1f6f8b", "#b8b2a7", "#333333"


def write_table(study: optuna.Study, folder: Path) -> Path:
    """trials.csv: a line for every setting that was tried."""
    trials = counted(study.get_trials(deepcopy=False))
    keys = list(dict.fromkeys(key for trial in trials for key in trial.params))

    def write(file: Path) -> None:
        with file.open("w", newline="") as stream:
            writer = csv.writer(stream)
            writer.writerow(["trial", "state", *keys, *COLUMNS, "reason"])
            for trial in trials:
                params, attrs = drawn(trial), trial.user_attrs
                reason = next((attrs[name] for name in REASONS if name in attrs), "")
                row = [*(params.get(key, "") for key in keys), *(attrs.get(name, "") for name in COLUMNS)]
                writer.writerow([trial.number, trial.state.name.lower(), *row, reason])

    write_atomically(folder / "trials.csv", write)
    return folder / "trials.csv"


def tuned_cell(cfg: dict[str, Any]) -> dict[str, Any]:
    """What a file of conf/tuned holds to train as ``cfg`` does: all of the model and of the training but the seeds."""
    train = {key: value for key, value in cfg["train"].items() if key != "shuffle_seed" or value != cfg["seed"]}
    return {"model": {key: value for key, value in cfg["model"].items() if key != "name"}, "train": train}


def plot_history(study: optuna.Study, file: Path) -> None:
    """Every trial's validation AUC in the order of the trials, and the best until then.

    The axis begins where the lower tenth of the completed trials does; what lies below is drawn at its edge.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    trials = counted(study.get_trials(deepcopy=False))
    complete = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    values = sorted(_auc(trial) for trial in complete)
    span = max(values[-1] - values[len(values) // 10], 1e-3)
    floor = values[len(values) // 10] - 0.3 * span

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    stopped = [trial for trial in trials if trial.state == TrialState.PRUNED and "diverged" not in trial.user_attrs]
    _scatter(axes, stopped, floor, color=DULL, marker="v", label="stopped early, its best epoch")
    _scatter(axes, complete, floor, color=GOOD, marker="o", label="trained to its end")
    failed = [trial for trial in trials if any(reason in trial.user_attrs for reason in REASONS)]
    if failed:
        axes.scatter([t.number for t in failed], [floor] * len(failed), marker="x", color="#b03a2e", label="failed")
    numbers, best = [trial.number for trial in complete], list(accumulate(map(_auc, complete), max))
    axes.step([*numbers, trials[-1].number], [*best, best[-1]], where="post", color=INK, linewidth=1.2, label="best")
    axes.set(xlabel="trial", ylabel="validation AUC", ylim=(floor - 0.05 * span, values[-1] + 0.15 * span))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    _finish(figure, axes, file)


def plot_importance(study: optuna.Study, file: Path) -> bool:
    """The share of each key in telling good trials from the rest (PED-ANOVA); False where too few came to their end."""
    from matplotlib.figure import Figure

    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    varied = any(len({str(trial.params.get(key)) for trial in complete}) > 1 for key in complete[0].params)
    if len(complete) < 5 or not varied:
        return False
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # keys that no trial varied
        shares = optuna.importance.get_param_importances(study)
    names, values = list(shares)[::-1], list(shares.values())[::-1]
    figure = Figure(figsize=(7, 1 + 0.4 * len(names)), layout="constrained")
    axes = figure.subplots()
    bars = axes.barh(names, values, color=GOOD, height=0.6)
    axes.bar_label(bars, fmt="{:.0%}", padding=4, color=INK)
    axes.set(xlabel=f"importance for the validation AUC, {len(complete)} completed trials", xlim=(0, 1.1 * max(values)))
    axes.xaxis.set_major_formatter("{x:.0%}")
    _finish(figure, axes, file)
    return True


def _auc(trial: FrozenTrial) -> float:
    return float(trial.user_attrs.get("valid_auc", trial.value or 0.0))


def _scatter(axes: Any, trials: Sequence[FrozenTrial], floor: float, **style: Any) -> None:
    if trials:
        axes.scatter([t.number for t in trials], [max(_auc(t), floor) for t in trials], s=28, zorder=3, **style)


def _finish(figure: Any, axes: Any, file: Path) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(colors=INK)
    if axes.get_legend_handles_labels()[1]:
        axes.legend(frameon=False, fontsize="small", loc="lower center", bbox_to_anchor=(0.5, 1), ncols=4)
    write_atomically(file, lambda temporary: figure.savefig(temporary, dpi=150, format="png"))
