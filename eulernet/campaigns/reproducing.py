"""A table from the question to the evidence: what is missing is trained, then the table is written and published."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from eulernet.campaigns.block import Block, read_published
from eulernet.campaigns.cost import cost_latex, cost_table, costs
from eulernet.campaigns.formats import as_csv, latex, long_csv, markdown
from eulernet.campaigns.missing import train_missing
from eulernet.campaigns.planned import (
    Conf,
    Identity,
    PlannedRun,
    check_table,
    finished,
    names,
    plan,
    raw_of,
)
from eulernet.campaigns.pool import placed
from eulernet.campaigns.publish import publish_runs, publish_table, write_files
from eulernet.data.prepare import prepare_quietly
from eulernet.errors import UserError, choose, require
from eulernet.reporting.build import score_all
from eulernet.reporting.compare import order
from eulernet.runs.groups import Setting
from eulernet.runs.run import Run
from eulernet.training.device import pick_device

log = logging.getLogger(__name__)


def reproduce(cfg: Mapping[str, Any], name: str, conf: Conf, published: Path | None) -> None:
    """The table called ``name`` that the plain configuration describes, beside the figures of the file ``published``.

    UserError at the end for runs that failed: the others are trained, and the table of what is there is written.
    """
    check(cfg)
    if "search" in cfg["table"]:
        reproduce_equal(cfg, name, conf)
        return
    out = Path(cfg["out"])
    folders = [out, *map(Path, names(cfg["reuse"]))]
    wanted = {dataset: plan(cfg, dataset, conf) for dataset in names(cfg["datasets"])}
    known, failures = finished(folders), dict[PlannedRun, str]()
    if cfg["missing"] == "train":
        prepare_all(cfg, wanted, known)
        with placed(cfg):
            runs = [run for runs in wanted.values() for run in runs]
            failures = train_missing(runs, known, cfg["jobs"], cfg["device"])
        known = finished(folders)
    blocks = [block(cfg, dataset, runs, known, published) for dataset, runs in wanted.items()]
    blocks = [one for one in blocks if one.settings]
    told = "".join(f"; {run}: {said}" for run, said in failures.items())
    if not blocks:
        ways = told or "; missing=train trains them, reuse=[results] takes those that are published"
        places = ", ".join(map(str, folders))
        raise UserError(f"{name}: no finished run to make a table of in {places}{ways}")
    files = write_files(name, in_formats(blocks, cfg), out / "tables")
    print("\n" + files[0].read_text())
    there = sum(len(setting.runs) for one in blocks for setting in one.settings)
    print(f"{name}: {there} of {sum(map(len, wanted.values()))} runs, table: {files[0]} (.tex, .csv)")
    if cfg["publish"] is not None:
        publish_runs(blocks, Path(cfg["publish"]))
    if failures:
        raise UserError(f"{len(failures)} runs failed{told}")
    if cfg["publish"] is not None:
        publish_table(files, Path(cfg["publish"]) / "tables")


def reproduce_equal(cfg: Mapping[str, Any], name: str, conf: Conf) -> None:
    """The same for a table that searches a setting for each row."""
    try:
        from eulernet.campaigns.equal_effort import Campaign
    except ImportError as missing:
        raise UserError(f"table={name} needs {missing.name}: pip install 'eulernet[tune]'") from None
    campaign = Campaign(cfg, conf)
    campaign.take_over()
    if cfg["missing"] == "train":
        with placed(cfg):
            campaign.train()
    results, failed = campaign.results(), "; ".join(f"{what}: {said}" for what, said in campaign.failures.items())
    ways = failed or "missing=train searches, reuse=[results] takes what is published"
    require(bool(results), f"{name}: no row has its setting yet; {ways}")
    files = write_files(name, campaign.formats(results), Path(cfg["out"]) / "tables")
    print("\n" + files[0].read_text())
    print(f"{name}: {campaign.progress(results)}, table: {files[0]} (.tex, .csv)")
    if cfg["publish"] is not None:
        campaign.publish(results, Path(cfg["publish"]) / name)
    require(not failed, f"{len(campaign.failures)} rows or runs failed; {failed}")
    if cfg["publish"] is not None:
        publish_table(files, Path(cfg["publish"]) / "tables")


def check(cfg: Mapping[str, Any]) -> None:
    """UserError for a value that cannot be meant."""
    check_table(cfg["table"])
    for key in ("trials", "budget"):
        searches = cfg[key] is None or "search" in cfg["table"]
        require(searches, f"{key}={cfg[key]}: this table searches nothing; table=equal_effort does")
    require(bool(str(cfg["out"] or "").strip()), "out=: give the folder for the runs and the table")
    require(cfg["publish"] is None or bool(str(cfg["publish"]).strip()), "publish=: give a folder, or null for none")
    for folder in names(cfg["reuse"]):
        require(Path(folder).is_dir(), f"reuse={folder}: no such folder")
    require(bool(names(cfg["datasets"])), f"datasets={cfg['datasets']}: give one, or a list of them")
    require(type(cfg["jobs"]) is int and cfg["jobs"] >= 1, f"jobs={cfg['jobs']}: give a whole number, 1 or more")
    pick_device(str(cfg["device"]))
    several = len(names(cfg["datasets"])) > 1
    require(
        cfg["raw"] is None or isinstance(cfg["raw"], dict) or not several,
        "raw= is one set's path, but datasets= names several; write raw={criteo: PATH, avazu: PATH}",
    )
    for dataset in cfg["raw"] if isinstance(cfg["raw"], dict) else ():
        choose(dict.fromkeys(names(cfg["datasets"])), str(dataset), "dataset in raw=")
    choose(dict.fromkeys(("train", "skip")), str(cfg["missing"]), "missing")


def prepare_all(
    cfg: Mapping[str, Any], wanted: Mapping[str, Sequence[PlannedRun]], known: Mapping[Identity, Run]
) -> None:
    """Make the stores of the missing runs, before many workers would at once.

    UserError where finished runs were trained on other rows than those of the raw files that were given: a
    configuration does not tell, as it is the same wherever the files lie and whatever is in them.
    """
    for dataset, runs in wanted.items():
        there = [known[run.identity] for run in runs if run.identity in known]
        raw = raw_of(cfg, dataset)
        if len(there) == len(runs) and (raw is None or not there):
            continue
        config = next(run for run in [*(r for r in runs if r.identity not in known), *runs]).config
        store = "/".join(prepare_quietly(config).parts[-2:])
        for old in there if raw is not None else ():
            same = old.report["config"]["dataset"] != config["dataset"] or old.store == store
            require(same, f"{old.folder} was trained on other rows than raw={raw} has; give another out=")


def block(
    cfg: Mapping[str, Any],
    dataset: str,
    wanted: Sequence[PlannedRun],
    runs: Mapping[Identity, Run],
    published: Path | None,
) -> Block:
    """What there is of the table for ``dataset``, the test rows of the two best settings scored."""
    by_setting: dict[str, list[Run]] = {}
    for run in wanted:
        if run.identity in runs:
            by_setting.setdefault(run.setting, []).append(runs[run.identity])
    settings = [Setting(name, of) for name, of in by_setting.items()]
    if cfg["table"].get("by_auc"):
        settings = [settings[i] for i in order(settings, "auc")]
    entries = yaml.safe_load(published.read_text()) if published else {}
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


def in_formats(blocks: Sequence[Block], cfg: Mapping[str, Any]) -> dict[str, str]:
    """The table by suffix."""
    if cfg["table"].get("costs"):
        return cost_formats(blocks, cfg)
    return {"md": "\n".join(map(markdown, blocks)), "tex": latex(blocks), "csv": long_csv(blocks)}


def cost_formats(blocks: Sequence[Block], cfg: Mapping[str, Any]) -> dict[str, str]:
    """The table of what the settings cost, by suffix. UserError without the prepared data: speed is measured on it."""
    text, tex, lines = "", "", []
    for one in blocks:
        store = one.settings[0].runs[0].open_store(cfg["data_dir"])
        costing = costs(one.settings, store, str(cfg["device"]))
        text += f"{one.dataset}\n\n{cost_table(costing)}\n"
        tex += f"% {one.dataset}\n{cost_latex(costing)}"
        lines += [{"dataset": one.dataset, **line} for line in costing]
    return {"md": text, "tex": tex, "csv": as_csv(lines)}
