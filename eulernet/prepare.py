"""python -m eulernet.prepare: raw files to an encoded store, once."""

from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from eulernet.cli import command, construct, to_plain
from eulernet.data import DATASETS, Dataset
from eulernet.errors import choose, require


@command("prepare")
def main(cfg: DictConfig) -> None:
    """Make the store of one dataset, or find it, and say what is in it."""
    data = Dataset.open(prepare(to_plain(cfg)))
    for part, split in data.splits.items():
        print(f"{part:5}  {len(split):>11,} rows  {data.meta['clicks'][part] / len(split):.4f} clicks")
    sizes = ", ".join(
        f"{field} {size - 1:,}" for field, size in zip(data.meta["fields"], data.field_sizes, strict=True)
    )
    print(f"ids    {sizes}")
    print(f"{data.name}: {data.meta['rows']:,} rows, {len(data.field_sizes)} fields, store: {data.folder}")


def prepare(cfg: dict[str, Any]) -> Path:
    """The store that ``dataset``, ``raw`` and ``data_dir`` of a configuration describe, made if needed."""
    settings = dict(cfg["dataset"])
    make = choose(DATASETS, str(settings.pop("name", None)), "dataset")
    require(cfg["data_dir"] is not None, "data_dir=null: give the folder for prepared stores and downloads")
    raw = None if cfg["raw"] is None else Path(str(cfg["raw"])).expanduser()
    return construct(make, settings, "dataset", raw=raw, data_dir=Path(str(cfg["data_dir"])).expanduser())


if __name__ == "__main__":
    main()
