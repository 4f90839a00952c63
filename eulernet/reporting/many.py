"""The report of many runs: for each dataset a table of settings, tests against the best, and curves overlaid."""

import statistics as means
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from eulernet.reporting import curves
from eulernet.reporting.charts import intervals, legend, spread
from eulernet.reporting.compare import StoreScores, comparison, configurations, note, order, others
from eulernet.reporting.html import Html
from eulernet.reporting.page import figure, figures, header, left_out, part, section
from eulernet.runs.groups import Setting, settings
from eulernet.runs.run import Run

COLOURS = ("c1", "c2", "c3", "c4", "c5")  # of the best settings; the rest is drawn muted


def many(
    runs: Sequence[Run],
    scores: Mapping[str, StoreScores],
    unscored: Mapping[str, Sequence[str]],
    unfinished: Sequence[Path],
    output: Path,
) -> list[Html]:
    """The parts of the page. ``scores`` and ``unscored``, why a run has none, by store."""
    stores: dict[str, list[Run]] = defaultdict(list)
    for run in runs:
        stores[run.store].append(run)
    names = [store.partition("/")[0] for store in stores]
    lead = f"{len(runs)} runs, {sum(len(settings(group)) for group in stores.values())} settings."
    if unfinished:
        lead += f" Not finished, and left out: {', '.join(map(str, unfinished))}."
    parts = [header(", ".join(sorted(set(names))), "Comparison of runs", lead)]
    for store, group in sorted(stores.items()):
        name, digest = store.split("/")
        if len(stores) > 1:
            parts.append(part(name, digest))
        parts += one_store(group, scores.get(store), unscored.get(store, []), output)
    return parts


def one_store(runs: Sequence[Run], scores: StoreScores | None, unscored: Sequence[str], output: Path) -> list[Html]:
    found = settings(runs)
    styles = {setting.name: COLOURS[i] if i < len(COLOURS) else "mute" for i, setting in enumerate(found)}
    seeds = sorted({run.seed for run in runs})
    rows = runs[0].report["dataset"]["rows"]["test"]
    about = f"Tested on {rows:,} rows; mean ± standard deviation over seeds ({', '.join(map(str, seeds))}), best first."
    parts = [
        section("Results", about, comparison(found, scores, output), configurations(found), note(found), others(found))
    ]
    named = [(styles[setting.name], setting.name) for setting in found[: len(COLOURS)]]
    if len(found) > len(COLOURS):
        named.append(("mute", f"{len(found) - len(COLOURS)} others"))
    history = [
        (styles[setting.name], f"{setting.name}, seed {run.seed}", run.history)
        for setting in reversed(found)
        for run in setting.runs
    ]
    parts.append(
        section(
            "Figures of every seed",
            "A dot is a run; the line spans the seeds of a setting. The dashed line is the best mean.",
            figures(dots(found, styles, "auc", "AUC"), dots(found, styles, "logloss", "logloss")),
        )
    )
    parts.append(
        section(
            "Learning",
            "A line is a run. The axes leave out the worst fifth of the figures.",
            legend(*named),
            figures(
                figure("Validation AUC", "Higher is better.", curves.learning("valid_auc", "Validation AUC", history)),
                figure("Validation logloss", "Lower is better.", curves.learning("valid_logloss", "Loss", history)),
            ),
        )
    )
    if unscored:
        reason = f"their ROC and calibration; {unscored[0]}" + ", and the like" * (len(unscored) > 1)
        parts.append(left_out(f"{len(unscored)} of {len(runs)} runs not scored", reason))
    if scores is not None and scores.logits:
        parts.append(ranking(found, scores, styles, legend(*named)))
    return parts


def ranking(found: Sequence[Setting], scores: StoreScores, styles: Mapping[str, str], names: Html) -> Html:
    first = [
        (styles[s.name], s.name, scores.logits[s.runs[0].folder])
        for s in reversed(found)
        if s.runs[0].folder in scores.logits
    ]
    found_of, rate = (
        "Share of clicks found, against other rows that score as high.",
        "Actual minus predicted click rate",
    )
    gaps = "In bins of equally many rows; on the dashed line the rate is as predicted."
    return section(
        "Ranking and calibration",
        "A line is the first seed of a setting.",
        names,
        figures(
            figure("ROC curve", found_of, curves.roc(scores.labels, first, scores.weights)),
            figure(rate, gaps, curves.calibration_gaps(scores.labels, first, scores.weights)),
        ),
    )


def dots(found: Sequence[Setting], styles: Mapping[str, str], metric: str, what: str) -> Html:
    ranked = [found[i] for i in order(found, metric)]
    values = {setting.name: setting.values("test", metric) for setting in ranked}
    rows = [(name, f"{means.mean(of):.4f}", of, min(of), max(of)) for name, of in values.items()]
    best = means.mean(values[ranked[0].name])
    drawn = intervals(
        f"Test {what} of every seed", rows, spread([value for of in values.values() for value in of]), best,
        x_name=what, names=min(22, max(map(len, values))), styles=[styles[setting.name] for setting in ranked],
    )  # fmt: skip
    reading = "Higher is better." if metric == "auc" else "Lower is better."
    return figure(f"Test {what}", reading, drawn)
