"""What the settings of a table cost: weights, products, time and memory."""

import statistics as means
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from eulernet.bars import bar
from eulernet.campaigns.formats import escape
from eulernet.data.dataset import Dataset, Split
from eulernet.models import make_model
from eulernet.models.base import CTRModel
from eulernet.runs.groups import Setting
from eulernet.training.auto import resolved
from eulernet.training.config import TrainConfig
from eulernet.training.device import pick_device
from eulernet.training.loop import score, train_epoch
from eulernet.training.state import State

ROUNDS, STEPS = 5, 8


class Measured:
    """A setting with a fresh model, and the samples/s that it was seen to train and score."""

    def __init__(self, setting: Setting, data: Dataset, device: torch.device) -> None:
        config = setting.runs[0].report["config"]
        self.setting = setting
        self.model = make_model(config["model"], data.field_sizes)
        self.config = TrainConfig(**resolved(config["train"], len(data.train)))
        self.state = State(self.model, self.config, device)
        self.rows = first_rows(data.train, STEPS * self.config.batch_size)
        self.training: list[float] = []
        self.inference: list[float] = []

    def take_turn(self) -> None:
        """Train on STEPS batches, then score their rows."""
        self.state.begin_epoch()
        began = time.perf_counter()
        train_epoch(self.state, self.rows, self.config, lambda: None)
        trained = time.perf_counter()
        with torch.inference_mode():
            score(self.model, self.rows, self.config.eval_batch_size, self.config.precision, "").sum().item()
        scored = time.perf_counter()
        self.training.append(len(self.rows) / (trained - began))
        self.inference.append(len(self.rows) / (scored - trained))

    def line(self) -> dict[str, Any]:
        reports = [run.report for run in self.setting.runs]
        x = next(iter(self.rows.batches(1)))[0].to(next(self.model.parameters()).device)
        return {
            "setting": self.setting.name,
            "parameters": reports[0]["parameters"],
            "kFLOP a sample": flops(self.model, x) / 1e3,
            "training samples/s": means.median(self.training[1:]),
            "inference samples/s": means.median(self.inference[1:]),
            "best epoch": means.mean(report["best_epoch"] for report in reports),
            "peak memory MiB": means.mean(report["peak_memory_bytes"] for report in reports) / 2**20,
        }


def first_rows(split: Split, rows: int) -> Split:
    order = torch.arange(len(split)) if split.order is None else split.order
    return replace(split, order=order[:rows])


def flops(model: CTRModel, x: torch.Tensor) -> int:
    """Of the matrix products in a forward pass, a multiply-add being two, as torch counts them."""
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:  # fused attention would count as 0
        model.eval()(x)
    return counter.get_total_flops()


def costs(settings: Sequence[Setting], data: Dataset, device: str) -> list[dict[str, Any]]:
    """A line a setting. Memory and epochs are the runs' own; speed is measured now, all settings in turn.

    Samples/s, on as many threads as torch is given: the median of ROUNDS rounds over STEPS batches of training rows,
    each setting with its own batch sizes and optimizer. A round before them does not count.
    """
    measured = [Measured(setting, data, pick_device(device)) for setting in settings]
    with bar("measuring", " rounds", (ROUNDS + 1) * len(measured)) as shown:
        for _ in range(ROUNDS + 1):
            for each in measured:
                each.take_turn()
                shown.update(1)
    return [each.line() for each in measured]


def cost_table(lines: Sequence[dict[str, Any]]) -> str:
    """As Markdown."""
    heads = list(lines[0])
    rows = [heads, ["---", *["--:"] * (len(heads) - 1)]]
    for line in lines:
        rows.append([f"`{line['setting']}`", *(amount(line[head]) for head in heads[1:])])
    return "\n".join(f"| {' | '.join(cells)} |" for cells in rows) + "\n"


def cost_latex(lines: Sequence[dict[str, Any]]) -> str:
    """As a ``tabular`` (needs booktabs)."""
    heads = list(lines[0])
    body = [[escape(line["setting"]), *(amount(line[head]) for head in heads[1:])] for line in lines]
    rows = [" & ".join(cells) + r" \\" for cells in (heads, *body)]
    frame = (r"\begin{tabular}{l" + "r" * (len(heads) - 1) + "}", r"\toprule", rows[0], r"\midrule")
    return "\n".join([*frame, *rows[1:], r"\bottomrule", r"\end{tabular}"]) + "\n"


def amount(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:.3g}"
