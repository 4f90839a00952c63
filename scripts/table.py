"""Put the tables of results/tables, which eulernet.reproduce publishes, into the documents: python scripts/table.py

A document has a place for a table between ``<!-- table: NAME -->`` and ``<!-- end of table -->``. With
``<!-- table: NAME, first 10 rows -->`` it takes the first block of the table, ten rows of it and none of the notes.
"""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
DOCUMENTS = ("README.md", "docs/results.md", "docs/benchmarks.md")
PLACE = re.compile(r"(<!-- table: (\w+)(?:, first (\d+) rows)? -->\n)(.*?)(<!-- end of table -->)", re.DOTALL)


def main() -> None:
    for name in DOCUMENTS:
        file = ROOT / name
        text, count = PLACE.subn(lambda place: place[1] + table(place) + place[5], file.read_text())
        file.write_text(text)
        print(f"{name}: {count} tables")


def table(place: re.Match[str]) -> str:
    """The text that belongs into this place."""
    file = ROOT / "results" / "tables" / f"{place[2]}.md"
    if not file.is_file():
        sys.exit(f"error: no results/tables/{file.name}; eulernet.reproduce table={place[2]} publish=results makes it")
    text = file.read_text()
    return text if place[3] is None else "".join(text.splitlines(keepends=True)[: int(place[3]) + 2])


if __name__ == "__main__":
    main()
