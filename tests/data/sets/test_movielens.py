"""MovieLens: exact ids of hand-written rows, the real files row for row, and bad input."""

import polars as pl
import pytest
import reference
from conftest import RATINGS, rows_of

from eulernet.data import kinds
from eulernet.data.dataset import Dataset
from eulernet.data.sets import movielens
from eulernet.data.sets.movielens import make_movielens_1m, make_movielens_100k
from eulernet.errors import UserError

SETTINGS = dict(min_count=1, vocabulary="all", split="paper", split_seed=2021)


def test_ids_of_hand_written_rows(tiny_1m):
    """Most frequent first, equal counts by value. The third rating, a 3, is dropped: 12 rows are left."""
    recipe = movielens._recipe("movielens_1m", movielens.scan_1m, min_count=1)
    (piece,) = recipe.scan([tiny_1m / name for name in movielens.ONE_M], 1 << 30)
    rows = piece.frame()
    values = recipe.values()
    fitted = [
        field.fit(rows.lazy().select(value=value), "in-memory")
        for field, value in zip(recipe.fields, values, strict=True)
    ]
    ids, _ = kinds.encode(fitted, rows.select(values))
    got = dict(zip(movielens.FIELDS, ids.T.tolist(), strict=True))
    assert got == {
        "user_id": [2, 1, 3, 2, 1, 3, 2, 3, 1, 4, 4, 4],  # three rows each, so by value
        "age": [3, 2, 1, 3, 2, 1, 3, 1, 2, 1, 1, 1],  # 25 six times, then 1 and 56
        "gender": [1, 2, 1, 1, 2, 1, 1, 1, 2, 1, 1, 1],  # M nine times, F three
        "occupation": [3, 1, 2, 3, 1, 2, 3, 2, 1, 1, 1, 1],  # 10 six times, then 15 and 16
        "zip_code": [4, 2, 3, 4, 2, 3, 4, 3, 2, 1, 1, 1],  # text: 02460 keeps its 0 and comes first
        "item_id": [1, 1, 3, 2, 3, 1, 3, 2, 4, 1, 4, 2],  # 10 four times, 20 and 30 three, 40 two
        "release_year": [1, 1, 2, 1, 2, 1, 2, 1, 0, 1, 0, 1],  # 1995 seven times, 1968 three, none for film 40
    }
    label = rows.select(recipe.label.expression.cast(pl.UInt8)).to_series()
    assert label.to_list() == [1, 1, 0, 0, 0, 1, 1, 1, 0, 0, 1, 1]


def test_split_by_time_holds_out_the_latest_ratings(tiny_1m, tmp_path):
    """A row is in training while fewer than 38 of 48 rows are earlier. Two of one time go together."""
    ratings = [line.split("::") for line in RATINGS.splitlines()]
    stamped = [(*rating[:3], str(978_300_000 + 7 * i % 53 // 2)) for i, rating in enumerate(ratings * 4)]
    (tiny_1m / "ratings.dat").write_text("".join("::".join(rating) + "\n" for rating in stamped))
    data = Dataset.open(make_movielens_1m([tiny_1m], tmp_path, 2.0, **{**SETTINGS, "split": "time"}))
    times = [int(time) for *_, rating, time in stamped if rating != "3"]
    expected = {"train": [], "valid": [], "test": []}
    for row, time in enumerate(times):
        earlier = sum(other < time for other in times)
        expected["train" if earlier < 38 else "valid" if earlier < 43 else "test"].append(row)
    assert {part: split.order.tolist() for part, split in data.splits.items()} == expected


@pytest.mark.slow
def test_movielens_1m_equals_the_row_by_row_transcription(ml_1m, tmp_path):
    """Every row of the real set: published counts, exact membership and order, ids a bijection of the raw values."""
    data = Dataset.open(make_movielens_1m([ml_1m], tmp_path, 2.0, **SETTINGS))
    assert data.meta["rows"] == 739_012
    assert {part: len(split) for part, split in data.splits.items()} == {
        "train": 591_210,
        "valid": 73_901,
        "test": 73_901,
    }
    parts = reference.paper_split(reference.movielens_1m_rows(ml_1m), 2021)
    columns = []
    for part, rows in zip(("train", "valid", "test"), parts, strict=True):
        split = data.splits[part]
        assert split.labels.tolist() == [label for _, label in rows]
        columns.append(rows_of(split).T.tolist())
    for field, size in enumerate(data.field_sizes):
        pairs = set()
        for rows, ids in zip(parts, columns, strict=True):
            pairs.update(zip((raw[field] for raw, _ in rows), ids[field], strict=True))
        assert sorted(got for _, got in pairs) == list(range(1, size))
        assert len({raw for raw, _ in pairs}) == len(pairs)


def test_leak_free_vocabulary_knows_training_rows_only(ml_100k, tmp_path):
    data = Dataset.open(make_movielens_100k([ml_100k], tmp_path, 2.0, **{**SETTINGS, "vocabulary": "train"}))
    assert "ids from training rows only" in data.meta["protocol"]
    for field, size in enumerate(data.field_sizes):
        assert set(rows_of(data.train)[:, field].tolist()) - {0} == set(range(1, size))
    year = data.fields.index("release_year")
    assert (rows_of(data.train)[:, year] == 0).sum() > 0  # films without a year; elsewhere 0 means unseen
    unseen = (rows_of(data.test)[:, data.fields.index("item_id")] == 0).sum()
    assert 0 < unseen < 100


def test_min_count_sends_rare_values_to_id_0(ml_100k, tmp_path):
    data = Dataset.open(make_movielens_100k([ml_100k], tmp_path, 2.0, **{**SETTINGS, "min_count": 20}))
    ids = pl.Series(rows_of(data.train)[:, 5].numpy())
    plain = Dataset.open(make_movielens_100k([ml_100k], tmp_path, 2.0, **SETTINGS))
    counts = pl.concat([pl.Series(rows_of(s)[:, 5].numpy()) for s in plain.splits.values()]).value_counts()
    assert data.field_sizes[5] - 1 == (counts["count"] >= 20).sum()
    assert (ids == 0).any()


def test_both_forms_of_movielens_100k_give_identical_rows(ml_100k, tmp_path):
    """The atomic files of the recbole wheel, written here from GroupLens' own, read back to the published rows."""
    table = movielens.scan_100k([ml_100k / name for name in movielens.HUNDRED_K])
    assert movielens.fingerprint(table) == movielens.ROWS_100K

    def write(name, columns, rows):
        lines = ["\t".join(f"{column}:token" for column in columns)]
        lines += ["\t".join(str(value) for value in row) for row in rows]
        (tmp_path / name).write_text("\n".join(lines) + "\n")

    users = table.unique("user_id", maintain_order=True)
    items = table.unique("item_id", maintain_order=True).with_columns(pl.col("release_year").cast(pl.String))
    ratings = table.select("user_id", "item_id", pl.col("rating").cast(pl.Float64), "timestamp")
    write("ml-100k.inter", ratings.columns, ratings.iter_rows())
    write("ml-100k.user", movielens.FIELDS[:5], users.select(movielens.FIELDS[:5]).iter_rows())
    columns = items.select(
        "item_id", pl.lit("t").alias("title"), pl.col("release_year").fill_null("unkonwn"), pl.lit("c").alias("class")
    )
    write("ml-100k.item", columns.columns, columns.iter_rows())
    again = movielens.scan_100k([tmp_path / name for name in movielens.ATOMIC])
    assert again.equals(table)


def break_line(folder, name, number, text):
    lines = (folder / name).read_text(encoding="latin-1").split("\n")
    lines[number - 1] = text
    (folder / name).write_text("\n".join(lines), encoding="latin-1")


@pytest.mark.parametrize(
    ("file", "line", "text", "message"),
    [
        ("ratings.dat", 4, "3::30::1", r"ratings.dat, line 4: 3 columns where 4 belong"),
        ("ratings.dat", 4, "", r"ratings.dat, line 4: 1 columns where 4 belong"),
        ("ratings.dat", 4, "3::30::six::0", r"ratings.dat, line 4: rating is 'six', not an integer"),
        ("ratings.dat", 4, "3::30::3.5::0", r"ratings.dat, line 4: rating is '3.5', not an integer"),
        ("ratings.dat", 4, "3::30::6::0", r"ratings.dat, line 4: rating is 6, not 1 to 5"),
        ("ratings.dat", 4, "3::30::0::0", r"ratings.dat, line 4: rating is 0, not 1 to 5"),
        ("ratings.dat", 4, "9::30::1::0", r"ratings.dat, line 4: user_id 9 is not in users.dat"),
        ("ratings.dat", 4, "3::90::1::0", r"ratings.dat, line 4: item_id 90 is not in movies.dat"),
        ("users.dat", 2, "2::M::old::16::70072", r"users.dat, line 2: age is 'old', not an integer"),
        ("users.dat", 2, "1::M::56::16::70072", r"users.dat, line 2: user_id 1 is there twice"),
        ("movies.dat", 3, "30::2001: A Space Odyssey (1968)", r"movies.dat, line 3: 2 columns where 3 belong"),
    ],
)
def test_bad_lines_are_named(tiny_1m, tmp_path, file, line, text, message):
    break_line(tiny_1m, file, line, text)
    with pytest.raises(UserError, match=message):
        make_movielens_1m([tiny_1m], tmp_path / "data", 2.0, **SETTINGS)
    assert not (tmp_path / "data").exists()


def test_missing_files_are_named(tiny_1m, tmp_path):
    (tiny_1m / "users.dat").unlink()
    with pytest.raises(
        UserError, match=r"no users.dat there; the folder should hold ratings.dat, users.dat, movies.dat"
    ):
        make_movielens_1m([tiny_1m], tmp_path / "data", 2.0, **SETTINGS)
    with pytest.raises(UserError, match=r"nowhere: not a folder"):
        make_movielens_1m([tiny_1m / "nowhere"], tmp_path / "data", 2.0, **SETTINGS)


def test_empty_ratings_are_refused(tiny_1m, tmp_path):
    (tiny_1m / "ratings.dat").write_text("")
    with pytest.raises(UserError, match=r"ratings.dat, line 1: 1 columns where 4 belong"):
        make_movielens_1m([tiny_1m], tmp_path / "data", 2.0, **SETTINGS)


def test_windows_line_ends_are_read(tiny_1m):
    plain = movielens.scan_1m([tiny_1m / name for name in movielens.ONE_M])
    (tiny_1m / "ratings.dat").write_bytes(RATINGS.replace("\n", "\r\n").encode())
    assert movielens.scan_1m([tiny_1m / name for name in movielens.ONE_M]).equals(plain)
