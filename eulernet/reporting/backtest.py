"""What a backtest found: a table, a page with two charts, and an answer."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import eulernet
from eulernet.files import write_atomically
from eulernet.measures.statistics import Comparison, paired_t_test
from eulernet.reporting.charts import Plot, legend, spread
from eulernet.reporting.html import Html, scroll, tag
from eulernet.reporting.page import figure, figures, header, page, section, table, tiles

COLUMNS = ("step", "mode", "rows", "clicks", "AUC", "logloss", "unknown", "new", "learned from", "seconds")
Found = Sequence[Mapping[str, Any]]


def write_findings(found: Found, cfg: Mapping[str, Any], steps: Sequence[Any], folder: Path) -> list[str]:
    """Write backtest.md, .csv, .json and .html into ``folder``; the lines to print, the answer last."""
    modes = list(dict.fromkeys(one["mode"] for one in found))
    rows, answers = [cells(one) for one in found], compare(found, modes)
    widths = [max(len(COLUMNS[i]), *(len(row[i]) for row in rows)) for i in range(len(COLUMNS))]
    pad = [[cell.rjust(width) for cell, width in zip(row, widths, strict=True)] for row in [COLUMNS, *rows]]
    lines = ["| " + " | ".join(row) + " |" for row in pad]
    rule = "| " + " | ".join("-" * (width - 1) + ":" for width in widths) + " |"
    means = [f"{mode}: " + mean_line(found, mode) for mode in modes]
    text = "\n".join([lines[0], rule, *lines[1:], "", *means, *answers, ""])
    csv = "\n".join([",".join(COLUMNS), *(",".join(cell.replace(",", "") for cell in row) for row in rows), ""])
    html = page("Backtest", *parts(found, modes, cfg, answers), made_by=f"Made by eulernet {version()}")
    plain = json.dumps([dict(one) for one in found], indent=1) + "\n"
    for suffix, content in {"md": text, "csv": csv, "json": plain, "html": html}.items():
        write_atomically(folder / f"backtest.{suffix}", lambda file, content=content: file.write_text(content))  # type: ignore[misc]
    return [*lines, *means, *answers, f"page  {folder / 'backtest.html'}"]


def version() -> str:
    return f"{eulernet.__version__}: python -m eulernet.backtest"


def cells(one: Mapping[str, Any]) -> tuple[str, ...]:
    """A line of the table."""
    auc = "" if one["auc"] is None else f"{one['auc']:.5f}"
    new = "" if one["new"] is None else f"{one['new']:,}"
    figures = f"{one['logloss']:.5f}", f"{one['unknown']:.2%}", new, f"{one['learned']:,}", f"{one['seconds']:.1f}"
    return (one["name"], one["mode"], f"{one['rows']:,}", f"{one['clicks']:,}", auc, *figures)


def mean_line(found: Found, mode: str) -> str:
    """The means of a mode over its steps, each step counting alike."""
    own = [one for one in found if one["mode"] == mode]
    aucs = [one["auc"] for one in own if one["auc"] is not None]
    auc = f"mean AUC {math.fsum(aucs) / len(aucs):.5f}" if aucs else "no AUC"
    losses, seconds = [one["logloss"] for one in own], [one["seconds"] for one in own[1:]]  # the first trains nothing
    took = math.fsum(seconds) / max(len(seconds), 1)
    return f"{auc}, mean logloss {math.fsum(losses) / len(own):.5f}, {took:.1f} s a step"


def paired(found: Found, a: str, b: str, key: str) -> tuple[list[float], list[float]]:
    """The figures of two modes on the steps that both have, but the first, before which they are one model."""
    of = {(one["mode"], one["step"]): one[key] for one in found}
    first = min(one["step"] for one in found)
    both = sorted(step for mode, step in of if mode == a and step > first and (b, step) in of)
    known = [step for step in both if of[a, step] is not None and of[b, step] is not None]
    return [of[a, step] for step in known], [of[b, step] for step in known]


def compare(found: Found, modes: Sequence[str]) -> list[str]:
    """The paired differences of modes, with 95 % intervals (Student), and what they say of daily training."""
    lines = []
    for a, b in (("warm", "frozen"), ("cold", "frozen"), ("warm", "cold")):
        if a not in modes or b not in modes:
            continue
        pairs = {key: paired(found, a, b, key) for key in ("auc", "logloss")}
        if len(pairs["auc"][0]) < 2:
            lines.append(f"{a} - {b}: fewer than two steps to compare them on")
            continue
        tests = {key: paired_t_test(*pair) for key, pair in pairs.items()}
        said = ", ".join(f"{name} {difference(tests[key])}" for key, name in (("auc", "AUC"), ("logloss", "logloss")))
        lines.append(f"{a} - {b}: {said} ({len(pairs['auc'][0])} steps; 95 % intervals)")
        if b == "frozen":
            lines.append(verdict(a, tests["auc"], len(pairs["auc"][0])))
    return lines


def difference(test: Comparison) -> str:
    return f"{test.difference:+.5f} [{test.low:+.5f}, {test.high:+.5f}]"


def verdict(mode: str, test: Comparison, steps: int) -> str:
    """Is training at every step worth it?"""
    how = f"{mode} training at every step"
    if test.low > 0:
        return f"{how} is worth it here: it gains {test.difference:.5f} of AUC over a model that is trained once"
    if test.high < 0:
        return f"{how} is not worth it here: it loses {-test.difference:.5f} of AUC to a model that is trained once"
    return f"{how}: no gain that {steps} steps can tell from none"


def parts(found: Found, modes: Sequence[str], cfg: Mapping[str, Any], answers: Sequence[str]) -> list[Html]:
    """The page."""
    said = [line for line in answers if " - " not in line]
    lead = [
        f"Window {cfg['window']}, step {cfg['step']}; each step is tested before anything is learned from it",
        *said,
    ]
    means = [(mode, *mean_line(found, mode).removeprefix("mean AUC ").split(", ", 1)) for mode in modes]
    learned = "Warm goes on with the new step alone, cold starts anew on the window, frozen has seen the first one."
    paired = "Mean differences, paired by step; without the first step, before which all are one model."
    meant = "unknown: the share of values that are new, rare or missing to the model; new: values that got ids here."
    return [
        header(f"{cfg['model']['name']} on {cfg['dataset']['name']}", "Backtest", ". ".join([*lead, ""]).strip()),
        tiles(*((mode, auc, f"mean AUC, {rest}") for mode, auc, rest in means)),
        section(
            "Step by step",
            learned,
            figures(
                figure("AUC of the next step", "Higher is better.", *chart(found, modes, "auc")),
                figure("Logloss of the next step", "Lower is better.", *chart(found, modes, "logloss")),
            ),
        ),
        section("Differences", paired, *(tag("p", line) for line in answers)),
        section("Table", meant, scroll("Table", table(COLUMNS, [cells(one) for one in found], wide=True))),
    ]


def chart(found: Found, modes: Sequence[str], key: str) -> list[Html]:
    known = [one for one in found if one[key] is not None]
    if not known:
        return []
    numbers = [one["step"] for one in known]
    ends = (float(min(numbers)), float(max(max(numbers), min(numbers) + 1)))
    plot = Plot(f"{key} by step", ends, spread([one[key] for one in known]), "step", whole=True)
    styles = {mode: f"c{i + 1}" for i, mode in enumerate(modes)}
    for mode, style in styles.items():
        points = [(one["step"], one[key]) for one in known if one["mode"] == mode]
        plot.line(points, style, mode)
        for x, y in points:
            plot.dot(x, y, style, f"{mode}, step {x}: {y:.5f}")
    return [plot.svg(), legend(*((style, mode) for mode, style in styles.items()))]
