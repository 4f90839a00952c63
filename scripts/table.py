"""The results tables, from the committed reports: python scripts/table.py [--write]

A row is the mean and standard deviation over the seeds of one setting, results/<dataset>/<setting>/<seed>/report.json,
below what ``results/published.yaml`` has for the dataset. ``--write`` puts the tables between the marks in README.md.
"""

import argparse
import json
import statistics
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]
BEGIN, END = "<!-- results: made by scripts/table.py -->", "<!-- end of results -->"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="put the tables into README.md")
    tables = "\n\n".join(
        table(folder) for folder in sorted({file.parents[2] for file in (ROOT / "results").glob("*/*/*/report.json")})
    )
    if not parser.parse_args().write:
        print(tables)
        return
    readme = ROOT / "README.md"
    before, begin, rest = readme.read_text().partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise SystemExit(f"error: README.md lacks {BEGIN} or {END}")
    readme.write_text(f"{before}{BEGIN}\n{tables}\n{END}{after}")


def table(folder: Path) -> str:
    """The Markdown table of one dataset."""
    lines = [
        f"| {folder.name} | seeds | test AUC | test logloss | valid AUC | parameters | minutes |",
        "|---|--:|--:|--:|--:|--:|--:|",
    ]
    published = yaml.safe_load((ROOT / "results" / "published.yaml").read_text())
    for row in published.get(folder.name, []):
        if row["auc"] is None:
            lines.append(f"| {row['name']} | | not transcribed | not transcribed | | | |")
        else:
            auc, logloss = spread(row["auc"]), spread(row["logloss"])
            lines.append(f"| {row['name']} | {len(row['auc'])} | {auc} | {logloss} | | | |")
    for setting in sorted(path for path in folder.iterdir() if path.is_dir()):
        reports = [json.loads(file.read_text()) for file in sorted(setting.glob("*/report.json"))]
        if not reports:
            continue
        cells = [spread([report[split][metric] for report in reports])
                 for split, metric in (("test", "auc"), ("test", "logloss"), ("valid", "auc"))]  # fmt: skip
        minutes = statistics.mean(report["seconds"] for report in reports) / 60
        name = f"`tuned={folder.name}/{setting.name}`"
        rest = f"{reports[0]['parameters']:,} | {minutes:.1f}"
        lines.append(f"| {name} | {len(reports)} | {' | '.join(cells)} | {rest} |")
    return "\n".join(lines)


def spread(values: list[float]) -> str:
    if len(values) == 1:
        return f"{values[0]:.5f}"
    return f"{statistics.mean(values):.5f} ± {statistics.stdev(values):.5f}"


if __name__ == "__main__":
    main()
