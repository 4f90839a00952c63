"""Settings beside each other: a table of their figures, and tests of each against the best."""

import os
import statistics as means
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import numpy as np

from eulernet.measures.statistics import Comparison, delong, delong_over_seeds, holm, paired_t_test
from eulernet.measures.table import BY_NAME
from eulernet.reporting.details import shown
from eulernet.reporting.html import Html, breakable, join, scroll, tag
from eulernet.reporting.page import table
from eulernet.runs.groups import Setting, essence, measured
from eulernet.runs.run import Run


@dataclass(frozen=True)
class StoreScores:
    """Labels and weights of the test rows of one store, and the logits of the runs that could be scored."""

    labels: np.ndarray
    logits: Mapping[Path, np.ndarray]
    weights: np.ndarray | None = None


def comparison(found: Sequence[Setting], scores: StoreScores | None, output: Path) -> Html:
    """A row a setting, with links to its runs; the best figure of a column bold, the second underlined."""
    over_seeds = adjusted([over_seeds_test(found[0], other) for other in found[1:]])
    over_rows = adjusted([over_rows_test(found[0], other, scores) for other in found[1:]])
    ranks = {metric: order(found, metric) for metric in ("auc", "logloss")}
    rows = []
    for i, setting in enumerate(found):
        name, runs = linked(setting, output)
        cells: list[str] = [tag("td", name), tag("td", runs, class_="n")]
        for metric in ("auc", "logloss"):
            best = {0: " best", 1: " second"}.get(ranks[metric].index(i), "")
            cells.append(tag("td", mean_and_deviation(setting.values("test", metric)), class_=f"n{best}"))
        cells.append(difference(found[0], setting) if i else "")
        cells += ["" if i == 0 else p_text(tests[i - 1]) for tests in (over_seeds, over_rows)]
        minutes = means.mean(run.report["seconds"] for run in setting.runs) / 60
        cells += [f"{setting.runs[0].report['parameters']:,}", f"{minutes:.1f}"]
        rows.append(tuple(cells))
    heads = (
        "setting",
        "seeds",
        "test AUC",
        "test logloss",
        "AUC to best",
        "p, seeds",
        "p, rows",
        "parameters",
        "minutes",
    )
    return tag("figure", scroll("Results", table(heads, rows, wide=True, sortable=True)), class_="wide")


def linked(setting: Setting, output: Path) -> tuple[Html, Html]:
    """The name of a setting and its number of runs, with a link to each: to its own page, or else to its folder."""

    def link(run: Run, text: Html) -> Html:
        page = run.folder / "report.html"
        target = page if page.is_file() and page.absolute() != output.absolute() else run.folder
        return tag("a", text, href=quote(Path(os.path.relpath(target, output.parent)).as_posix()))

    name, count = breakable(setting.name), len(setting.runs)
    if count == 1:
        return link(setting.runs[0], name), Html("1")
    seeds = [link(run, Html(run.seed)) for run in setting.runs]
    return name, join(f"{count} ", tag("small", *(join(seed, " ") for seed in seeds)))


def others(found: Sequence[Setting]) -> Html:
    """What else was measured of the test rows, where every run has it."""
    more = [measure for measure in measured(found) if measure.name not in ("auc", "logloss")]
    if not more:
        return Html()
    rows = [
        (setting.name, *(mean_and_deviation(setting.values("test", measure.name)) for measure in more))
        for setting in found
    ]
    drawn = table(("setting", *(measure.title for measure in more)), rows, wide=True)
    return tag(
        "details", tag("summary", "Other measures"), tag("figure", scroll("Other measures", drawn), class_="wide")
    )


def configurations(found: Sequence[Setting]) -> Html:
    """In what the settings differ: a row a setting, a column a key; empty where it has the commonest value."""
    flat = [essence(setting.runs[0].report["config"]) for setting in found]
    texts = {
        key: [shown(one[key]) if key in one else "" for one in flat]
        for key in dict.fromkeys(k for o in flat for k in o)
    }
    differing = {key: values for key, values in texts.items() if len(set(values)) > 1}
    if not differing:
        return Html()
    common = {key: max(set(values), key=values.count) for key, values in differing.items()}
    rows = [
        (setting.name, *("" if values[i] == common[key] else values[i] or "none" for key, values in differing.items()))
        for i, setting in enumerate(found)
    ]
    rows.insert(0, ("most", *common.values()))
    drawn = table(
        ("setting", *(key.removeprefix("model.").removeprefix("train.") for key in differing)), rows, wide=True
    )
    said = f"In which {len(differing)} settings they differ"
    return tag("details", tag("summary", said), tag("figure", scroll(said, drawn), class_="wide"))


def note(found: Sequence[Setting]) -> Html:
    """What the two columns of p-values say, and what they do not."""
    if len(found) == 1:
        return Html()
    lines = (
        f"p: how often a difference from {found[0].name} as large as this comes about where there is none, two-sided, "
        "with Holm's adjustment for the number of settings. A dash: it takes two seeds of both, or the scores of both.",
        "Over seeds: the paired t-test. Would other seeds, on these test rows, agree?",
        "Over rows: DeLong's test on the scores of the test rows. Would other rows agree, for these weights? With "
        "several seeds, in the form of Obuchowski and Rockette: would other seeds on other rows?",
        "The best setting was picked by the figures that are tested: near ties look more certain than they are.",
    )
    return tag("details", tag("summary", "How to read p"), tag("ul", *(tag("li", line) for line in lines)))


def shared_seeds(a: Setting, b: Setting) -> list[tuple[Run, Run]]:
    """The runs of two settings with the same seed. Of several with one seed the first counts."""
    first = {run.seed: run for run in reversed(a.runs)}
    second = {run.seed: run for run in reversed(b.runs)}
    return [(first[seed], second[seed]) for seed in sorted(first.keys() & second.keys())]


def over_seeds_test(a: Setting, b: Setting) -> Comparison | None:
    pairs = shared_seeds(a, b)
    if len(pairs) < 2:
        return None
    return paired_t_test(*zip(*((x.report["test"]["auc"], y.report["test"]["auc"]) for x, y in pairs), strict=True))


def scored_pairs(a: Setting, b: Setting, scores: StoreScores | None) -> list[tuple[np.ndarray, np.ndarray]]:
    """The logits of two settings for each seed of which both have them."""
    known = {} if scores is None else scores.logits
    return [(known[x.folder], known[y.folder]) for x, y in shared_seeds(a, b) if {x.folder, y.folder} <= known.keys()]


def over_rows_test(a: Setting, b: Setting, scores: StoreScores | None) -> Comparison | None:
    """None where no seed of both has scores."""
    pairs = scored_pairs(a, b, scores)
    if scores is None or not pairs:
        return None
    ours, theirs = (np.stack(side) for side in zip(*pairs, strict=True))
    if len(pairs) == 1:
        return delong(scores.labels, ours[0], theirs[0], scores.weights)
    return delong_over_seeds(scores.labels, ours, theirs, scores.weights)


def adjusted(tests: Sequence[Comparison | None]) -> list[float | None]:
    done = iter(holm([test.p for test in tests if test is not None]))
    return [None if test is None else next(done) for test in tests]


def order(found: Sequence[Setting], metric: str) -> list[int]:
    """The indices of the settings, best first."""
    sign = -1 if BY_NAME[metric].higher_is_better else 1
    return sorted(range(len(found)), key=lambda i: sign * means.mean(found[i].values("test", metric)))


def mean_and_deviation(values: Sequence[float]) -> str:
    return f"{means.mean(values):.5f}" + (f" ± {means.stdev(values):.5f}" if len(values) > 1 else "")


def difference(best: Setting, other: Setting) -> str:
    of = means.mean(other.values("test", "auc")) - means.mean(best.values("test", "auc"))
    return f"{of:+.5f}".replace("-", "\N{MINUS SIGN}")


def p_text(p: float | None) -> str:
    return "\N{EN DASH}" if p is None else "< .001" if p < 0.001 else f"{p:.3f}".removeprefix("0")
