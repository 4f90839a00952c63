"""FuxiCTR's own preprocessing of Criteo, configured like criteo_x4_001; bench_peers.py runs it in its environment.

python fuxictr_prepare.py convert RAW OUT    train.csv, valid.csv and test.csv with a header: it reads csv files that
                                             are split already (its own split calls .loc on a polars LazyFrame)
python fuxictr_prepare.py build IN OUT       feature map, tokenizers and encoded parquet, as its run_expid.py makes them
"""

import json
import sys
from pathlib import Path

NUMBERS = [f"I{i}" for i in range(1, 14)]
CATEGORIES = [f"C{i}" for i in range(1, 27)]


def convert(raw: Path, out: Path) -> None:
    import polars as pl

    names = ["Label", *NUMBERS, *CATEGORIES]
    table = pl.read_csv(raw, separator="\t", has_header=False, new_columns=names, infer_schema=False, quote_char=None)
    table = table.sample(fraction=1, shuffle=True, seed=2021)
    tenth = len(table) // 10
    parts = {"test": (0, tenth), "valid": (tenth, tenth), "train": (2 * tenth, None)}
    for part, (start, rows) in parts.items():
        table.slice(start, rows).write_csv(out / f"{part}.csv")


def build(source: Path, out: Path) -> None:
    from fuxictr.datasets.criteo import CustomizedFeatureProcessor
    from fuxictr.preprocess import build_dataset

    params = {
        "dataset_id": "criteo",
        "data_root": str(out),
        "data_format": "csv",
        **{f"{part}_data": str(source / f"{part}.csv") for part in ("train", "valid", "test")},
        "min_categr_count": 10,
        "feature_cols": [
            {
                "name": NUMBERS,
                "active": True,
                "dtype": "float",
                "type": "categorical",
                "preprocess": "convert_to_bucket",
            },
            {"name": CATEGORIES, "active": True, "dtype": "str", "type": "categorical"},
        ],
        "label_col": {"name": "Label", "dtype": "float"},
    }
    build_dataset(CustomizedFeatureProcessor(**params), **params)
    features = json.loads((out / "criteo" / "feature_map.json").read_text())["features"]
    print(json.dumps({"ids": sum(spec["vocab_size"] for each in features for spec in each.values())}))


if __name__ == "__main__":
    {"convert": convert, "build": build}[sys.argv[1]](Path(sys.argv[2]), Path(sys.argv[3]))
