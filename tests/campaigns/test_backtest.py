"""Training forward through time: what each step learns from, how a stopped backtest goes on, and what is refused."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
from tables import prepared

import eulernet
from eulernet.campaigns.backtest import Backtest, backtest
from eulernet.campaigns.windows import Length, Step, cut, lengths
from eulernet.errors import UserError
from eulernet.files import locked
from eulernet.reporting.backtest import compare, write_findings
from eulernet.runs.run import Run

FIRST = datetime(2026, 1, 1, 7, tzinfo=UTC)


def log_of(days, seed=0):
    """A log of so many rows each day, whose items change by the day."""
    draw, parts = np.random.default_rng(seed), []
    for day, rows in enumerate(days):
        item = draw.integers(day, day + 8, rows)
        at = [FIRST.replace(hour=0) + timedelta(days=day, minutes=int(m)) for m in draw.integers(0, 1440, rows)]
        clicked = (draw.random(rows) < 1 / (1 + np.exp(-np.sin(item)))).astype(int)
        parts.append(pl.DataFrame({"item": [f"i{i}" for i in item], "price": draw.normal(size=rows), "click": clicked,
                                   "at": [f"{one:%Y-%m-%d %H:%M:%S}" for one in at]}))  # fmt: skip
    return pl.concat(parts)


def asked(raw, folder, *overrides):
    quick = ["model=lr", "train.max_epochs=1", "device=cpu", "window=2d", "step=1d", "split_column=at"]
    cfg = eulernet.cli.compose("backtest", [f"raw={raw}", *quick, f"hydra.run.dir={folder}", *overrides])
    folder.mkdir(exist_ok=True)
    return cfg


def parts_of(folder):
    return {place.name: pl.read_parquet(place / "*.parquet") for place in sorted(folder.iterdir()) if place.is_dir()}


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_every_row_is_in_the_folder_of_its_step(tmp_path, suffix):
    log = log_of([30, 40, 0, 20]).sample(fraction=1, shuffle=True, seed=1)
    file = tmp_path / f"log.{suffix}"
    log.write_csv(file) if suffix == "csv" else log.write_parquet(file)
    steps, dataset = cut(asked(file, tmp_path / "bt"), tmp_path / "bt/steps")
    assert [step.name for step in steps] == ["2026-01-01", "2026-01-02", "2026-01-03", "2026-01-04"]
    parts = parts_of(tmp_path / "bt/steps")
    assert list(parts) == ["0000", "0001", "0003"]
    for name, part in parts.items():
        day = log.filter(pl.col("at").str.starts_with(steps[int(name)].name))
        assert part.select("item", "price", "at").equals(day.select("item", "price", "at"))
        assert (steps[int(name)].rows, steps[int(name)].clicks) == (len(day), day["click"].sum())
    assert dataset["fields"] == {"item": "category", "price": "number"}
    assert dataset["label"] == "click"


def test_rows_are_counted_in_the_order_of_the_files(tmp_path):
    log = log_of([50])
    log[:20].write_csv(tmp_path / "a.csv")
    log[20:].write_csv(tmp_path / "b.csv")
    cfg = asked(f"[{tmp_path}/a.csv,{tmp_path}/b.csv]", tmp_path / "bt", "window=30rows", "step=15rows",
                "split_column=null")  # fmt: skip
    steps, _ = cut(cfg, tmp_path / "bt/steps")
    assert [(step.name, step.rows) for step in steps] == [("row 1", 15), ("row 16", 15), ("row 31", 15), ("row 46", 5)]
    assert pl.concat(parts_of(tmp_path / "bt/steps").values())["price"].to_list() == log["price"].to_list()


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A backtest that ended, of five days."""
    folder = tmp_path_factory.mktemp("backtest")
    log_of([120] * 5).write_csv(folder / "log.csv")
    cfg = asked(folder / "log.csv", folder / "bt")
    backtest(cfg, folder / "bt")
    return cfg, folder / "bt"


def test_values_in_buckets_are_unknown(tmp_path):
    """Those of rare values: ids of their own, and yet not known."""
    prepare, _ = prepared(
        pl.DataFrame({"k": ["a", "a", "b"]}), tmp_path, {"kind": "category", "min_count": 30, "buckets": 4}
    )
    (tmp_path / "steps/0000").mkdir(parents=True)
    pl.DataFrame({"k": ["a", "b", "new", None]}).write_parquet(tmp_path / "steps/0000/log.parquet")
    assert Backtest(tmp_path, {}, [], 1).unknown(SimpleNamespace(preprocessor=prepare), 0) == 0.75


def test_each_mode_learns_from_what_it_should(done):
    _, folder = done
    found = {(one["mode"], one["step"]): one for one in json.loads((folder / "backtest.json").read_text())}
    assert sorted(found) == sorted((mode, step) for mode in ("warm", "cold", "frozen") for step in (2, 3, 4))
    assert len({(found[mode, 2]["auc"], found[mode, 2]["run"]) for mode in ("warm", "cold", "frozen")}) == 1
    runs = {mode: Run.open(found[mode, 4]["run"]) for mode in ("warm", "cold", "frozen")}
    raw = {mode: [Path(one).name for one in run.config["raw"]] for mode, run in runs.items()}
    assert raw == {"warm": ["0003"], "cold": ["0002", "0003"], "frozen": ["0000", "0001"]}
    assert [Path(one["run"]).name for one in runs["warm"].report["ancestry"]] == ["first", "warm_0003"]
    assert not runs["cold"].report.get("ancestry")
    predictor = eulernet.Predictor.load(found["cold", 4]["run"])
    rows = pl.read_parquet(folder / "steps/0004/*.parquet")
    p, y = predictor.predict(rows), rows["click"].to_numpy()
    assert found["cold", 4]["logloss"] == pytest.approx(-np.mean(np.log(np.where(y == 1, p, 1 - p))), abs=1e-6)
    below = (p[y == 1][:, None] > p[y == 0]) + 0.5 * (p[y == 1][:, None] == p[y == 0])
    assert found["cold", 4]["auc"] == pytest.approx(below.mean(), abs=1e-9)
    known = predictor.preprocessor.coders[0].vocabulary.values
    assert found["cold", 4]["unknown"] == pytest.approx(1 - rows["item"].is_in(known.implode()).mean())
    html = (folder / "backtest.html").read_text()
    assert html.count("<svg") >= 2
    assert "warm - frozen" in html
    assert not (folder / "data").exists()


def test_a_backtest_that_goes_on_reads_no_other_log(done, run_command):
    ended = run_command("backtest", f"resume={done[1]}", "raw=longer.csv", f"hydra.run.dir={done[1]}")
    assert (ended.code, ended.err.count("\n")) == (1, 0), ended
    assert "raw cannot change" in ended.err


def test_a_log_that_was_thinned_is_measured_as_the_whole_and_columns_are_left_out(tmp_path):
    log_of([120] * 3).with_columns(note=pl.lit("x")).write_csv(tmp_path / "log.csv")
    (tmp_path / "bt/steps").mkdir(parents=True)
    (tmp_path / "bt/steps/steps.json").write_text("of another log, that was refused")
    thin = ["mode=frozen", "dataset.negatives_kept=0.1", "dataset.ignore=[note]"]
    backtest(asked(tmp_path / "log.csv", tmp_path / "bt", *thin), tmp_path / "bt")
    (found,) = json.loads((tmp_path / "bt/backtest.json").read_text())
    rows = pl.read_parquet(tmp_path / "bt/steps/0002/*.parquet")
    assert "note" not in rows.columns
    p, y = eulernet.Predictor.load(found["run"]).predict(rows), rows["click"].to_numpy()
    losses, weights = -np.log(np.where(y == 1, p, 1 - p)), np.where(y == 1, 1.0, 10.0)
    assert found["logloss"] == pytest.approx(np.average(losses, weights=weights), abs=1e-6)


def stopped_at(number, real, calls, name):
    """``real``, but its call of that number is a Ctrl-C; ``calls`` gets the ``name`` of each."""

    def call(*args, **settings):
        calls.append(name(*args))
        if len(calls) == number:
            raise KeyboardInterrupt
        return real(*args, **settings)

    return call


def test_it_goes_on_where_it_was_stopped_and_repeats_nothing(done, tmp_path, monkeypatch):
    cfg, finished = done
    cfg = {**cfg}
    folder, real, calls = tmp_path / "bt", eulernet.campaigns.backtest.train, []
    folder.mkdir()

    monkeypatch.setattr("eulernet.campaigns.backtest.train", stopped_at(3, real, calls, lambda cfg, run, *_: run.name))
    with pytest.raises(KeyboardInterrupt):
        backtest(cfg, folder)
    backtest(cfg, folder)
    assert calls == ["first", "warm_0003", "cold_0003", "cold_0003", "warm_0004", "cold_0004"]
    once, again = (json.loads((one / "backtest.json").read_text()) for one in (finished, folder))
    same = ("mode", "step", "auc", "logloss", "unknown", "new")
    assert [[one[key] for key in same] for one in once] == [[one[key] for key in same] for one in again]
    backtest(cfg, folder)
    assert len(calls) == 6


def test_a_run_without_its_last_file_is_ended(done, tmp_path, monkeypatch):
    cfg, finished = done
    folder, real, calls = tmp_path / "bt", eulernet.runs.train.write_manifest, []
    folder.mkdir()

    monkeypatch.setattr("eulernet.runs.train.write_manifest", stopped_at(2, real, calls, lambda run: run.name))
    with pytest.raises(KeyboardInterrupt):
        backtest(cfg, folder)
    backtest(cfg, folder)
    assert calls == ["first", "warm_0003", "warm_0003", "cold_0003", "warm_0004", "cold_0004"]
    once, again = (json.loads((one / "backtest.json").read_text()) for one in (finished, folder))
    assert [one["auc"] for one in once] == [one["auc"] for one in again]


@pytest.mark.parametrize("name", ["data", "runs", "steps"])
def test_folders_of_others_are_left_alone(name, tmp_path, run_command):
    log_of([40, 40, 40]).write_csv("log.csv")
    Path("mine", name).mkdir(parents=True)
    Path("mine", name, "notes.txt").write_text("mine")
    asked = ["raw=log.csv", "model=lr", "window=1d", "step=1d", "split_column=at", "hydra.run.dir=mine", "device=cpu"]
    ended = run_command("backtest", *asked)
    assert ended.code == 1
    assert ended.err == f"error: mine holds {name} already: give another hydra.run.dir="
    assert [str(file) for file in Path("mine").rglob("*") if file.is_file()] == [f"mine/{name}/notes.txt"]


def test_a_backtest_that_is_refused_leaves_the_folder_of_the_one_at_work(tmp_path, run_command, monkeypatch):
    """Both were about to make the folder."""
    log_of([40, 40, 40]).write_csv("log.csv")
    Path("bt").mkdir()
    monkeypatch.setattr("eulernet.cli.folders._made", [Path("bt").absolute()])
    monkeypatch.setattr("eulernet.cli.folders.Folders._note", lambda *_: None)
    with locked(Path("bt")):
        asked = ["raw=log.csv", "model=lr", "window=1d", "step=1d", "split_column=at", "hydra.run.dir=bt"]
        ended = run_command("backtest", *asked)
        assert "another process trains there" in ended.err
        assert Path("bt").is_dir()


def test_a_step_without_rows_or_clicks_leaves_the_warm_model(tmp_path, caplog):
    log = log_of([120, 120, 60, 60, 60, 60])
    quiet = (pl.col("at") >= "2026-01-03") & (pl.col("at") < "2026-01-04")
    log = log.with_columns(click=pl.when(quiet).then(0).otherwise("click")).filter(
        pl.col("at").str.slice(0, 10) != "2026-01-05"
    )
    log.write_csv(tmp_path / "log.csv")
    with caplog.at_level("INFO", "eulernet"):
        backtest(asked(tmp_path / "log.csv", tmp_path / "bt", "mode=warm"), tmp_path / "bt")
    found = json.loads((tmp_path / "bt/backtest.json").read_text())
    assert [(one["name"], one["auc"] is None, Path(one["run"]).name) for one in found] == [
        ("2026-01-03", True, "first"), ("2026-01-04", False, "first"), ("2026-01-06", False, "warm_0004"),
    ]  # fmt: skip
    assert "2026-01-03 has no click: the warm model stays what it is" in caplog.text
    assert "2026-01-05 has no row" in caplog.text


@pytest.mark.parametrize(
    ("days", "overrides", "said"),
    [
        ([40, 0, 0, 40, 40], ["window=1d", "mode=cold"], "no row from 2026-01-03 to 2026-01-03, the log has a gap"),
        ([40, 40], ["window=2d"], "the log has 2 steps of 1d (2026-01-01 to 2026-01-02); give a shorter one"),
        ([40] * 3, ["window=36h"], "the window should be a whole number of steps"),
        ([40] * 3, ["window=2"], "window=2: give days, hours, minutes or rows"),
        ([40] * 3, ["window=20rows"], "of rows goes by the order of the files: leave split_column out"),
        ([40] * 3, ["split_column=null"], "of time goes by a column: give split_column="),
        ([40] * 3, ["split_column=nothing"], "split_column: no column 'nothing'"),
        ([40] * 3, ["split_column=item"], "log.csv, line 2: item is 'i6', which is no time as the others are"),
        ([40] * 3, ["mode=hot"], "unknown mode 'hot'"),
        ([40] * 3, ["model=lightgbm"], "model=lightgbm learns all rows at once: leave warm out, mode=[cold,frozen]"),
        ([40] * 3, ["steps=0"], "steps=0: give a whole number"),
        ([40] * 3, ["dataset.split=files"], "dataset.split=files: of a window only"),
        ([40] * 3, ["dataset.split=time"], "dataset.split=time goes by a column: give dataset.split_column"),
    ],
)
def test_what_cannot_be_is_one_line(tmp_path, days, overrides, said):
    log_of(days).write_csv(tmp_path / "log.csv")
    with pytest.raises(UserError) as refused:
        backtest(asked(tmp_path / "log.csv", tmp_path / "bt", *overrides), tmp_path / "bt")
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)
    assert {one.name for one in (tmp_path / "bt").iterdir()} <= {".lock", "steps"}


def test_lengths():
    assert Length.of("90m", "step").count == 90 * 60 * 10**6
    assert lengths({"step": "1d", "window": "7d", "split_column": "at"})[1] == 7
    assert lengths({"step": "6h", "window": "7d", "split_column": "at"})[1] == 28
    assert lengths({"step": "10rows", "window": "30rows", "split_column": None})[1] == 3


def test_the_answer_is_a_paired_test_over_the_steps_after_the_first(tmp_path):
    aucs = {"warm": [0.5, 0.71, 0.72, 0.74], "frozen": [0.5, 0.70, 0.70, 0.71]}
    common = {"rows": 9, "clicks": 4, "logloss": 0.5, "unknown": 0.1, "learned": 7, "new": None, "seconds": 1.0}
    found = [{"mode": mode, "step": i, "name": f"day {i}", "auc": auc, **common}
             for mode, values in aucs.items() for i, auc in enumerate(values)]  # fmt: skip
    first, verdict = compare(found, ["warm", "frozen"])
    differences = np.array([0.01, 0.02, 0.03])
    reach = 4.302653 * differences.std(ddof=1) / 3**0.5
    assert f"AUC +0.02000 [{0.02 - reach:+.5f}, {0.02 + reach:+.5f}]" in first
    assert verdict == "warm training at every step: no gain that 3 steps can tell from none"
    better = [{**one, "auc": one["auc"] + (0.1 if one["mode"] == "warm" and one["step"] else 0)} for one in found]
    assert "warm training at every step is worth it here: it gains 0.12000" in compare(better, ["warm", "frozen"])[1]
    cfg = {"window": "1d", "step": "1d", "model": {"name": "lr"}, "dataset": {"name": "table"}}
    write_findings(found, cfg, [Step("day 0", 9, 4)], tmp_path)
    assert (tmp_path / "backtest.csv").read_text().splitlines()[1] == "day 0,warm,9,4,0.50000,0.50000,10.00%,,7,1.0"
