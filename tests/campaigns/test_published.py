"""Each published run is what conf/ describes today: reproduce finds it, and trains nothing again."""

import csv
import json

import pytest
import yaml
from conftest import REPOSITORY
from hydra import initialize_config_dir

from eulernet.campaigns.planned import Conf, finished, plan
from eulernet.reproduce import composed
from eulernet.runs.groups import identity

RESULTS, CONF = REPOSITORY / "results", REPOSITORY / "conf"
GIVEN = {"models": None, "overrides": [], "raw": None, "data_dir": "data", "accept_terms": False, "memory": 2}


def files(group):
    folder = CONF / group
    return {file.relative_to(folder).with_suffix("").as_posix(): file for file in folder.rglob("*.yaml")}


# To plan a run takes a tenth of a second: by default the first seed of each setting, all of them with -m slow.
@pytest.fixture(scope="module", params=[[2022], pytest.param([2022, 2023, 2024], marks=pytest.mark.slow)], ids=str)
def planned(request):
    """The identities of all runs of the published tables: by table, dataset and setting, of each seed."""
    found = {}
    with initialize_config_dir(str(CONF), version_base="1.3"):
        for table in ("overall", "ablation", "layers", "orders", "embedding"):
            content = yaml.safe_load((CONF / "table" / f"{table}.yaml").read_text())
            for dataset in {line["dataset"] for line in lines(table)}:
                cfg = {**GIVEN, "out": "outputs", "table": content, "seeds": request.param}
                for run in plan(cfg, dataset, Conf(composed, files)):
                    found.setdefault((table, dataset, run.setting), {})[run.seed] = run.identity
    return found


def planned_seeds(planned):
    return {seed for setting in planned.values() for seed in setting}


def lines(table):
    with (RESULTS / "tables" / f"{table}.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_every_published_run_is_found_again(planned):
    there = finished([RESULTS])
    published = [(table, line["dataset"], line["setting"], int(seed))
                 for table in ("overall", "ablation", "layers", "orders", "embedding")
                 for line in lines(table) for seed in line["seeds"].split()]  # fmt: skip
    published = [key for key in published if key[3] in planned_seeds(planned)]
    lost = [key for key in published if planned[key[:3]][key[3]] not in there]
    assert not lost
    assert len(published) > 50 * len(planned_seeds(planned))


@pytest.mark.parametrize("seeds", [{1}, pytest.param(set(range(1, 6)), marks=pytest.mark.slow)], ids=str)
def test_every_report_of_equal_effort_is_of_the_setting_that_was_written_down(seeds):
    rows = sorted(RESULTS.glob("equal_*/*/*/settings.json"))
    with initialize_config_dir(str(CONF), version_base="1.3"):
        for file in rows:
            chosen, shipped = json.loads(file.read_text()), file.parent.with_name(f"{file.parent.name}_shipped")
            for folder, overrides in ((file.parent, chosen["overrides"]), (shipped, chosen["default"])):
                for run in finished([folder]).values():
                    if run.seed not in seeds:
                        continue
                    pair = chosen["protocol"]["pairs"][str(run.seed)]
                    (config,) = composed([*overrides, *pair], [run.seed])
                    assert identity(config) == identity(run.report["config"]), run.folder


def test_every_committed_report_belongs_to_a_table(planned):
    wanted = {key for setting in planned.values() for key in setting.values()}
    for row in RESULTS.glob("equal_*/*/*"):  # each of them is tested above
        wanted |= finished([row]).keys()
    others = [run for key, run in finished([RESULTS]).items() if key not in wanted]
    assert not [run.folder for run in others if run.seed in planned_seeds(planned)]


# What was typed for each, as docs/results.md has it; then the batch and the patience of table.search.fixed.
RECIPE = '"train=table","~tuned"'
EQUAL = {
    "movielens_1m": (["datasets=[movielens_1m]", f"overrides=[{RECIPE}]"], "auto", 3),
    "kdd12": (["datasets=[kdd12]"], "auto", 5),
    "movielens_100k_time": (["datasets=[movielens_100k]", 'overrides=["dataset.split=time"]'], "512", 3),
    "criteo_time": (
        ["datasets=[criteo]", "trials=8", "seeds=3", f'overrides=["dataset.split=chronological",{RECIPE}]'], "auto", 3,
    ),
}  # fmt: skip


@pytest.mark.slow  # to plan the runs of a table takes half a minute
@pytest.mark.parametrize("name", EQUAL)
def test_a_published_table_of_equal_effort_is_written_again_from_what_is_published(in_process, tmp_path, name):
    args, batch, patience = EQUAL[name]
    fixed = f'"train.batch_size={batch}","train.reshuffle=true","train.max_epochs=40","train.patience={patience}"'
    models = ",".join(line["setting"] for line in lines(f"equal_effort_{name}"))
    args = [*args, f"models=[{models}]", f"table.search.fixed=[{fixed}]", f"reuse=[{RESULTS}]", "missing=skip"]
    (tmp_path / "conf").mkdir()
    done = in_process(tmp_path, "table=equal_effort", *args, "out=out")
    assert done.code == 0, done.err
    for suffix in ("csv", "md", "tex"):
        written = tmp_path / f"out/tables/equal_effort.{suffix}"
        assert written.read_bytes() == (RESULTS / f"tables/equal_effort_{name}.{suffix}").read_bytes()
