"""python -m eulernet.prepare: raw files to an encoded store, once."""

import json
from pathlib import Path
from typing import Any

from eulernet.cli import command
from eulernet.files import stamps


@command("prepare")
def main(given: dict[str, Any]) -> None:
    """Make the store of one dataset, or find it, and say what is in it."""
    from eulernet.data import store
    from eulernet.data.prepare import prepare, summary_table

    before = stamps(Path(str(given["data_dir"])).expanduser().glob("[!.]*/[!.]*/meta.json"))
    folder = prepare(given)
    name, summary = store.read_meta(folder)["name"], json.loads((folder / "summary.json").read_text())
    found = stamps([folder / "meta.json"]).items() <= before.items()
    print(summary_table(summary, "made earlier: " if found else ""))
    size = f"{summary['bytes'] / 1e9:.2f} GB" if summary["bytes"] >= 1e9 else f"{summary['bytes'] / 1e6:.1f} MB"
    print(f"{name}: {summary['rows']:,} rows, {len(summary['fields'])} fields, {size}, store: {folder}")


if __name__ == "__main__":
    main()
