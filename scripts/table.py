"""Put the tables of results/tables, which scripts/reproduce.py publishes, into the documents: python scripts/table.py

README.md and docs/results.md have a place for each: between ``<!-- table: NAME -->`` and ``<!-- end of table -->``.
"""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
PLACE = re.compile(r"(<!-- table: (\w+) -->\n).*?(<!-- end of table -->)", re.DOTALL)


def main() -> None:
    for name in ("README.md", "docs/results.md"):
        file = ROOT / name
        text, tables = PLACE.subn(table, file.read_text())
        file.write_text(text)
        print(f"{name}: {tables} tables")


def table(place: re.Match[str]) -> str:
    file = ROOT / "results" / "tables" / f"{place[2]}.md"
    if not file.is_file():
        sys.exit(
            f"error: no results/tables/{file.name}; scripts/reproduce.py table={place[2]} publish=results makes it"
        )
    return place[1] + file.read_text() + place[3]


if __name__ == "__main__":
    main()
