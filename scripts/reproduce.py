"""A table of the paper, or of conf/table, from the question to the evidence, in one command:

    python scripts/reproduce.py table=overall datasets=[movielens_1m] seeds=5 jobs=2

``table`` is overall, ablation, layers, orders, embedding, efficiency, benchmarks, or a file of your own in
``--config-dir`` FOLDER/table. What is missing is trained, ``jobs`` runs at a time; a finished run is known by its
configuration and never repeated. Kill it and start it again: it goes on. A run that fails is reported and the others
go on. The table is written as Markdown, LaTeX and CSV: mean and standard deviation over seeds, the best against the
second, published figures beside ours.
"""

import csv
import json
import logging
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from hydra import compose
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from eulernet.campaigns.campaign import Job, finished, run_missing
from eulernet.campaigns.cost import cost_latex, cost_table, costs
from eulernet.campaigns.tables import Block, as_csv, latex, long_csv, markdown, read_published
from eulernet.cli import command, config_folders, to_plain
from eulernet.cli.callbacks import discard_unless_started
from eulernet.data.dataset import Dataset
from eulernet.data.prepare import prepare
from eulernet.errors import UserError, choose, require
from eulernet.reporting.build import score_all
from eulernet.reporting.compare import order
from eulernet.reporting.runs import REPORT, Run, Setting, identity, read_report
from eulernet.training.device import device_of_job, pick_device
from eulernet.training.files import write_atomically

log = logging.getLogger(__name__)

RESULTS = Path(__file__).parents[1] / "results"
OURS = ("table", "datasets", "models", "seeds", "jobs", "missing", "overrides", "out", "reuse", "publish")
PASSED_ON = ("data_dir", "accept_terms", "memory")  # to every run, as they are


@command("reproduce")
def main(cfg: DictConfig) -> None:
    """Train what is missing, and write the table."""
    out = Path(HydraConfig.get().runtime.output_dir)
    try:
        reproduce(to_plain(cfg, OURS), HydraConfig.get().runtime.choices["table"])
    finally:
        if not any(path.is_dir() for path in out.iterdir()):  # no run, no table
            discard_unless_started(out)


def reproduce(plain: dict[str, Any], name: str) -> None:
    """The table called ``name`` that the plain configuration describes."""
    out = Path(plain["out"])
    check(plain)
    for folder in named(plain["reuse"]):
        require(Path(folder).is_dir(), f"reuse={folder}: no such folder")
    wanted = [job for dataset in named(plain["datasets"]) for job in plan(plain, dataset, out)]
    folders = [out, *map(Path, named(plain["reuse"]))]
    known, failures = finished(folders), dict[Job, str]()
    missing = {job.identity: job for job in reversed(wanted) if job.identity not in known}  # of twins the first
    if plain["missing"] == "train":
        for dataset in dict.fromkeys(job.dataset for job in wanted):
            require_same_rows([job for job in wanted if job.dataset == dataset], known, raw_of(plain, dataset))
    if missing and plain["missing"] == "train":
        done = {job: known[job.identity] for job in wanted if job.identity in known}
        log.info("%s: %d runs are there, %d to train", name, len(done), len(missing))
        for dataset in dict.fromkeys(job.dataset for job in missing.values()):
            prepare(composed_as(next(job for job in missing.values() if job.dataset == dataset)))
        device = lambda slot: device_of_job(str(plain["device"]), slot)  # noqa: E731
        try:
            failures = run_missing(list(reversed(missing.values())), done, plain["jobs"], device, own_folder())
        except KeyboardInterrupt:
            log.info("stopped; the same command goes on")
            raise
        known = finished(folders)
    blocks = [block(plain, dataset, [job for job in wanted if job.dataset == dataset], known)
              for dataset in dict.fromkeys(job.dataset for job in wanted)]  # fmt: skip
    blocks = [one for one in blocks if one.settings]
    require(bool(blocks), f"{name}: there is no finished run to make a table of" + told(failures))
    files = write(name, blocks, plain, out / "tables")
    print("\n" + files[0].read_text())
    there = sum(len(setting.runs) for one in blocks for setting in one.settings)
    print(f"{name}: {there} of {len(wanted)} runs, table: {files[0]} (.tex, .csv)")
    if plain["publish"] is not None:
        publish_runs(blocks, Path(plain["publish"]))
    if failures:
        raise UserError(f"{len(failures)} runs failed" + told(failures))
    if plain["publish"] is not None:
        publish_table(files, Path(plain["publish"]) / "tables")


def told(failures: Mapping[Job, str]) -> str:
    return "".join(f"; {job}: {said}" for job, said in failures.items())


def check(cfg: Mapping[str, Any]) -> None:
    """UserError for a value that cannot be meant."""
    check_table(cfg["table"])
    require(bool(str(cfg["out"] or "").strip()), "out=: give the folder for the runs and the table")
    require(cfg["publish"] is None or bool(str(cfg["publish"]).strip()), "publish=: give a folder, or null for none")
    require(bool(named(cfg["datasets"])), f"datasets={cfg['datasets']}: give one, or a list of them")
    require(type(cfg["jobs"]) is int and cfg["jobs"] >= 1, f"jobs={cfg['jobs']}: give a whole number, 1 or more")
    pick_device(str(cfg["device"]))
    several = len(named(cfg["datasets"])) > 1
    require(
        cfg["raw"] is None or isinstance(cfg["raw"], dict) or not several,
        "raw= is one set's path, but datasets= names several; write raw={criteo: PATH, avazu: PATH}",
    )
    for dataset in cfg["raw"] if isinstance(cfg["raw"], dict) else ():
        choose(dict.fromkeys(named(cfg["datasets"])), str(dataset), "dataset in raw=")
    choose(dict.fromkeys(("train", "skip")), str(cfg["missing"]), "missing")


def check_table(table: Mapping[str, Any]) -> None:
    shows = "conf/table/layers.yaml shows one"
    lacks = {"datasets", "seeds", "first_seed", "common", "settings"} - table.keys()
    require(not lacks, f"the table lacks {', '.join(sorted(lacks))}; {shows}")
    require(type(table["first_seed"]) is int, f"first_seed={table['first_seed']}: give a whole number; {shows}")
    settings = table["settings"]
    require(isinstance(settings, dict) and bool(settings), f"the table's settings name none; {shows}")
    for place, overrides in {"common": table["common"], **settings}.items():
        require(
            all(isinstance(one, str) for one in as_list(overrides)),
            f"{place}: {overrides} of the table is no list of overrides as one would type them, [model=lr]; {shows}",
        )


def as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def named(value: Any) -> list[str]:
    """One name or a list of them, each once; null is none."""
    return list(dict.fromkeys(map(str, as_list(value)))) if value is not None else []


def raw_of(cfg: Mapping[str, Any], dataset: str) -> Any:
    return cfg["raw"].get(dataset) if isinstance(cfg["raw"], dict) else cfg["raw"]


def own_folder() -> list[str]:
    """The --config-dir that was given, as options for the runs."""
    sources = HydraConfig.get().runtime.config_sources
    return [word for one in sources if one.provider == "command-line" for word in ("--config-dir", one.path)]


def require_same_rows(jobs: Sequence[Job], known: Mapping[tuple[str, int, int], Run], raw: Any) -> None:
    """UserError where finished runs were trained on other rows than those of the raw files that were given.

    A configuration does not tell: it is the same wherever the files lie, and whatever is in them.
    """
    there = [known[job.identity] for job in jobs if job.identity in known]
    if raw is None or not there:
        return
    config = composed_as(jobs[0])
    store = "/".join(prepare(config).parts[-2:])
    for run in there:
        if run.report["config"]["dataset"] == config["dataset"]:
            require(run.store == store, f"{run.folder} was trained on other rows than raw={raw} has; give another out=")


def seeds(cfg: Mapping[str, Any]) -> list[int]:
    given = cfg["seeds"]
    if isinstance(given, list):
        require(bool(given) and all(type(seed) is int for seed in given), f"seeds={given}: give whole numbers")
        return list(dict.fromkeys(given))
    require(type(given) is int and given >= 1, f"seeds={given}: how many, 1 or more, or a list of them")
    return [cfg["table"]["first_seed"] + i for i in range(given)]


def plan(cfg: Mapping[str, Any], dataset: str, out: Path) -> list[Job]:
    """The runs that the table needs of ``dataset``."""
    table = cfg["table"]
    known = {file.stem: file for folder in config_folders() for file in (folder / "dataset").glob("*.yaml")}
    choose(known, dataset, "datasets")
    raw = raw_of(cfg, dataset)
    given = ["raw=" + quoted(raw)] if raw is not None else []
    given += [f"{key}={quoted(cfg[key])}" for key in PASSED_ON]
    models = named(cfg["models"])
    for setting in models:
        choose(table["settings"], setting, "models")
    jobs = []
    for setting in models or table["settings"]:
        of_table = [*as_list(table["common"]), *as_list(table["settings"][setting])]
        overrides = [f"dataset={dataset}", *given, *(fill(one, dataset, table) for one in of_table)]
        if table.get("only_tuned") and not models and not tuned_cell(latest(overrides))[1]:
            continue
        line = latest([*overrides, *map(str, as_list(cfg["overrides"]))])
        cell, there = tuned_cell(line)
        asked = any(one.startswith("tuned=") for one in line)
        hint = "; try table.recipe=eulernet" if "recipe" in table else ""
        require(there or not asked, f"{setting} on {dataset}: there is no conf/tuned/{cell}.yaml{hint}")
        if any("{width}" in one for one in line):
            width = first_width([one for one in line if "{width}" not in one])
            line = tuple(one.replace("{width}", str(width)) for one in line)
        for seed, config in zip(seeds(cfg), composed(line, seeds(cfg)), strict=True):
            key = identity(config)
            folder = out / dataset / f"{setting}.{key[0]}" / run_name(key)
            jobs.append(Job(dataset, str(setting), seed, latest([*line, f"seed={seed}"]), key, folder))
    return jobs


def run_name(key: tuple[str, int, int]) -> str:
    """The seed, and that of the row order where it is another."""
    return str(key[1]) if key[1] == key[2] else f"{key[1]}.{key[2]}"


def quoted(value: Any) -> str:
    return f"'{value}'" if isinstance(value, str) else str(value)


def latest(overrides: Sequence[str]) -> tuple[str, ...]:
    """One override a key, the last: Hydra takes a group only once, and none that is left out."""
    return tuple({one.removeprefix("~").partition("=")[0]: one for one in overrides}.values())


def fill(override: str, dataset: str, table: Mapping[str, Any]) -> str:
    """``override`` with the dataset and the recipe in their places; {width} waits for what they give."""
    try:
        return override.format(dataset=dataset, recipe=table.get("recipe"), width="{width}")
    except (KeyError, ValueError, IndexError):
        names = "{dataset}, {recipe} and {width}"
        raise UserError(f"{override!r} of the table: only {names} are replaced; write {{{{ }}}} for braces") from None


def tuned_cell(overrides: Sequence[str]) -> tuple[str, bool]:
    """The tuned cell that ``overrides`` ask for, by name or as dataset and model, and whether it is there."""
    given = dict(one.split("=", 1) for one in overrides if "=" in one)
    require("model" in given, f"the table names no model= beside {', '.join(overrides)}")
    cell = given.get("tuned", f"{given['dataset']}/{given['model']}")
    return cell, any((folder / "tuned" / f"{cell}.yaml").is_file() for folder in config_folders())


def first_width(overrides: Sequence[str]) -> int:
    (config,) = composed(overrides, [0])
    orders = config["model"].get("orders")
    require(bool(orders), "{width} of a table needs a tuned setting with model.orders")
    return int(orders[0])


def composed(overrides: Sequence[str], of_seeds: Sequence[int]) -> list[dict[str, Any]]:
    """The configuration of ``eulernet.train`` with these overrides and each seed, as the run's report will have it."""
    found: list[Any] = []
    try:
        cfg = compose("train", list(overrides))
        for seed in of_seeds:
            cfg.seed = seed  # what else is made of the seed follows it
            found.append(OmegaConf.to_container(cfg, resolve=True))
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(f"eulernet.train cannot take {' '.join(overrides)}: {str(error).splitlines()[0]}") from None
    return found


def composed_as(job: Job) -> dict[str, Any]:
    (config,) = composed(job.overrides, [job.seed])
    return config


def block(cfg: Mapping[str, Any], dataset: str, jobs: Sequence[Job], runs: Mapping[tuple[str, int, int], Run]) -> Block:
    """What there is of the table for ``dataset``, the test rows of the two best settings scored."""
    by_setting: dict[str, list[Run]] = {}
    for job in jobs:
        if job.identity in runs:
            by_setting.setdefault(job.setting, []).append(runs[job.identity])
    settings = [Setting(name, of) for name, of in by_setting.items()]
    if cfg["table"].get("by_auc"):
        settings = [settings[i] for i in order(settings, "auc")]
    entries = yaml.safe_load((RESULTS / "published.yaml").read_text())
    plain = Block(dataset, settings, read_published(entries.get(dataset, [])))
    if not plain.comparable:
        stores = sorted({run.store for setting in settings for run in setting.runs})
        log.warning("%s: runs of %d different stores are not ranked: %s", dataset, len(stores), ", ".join(stores))
    verdict = plain.verdict()
    if verdict is None:
        return plain
    data_dir = Path(cfg["data_dir"])
    scores, unscored = score_all([*verdict.best.runs, *verdict.second.runs], data_dir, pick_device(str(cfg["device"])))
    for why in dict.fromkeys(one for each in unscored.values() for one in each):
        log.warning("not tested over rows: %s", why)
    return Block(dataset, settings, plain.published, next(iter(scores.values()), None))


def write(name: str, blocks: Sequence[Block], cfg: Mapping[str, Any], folder: Path) -> list[Path]:
    """The table in three formats; their files."""
    if cfg["table"].get("costs"):
        text, tex, lines = "", "", []
        for one in blocks:
            store = Path(cfg["data_dir"]).expanduser() / one.settings[0].runs[0].store
            again = f"python -m eulernet.prepare dataset={one.dataset} makes it, or give data_dir="
            require((store / "meta.json").is_file(), f"there is no store {store}; {again}")
            costing = costs(one.settings, Dataset.open(store), str(cfg["device"]))
            text += f"{one.dataset}\n\n{cost_table(costing)}\n"
            tex += f"% {one.dataset}\n{cost_latex(costing)}"
            lines += [{"dataset": one.dataset, **line} for line in costing]
        formats = {"md": text, "tex": tex, "csv": as_csv(lines)}
    else:
        formats = {"md": "\n".join(map(markdown, blocks)), "tex": latex(blocks), "csv": long_csv(blocks)}
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / f"{name}.{suffix}" for suffix in formats]
    for file, content in zip(files, formats.values(), strict=True):
        write_atomically(file, lambda path, content=content: path.write_text(content))
    return files


def publish_runs(blocks: Sequence[Block], folder: Path) -> None:
    """Copy report.json and metrics.csv of every run that is not there yet to ``folder``/dataset/setting/seed.

    Published runs of another configuration that bore a setting's name are removed, unless the table has them under
    another one.
    """
    there = set(finished([folder]))
    wanted = {identity(run.report["config"]) for one in blocks for setting in one.settings for run in setting.runs}
    for one in blocks:
        for setting in one.settings:
            place = folder / one.dataset / setting.name
            of_setting = {identity(run.report["config"])[0] for run in setting.runs}
            for file in place.glob(f"*/{REPORT}"):
                old = identity(read_report(file.parent)["config"])
                if old[0] not in of_setting and old not in wanted:
                    log.info("removed: %s, of another configuration", file.parent)
                    file.unlink()  # first: without it the rest counts for nothing
                    shutil.rmtree(file.parent)
                    there.discard(old)
            for run in setting.runs:
                key = identity(run.report["config"])
                if key not in there:
                    into = place / run_name(key)
                    taken = (into / REPORT).exists()
                    copy_run(run, place / f"{into.name}.{key[0]}" if taken else into)
                    there.add(key)


def copy_run(run: Run, into: Path) -> None:
    """``run`` in the folder ``into``; it is there once its report is."""
    into.mkdir(parents=True, exist_ok=True)
    metrics, report = (run.folder / "metrics.csv").read_bytes(), json.dumps(without_paths(run.report), indent=2) + "\n"
    write_atomically(into / "metrics.csv", lambda file: file.write_bytes(metrics))
    write_atomically(into / REPORT, lambda file: file.write_text(report))


def publish_table(files: Sequence[Path], folder: Path) -> None:
    """Copy the table to ``folder``; UserError where it lacks runs that the one there has."""
    (figures,) = (file for file in files if file.suffix == ".csv")
    old, new = seeds_of(folder / figures.name), seeds_of(figures)
    lost = [f"{setting} on {dataset}" for (dataset, setting), n in old.items() if new.get((dataset, setting), 0) < n]
    more = f" and {len(lost) - 3} more" * (len(lost) > 3)
    table = folder / f"{figures.stem}.md"
    require(not lost, f"{table} stays: this one lacks runs of {', '.join(lost[:3])}{more}; delete it to lose them")
    folder.mkdir(parents=True, exist_ok=True)
    for file in files:
        write_atomically(folder / file.name, lambda path, file=file: path.write_bytes(file.read_bytes()))


def seeds_of(table: Path) -> dict[tuple[str, str], int]:
    """How many seeds a table has of a dataset's setting; one if it does not say."""
    if not table.is_file():
        return {}
    with table.open(newline="") as file:
        return {
            (line["dataset"], line["setting"]): line.get("seeds", "").count(" ") + 1 for line in csv.DictReader(file)
        }


def without_paths(report: dict[str, Any]) -> dict[str, Any]:
    """A report as others may see it: not where the files were on the machine that made it."""
    kept = [one for one in report["overrides"] if one.partition("=")[0] not in ("raw", "data_dir", "hydra.run.dir")]
    return {**report, "overrides": kept, "config": {**report["config"], "raw": None, "data_dir": "data"}}


if __name__ == "__main__":
    main()
