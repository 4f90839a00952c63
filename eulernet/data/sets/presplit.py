"""Pre-split benchmark sets of reczoo (BARS): train.csv, valid.csv and test.csv with published row counts and md5 sums.

Preprocessing is FuxiCTR's, which their published results used: ids from training rows only, and one id (here 0) for
rare, unseen and missing values. github.com/reczoo/Datasets describes the sets.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from eulernet.data import disk
from eulernet.data.build import build
from eulernet.data.find import find
from eulernet.data.kinds import Bag, Category, Field, Number
from eulernet.data.lines import Dtype, Format
from eulernet.data.recipe import Recipe
from eulernet.data.sets.avazu import FIELDS as AVAZU
from eulernet.data.sets.criteo import CATEGORIES, COUNTS
from eulernet.data.splits import PARTS, by_file
from eulernet.data.values import Label, Raw
from eulernet.errors import UserError

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Benchmark:
    """One set: its columns with their types, its fields given a threshold, and what its files should be."""

    label: str
    columns: Mapping[str, Dtype]
    fields: Callable[[int], Sequence[Field]]  # min_count -> fields
    protocol: str
    rows: tuple[int, int, int]
    md5: tuple[str, str, str]


def plain(names: Sequence[str], transform: str = "as_is") -> Callable[[int], Sequence[Field]]:
    return lambda min_count: [Category(name, Raw(name, transform), min_count) for name in names]


def indices(names: Sequence[str]) -> Callable[[int], Sequence[Field]]:
    """Whole numbers, which the files may write as 9 or 9.0."""
    return plain(names, "whole")


def criteo_x1(min_count: int) -> Sequence[Field]:
    return [*(Number(name, Raw(name), standardise=False) for name in COUNTS), *indices(CATEGORIES)(min_count)]


def criteo_x4(min_count: int) -> Sequence[Field]:
    return [*plain(COUNTS, "floor_log_square")(min_count), *plain(CATEGORIES, "hexadecimal")(min_count)]


def avazu_x4(min_count: int) -> Sequence[Field]:
    """24 fields: the hour of the day, the 21 given ones, weekday (Sunday is 0) and weekend."""
    return [
        Category("hour", Raw("hour", "hour"), min_count),
        *plain(AVAZU)(min_count),
        Category("weekday", Raw("hour", "weekday_from_sunday"), min_count),
        Category("weekend", Raw("hour", "weekend"), min_count),
    ]


KKBOX_IDS = (
    "msno", "song_id", "source_system_tab", "source_screen_name", "source_type", "city", "gender", "registered_via",
    "language",
)  # fmt: skip


def kkbox_x1(min_count: int) -> Sequence[Field]:
    """13 fields, of which two hold up to three values; the country of the recording, and the age in decades."""

    return [
        *plain(KKBOX_IDS)(min_count),
        Bag("genre_ids", Raw("genre_ids", "members", " "), min_count, 3, "sum"),
        Bag("artist_name", Raw("artist_name", "members", " "), min_count, 3, "sum"),
        Category("isrc", Raw("isrc", "first_two"), min_count),
        Category("bd", Raw("bd", "decade"), min_count),
    ]


def floats(*names: str) -> dict[str, Dtype]:
    return dict.fromkeys(names, pl.Float64)


def texts(*names: str) -> dict[str, Dtype]:
    return dict.fromkeys(names, pl.String)


AVAZU_X1 = [f"feat_{i}" for i in range(1, 23)]
FRAPPE = [
    "user", "item", "daytime", "weekday", "isweekend", "homework", "cost", "weather", "country", "city"
]  # fmt: skip
ML_LATEST = ["user_id", "item_id", "tag_id"]

# Row counts and md5 sums are those of github.com/reczoo/Datasets; its README has one validation row too many for
# MovielensLatest_x1, where the total and all published logs say 401,372.
BENCHMARKS = {
    "criteo_x1": Benchmark(
        "label",
        floats("label", *COUNTS, *CATEGORIES),
        criteo_x1,
        "13 numbers as they are, 26 categories",
        (33_003_326, 8_250_124, 4_587_167),
        ("30b89c1c7213013b92df52ec44f52dc5", "f73c71fb3c4f66b6ebdfa032646bea72", "2c48b26e84c04a69b948082edae46f8c"),
    ),
    "criteo_x4": Benchmark(
        "Label",
        {**floats("Label"), **dict.fromkeys(COUNTS, pl.Int64), **texts(*CATEGORIES)},
        criteo_x4,
        "counts above 2 to floor(ln(v)^2)",
        (36_672_493, 4_584_062, 4_584_062),
        ("4a53bb7cbc0e4ee25f9d6a73ed824b1a", "fba5428b22895016e790e2dec623cb56", "cfc37da0d75c4d2d8778e76997df2976"),
    ),
    "avazu_x1": Benchmark(
        "label",
        floats("label", *AVAZU_X1),
        indices(AVAZU_X1),
        "22 categories",
        (28_300_276, 4_042_897, 8_085_794),
        ("f1114a07aea9e996842c71648e0f6395", "d9568f246357d156c4b8030fadb8b623", "9e2fe9c48705c9315ae7a0953eb57acf"),
    ),
    "avazu_x4": Benchmark(
        "click",
        {**floats("click"), "hour": pl.Int32, **texts(*AVAZU)},
        avazu_x4,
        "hour, weekday and weekend, no id",
        (32_343_172, 4_042_897, 4_042_898),
        ("de3a27264cdabf66adf09df82328ccaa", "33232931d84d6452d3f956e936cab2c9", "3ebb774a9ca74d05919b84a3d402986d"),
    ),
    "frappe_x1": Benchmark(
        "label",
        floats("label", *FRAPPE),
        indices(FRAPPE),
        "10 categories",
        (202_027, 57_722, 28_860),
        ("ba7306e6c4fc19dd2cd84f2f0596d158", "88d51bf2173505436d3a8f78f2a59da8", "3470f6d32713dc5f7715f198ca7c612a"),
    ),
    "movielenslatest_x1": Benchmark(
        "label",
        floats("label", *ML_LATEST),
        indices(ML_LATEST),
        "3 categories",
        (1_404_801, 401_372, 200_686),
        ("efc8bceeaa0e895d566470fc99f3f271", "e1930223a5026e910ed5a48687de8af1", "54e8c6baff2e059fe067fb9b69e692d0"),
    ),
    "kkbox_x1": Benchmark(
        "label",
        {**floats("label", "bd"), **texts(*KKBOX_IDS, "genre_ids", "artist_name", "isrc")},
        kkbox_x1,
        "11 categories, 2 bags of up to 3",
        (5_901_932, 737_743, 737_743),
        ("195b1ae8fc2d9267d7c8656c07ea1304", "398e97ac139611a09bd61a58e4240a3e", "8c5f7add05a6f5258b6b3bcc00ba640b"),
    ),
}


def make_benchmark(name: str) -> Callable[..., Path]:
    """The function that makes the store of one set."""
    spec = BENCHMARKS[name]

    def make(
        raw: Sequence[Path], data_dir: Path, memory: float, *, min_count: int, vocabulary: str, verify: bool
    ) -> Path:
        found = find(raw, "the folder with train.csv, valid.csv and test.csv", (".csv", ".csv.gz"))
        files = find_parts(found.files)
        others = {file.name: "no part of the set" for file in found.files if file not in files}
        complain = refuse if verify else log.warning
        for file, md5, published in zip(files, disk.checksums(files, data_dir, "md5").values(), spec.md5, strict=True):
            if md5 != published:
                complain(
                    f"{file}: md5 {md5}, the published file of {name} has {published}; dataset.verify=false takes it"
                )
        recipe = Recipe(
            name=name,
            version=2,
            protocol=f"reczoo {name}: {spec.protocol}; values below {min_count} training rows are id 0",
            form=Format(spec.columns, ",", header=True, quote='"'),
            label=Label(spec.label),
            fields=spec.fields(min_count),
            rows=spec.rows,
            verify=verify,
        )
        return build(
            recipe,
            files,
            data_dir,
            vocabulary=vocabulary,
            split=by_file(PARTS),
            origin="raw files",
            memory=memory,
            left_out={**found.left_out, **others},
        )

    return make


def find_parts(files: Sequence[Path]) -> list[Path]:
    """train.csv, valid.csv and test.csv, plain or gzipped."""
    chosen = []
    for part in PARTS:
        found = [file for file in files if file.name in (f"{part}.csv", f"{part}.csv.gz")]
        if len(found) != 1:
            raise UserError(
                f"raw={files[0].parent}: {len(found)} files called {part}.csv there; give the folder of one set"
            )
        chosen += found
    return chosen


def refuse(message: str) -> None:
    raise UserError(message)
