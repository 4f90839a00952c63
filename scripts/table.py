"""Put the tables of results/tables, which eulernet.reproduce publishes, into the documents: python scripts/table.py

A document has a place for a table between ``<!-- table: NAME -->`` and ``<!-- end of table -->``. With
``<!-- table: NAME, first 10 rows -->`` it takes the first block of the table, ten rows of it and no notes; with
``<!-- table: NAME, first 10 rows, columns 1 3 -->`` of them the first and the third column.
"""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
DOCUMENTS = ("README.md", "docs/results.md", "docs/benchmarks.md")
PLACE = re.compile(
    r"(?P<begin><!-- table: (?P<name>\w+)(?:, first (?P<rows>\d+) rows(?:, columns (?P<columns>[\d ]+))?)? -->\n)"
    r"(?P<text>.*?)(?P<end><!-- end of table -->)",
    re.DOTALL,
)


def main() -> None:
    for name in DOCUMENTS:
        file = ROOT / name
        text, count = PLACE.subn(lambda place: place["begin"] + table(place) + place["end"], file.read_text())
        file.write_text(text)
        print(f"{name}: {count} tables")


def table(place: re.Match[str]) -> str:
    """The text that belongs into this place."""
    file = ROOT / "results" / "tables" / f"{place['name']}.md"
    if not file.is_file():
        name = place["name"]
        sys.exit(f"error: no results/tables/{name}.md; eulernet.reproduce table={name} publish=results makes it")
    if place["rows"] is None:
        return file.read_text()
    lines = file.read_text().splitlines()[: int(place["rows"]) + 2]
    if place["columns"] is not None:
        cells = [line.strip("| ").split(" | ") for line in lines]
        lines = [f"| {' | '.join(row[int(column) - 1] for column in place['columns'].split())} |" for row in cells]
    return "".join(f"{line}\n" for line in lines)


if __name__ == "__main__":
    main()
