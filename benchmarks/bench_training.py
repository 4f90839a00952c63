"""``bench_peers.py train``: EulerNet in eulernet, RecBole and FuxiCTR, the same rows and sizes, in turn."""

import argparse
import json
import shlex
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from alternating import (
    ROOT,
    TUNED_ALLOCATOR,
    Contestant,
    Worker,
    WorkerError,
    contest,
    make_store,
    markdown,
    split_of,
    spread,
    started,
)  # fmt: skip
from bench import seconds_to_first_step

# The paper's settings. The peers' penalties are RecBole's default and what the authors ran in FuxiCTR (on Criteo and on
# another MovieLens); they cost the same whatever their size.
SETTINGS: dict[str, dict[str, Any]] = {
    "criteo": {"orders": [39, 39], "drop_ex": 0.1, "drop_im": 0.2, "norm": True, "lr": 1e-4, "fuxictr_l2": (1e-5, 0)},
    "movielens": {"orders": [7], "drop_ex": 0.3, "drop_im": 0.3, "norm": False, "lr": 1e-3, "fuxictr_l2": (1e-2, 1e-5)},
}
DIM = 16


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--settings", default="criteo,movielens", help="which, with commas (default: both)")
    parser.add_argument("--batch-sizes", default="1024,4096,8192", help="with commas (default: %(default)s)")
    parser.add_argument("--thread-counts", default="1,2", help="with commas (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=1.0, help="least length of a turn (default: 1)")
    parser.add_argument("--starts", type=int, default=3, help="starts up to a first step, in turn (default: 3)")
    parser.add_argument(
        "--ours-options", action="append", default=[], metavar="'NAME: OVERRIDES'",
        help="also measure eulernet with these overrides, e.g. 'bf16: train.precision=bf16'; may be repeated",
    )  # fmt: skip


def train(args: argparse.Namespace, systems: list[Any]) -> dict[str, Any]:
    """All cells; prints a table for each setting and returns the figures."""
    cells = []
    sizes, counts = (list(map(int, text.split(","))) for text in (args.batch_sizes, args.thread_counts))
    for setting in args.settings.split(","):
        if setting not in SETTINGS:
            sys.exit(f"error: unknown setting {setting!r}; there are {', '.join(SETTINGS)}")
        with tempfile.TemporaryDirectory(prefix="eulernet-peers-") as folder:
            store, overrides = make_store(setting, max(10 * 4 * max(sizes), 100_000), Path(folder) / "data")
            first = True
            for threads in counts:
                for batch_size in sizes:
                    found = list(contestants(args, systems, setting, batch_size, threads, store, overrides))
                    cell = {"setting": setting, "batch_size": batch_size, "threads": threads}
                    cells.append(cell | measure_cell(found, args, Path(folder), args.starts if first else 0))
                    first = False
                    print(table(cells[-1]) + "\n", flush=True)
    return {"task": "train", "cells": cells}


def contestants(
    args: argparse.Namespace, systems: list[Any], setting: str, batch_size: int, threads: int, store: Path,
    overrides: list[str],
) -> Iterator[Contestant]:  # fmt: skip
    """Ours and its variants, then each peer as installed and with the allocator tuned."""
    chosen = SETTINGS[setting]
    fields = [field["size"] for field in json.loads((store / "meta.json").read_text())["fields"]]
    common = {"threads": threads, "store": str(store), "split": split_of(store), "batch_size": batch_size,
              "field_sizes": fields}  # fmt: skip
    for system in systems:
        if system.kind == "ours":
            job_of_ours = ours(setting, batch_size, overrides)
            for option in ["", *args.ours_options]:
                name, _, more = option.partition(":")
                job = {"threads": threads, "overrides": job_of_ours + shlex.split(more)}
                yield Contestant(
                    f"ours, {name}" if name else "ours", system.python, "ours_train.py", job,
                    system.env | {"PYTHONPATH": str(ROOT)},
                )  # fmt: skip
            continue
        if system.kind == "recbole":
            job = common | {"settings": {
                "embedding_size": DIM, "order_list": chosen["orders"], "drop_ex": chosen["drop_ex"],
                "drop_im": chosen["drop_im"], "apply_norm": chosen["norm"], "reg_weight": 1e-5,
                "learning_rate": chosen["lr"],
            }}  # fmt: skip
        else:
            embedding_l2, net_l2 = chosen["fuxictr_l2"]
            job = common | {
                "file": str(args.fuxictr.resolve() / "model_zoo/EulerNet/src/EulerNet.py"), "name": "EulerNet",
                "settings": {
                    "embedding_dim": DIM, "shape": chosen["orders"], "net_ex_dropout": chosen["drop_ex"],
                    "net_im_dropout": chosen["drop_im"], "layer_norm": chosen["norm"], "learning_rate": chosen["lr"],
                    "embedding_regularizer": embedding_l2, "net_regularizer": net_l2,
                },
            }  # fmt: skip
        peer = Contestant(system.name, system.python, f"{system.kind}_train.py", job, system.env)
        yield peer
        yield replace(peer, name=f"{system.name}, allocator tuned", env=system.env | TUNED_ALLOCATOR)


def ours(setting: str, batch_size: int, overrides: list[str]) -> list[str]:
    """The overrides of ``eulernet.train`` for a setting, over those that name its store."""
    chosen = SETTINGS[setting]
    return [
        *overrides, "model=eulernet", "seed=2022", f"model.embedding_dim={DIM}",
        f"model.orders={chosen['orders']}", f"model.drop_explicit={chosen['drop_ex']}",
        f"model.drop_implicit={chosen['drop_im']}", f"model.norm={str(chosen['norm']).lower()}",
        f"train.lr={chosen['lr']}", f"train.batch_size={batch_size}", f"train.eval_batch_size={batch_size}",
    ]  # fmt: skip


def measure_cell(found: list[Contestant], args: argparse.Namespace, folder: Path, starts: int) -> dict[str, Any]:
    """Figures of every contestant; one that fails has its error."""
    results: dict[str, dict[str, Any]] = {each.name: {} for each in found}
    with ExitStack() as stack:
        workers: list[Worker] = []
        for each in found:
            try:
                workers.append(stack.enter_context(started(each, folder / each.name)))
            except WorkerError as error:
                results[each.name]["error"] = str(error)
        contest(workers, args.runs, args.seconds)
        for worker in workers:
            results[worker.name] |= worker.figures()
    firsts: dict[str, list[float]] = {name: [] for name, result in results.items() if "error" not in result}
    for _ in range(starts):
        for each in found:
            if each.name in firsts:
                firsts[each.name].append(first_step(each, folder))
    for name, values in firsts.items():
        if values:
            results[name]["seconds_to_first_step"] = spread(values)
    return {"systems": results}


def first_step(each: Contestant, folder: Path) -> float:
    """Ours is the whole command on its prepared store; a peer finds its first batch in memory."""
    if "overrides" in each.job:
        return seconds_to_first_step(each.job["overrides"], each.job["threads"])
    rows = [[start, start + each.job["batch_size"]] for start, _ in each.job["split"]]
    with started(replace(each, job={**each.job, "split": rows}), folder / each.name) as worker:
        return worker.first_step_seconds


def table(cell: dict[str, Any]) -> str:
    """A line a system; ratios are ours over it, and over the fastest peer as installed where the line is ours."""
    systems = {name: result for name, result in cell["systems"].items() if "error" not in result}
    peers = [name for name in systems if not name.startswith("ours") and "tuned" not in name]

    def median(name: str, key: str) -> float:
        return systems[name][key]["median"]

    def speed(name: str, key: str) -> list[str]:
        mine = name.startswith("ours")
        against = max((median(peer, key) for peer in peers), default=None) if mine else median(name, key)
        top = median(name, key) if mine else median("ours", key) if "ours" in systems else None
        ratio = f"{top / against:.2f}" if top and against else ""
        return [f"{median(name, key):,.0f}", ratio]

    rows = [["system", "training samples/s", "times", "evaluation samples/s", "times", "first step s", "peak MiB"]]
    for name, result in cell["systems"].items():
        if "error" in result:
            rows.append([name, f"failed: {result['error']}", "", "", "", "", ""])
            continue
        first = f"{median(name, 'seconds_to_first_step'):.1f}" if "seconds_to_first_step" in result else ""
        speeds = [*speed(name, "train_samples_per_second"), *speed(name, "evaluate_samples_per_second")]
        rows.append([name, *speeds, first, f"{result['peak_mib']:,.0f}"])
    return f"{cell['setting']}, batch {cell['batch_size']:,}, {cell['threads']} threads\n\n" + markdown(rows)
