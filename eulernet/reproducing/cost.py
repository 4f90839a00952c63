"""What the settings of a table cost: weights, products, time and memory."""

import statistics as means
import time
from collections.abc import Sequence
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from eulernet.data.dataset import Dataset
from eulernet.errors import choose
from eulernet.models import MODELS
from eulernet.models.base import CTRModel
from eulernet.reporting.runs import Setting
from eulernet.training.device import pick_device

ROUNDS, BATCHES = 5, 8


def costs(settings: Sequence[Setting], data: Dataset, device: str) -> list[dict[str, Any]]:
    """A line a setting. Training time and memory are the runs' own; inference is timed now, all settings in turn.

    Inference: median samples/s of ROUNDS rounds over BATCHES batches of validation rows. FLOP: of the
    matrix products in a forward pass, a multiply-add being two, as torch counts them.
    """
    where = pick_device(device)
    size = settings[0].runs[0].report["config"]["train"]["eval_batch_size"]
    x = next(iter(data.valid.batches(min(size, len(data.valid)))))[0].to(where)
    models = [build(setting, data).to(where).eval() for setting in settings]
    seconds: list[list[float]] = [[] for _ in models]
    with torch.inference_mode():
        for round_ in range(ROUNDS + 1):
            for model, taken in zip(models, seconds, strict=True):
                began = time.perf_counter()
                for _ in range(BATCHES if round_ else 1):
                    logits = model(x)
                logits.sum().item()  # waits for the device
                taken += [time.perf_counter() - began] * (round_ > 0)  # the first is to warm up
    lines = []
    for setting, model, taken in zip(settings, models, seconds, strict=True):
        reports = [run.report for run in setting.runs]
        lines.append(
            {
                "setting": setting.name,
                "parameters": reports[0]["parameters"],
                "MFLOP a sample": flops(model, x) / len(x) / 1e6,
                "training samples/s": means.median(report["samples_per_second"] for report in reports),
                "training minutes": means.mean(report["seconds"] for report in reports) / 60,
                "epochs": means.mean(report["epochs"] for report in reports),
                "inference samples/s": BATCHES * len(x) / means.median(taken),
                "peak memory MiB": means.mean(report["peak_memory_bytes"] for report in reports) / 2**20,
                "threads": reports[0]["threads"],
            }
        )
    return lines


def build(setting: Setting, data: Dataset) -> CTRModel:
    """The setting's model, with fresh weights."""
    hyperparameters = dict(setting.runs[0].report["config"]["model"])
    return choose(MODELS, hyperparameters.pop("name"), "model")(field_sizes=data.field_sizes, **hyperparameters)


def flops(model: CTRModel, x: torch.Tensor) -> int:
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(x)
    return counter.get_total_flops()


def cost_table(lines: Sequence[dict[str, Any]]) -> str:
    """As Markdown."""
    heads = list(lines[0])
    rows = [heads, ["---", *["--:"] * (len(heads) - 1)]]
    for line in lines:
        rows.append([f"`{line['setting']}`", *(amount(line[head]) for head in heads[1:])])
    return "\n".join(f"| {' | '.join(cells)} |" for cells in rows) + "\n"


def amount(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:.3g}"
