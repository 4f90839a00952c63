"""Avazu Click-Through Rate Prediction (2014): 40,428,967 impressions of ten days, in time order.

The EulerNet paper's preprocessing (DataSource/avazu_parse.py of the authors' repository): the id is dropped, weekday
(Monday is 0) and hour come from YYMMDDHH, and in every field values seen fewer than 5 times share id 0.
"""

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from eulernet.data.build import build
from eulernet.data.find import TEXT, find
from eulernet.data.kinds import Category
from eulernet.data.lines import Format
from eulernet.data.recipe import Recipe
from eulernet.data.sampling import check_share, counted
from eulernet.data.splits import published
from eulernet.data.unpack import PACKINGS
from eulernet.data.values import Label, Raw

HASHED = (
    "site_id", "site_domain", "site_category", "app_id", "app_domain", "app_category", "device_id", "device_ip",
    "device_model",
)  # fmt: skip
FIELDS = ("C1", "banner_pos", *HASHED, "device_type", "device_conn_type", *(f"C{i}" for i in range(14, 22)))
FORMAT = Format(
    columns={
        "click": pl.Int8,
        "hour": pl.Int32,
        **{name: pl.String if name in HASHED else pl.Int32 for name in FIELDS},
    },
    separator=",",
    header=True,
    member="train",  # beside test and sampleSubmission in the archive
)


def make_avazu(
    raw: Sequence[Path],
    data_dir: Path,
    memory: float,
    *,
    min_count: int,
    vocabulary: str,
    split: str,
    split_seed: int,
    keep_negatives: float | None = None,
) -> Path:
    """The store of train.csv, plain or packed."""
    check_share("keep_negatives", keep_negatives)
    found = find(raw, "train.csv or train.gz from Kaggle", (*TEXT, *PACKINGS, ".parquet"), "train")
    recipe = Recipe(
        name="avazu",
        version=2,
        protocol=f"EulerNet paper: weekday and hour, no id; values below {min_count} rows are id 0",
        form=FORMAT,
        label=Label("click"),
        fields=[
            Category("weekday", Raw("hour", "weekday"), min_count),
            Category("hour", Raw("hour", "hour"), min_count),
            *(Category(name, Raw(name, "hexadecimal" if name in HASHED else "as_is"), min_count) for name in FIELDS),
        ],
    )
    cut = counted(published(split, split_seed), keep_negatives, split_seed)
    return build(
        recipe,
        found.files,
        data_dir,
        vocabulary=vocabulary,
        split=cut,
        memory=memory,
        left_out=found.left_out,
        origin="raw files",
    )
