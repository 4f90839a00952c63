"""Which recipe is good on a table that nobody tuned for? A search over recipes and sets, and a judgement of its choice.

    python benchmarks/default_recipe.py search --raw FOLDER       # trains what is missing; stop it, go on as you like
    python benchmarks/default_recipe.py choose                    # the loss of each recipe, and the choice
    python benchmarks/default_recipe.py heldout                   # leave one set out: its validation figures
    python benchmarks/default_recipe.py judge --raw FOLDER        # leave one set out: test figures, once
    python benchmarks/default_recipe.py table                     # them as a table

FOLDER has ml-100k/, ml-1m/, kdd12/, criteo/ and avazu/. ``search`` reads validation rows alone. Every run trains until
neither validation AUC nor logloss has improved for three epochs, so one run tells what each monitor and patience would
have kept. ``judge`` takes, for each set, the recipe that is best on the other six.
"""

import argparse
import json
import math
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from eulernet.cli import compose
from eulernet.data.dataset import Dataset, Split
from eulernet.data.prepare import prepare
from eulernet.errors import Diverged
from eulernet.measures.metrics import entropy
from eulernet.settings import conf_dir
from eulernet.training.history import Epoch
from eulernet.training.job import set_up
from eulernet.training.loop import fit

MODELS = ("eulernet", "deepfm", "dcnv2", "fm")
REFERENCES = ("sklearn_lr", "lightgbm")
Stop = tuple[str, int]  # monitor and patience
STOPS: tuple[Stop, ...] = (("auc", 2), ("auc", 3), ("logloss", 2), ("logloss", 3))
Losses = dict[tuple[str, Stop], dict[tuple[str, str], float]]  # of a recipe with a stop, by set and model
MOST = 25  # epochs of a judged run
WAIT = 3  # epochs without a better AUC or logloss, after which a run of the search ends
LONGEST = 20  # epochs
DENSE = "[{f0: 1, f1: 1}, {f2: 1, f3: -1}, {f4: 0.5, f5: 1.5, f6: -0.5}, {f7: 1, f8: 1, f9: 1}]"
SPARSE = "[{f0: 1, f1: 1}, {f0: 1, f2: -1}, {f3: 1}, {f4: 1}]"
SETS = {  # overrides, and the training rows that the search takes
    "avazu": (["dataset=avazu", "raw={raw}/avazu/train.csv"], None),
    "kdd12": (["dataset=table", "raw={raw}/kdd12/Click_prediction_small.csv"], None),
    "sparse": (["dataset=synthetic", "dataset.rows=40000", "dataset.field_sizes=[8000,3000,500,30,10]",
                f"dataset.interactions={SPARSE}", "dataset.data_seed=2"], None),
    "movielens_100k": (["dataset=movielens_100k", "raw={raw}/ml-100k"], None),
    "dense": (["dataset=synthetic", "dataset.rows=60000", f"dataset.field_sizes={[40] * 10}",
               f"dataset.interactions={DENSE}", "dataset.data_seed=3"], None),
    "criteo": (["dataset=criteo", "raw={raw}/criteo/train.txt"], 30_000),
    "movielens_1m": (["dataset=movielens_1m", "raw={raw}/ml-1m"], 120_000),
}  # fmt: skip


@dataclass(frozen=True)
class Recipe:
    """Values that do not depend on the number of rows; ``settings`` gives those that do."""

    steps: int = 100  # of an epoch, which sets the batch size
    lr: float = 5e-3
    decay: float = 3.0  # weight_decay is decay / rows
    average: float = 1.0  # epochs that the averaged weights look back; 0 does not average
    dropout: float = 0.1
    optimizer: str = "adam"
    batch: int | None = None
    weight_decay: float | None = None

    def settings(self, rows: int, model: str) -> list[str]:
        power = 2 ** round(math.log2(max(rows / self.steps, 1)))
        batch = self.batch or min(max(power, 64), 4096)
        back = self.average * rows / batch
        ema = round(1 - 1 / back, 6) if back > 1 else 0
        names = {"eulernet": ["drop_explicit", "drop_implicit"], "fm": []}.get(model, ["dropout"])
        return [
            f"train.batch_size={batch}", f"train.lr={self.lr}", f"train.optimizer={self.optimizer}",
            f"train.weight_decay={self.weight_decay or self.decay / rows}",
            f"train.ema={ema}", *(f"model.{name}={self.dropout}" for name in names),
        ]  # fmt: skip


CENTRE = Recipe()
RECIPES = {
    "old": Recipe(batch=1024, lr=1e-3, weight_decay=1e-5, average=0),
    "centre": CENTRE,
    "lr_1e-2": replace(CENTRE, lr=1e-2),
    "lr_2e-3": replace(CENTRE, lr=2e-3),
    "decay_10": replace(CENTRE, decay=10.0),
    "decay_1": replace(CENTRE, decay=1.0),
    "steps_300": replace(CENTRE, steps=300),
    "no_average": replace(CENTRE, average=0),
    "average_3": replace(CENTRE, average=3.0),
    "dropout_.3": replace(CENTRE, dropout=0.3),
    "touched": replace(CENTRE, optimizer="touched_adam"),
    "lr_1e-2_decay_10": replace(CENTRE, lr=1e-2, decay=10.0),
    "lr_1e-2_decay_30": replace(CENTRE, lr=1e-2, decay=30.0),
    "decay_30": replace(CENTRE, decay=30.0),
    "lr_1e-2_decay_10_dropout_.3": replace(CENTRE, lr=1e-2, decay=10.0, dropout=0.3),
    "lr_1e-2_decay_10_average_3": replace(CENTRE, lr=1e-2, decay=10.0, average=3.0),
    "lr_1e-2_decay_10_average_.3_steps_300": replace(CENTRE, lr=1e-2, decay=10.0, average=0.3, steps=300),
    "lr_1e-2_decay_10_steps_300": replace(CENTRE, lr=1e-2, decay=10.0, steps=300),
    "lr_1e-2_decay_10_average_.3": replace(CENTRE, lr=1e-2, decay=10.0, average=0.3),
    "lr_2e-2_decay_10": replace(CENTRE, lr=2e-2, decay=10.0),
}


class Enough(Exception):
    """Neither monitor has improved for a while."""


def stop(history: Sequence[Epoch], _: Path) -> None:
    best_auc = max(history, key=lambda epoch: epoch.valid_auc).epoch
    best_logloss = min(history, key=lambda epoch: epoch.valid_logloss).epoch
    if len(history) - max(best_auc, best_logloss) >= WAIT:
        raise Enough


def base_of(name: str, raw: Path, data_dir: Path) -> list[str]:
    given = [one.format(raw=raw) if one.startswith("raw=") else one for one in SETS[name][0]]
    return [*given, f"data_dir={data_dir}", "device=cpu", "seed=1", "~tuned"]


def thinned(data: Dataset, rows: int | None) -> Dataset:
    """The same data with the first ``rows`` of the shuffled training rows."""
    if rows is None or rows >= len(data.train):
        return data
    order = data.train.order
    assert order is not None
    return replace(data, splits={**data.splits, "train": Split(data.train.x, data.train.y, order[:rows], mapped=True)})


def train(overrides: list[str], data: Dataset, *, searching: bool) -> dict[str, Any]:
    """The epochs of one run and its seconds; with its test figures unless ``searching``."""
    cfg = compose("train", overrides)
    job = set_up(cfg, data.folder)
    folder, start = Path(tempfile.mkdtemp(prefix="recipe")), time.process_time()
    result: dict[str, Any] = {}
    try:
        if searching:
            config = replace(job.config, max_epochs=LONGEST, patience=LONGEST)
            fit(job.model, data.without_test(), config, job.device, folder, identity={}, loggers=[stop])
        else:
            _, test = fit(job.model, data, job.config, job.device, folder, identity={})
            result["test"] = test.plain()
    except Enough:
        pass
    except Diverged as error:
        result["diverged"] = str(error)
    finally:
        lines = (folder / "metrics.csv").read_text().splitlines()[1:] if (folder / "metrics.csv").exists() else []
        shutil.rmtree(folder)
    epochs = [list(map(float, line.split(",")[2:4])) for line in lines]  # validation AUC, logloss
    return {**result, "epochs": epochs, "cpu_seconds": round(time.process_time() - start, 2)}


def search(args: argparse.Namespace) -> None:
    args.out.mkdir(parents=True, exist_ok=True)
    done = {(run["set"], run["model"], run["recipe"]) for run in runs_of(args.out)}
    for recipe in args.recipes:
        for name in args.sets:
            base = base_of(name, args.raw, args.data_dir)
            data = thinned(Dataset.open(prepare(compose("train", base))), SETS[name][1])
            for model in args.models:
                if (name, model, recipe) in done:
                    continue
                settings = RECIPES[recipe].settings(len(data.train), model)
                run = train([*base, f"model={model}", *settings], data, searching=True)
                rate = data.valid.labels.double().mean().item()
                run = {"set": name, "model": model, "recipe": recipe, "settings": settings, "rate": rate, **run}
                with (args.out / "runs.jsonl").open("a") as file:
                    file.write(json.dumps(run) + "\n")
                auc, logloss = max(one[0] for one in run["epochs"]), min(one[1] for one in run["epochs"])
                done_in = f"{len(run['epochs']):3} epochs, {run['cpu_seconds']} s"
                print(f"{name:15}{model:10}{recipe:28} {auc:.5f} {logloss:.5f}  {done_in}", flush=True)


def runs_of(out: Path) -> Iterator[dict[str, Any]]:
    if (out / "runs.jsonl").exists():
        yield from map(json.loads, (out / "runs.jsonl").read_text().splitlines())


def kept(epochs: Sequence[Sequence[float]], monitor: str, patience: int) -> Sequence[float]:
    """Validation AUC and logloss of the epoch that a run with this monitor would have kept."""
    best = 0
    for i, (auc, logloss) in enumerate(epochs):
        better = auc > epochs[best][0] if monitor == "auc" else logloss < epochs[best][1]
        best = i if better else best
        if i - best >= patience:
            break
    return epochs[best]


def losses(out: Path, recipes: Sequence[str], stops: Sequence[Stop]) -> Losses:
    """What each recipe loses in each set and model that all of them were tried in.

    The mean of two shares of what can be learned: AUC above 1/2, and logloss below the entropy of the click rate;
    0 is the best of these recipes, 1 or more is to have learned nothing.
    """
    cells: dict[tuple[str, str], dict[str, dict[str, Any]]] = {}
    for run in runs_of(out):
        if run["epochs"] and run["recipe"] in recipes:
            cells.setdefault((run["set"], run["model"]), {})[run["recipe"]] = run
    found: Losses = {}
    for cell, runs in cells.items():
        if len(runs) < len(recipes):
            continue
        figures = {(name, stop): kept(run["epochs"], *stop) for name, run in runs.items() for stop in stops}
        best = max(auc for auc, _ in figures.values()), min(logloss for _, logloss in figures.values())
        rate = next(iter(runs.values()))["rate"]
        learned = best[0] - 0.5, entropy(rate) - best[1]
        for key, (auc, logloss) in figures.items():
            lost = (best[0] - auc) / learned[0], (logloss - best[1]) / learned[1]
            found.setdefault(key, {})[cell] = sum(min(one, 1.0) for one in lost) / 2
    return found


def mean_by_set(of: dict[tuple[str, str], float], without: str | None = None) -> float:
    """The mean over the sets of the means over the models."""
    sets = {name: [loss for (one, _), loss in of.items() if one == name] for name, _ in of if name != without}
    return float(np.mean([np.mean(one) for one in sets.values()]))


def choose(args: argparse.Namespace) -> None:
    found = losses(args.out, args.recipes, STOPS)
    cells = sorted(next(iter(found.values())))
    print(f"{len(cells)} pairs of a set and a model: {', '.join('/'.join(cell) for cell in cells)}")
    for (name, stop), of in sorted(found.items(), key=lambda one: mean_by_set(one[1])):
        sets = {cell[0] for cell in of}
        each = "  ".join(f"{one} {np.mean([of[c] for c in of if c[0] == one]):.2%}" for one in sorted(sets))
        print(f"{mean_by_set(of):7.2%}  {name:28}{stop[0]:8} patience {stop[1]}   {each}")
    for name in SETS:
        best = min(found, key=lambda key: mean_by_set(found[key], without=name))
        print(f"without {name}: {best[0]}, {best[1][0]}, patience {best[1][1]}")


def heldout(args: argparse.Namespace) -> None:
    """Validation figures of each set under the recipe that is best on the other sets, beside the first recipe named."""
    found, runs = losses(args.out, args.recipes, STOPS), {}
    for run in runs_of(args.out):
        runs[run["set"], run["model"], run["recipe"]] = run
    first = args.recipes[0]
    print(f"| set | model | {first} | seconds | the recipe found without the set | seconds | its name |")
    print("|---|---|---|--:|---|--:|---|")
    for name in SETS:
        recipe, stop = min(found, key=lambda key: mean_by_set(found[key], without=name))
        for model in MODELS:
            if any((name, model, one) not in runs for one in (first, recipe)):
                continue
            cells = []
            for one, by in ((first, ("auc", WAIT)), (recipe, stop)):
                run = runs[name, model, one]
                auc, logloss = kept(run["epochs"], *by)
                cells.append(f"{auc:.4f} {logloss:.4f} | {run['cpu_seconds']:.0f} s")
            print(f"| {name} | {model} | {' | '.join(cells)} | {recipe}, {stop[0]}, {stop[1]} |")


def judge(args: argparse.Namespace) -> None:
    """Test figures: the old defaults, the recipe found without the set, the tuned cell, and two references."""
    found = losses(args.out, args.recipes, STOPS)
    file = args.out / "judged.jsonl"
    done = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    there = {(run["set"], run["model"], run["way"]) for run in done}
    for model in args.models:
        for name in args.sets:
            base = [one for one in base_of(name, args.raw, args.data_dir) if one != "~tuned"]
            data = thinned(Dataset.open(prepare(compose("train", [*base, "~tuned"]))), SETS[name][1])
            recipe, (monitor, patience) = min(found, key=lambda key: mean_by_set(found[key], without=name))
            new = [*RECIPES[recipe].settings(len(data.train), model), f"train.monitor={monitor}"]
            new += [f"train.patience={patience}", "~tuned"]
            ways = {"old": ["~tuned"], f"{recipe}, {monitor}, {patience}": new, "tuned": []}
            if model in REFERENCES:
                ways = {"reference": ["~tuned"]}
            elif not (
                conf_dir() / "tuned" / dict(one.split("=", 1) for one in base)["dataset"] / f"{model}.yaml"
            ).exists():
                del ways["tuned"]
            for way, settings in ways.items():
                if (name, model, way) not in there:
                    overrides = [*base, "train=default", f"model={model}", f"train.max_epochs={MOST}", *settings]
                    run = {"set": name, "model": model, "way": way, **train(overrides, data, searching=False)}
                    with file.open("a") as stream:
                        stream.write(json.dumps(run) + "\n")
                    print(name, model, way, run["test"]["auc"], run["test"]["logloss"], run["cpu_seconds"], flush=True)


def table(args: argparse.Namespace) -> None:
    """The judgement as a table: a row for each set and model."""
    runs = [json.loads(line) for line in (args.out / "judged.jsonl").read_text().splitlines()]
    print("| set | model | old defaults | recipe found without the set | tuned cell |\n|---|---|---|---|---|")
    for name in SETS:
        for model in (*MODELS, *REFERENCES):
            ways = {run["way"]: run for run in runs if (run["set"], run["model"]) == (name, model)}
            new = next((run for way, run in ways.items() if way not in ("old", "tuned", "reference")), None)
            shown = [ways.get("old"), new or ways.get("reference"), ways.get("tuned")]
            cells = (
                ""
                if run is None
                else f"{run['test']['auc']:.4f} {run['test']['logloss']:.4f} {run['cpu_seconds']:.0f} s"
                for run in shown
            )
            if ways:
                print(f"| {name} | {model} | {' | '.join(cells)} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["search", "choose", "heldout", "judge", "table"])
    parser.add_argument("--raw", type=Path, default=Path("raw"))
    parser.add_argument("--data-dir", type=Path, default=Path("data"))
    parser.add_argument("--out", type=Path, default=Path("results/default_recipe"))
    parser.add_argument("--sets", nargs="+", default=list(SETS))
    parser.add_argument("--models", nargs="+", default=list(MODELS))
    parser.add_argument("--recipes", nargs="+", default=list(RECIPES))
    args = parser.parse_args()
    torch.set_num_threads(1)
    {"search": search, "choose": choose, "heldout": heldout, "judge": judge, "table": table}[args.what](args)


if __name__ == "__main__":
    main()
