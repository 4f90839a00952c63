"""A table of equal effort as Markdown, LaTeX and CSV: groups of ties, what tuning brought, and what it cost."""

import csv
import statistics as means
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from eulernet.campaigns.formats import as_csv, escape
from eulernet.measures.effort import Figures, Place, expected_best, tie_groups
from eulernet.reporting.compare import mean_and_deviation
from eulernet.runs.groups import Setting

COIN = 0.5  # the validation AUC of a trial that gave none
AFTER = (1, 4, 8, 16)  # trials after which the expected best is told
STATES = {"complete": "complete", "pruned": "stopped", "fail": "failed"}
ECE = "expected_calibration_error"
HEADS = ("group", "test AUC, tuned", "test AUC, shipped", "test logloss", "calibration error", "valid AUC after",
         "trials", "core-hours", "parameters")  # fmt: skip


@dataclass(frozen=True)
class Result:
    """A row whose setting is chosen: its trials, and its final runs of the chosen and of the shipped setting."""

    name: str
    chosen: dict[str, Any]
    trials: list[dict[str, str]]  # the lines of trials.csv
    tuned: Setting
    shipped: Setting

    @cached_property
    def values(self) -> list[float]:
        """The validation AUC of each trial in order, the shipped setting's first."""
        return [float(line["valid_auc"] or COIN) if line["state"] != "fail" else COIN for line in self.trials]

    @cached_property
    def counts(self) -> dict[str, int]:
        return {name: sum(line["state"] == state for line in self.trials) for state, name in STATES.items()}

    @property
    def expected(self) -> dict[int, float]:
        """The best validation AUC that so many of the trials, in any order, have on average."""
        return {n: expected_best(self.values, n) for n in AFTER if n <= len(self.values)}

    @property
    def figures(self) -> Figures:
        return Figures({run.seed: run.report["test"]["auc"] for run in self.tuned.runs}, self.values)

    def within(self, core_seconds: float) -> float | None:
        """The best validation AUC of the first trials that took so much together; None where none gave one."""
        spent, best = 0.0, None
        for line, value in zip(self.trials, self.values, strict=True):
            spent += float(line["core_seconds"] or 0)
            if spent <= core_seconds and value != COIN:
                best = max(value, best or 0.0)
        return best

    @property
    def searched(self) -> float:
        """Core-seconds of its trials, without the repeats."""
        return sum(float(line["core_seconds"] or 0) for line in self.trials)


def read_trials(file: Path) -> list[dict[str, str]]:
    with file.open(newline="") as lines:
        return [line for line in csv.DictReader(lines) if line["state"] not in ("running", "waiting")]


def placed(results: Sequence[Result]) -> list[tuple[Result, Place | None]]:
    """The rows with their groups, by group and then by mean AUC; those without final runs last."""
    places = tie_groups({one.name: one.figures for one in results if one.tuned.runs})
    order = {name: (place.group, -one.figures.mean)
             for one in results if (place := places.get(name := one.name)) is not None}  # fmt: skip
    ranked = sorted(results, key=lambda one: order.get(one.name, (len(results) + 1, 0.0)))
    return [(one, places.get(one.name)) for one in ranked]


def cells(result: Result, place: Place | None) -> list[str]:
    auc, logloss, ece = ([*result.tuned.values("test", name)] for name in ("auc", "logloss", ECE))
    shipped = result.shipped.values("test", "auc")
    parameters = result.tuned.runs[0].report["parameters"] if result.tuned.runs else None
    return [
        "" if place is None else str(place.group),
        mean_and_deviation(auc) if auc else "",
        mean_and_deviation(shipped) if shipped else "",
        mean_and_deviation(logloss) if logloss else "",
        f"{means.fmean(ece):.4f}" if ece else "",
        ", ".join(f"{value:.4f}".removeprefix("0") for value in result.expected.values()),
        " / ".join(map(str, result.counts.values())),
        f"{result.chosen['core_seconds'] / 3600:.2f}",
        "" if parameters is None else f"{parameters:,}",
    ]


def heads(dataset: str, results: Sequence[Result]) -> list[str]:
    after = max((list(one.expected) for one in results), key=len)
    return [dataset, *(f"{head} {', '.join(map(str, after))}" if head.endswith("after") else head for head in HEADS)]


def markdown(dataset: str, results: Sequence[Result]) -> str:
    lines = [heads(dataset, results), ["---", *["--:"] * len(HEADS)]]
    lines += [[f"`{one.name}`", *cells(one, place)] for one, place in placed(results)]
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return "\n".join([table, "", *(f"* {note}" for note in notes(results))]) + "\n"


def notes(results: Sequence[Result]) -> list[str]:
    """How to read the table, and the best within the core-seconds of the cheapest search."""
    protocol = results[0].chosen["protocol"]
    runs = max(len(one.tuned.runs) for one in results)
    least = min(one.searched for one in results)
    found = sorted(((one.within(least) or 0.0, one.name) for one in results), reverse=True)
    same = ", ".join(f"{name} {value:.4f}".replace("0.", ".") if value else f"{name} none yet" for value, name in found)
    return [
        f"Rows of one group cannot be told apart by {runs} runs a row, each with a seed of its own, and its own split "
        "where the split has a seed: paired differences to the best row of the group, the variance of both searches "
        "added, Holm over the rows. The order within a group says nothing.",
        "Trials: complete / stopped / failed, the shipped setting among them; core-hours of the search and of the "
        f"repeats of its best {protocol['top']}. Valid AUC after n trials: the mean over all orders of the trials.",
        f"Best validation AUC within {least:,.0f} core-seconds, what the cheapest search took: {same}.",
    ]


def latex(dataset: str, results: Sequence[Result]) -> str:
    """A ``tabular`` (needs booktabs)."""
    lines = [heads(dataset, results), *([one.name, *cells(one, place)] for one, place in placed(results))]
    rows = [" & ".join(map(escape, line)) + r" \\" for line in lines]
    frame = (r"\begin{tabular}{l" + "r" * len(HEADS) + "}", r"\toprule", rows[0], r"\midrule")
    return "\n".join([*frame, *rows[1:], r"\bottomrule", r"\end{tabular}"]) + "\n"


def lines(dataset: str, results: Sequence[Result]) -> list[dict[str, Any]]:
    """A line a row, everything in figures."""
    found = []
    least = min(one.searched for one in results)
    for one, place in placed(results):
        line: dict[str, Any] = {"dataset": dataset, "setting": one.name, "group": place.group if place else None}
        line["seeds"] = " ".join(str(run.seed) for run in one.tuned.runs)
        for kind, setting in (("", one.tuned), ("shipped_", one.shipped)):
            for name in ("auc", "logloss", ECE):
                values = setting.values("test", name)
                line[f"{kind}test_{name}"] = means.fmean(values) if values else None
                line[f"{kind}test_{name}_std"] = means.stdev(values) if len(values) > 1 else None
        test = place.test if place else None
        line |= {"behind_leader": test.difference if test else None, "p_holm": place.p if place else None}
        line |= {f"valid_auc_after_{n}": value for n, value in one.expected.items()}
        line |= {"valid_auc_within_least_core_seconds": one.within(least), **one.counts}
        line |= {"search_core_seconds": round(one.searched, 1), "core_seconds": one.chosen["core_seconds"]}
        line["parameters"] = one.tuned.runs[0].report["parameters"] if one.tuned.runs else None
        line["overrides"] = " ".join(one.chosen["overrides"])
        line["commits"] = " ".join(sorted({str(run.report.get("commit")) for run in one.tuned.runs}))
        found.append(line)
    return found


def formats(by_dataset: Mapping[str, Sequence[Result]]) -> dict[str, str]:
    """The table by suffix."""
    return {
        "md": "\n".join(markdown(*one) for one in by_dataset.items()),
        "tex": "\n".join(latex(*one) for one in by_dataset.items()),
        "csv": as_csv([line for one in by_dataset.items() for line in lines(*one)]),
    }
