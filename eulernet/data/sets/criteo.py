"""Criteo Display Advertising Challenge (2014): 45,840,617 impressions in time order, 13 counts, 26 hashed categories.

The EulerNet paper's preprocessing (DataSource/criteo_parse.py of the authors' repository): counts above 2 go into
log-squared buckets, categories seen fewer than 8 times share id 0 with the missing ones.
"""

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from eulernet.data import download
from eulernet.data.build import build
from eulernet.data.find import TEXT, find
from eulernet.data.kinds import Category
from eulernet.data.lines import Format
from eulernet.data.recipe import Recipe
from eulernet.data.sampling import check_share, counted
from eulernet.data.splits import published
from eulernet.data.unpack import PACKINGS
from eulernet.data.values import Label, Raw
from eulernet.errors import require

COUNTS = [f"I{i}" for i in range(1, 14)]
CATEGORIES = [f"C{i}" for i in range(1, 27)]
SUFFIXES = (*TEXT, *PACKINGS, ".parquet")
FORMAT = Format(
    columns={"label": pl.Int8, **dict.fromkeys(COUNTS, pl.Int64), **dict.fromkeys(CATEGORIES, pl.String)},
    separator="\t",
    header=False,
    member="train",  # beside test.txt, license.txt and readme.txt in the archive
)


def make_criteo(
    raw: Sequence[Path],
    data_dir: Path,
    memory: float,
    *,
    min_count: int,
    vocabulary: str,
    split: str,
    split_seed: int,
    accept_terms: bool,
    keep_negatives: float | None = None,
) -> Path:
    """The store of train.txt, plain, packed, or in Criteo's own archive, which is downloaded if ``raw`` is empty."""
    origin, folder = "raw files", data_dir / "raw" / "criteo"
    if not raw:
        terms = "Criteo gives this set out under terms of its own (license.txt in the archive)"
        require(accept_terms or folder.is_dir(), f"{terms}: give raw=PATH, or accept_terms=true to download its 4.6 GB")
        origin, raw = download.fetch([download.CRITEO], folder), [folder]
    found = find(raw, "train.txt, or the dac.tar.gz that holds it", SUFFIXES, "train")
    recipe = Recipe(
        name="criteo",
        version=2,
        protocol=f"EulerNet paper: counts above 2 to ceil(ln(v)^2 + 1); categories below {min_count} rows are id 0",
        form=FORMAT,
        label=Label("label"),
        fields=[
            *(Category(name, Raw(name, "log_square")) for name in COUNTS),
            *(Category(name, Raw(name, "hexadecimal"), min_count) for name in CATEGORIES),
        ],
    )
    check_share("keep_negatives", keep_negatives)
    cut = counted(published(split, split_seed), keep_negatives, split_seed)
    return build(
        recipe,
        found.files,
        data_dir,
        vocabulary=vocabulary,
        split=cut,
        memory=memory,
        left_out=found.left_out,
        origin=origin,
    )
