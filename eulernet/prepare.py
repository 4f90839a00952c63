"""python -m eulernet.prepare: raw files to an encoded store, once."""

import json
import time

from omegaconf import DictConfig

from eulernet.cli import command, to_plain
from eulernet.data import store
from eulernet.data.prepare import prepare, summary_table


@command("prepare")
def main(cfg: DictConfig) -> None:
    """Make the store of one dataset, or find it, and say what is in it."""
    began = time.time()
    folder = prepare(to_plain(cfg))
    name, summary = store.read_meta(folder)["name"], json.loads((folder / "summary.json").read_text())
    made = (folder / "meta.json").stat().st_mtime >= began
    print(summary_table(summary, "" if made else "made earlier: "))
    size = f"{summary['bytes'] / 1e9:.2f} GB" if summary["bytes"] >= 1e9 else f"{summary['bytes'] / 1e6:.1f} MB"
    print(f"{name}: {summary['rows']:,} rows, {len(summary['fields'])} fields, {size}, store: {folder}")


if __name__ == "__main__":
    main()
