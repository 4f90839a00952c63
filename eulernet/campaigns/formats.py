"""A table as Markdown, LaTeX and CSV."""

import csv
import io
import statistics as means
from collections.abc import Mapping, Sequence
from typing import Any

from eulernet.campaigns.block import Block, Published
from eulernet.reporting.compare import mean_and_deviation
from eulernet.runs.groups import Setting, measured

UNKNOWN = "not transcribed"


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
    tested = measured(setting for block in blocks for setting in block.settings)
    for block in blocks:
        verdict, places = block.verdict(), block.ranks("auc")
        for setting in block.settings:
            entry = block.of(setting.name)
            line: dict[str, Any] = {
                "dataset": block.dataset,
                "setting": setting.name,
                "place": places[setting.name] + 1 if places else None,
            }
            line["seeds"] = " ".join(str(run.seed) for run in setting.runs)
            for split, metric in (*(("test", one.name) for one in tested), ("valid", "auc"), ("valid", "logloss")):
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
