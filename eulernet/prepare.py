"""python -m eulernet.prepare: raw files to an encoded store, once."""

import json
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from eulernet.cli import command, construct, to_plain
from eulernet.data import DATASETS, Dataset
from eulernet.errors import choose, require
from eulernet.memory import keep_freed_memory


@command("prepare")
def main(cfg: DictConfig) -> None:
    """Make the store of one dataset, or find it, and say what is in it."""
    data = Dataset.open(prepare(to_plain(cfg)))
    print(describe(data))
    print(f"{data.name}: {data.meta['rows']:,} rows, {len(data.fields)} fields, store: {data.folder}")


def describe(data: Dataset) -> str:
    """A table of the fields and one of the splits, and what preparing took."""
    summary = json.loads((data.folder / "summary.json").read_text())
    lines = [f"{'field':20} {'kind':8} {'ids':>11} {'missing':>8} {'rare':>8}"]
    for field in data.meta["fields"]:
        shares = summary["fields"].get(field["name"], {"missing": 0, "rare": 0})
        ids = "" if field["kind"] == "number" else f"{field['size'] - 1:,}"
        lines.append(
            f"{field['name']:20} {field['kind']:8} {ids:>11} {shares['missing']:8.2%} {shares['rare']:8.2%}".rstrip()
        )
    lines += ["", f"{'split':20} {'rows':>20} {'clicks':>8}"]
    for part, split in data.splits.items():
        lines.append(f"{part:20} {len(split):>20,} {data.meta['clicks'][part] / len(split):8.2%}")
    if "seconds" in summary:
        took = ", ".join(f"{phase} {seconds:.1f} s" for phase, seconds in summary["seconds"].items())
        lines += ["", f"{took}; peak memory {summary['peak_memory_bytes'] / 2**30:.2f} GiB, {disk(data)} on disk"]
    return "\n".join(lines)


def disk(data: Dataset) -> str:
    size = sum(file.stat().st_size for file in data.folder.rglob("*") if file.is_file())
    return f"{size / 1e9:.2f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"


def prepare(cfg: dict[str, Any]) -> Path:
    """The store that ``dataset``, ``raw`` and ``data_dir`` of a configuration describe, made if needed."""
    keep_freed_memory()
    settings = dict(cfg["dataset"])
    make = choose(DATASETS, str(settings.pop("name", None)), "dataset")
    require(cfg["data_dir"] is not None, "data_dir=null: give the folder for prepared stores and downloads")
    given = cfg["raw"] if isinstance(cfg["raw"], list) else [] if cfg["raw"] is None else [cfg["raw"]]
    raw, data_dir = [Path(str(path)).expanduser() for path in given], Path(str(cfg["data_dir"])).expanduser()
    memory = cfg["memory"]
    require(isinstance(memory, int | float) and memory >= 0.25, f"memory={memory}: give GiB, at least 0.25")
    return construct(make, settings, "dataset", raw=raw, data_dir=data_dir, memory=float(memory))


if __name__ == "__main__":
    main()
