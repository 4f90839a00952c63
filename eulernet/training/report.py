"""The report of a run: what was trained on what, how well, how fast and with which versions."""

import json
import platform
import subprocess
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

import eulernet
from eulernet import memory
from eulernet.data.dataset import Dataset, Split
from eulernet.data.splits import PARTS
from eulernet.distributed.ranks import world_size
from eulernet.measures.metrics import entropy
from eulernet.measures.table import Metrics
from eulernet.models.base import CTRModel
from eulernet.training.auto import chosen
from eulernet.training.files import write_atomically
from eulernet.training.history import MONITORS, Epoch, best_of, monitor_of
from eulernet.training.standing import Standing
from eulernet.training.tables import count_weights

FAR = 0.05  # of what was learned


def write_report(
    run: Path,
    model: CTRModel,
    data: Dataset,
    history: Sequence[Epoch],
    test: Metrics | None,
    *,
    device: torch.device,
    config: dict[str, Any],
    overrides: Sequence[str],
    commit: str | None,
    threads: int | str,
    reference: Standing | None = None,
    **more: Any,
) -> dict[str, Any]:
    """Write report.json into ``run``, and return it. ``more`` is what else it says, left out where it is None."""
    best = best_of(history, monitor_of(config))
    seconds = sum(epoch.seconds for epoch in history)
    report: dict[str, Any] = {
        "dataset": {
            "name": data.name,
            "protocol": data.meta["protocol"],
            "digest": data.digest,
            "source": data.meta["source"],
            "rows": {part: len(data.splits.get(part, ())) for part in PARTS},
            "field_sizes": {field["name"]: field["size"] for field in data.meta["fields"]},
        },
        "model": config["model"]["name"],
        "seed": config["seed"],
        "parameters": count_weights(model),
        "best_epoch": best.epoch,
        "best_epochs": {monitor: best_of(history, monitor).epoch for monitor in MONITORS},
        "epochs": len(history),
        "valid": {"auc": best.valid_auc, "logloss": best.valid_logloss},
        "test": {} if test is None else test.plain(),
        "auto": chosen(config["train"], len(data.train)),
        "seconds": seconds,
        "samples_per_second": len(history) * len(data.train) / seconds,
        "peak_memory_bytes": peak_memory(device),
        "device": str(device),
        "processes": world_size(),
        "threads": threads,
        "versions": versions(),
        "commit": commit,
        "overrides": list(overrides),
        "config": config,
    }
    report |= {key: value for key, value in more.items() if value is not None}
    if reference is not None:
        report["reference"] = reference.plain()
    if "bayes" in data.meta and test is not None:
        report["bayes"] = data.meta["bayes"]
        if data.meta["bayes"]["test"]["auc"] > 0.505:  # else there is nothing to learn
            report["learned"] = learned(data, test)
    write_atomically(run / "report.json", lambda file: file.write_text(json.dumps(report, indent=2) + "\n"))
    return report


def learned(data: Dataset, test: Metrics) -> dict[str, float]:
    """The share of the learnable signal that a model found on data whose best possible metrics are known.

    0 is a constant prediction (AUC 1/2, the entropy of the test click rate), 1 the true probabilities.
    """
    best, constant = data.meta["bayes"]["test"], entropy(click_rate(data.test))
    return {
        "auc": (test.auc - 0.5) / (best["auc"] - 0.5),
        "logloss": (constant - test.logloss) / (constant - best["logloss"]),
    }


def click_rate(split: Split) -> float:
    """The share of rows that are clicks, each counted as measures count it."""
    return float(np.average(split.labels.numpy(), weights=split.counts))


def overconfident(history: Sequence[Epoch], clicks: float) -> str | None:
    """What to say where the epoch of the best AUC gives probabilities that an earlier or later one gave far better.

    ``clicks`` is the click rate of the validation rows. Their entropy less the best logloss is what training found out
    about a row; "far" is a twentieth of that (the difference of the relative information gains of He et al., 2014).

    >>> epochs = [Epoch(1, 0.5, 0.70, 0.45, 1e-3, 1.0, 1.0), Epoch(2, 0.4, 0.71, 0.49, 1e-3, 1.0, 1.0)]
    >>> overconfident(epochs, clicks=0.2)[:60]
    'epoch 2 has the best validation AUC at logloss 0.49000; epoch'
    """
    auc, logloss = best_of(history, "auc"), best_of(history, "logloss")
    lost, learned = auc.valid_logloss - logloss.valid_logloss, entropy(clicks) - logloss.valid_logloss
    if lost <= FAR * max(learned, 0.0):
        return None
    return (
        f"epoch {auc.epoch} has the best validation AUC at logloss {auc.valid_logloss:.5f}; epoch {logloss.epoch} had "
        f"{logloss.valid_logloss:.5f}, at AUC {logloss.valid_auc:.5f}: if you use the probabilities themselves, "
        "train.monitor=logloss keeps that one"
    )


def peak_memory(device: torch.device) -> int:
    """Bytes: of the device when it is a GPU, else resident memory of this process, since the last reset."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return memory.peak_resident()


def reset_peak_memory(device: torch.device) -> None:
    """Forget the peak of earlier runs in this process, where the system can."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    memory.reset_peak()


def versions() -> dict[str, str]:
    packages = {package: version(package) for package in ("numpy", "polars")}
    ours = {"eulernet": eulernet.__version__, "python": platform.python_version(), "torch": torch.__version__}
    return {**ours, **packages}


def commit() -> str | None:
    """The git commit of the checkout that this code runs from, "+" added when it has changes; None outside one."""
    root = Path(__file__).resolve().parents[2]
    git = ["git", "-C", str(root)]
    try:
        top = subprocess.run([*git, "rev-parse", "--show-toplevel"], capture_output=True, text=True, timeout=10)
        if top.returncode or Path(top.stdout.strip()).resolve() != root:
            return None  # installed, maybe inside somebody's repository
        describe = [*git, "describe", "--always", "--dirty=+", "--abbrev=40", "--exclude=*"]
        return subprocess.run(describe, capture_output=True, text=True, timeout=10).stdout.strip() or None
    except (OSError, subprocess.TimeoutExpired):
        return None
