"""MovieLens-1M and MovieLens-100K (Harper and Konstan, 2015) as click data, by the protocol of the EulerNet paper.

A rating of 4 or 5 is a click, of 1 or 2 none, and ratings of 3 are dropped; every row has the fields of its user and
its movie. Both sets are read in GroupLens' own form, MovieLens-100K also in the atomic files of the recbole wheel.
"""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import polars as pl

from eulernet.data import download
from eulernet.data.build import build
from eulernet.data.histories import LogKeys
from eulernet.data.kinds import Category, Field, History, Log
from eulernet.data.lines import Dtype, Format
from eulernet.data.raw import Piece
from eulernet.data.recipe import Recipe
from eulernet.data.splits import EIGHTY, by_time, published
from eulernet.data.values import Label, Raw
from eulernet.errors import UserError, require

INTEGERS = ("user_id", "item_id", "age", "rating")
FIELDS = ("user_id", "age", "gender", "occupation", "zip_code", "item_id", "release_year")
# A row to score has the fields of its user and its movie, joined as the rows of training are.
COLUMNS: dict[str, Dtype] = {
    **dict.fromkeys(FIELDS, pl.Int64),
    **dict.fromkeys(("gender", "occupation", "zip_code"), pl.String),
    "rating": pl.Int64,
}
TIME = pl.col("timestamp").cast(pl.Float64)
BY_TIME = by_time("timestamp", TIME, EIGHTY)
LABEL = Label("rating", at_least=4, without=3)
ONE_M = ("ratings.dat", "users.dat", "movies.dat")
HUNDRED_K = ("u.data", "u.user", "u.item")
ATOMIC = ("ml-100k.inter", "ml-100k.user", "ml-100k.item")

# ``fingerprint`` of the published MovieLens-100K: whichever source it was downloaded from must give these rows.
ROWS_100K = "5d9d601d8b9ffff8e20924091e262b283c72029f68883de4a4a2e9b91360f83b"


def _maker(
    name: str,
    folder: str,
    forms: Sequence[Sequence[str]],
    scan: Callable[[Sequence[Path]], pl.DataFrame],
    sources: Sequence[download.Archive | download.Wheel],
    check: Callable[[Path], None] = lambda folder: None,
) -> Callable[..., Path]:
    """What makes the store of one set, whose files have one of the ``forms``: ``raw``, or what ``sources`` have."""

    def make(
        raw: Sequence[Path],
        data_dir: Path,
        memory: float,
        *,
        min_count: int,
        vocabulary: str,
        split: str,
        split_seed: int,
        history: int | None = None,  # configurations of older runs do not say
    ) -> Path:
        require(len(raw) <= 1, "raw=: give one folder")
        place = raw[0] if raw else data_dir / "raw" / folder
        origin = "raw folder" if raw else download.fetch(sources, place, check)
        files, recipe = _find(place, *forms), _recipe(name, scan, min_count, history)
        cut = published(split, split_seed, time=BY_TIME)
        return build(recipe, files, data_dir, vocabulary=vocabulary, split=cut, origin=origin, memory=memory)

    return make


def _recipe(
    name: str, scan: Callable[[Sequence[Path]], pl.DataFrame], min_count: int, length: int | None = None
) -> Recipe:
    """With ``length`` each row also has the last so many movies that its user had rated before, of those kept."""
    fields: list[Field] = [Category(field, Raw(field), min_count) for field in FIELDS]
    if length is not None:
        require(length >= 1, f"dataset.history={length}: give how many earlier movies of a user are kept, from 1")
        log = Log(by="user_id", of="item_id", order="timestamp")
        fields.append(History("history", Raw("history", "members", "|"), min_count, length, "mean", "item_id", log))
    return Recipe(
        name=name,
        version=3,
        protocol=f"EulerNet paper: rating 3 dropped, click = rating >= 4; id 0 below {min_count} rows",
        form=Format(COLUMNS, ",", header=True, quote='"'),
        label=LABEL,
        fields=fields,
        scan=lambda files, _: iter([Piece(lambda: LABEL.rows(scan(files)), str, 0, 1.0)]),
        logs={"history": LogKeys(pl.col("user_id"), TIME)} if length is not None else {},
    )


def _find(folder: Path, *forms: Sequence[str]) -> list[Path]:
    """The files of the first form that ``folder`` holds whole."""
    require(folder.is_dir(), f"raw={folder}: not a folder; give the unpacked one, with {', '.join(forms[0])}")
    for form in forms:
        if all((folder / name).is_file() for name in form):
            return [folder / name for name in form]
    here = max(forms, key=lambda form: sum((folder / name).is_file() for name in form))
    missing = [name for name in here if not (folder / name).is_file()]
    raise UserError(f"raw={folder}: no {', no '.join(missing)} there; the folder should hold {', '.join(here)}")


def scan_1m(files: Sequence[Path]) -> pl.DataFrame:
    """One row a rating, in the order of ratings.dat, with FIELDS, ``rating`` and ``timestamp``."""
    ratings, users, movies = files
    user_columns = ("user_id", "gender", "age", "occupation", "zip_code")
    return _join(
        (ratings, read_rows(ratings, "::", ("user_id", "item_id", "rating", "timestamp"))),
        (users, read_rows(users, "::", user_columns)),
        (movies, _with_year(read_rows(movies, "::", ("item_id", "title", "genres")))),
    )


def scan_100k(files: Sequence[Path]) -> pl.DataFrame:
    """The same for MovieLens-100K, in GroupLens' form or as atomic files, told apart by the file names."""
    ratings, users, items = files
    rating_columns = ("user_id", "item_id", "rating", "timestamp")
    user_columns = ("user_id", "age", "gender", "occupation", "zip_code")
    if ratings.suffix == ".inter":
        movies = read_rows(items, "\t", ("item_id", "title", "release_year", "class"), header=True, encoding="utf-8")
        year = pl.col("release_year").cast(pl.Int64, strict=False)  # a movie without a year has a word there
        return _join(
            (ratings, read_rows(ratings, "\t", rating_columns, header=True)),
            (users, read_rows(users, "\t", user_columns, header=True)),
            (items, movies.with_columns(year)),
        )
    item_columns = ("item_id", "title", "date", "video_date", "url", *(f"genre_{i}" for i in range(19)))
    return _join(
        (ratings, read_rows(ratings, "\t", rating_columns)),
        (users, read_rows(users, "|", user_columns)),
        (items, _with_year(read_rows(items, "|", item_columns))),
    )


def _with_year(movies: pl.DataFrame) -> pl.DataFrame:
    """Take the release year from the end of the title: "Toy Story (1995)"; null where there is none."""
    year = pl.col("title").str.extract(r"\((\d{4})\)\s*$", 1).cast(pl.Int64)
    return movies.with_columns(year.alias("release_year"))


def read_rows(
    file: Path, separator: str, columns: Sequence[str], *, header: bool = False, encoding: str = "latin-1"
) -> pl.DataFrame:
    """The lines of ``file`` cut at ``separator``: ids, ages and ratings as integers, the rest as text.

    ``line`` is the line number, for messages. A line with other than ``len(columns)`` parts, or a word where an integer
    belongs, is a UserError that names it.
    """
    try:
        text = file.read_bytes().removeprefix(b"\xef\xbb\xbf").decode(encoding)
    except UnicodeDecodeError as error:
        raise UserError(f"{file}: not {encoding} text at byte {error.start}") from None
    first = 1 + int(header)
    if header:
        require(text.startswith(f"{columns[0]}:"), f"{file}, line 1: no header, it should begin with {columns[0]}:")
    lines = text.replace("\r\n", "\n").removesuffix("\n").split("\n")[first - 1 :]
    parts = pl.Series("parts", lines, dtype=pl.String).str.split(separator)
    if (row := first_row(parts.list.len() != len(columns))) is not None:
        found = f"{len(parts[row])} columns where {len(columns)} belong"
        raise UserError(f"{file}, line {row + first}: {found} ({', '.join(columns)})")
    table = parts.list.to_struct(fields=list(columns)).struct.unnest()
    for column in table.columns:
        if column in INTEGERS:
            number = table[column].cast(pl.Float64, strict=False)  # RecBole writes some integers as floats
            whole = number.cast(pl.Int64, strict=False)
            if (row := first_row(whole.ne_missing(number) | whole.is_null())) is not None:
                raise UserError(f"{file}, line {row + first}: {column} is {table[column][row]!r}, not an integer")
            table = table.with_columns(whole)
    return table.with_columns(pl.col(pl.String).replace("", None)).with_row_index("line", offset=first)


def first_row(wrong: pl.Series) -> int | None:
    """The number of the first row that is wrong, if any is."""
    return wrong.arg_max() if wrong.any() else None


def _join(
    ratings: tuple[Path, pl.DataFrame], users: tuple[Path, pl.DataFrame], movies: tuple[Path, pl.DataFrame]
) -> pl.DataFrame:
    """Give every rating the fields of its user and its movie; UserError if there is none, or a rating is not 1 to 5."""
    file, table = ratings
    if (row := first_row(~table["rating"].is_between(1, 5))) is not None:
        raise UserError(f"{file}, line {table['line'][row]}: rating is {table['rating'][row]}, not 1 to 5")
    for key, (other_file, other) in {"user_id": users, "item_id": movies}.items():
        if (row := first_row(~other[key].is_first_distinct())) is not None:
            raise UserError(f"{other_file}, line {other['line'][row]}: {key} {other[key][row]} is there twice")
        if (row := first_row(~table[key].is_in(other[key].implode()))) is not None:
            raise UserError(f"{file}, line {table['line'][row]}: {key} {table[key][row]} is not in {other_file.name}")
        table = table.join(other.drop("line"), on=key, how="left", maintain_order="left")
    return table.select(*FIELDS, "rating", "timestamp")


def fingerprint(table: pl.DataFrame) -> str:
    """sha256 of the rows as text: equal for equal rows in equal order, whatever file form they were read from."""
    return hashlib.sha256(table.select(*FIELDS, "rating").write_csv().encode()).hexdigest()


def _check_100k(folder: Path) -> None:
    """Raise UserError unless a downloaded folder holds exactly the published rows."""
    found = fingerprint(scan_100k(_find(folder, HUNDRED_K, ATOMIC)))
    require(found == ROWS_100K, "the download does not hold the published MovieLens-100K rows; try again later")


make_movielens_1m = _maker("movielens_1m", "ml-1m", [ONE_M], scan_1m, [download.ML_1M])
make_movielens_100k = _maker(
    "movielens_100k", "ml-100k", [HUNDRED_K, ATOMIC], scan_100k, [download.ML_100K, download.ML_100K_IN_RECBOLE],
    _check_100k,
)  # fmt: skip
