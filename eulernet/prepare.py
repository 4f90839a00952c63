"""python -m eulernet.prepare: raw files to an encoded store, once."""

import json
from pathlib import Path

from omegaconf import DictConfig

from eulernet.cli import command, to_plain
from eulernet.data import store
from eulernet.data.prepare import prepare, summary_table
from eulernet.files import stamps


@command("prepare")
def main(cfg: DictConfig) -> None:
    """Make the store of one dataset, or find it, and say what is in it."""
    plain = to_plain(cfg)
    before = stamps(Path(str(plain["data_dir"])).expanduser().glob("[!.]*/[!.]*/meta.json"))
    folder = prepare(plain)
    name, summary = store.read_meta(folder)["name"], json.loads((folder / "summary.json").read_text())
    found = stamps([folder / "meta.json"]).items() <= before.items()
    print(summary_table(summary, "made earlier: " if found else ""))
    size = f"{summary['bytes'] / 1e9:.2f} GB" if summary["bytes"] >= 1e9 else f"{summary['bytes'] / 1e6:.1f} MB"
    print(f"{name}: {summary['rows']:,} rows, {len(summary['fields'])} fields, {size}, store: {folder}")


if __name__ == "__main__":
    main()
