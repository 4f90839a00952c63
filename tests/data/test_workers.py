"""Whoever does the work of preparing makes the same store, byte for byte."""

import sys
from functools import partial
from pathlib import Path

import cloudpickle
import numpy as np
import polars as pl
import pytest
from distributed import LocalCluster

from eulernet.data import cluster, raw, workers
from eulernet.data.prepare import prepare
from eulernet.data.sets.criteo import make_criteo
from eulernet.data.workers import Threads, working
from eulernet.errors import UserError
from eulernet.settings import conf_dir, read_config


class Elsewhere(Threads):
    """Workers that share nothing: all that they are sent, and all that they send, goes through bytes."""

    here = False

    def submit(self, work, item):
        return super().submit(partial(through_bytes, cloudpickle.dumps(work)), item)

    def map(self, work, items):
        return super().map(partial(through_bytes, cloudpickle.dumps(work)), items)

    def total(self, count, items, add, finish):
        counts = [self.submit(count, item).result() for item in items]
        while len(counts) > 1:
            counts = [self.submit(add, counts[i : i + 2]).result() for i in range(0, len(counts), 2)]
        return self.submit(finish, counts[0])


def through_bytes(work, item):
    done = cloudpickle.loads(work)(cloudpickle.loads(cloudpickle.dumps(item)))
    return cloudpickle.loads(cloudpickle.dumps(done))


@pytest.fixture
def elsewhere(monkeypatch):
    """A block within which such workers do the work; pieces are small, so that there are many."""
    monkeypatch.setattr(raw, "SMALLEST_BLOCK", 1 << 14)
    monkeypatch.setattr("eulernet.data.counting.PARTS", 2)
    monkeypatch.setattr("eulernet.data.encoding.IDS_AT_ONCE", 1 << 13)

    def work(make):
        token = workers._CURRENT.set(Elsewhere())
        try:
            return make()
        finally:
            workers._CURRENT.reset(token)

    return work


def log_of(rows=3000, seed=0):
    """Categories, dates, words, numbers and lists, some of them missing."""
    draw = np.random.default_rng(seed)
    columns = {
        "click": draw.integers(0, 2, rows),
        "site": draw.zipf(1.5, rows) % 500,
        "word": [f'a "{n}",' if n % 3 else None for n in draw.integers(0, 40, rows)],
        "price": np.where(draw.random(rows) < 0.1, np.nan, draw.random(rows) * 7),
        "age": draw.random(rows) * 60,
        "tags": ["|".join(map(str, draw.integers(0, 9, n))) or None for n in draw.integers(0, 4, rows)],
        "device": draw.integers(0, 10_000, rows),
        "day": [f"2026-01-{1 + i * 20 // rows:02}" for i in range(rows)],
        "w": draw.random(rows),
    }
    return pl.DataFrame(columns).with_columns(pl.col("price").fill_nan(None))


FIELDS = {
    "site": {"kind": "category", "min_count": 3, "buckets": 5},
    "word": "category",
    "price": "number",
    "age": "quantiles",
    "tags": {"kind": "bag", "separator": "|"},
    "device": {"kind": "hash", "buckets": 50},
}


def made(folder, data_dir, **dataset):
    """The store of the table in ``folder``."""
    settings = {**read_config(conf_dir() / "dataset" / "table.yaml"), "label": "click", "fields": FIELDS, **dataset}
    cfg = {"dataset": settings, "raw": str(folder), "data_dir": str(data_dir), "memory": 0.25}
    return prepare(cfg)


def content(store):
    """All that a store holds, but for what making it took."""
    files = {file.relative_to(store): file for file in store.rglob("*") if file.is_file()}
    return {name: file.read_bytes() for name, file in files.items() if name != Path("summary.json")}


def write_parts(frame, folder, form):
    """``frame`` in three files."""
    folder.mkdir()
    for i in range(3):
        part = frame[i * 1000 : (i + 1) * 1000]
        if form == "parquet":
            part.write_parquet(folder / f"part-{i}.parquet")
        elif form == "gz":
            import gzip

            (folder / f"part-{i}.csv.gz").write_bytes(gzip.compress(part.write_csv().encode()))
        else:
            part.write_csv(folder / f"part-{i}.csv")
    return folder


SPLITS = [
    ("csv", dict(vocabulary="all", split="chronological", weight="w")),
    ("parquet", dict(vocabulary="train", split="random")),
    ("gz", dict(vocabulary="train", split="time", split_column="day", retire_after=3)),
    ("csv", dict(vocabulary="train", split="chronological", keep_negatives=0.5)),
]


@pytest.mark.parametrize(("form", "settings"), SPLITS)
def test_workers_elsewhere_make_the_same_bytes(form, settings, elsewhere, tmp_path):
    folder = write_parts(log_of(), tmp_path / "log", form)
    here = made(folder, tmp_path / "here", **settings)
    there = elsewhere(lambda: made(folder, tmp_path / "there", **settings))
    assert content(here) == content(there)
    assert here.name == there.name
    assert sorted(path.name for path in here.iterdir()) == sorted(path.name for path in there.iterdir())


def test_kinds_that_the_first_rows_hide_are_found_elsewhere_too(elsewhere, tmp_path, monkeypatch):
    monkeypatch.setattr("eulernet.data.sets.table.SAMPLE", 5)
    folder = write_parts(log_of(), tmp_path / "log", "gz")
    here = made(folder, tmp_path / "here", fields=None, ignore=["word"])
    there = elsewhere(lambda: made(folder, tmp_path / "there", fields=None, ignore=["word"]))
    assert content(here) == content(there)


@pytest.mark.parametrize("form", ["csv", "gz"])
def test_a_wrong_row_is_named_as_ever_and_leaves_nothing(form, elsewhere, tmp_path):
    frame = log_of().with_columns(click=pl.when(pl.int_range(3000) == 1500).then(7).otherwise("click"))
    folder = write_parts(frame, tmp_path / "log", form)
    with pytest.raises(UserError) as here:
        made(folder, tmp_path / "data", min_count=1)
    with pytest.raises(UserError) as there:
        elsewhere(lambda: made(folder, tmp_path / "data", min_count=1))
    assert str(here.value) == str(there.value)
    assert f"part-1.csv{'.gz' * (form == 'gz')}, line 502: the label is 7" in str(there.value)
    assert not (tmp_path / "data").exists()


def test_paths_are_said_as_they_were_given(elsewhere, tmp_path, monkeypatch):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "log.csv").write_text("click,k\n1,a\n2,b\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"^sub/log.csv, line 3: the label is 2"):
        elsewhere(lambda: made("sub/log.csv", "data", fields=None))


def test_what_cannot_be_done_elsewhere_is_refused(elsewhere, tmp_path):
    folder = write_parts(log_of(), tmp_path / "log", "csv")
    past = {"past": {"kind": "history", "by": "device", "of": "site", "order": "day", "length": 3}}
    with pytest.raises(UserError, match="engine=dask computes no histories"):
        elsewhere(lambda: made(folder, tmp_path / "data", fields={"site": "category", **past}))


@pytest.fixture(scope="module")
def scheduler():
    with LocalCluster(processes=False, n_workers=2, threads_per_worker=1, dashboard_address=":0") as started:
        yield started.scheduler_address


def criteo(tmp_path, rows=400):
    draw = np.random.default_rng(1)
    lines = [
        [str(i % 2), *map(str, draw.integers(0, 9, 13)), *(f"{n:08x}" for n in draw.integers(0, 5, 26))]
        for i in range(rows)
    ]
    (tmp_path / "train.txt").write_text("\n".join(map("\t".join, lines)) + "\n")
    return tmp_path / "train.txt"


def test_dask_makes_the_same_bytes_and_tells_of_a_wrong_row(scheduler, tmp_path, monkeypatch):
    monkeypatch.setattr(raw, "SMALLEST_BLOCK", 1 << 14)
    file, settings = criteo(tmp_path), dict(min_count=1, vocabulary="train", split="chronological", split_seed=1)
    here = make_criteo([file], tmp_path / "here", 1e-5, accept_terms=False, **settings)
    with working("dask", scheduler, 60) as found:
        found.require_seen([file, tmp_path])
        there = make_criteo([file], tmp_path / "there", 1e-5, accept_terms=False, **settings)
        assert content(here) == content(there)
        with pytest.raises(UserError, match=f"does not see {tmp_path / 'nowhere'} as it is here"):
            found.require_seen([tmp_path / "nowhere"])
        file.write_text(file.read_text() + "2" + "\t" * 39 + "\n")
        with pytest.raises(UserError, match=r"train\.txt, line 401: the label is 2"):
            make_criteo([file], tmp_path / "wrong", 1e-5, accept_terms=False, **settings)
    assert not (tmp_path / "wrong").exists()
    assert workers.current().here


def test_it_ends_where_no_worker_is_left(monkeypatch):
    monkeypatch.setattr(cluster, "PATIENCE", 0.01)
    message = "^engine=dask: no worker has come within 0.01 s; start dask worker, then run again$"
    with LocalCluster(processes=False, n_workers=1, threads_per_worker=1, dashboard_address=":0") as started:
        with working("dask", started.scheduler_address, 0.01) as found:
            found.client.retire_workers(list(found.client.nthreads()))
            with pytest.raises(UserError, match=message):
                found.submit(abs, -1).result()
        for wait in (0.01, 0):  # 0: not at all
            said = message.replace("0.01", f"{wait:g}")
            with pytest.raises(UserError, match=said), working("dask", started.scheduler_address, wait):
                pass


def test_threads_do_without_dask_and_dask_says_what_it_needs(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    monkeypatch.delitem(sys.modules, "eulernet.data.cluster")
    made(write_parts(log_of(), tmp_path / "log", "csv"), tmp_path / "data")
    with (
        pytest.raises(UserError, match=r'^engine=dask needs distributed: pip install "eulernet\[dask\]"$'),
        working("dask", None, 60),
    ):
        pass


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (("dask", "tcp://127.0.0.1:9"), "^scheduler=tcp://127.0.0.1:9: cannot be reached .*is a Dask scheduler there"),
        (("dask", "nonsense://x"), "^scheduler=nonsense://x: give an address, as tcp://host:8786"),
        (("threads", "tcp://host:8786"), "scheduler=tcp://host:8786 goes with engine=dask"),
        (("ray", None), "unknown engine 'ray'; known: threads, dask"),
    ],
)
def test_a_scheduler_that_is_not_there(given, message, monkeypatch):
    monkeypatch.setattr(cluster, "REACHED", 0.3)
    with pytest.raises(UserError, match=message), working(*given, 0):
        pass
