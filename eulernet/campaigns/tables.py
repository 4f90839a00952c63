"""The tables of settings by dataset, as Markdown, LaTeX and CSV, with tests of the best against the second."""

import csv
import io
import statistics as means
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eulernet.measures.statistics import Comparison
from eulernet.reporting.compare import (
    Scores,
    mean_and_deviation,
    order,
    over_rows_test,
    over_seeds_test,
    scored_pairs,
)
from eulernet.reporting.runs import Setting, seed_of

UNKNOWN = "not transcribed"


@dataclass(frozen=True)
class Published:
    """What others published for a setting, a value a seed; None where nobody has copied it from the source."""

    setting: str | None
    name: str
    source: str
    auc: Sequence[float] | None
    logloss: Sequence[float] | None


@dataclass(frozen=True)
class Block:
    """One dataset's part of a table: the settings that have runs, and the published figures that belong to it."""

    dataset: str
    settings: Sequence[Setting]
    published: Sequence[Published]
    scores: Scores | None = None

    @property
    def comparable(self) -> bool:
        """Whether all runs are of the same prepared data."""
        return len({run.store for setting in self.settings for run in setting.runs}) <= 1

    def ranks(self, metric: str) -> dict[str, int]:
        """The place of each setting, from 0, by its mean over seeds; settings with the same runs share one.

        Empty where the data were not the same.
        """
        places: dict[str, int] = {}
        if not self.comparable:
            return places
        of_runs: dict[tuple[Path, ...], int] = {}
        for i in order(self.settings, metric):
            runs = tuple(run.folder for run in self.settings[i].runs)
            places[self.settings[i].name] = of_runs.setdefault(runs, len(of_runs))
        return places

    def of(self, setting: str) -> Published | None:
        return next((entry for entry in self.published if entry.setting == setting), None)

    def verdict(self) -> "Verdict | None":
        """The best setting by mean test AUC against the second; None where there are not two of the same rows."""
        places = self.ranks("auc")
        first, second = (next((s for s in self.settings if places.get(s.name) == place), None) for place in (0, 1))
        if first is None or second is None:
            return None
        scored = len(scored_pairs(first, second, self.scores))
        over_rows = over_rows_test(first, second, self.scores)
        return Verdict(first, second, over_seeds_test(first, second), over_rows, scored)


@dataclass(frozen=True)
class Verdict:
    """The best setting, the second, and whether chance may have ordered them: tested over seeds, and over rows too."""

    best: Setting
    second: Setting
    over_seeds: Comparison | None
    over_rows: Comparison | None
    scored: int  # seeds whose scores ``over_rows`` rests on

    @property
    def improvement(self) -> float | None:
        """Relative: of the part of the AUC above 1/2, which a coin reaches (RelaImpr; Yan et al., ICML 2014).

        None where the second has no such part.
        """
        first, second = (means.mean(setting.values("test", "auc")) for setting in (self.best, self.second))
        return (first - 0.5) / (second - 0.5) - 1 if second > 0.5 else None

    def text(self) -> str:
        first, second = (means.mean(setting.values("test", "auc")) for setting in (self.best, self.second))
        rows = "rows, one seed" if self.scored == 1 else "seeds and rows"
        improved = "" if self.improvement is None else f", {self.improvement:+.3%} of what lies above 1/2 (RelaImpr)"
        tests = ((self.over_seeds, "seeds (paired t-test)"), (self.over_rows, f"{rows} (DeLong)"))
        found = [f"{p_text(test.p)} over {what}" for test, what in tests if test is not None]
        said = ", ".join(found) or "not tested: it takes two seeds, or the scores of the test rows"
        if self.over_seeds is not None and self.over_rows is None:
            said += ", not tested over rows, which takes the weights of both"
        return f"{self.best.name} against {self.second.name}, the second: AUC {first - second:+.5f}{improved}; {said}."


def p_text(p: float) -> str:
    return "p < .001" if p < 0.001 else f"p = {p:.3f}".replace("0.", ".")


def markdown(block: Block) -> str:
    """A row a setting, best figure bold and second underlined, published figures beside them."""
    has = any(published_text(block.of(setting.name)) != UNKNOWN for setting in block.settings)
    heads = [block.dataset, "seeds", "test AUC", "test logloss", "valid AUC", "parameters"]
    lines = [row([*heads, *(["published AUC, logloss"] if has else [])]), row(["---", *["--:"] * (5 + has)])]
    places = {metric: block.ranks(metric) for metric in ("auc", "logloss")}
    for setting in block.settings:
        cells = [f"`{setting.name}`", str(len(setting.runs))]
        for metric in ("auc", "logloss"):
            text = mean_and_deviation(setting.values("test", metric))
            cells.append({0: f"**{text}**", 1: f"<u>{text}</u>"}.get(places[metric].get(setting.name, -1), text))
        reports = [run.report for run in setting.runs]
        cells += [mean_and_deviation(setting.values("valid", "auc")), f"{reports[0]['parameters']:,}"]
        lines.append(row(cells + [published_text(block.of(setting.name))] * has))
    return "\n".join([*lines, "", *(f"* {note}" for note in notes(block))]).rstrip() + "\n"


def notes(block: Block) -> list[str]:
    """What a table's rows do not say: the best against the second, and the published figures with their sources."""
    found = [] if block.comparable else ["The data were prepared from different files: the runs are not ranked."]
    if verdict := block.verdict():
        picked = " The two were picked by the figures that are tested: a small p is no proof of a lead."
        found.append(verdict.text() + picked * (len(block.settings) > 2))
    return found + [f"{one.name}: {published_text(one)} ({one.source.strip()})." for one in block.published]


def row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def published_text(entry: Published | None) -> str:
    if entry is None or entry.auc is None or entry.logloss is None:
        return UNKNOWN
    return f"{mean_and_deviation(entry.auc)}, {mean_and_deviation(entry.logloss)}"


def latex(blocks: Sequence[Block]) -> str:
    """One ``tabular`` of all datasets (needs booktabs): AUC and logloss of each, best bold and second underlined.

    Under it a paragraph a dataset: the best against the second, and the published figures.
    """
    names = list(dict.fromkeys(setting.name for block in blocks for setting in block.settings))
    lines = [r"\begin{tabular}{l" + "cc" * len(blocks) + "}", r"\toprule"]
    lines.append("".join(f" & \\multicolumn{{2}}{{c}}{{{escape(block.dataset)}}}" for block in blocks) + r" \\")
    lines += ["model" + " & AUC & logloss" * len(blocks) + r" \\", r"\midrule"]
    places = [{metric: block.ranks(metric) for metric in ("auc", "logloss")} for block in blocks]
    for name in names:
        cells = [escape(name)]
        for block, ranks in zip(blocks, places, strict=True):
            setting = next((one for one in block.settings if one.name == name), None)
            for metric in ("auc", "logloss"):
                cells.append("--" if setting is None else latex_cell(setting, metric, ranks[metric].get(name, -1)))
        lines.append(" & ".join(cells) + r" \\")
    under = [rf"\par\smallskip\footnotesize {escape(f'{block.dataset}: ' + ' '.join(notes(block)))}"
             for block in blocks if notes(block)]  # fmt: skip
    return "\n".join(["{", *lines, r"\bottomrule", r"\end{tabular}", *under, r"\par}"]) + "\n"


def latex_cell(setting: Setting, metric: str, place: int) -> str:
    values = setting.values("test", metric)
    text = f"{means.mean(values):.5f}".removeprefix("0")
    mark = {0: r"\mathbf{%s}", 1: r"\underline{%s}"}.get(place, "%s") % text
    return f"${mark}" + (f"_{{\\pm {means.stdev(values):.5f}}}$".replace("0.", ".") if len(values) > 1 else "$")


ESCAPES: dict[str, str | int | None] = {
    **{sign: "\\" + sign for sign in "&%$#_{}"},
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "\\": r"\textbackslash{}",
    "<": "$<$", ">": "$>$", "±": r"$\pm$",
}  # fmt: skip


def escape(text: str) -> str:
    return text.translate(str.maketrans(ESCAPES))


def long_csv(blocks: Sequence[Block]) -> str:
    """A line a setting and dataset, everything in figures."""
    rows: list[dict[str, Any]] = []
    for block in blocks:
        verdict, places = block.verdict(), block.ranks("auc")
        for setting in block.settings:
            entry = block.of(setting.name)
            line: dict[str, Any] = {
                "dataset": block.dataset,
                "setting": setting.name,
                "place": places[setting.name] + 1 if places else None,
            }
            line["seeds"] = " ".join(str(seed_of(run)) for run in setting.runs)
            for split, metric in (("test", "auc"), ("test", "logloss"), ("valid", "auc"), ("valid", "logloss")):
                values = setting.values(split, metric)
                line[f"{split}_{metric}"] = means.mean(values)
                line[f"{split}_{metric}_std"] = means.stdev(values) if len(values) > 1 else None
            for key in ("parameters", "seconds", "samples_per_second", "peak_memory_bytes", "best_epoch"):
                told = [run.report[key] for run in setting.runs if key in run.report]
                line[key] = means.mean(told) if len(told) == len(setting.runs) else None
            line["published_auc"] = means.mean(entry.auc) if entry and entry.auc else UNKNOWN
            line["published_logloss"] = means.mean(entry.logloss) if entry and entry.logloss else UNKNOWN
            line["published_source"] = entry.source if entry else None
            first = verdict is not None and setting is verdict.best
            line["p_over_seeds_to_second"] = verdict.over_seeds.p if first and verdict and verdict.over_seeds else None
            line["p_over_rows_to_second"] = verdict.over_rows.p if first and verdict and verdict.over_rows else None
            line["relaimpr_to_second"] = verdict.improvement if first and verdict else None
            line["commits"] = " ".join(sorted({str(run.report.get("commit")) for run in setting.runs}))
            rows.append(line)
    return as_csv(rows)


def as_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]) if rows else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def read_published(entries: Sequence[Mapping[str, Any]]) -> list[Published]:
    """The entries of one dataset in ``results/published.yaml``."""
    return [Published(**{"setting": None, **entry}) for entry in entries]
