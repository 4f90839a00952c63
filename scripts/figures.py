"""The case study of EulerNet, and the curves of its settings, as figures (PNG and SVG) and Markdown tables.

    python scripts/figures.py planted [seeds=11,12,13] [runs=outputs/planted] [data_dir=data]
    python scripts/figures.py interactions run=RUN [data_dir=...] [largest=3] [shuffles=10]
    python scripts/figures.py curves [results=results/movielens_1m] [base=eulernet_averaged]

* ``planted`` trains tuned=synthetic/eulernet_planted once a seed, the data drawn anew for each, and compares the
  order vectors that were planted with those that were learned (how: scripts/learned/recovery.py). Runs that are
  in the folder already are not trained again.
* ``interactions`` takes a finished run of EulerNet with one layer: the fields of its order vectors, and the AUC that
  vectors and sets of up to ``largest`` fields carry on (at most 200,000 rows of) the validation split. A summand of the
  logit is exchanged between rows drawn at random, all else of a row stays; what the summands are is in
  scripts/learned/terms.py.
* ``curves`` draws the test AUC, mean and standard deviation over seeds, of the settings in the folder that differ from
  ``base`` by the number of layers, by the number of order vectors, or by the embedding dimension alone.

All write to docs/figures; output=FOLDER is another place. Nothing here is chosen by a test split.
"""

import sys
from collections.abc import Iterable, Sequence
from itertools import combinations
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np
import torch
from learned.permutation import carried
from learned.recovery import Recovery, by_chance, learned_directions, match
from learned.terms import Explicit, Fields

from eulernet.cli import compose
from eulernet.data.dataset import Split
from eulernet.data.sets.synthetic import hidden_logs
from eulernet.errors import UserError, choose, require
from eulernet.reporting.compare import mean_and_deviation
from eulernet.runs.groups import essence
from eulernet.runs.predictor import Predictor
from eulernet.runs.run import Run
from eulernet.runs.train import train
from eulernet.training.checkpoint import load_weights
from eulernet.training.files import write_atomically
from eulernet.training.job import set_up

try:
    from drawing import DULL, GOOD, INK, heat_map, new, number, save
except ImportError as missing:
    sys.exit(f"error: figures need {missing.name}: pip install 'eulernet[tune]'")

PLANTED = ("dataset=synthetic", "tuned=synthetic/eulernet_planted", "device=cpu")
ROWS = 200_000  # of the validation split, which are enough for any AUC here
SHOWN = 7  # sets of fields
NAMES = {
    "planted": {"seeds": "11,12,13", "runs": "outputs/planted", "data_dir": "data", "output": "docs/figures"},
    "interactions": {"run": "", "data_dir": "", "largest": "3", "shuffles": "10", "output": "docs/figures"},
    "curves": {"results": "results/movielens_1m", "base": "eulernet_averaged", "output": "docs/figures"},
}


def main() -> None:
    what, *words = sys.argv[1:] or ["--help"]
    if what in ("-h", "--help"):
        print(__doc__)
        return
    try:
        draw = choose({"planted": planted, "interactions": interactions, "curves": curves}, what, "figure")
        draw(options(words, NAMES[what]))
    except (UserError, OSError) as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit(130)


def options(words: Sequence[str], known: dict[str, str]) -> dict[str, str]:
    """key=value words over the values that ``known`` has."""
    given = {}
    for word in words:
        key, equals, value = word.partition("=")
        require(bool(equals), f"cannot read {word!r}; write key=value")
        choose(known, key, "key")
        given[key] = value
    return {**known, **given}


def whole(asked: dict[str, str], key: str, least: int) -> int:
    require(
        asked[key].isdecimal() and int(asked[key]) >= least,
        f"{key}={asked[key]}: should be a whole number from {least}",
    )
    return int(asked[key])


# Planted and learned order vectors


def planted(asked: dict[str, str]) -> None:
    found = []
    for seed in asked["seeds"].split(","):
        require(seed.isdecimal(), f"seeds={asked['seeds']}: should be whole numbers, as in seeds=11,12")
        overrides = [*PLANTED, f"seed={seed}", f"dataset.data_seed={seed}", f"data_dir='{asked['data_dir']}'"]
        found.append(recovery(overrides, Path(asked["runs"]).expanduser() / seed))
    folder = Path(asked["output"])
    draw_planted([(run.report["seed"], end) for run, _, end, _ in found], folder / "planted")
    write(folder / "planted.md", planted_table(found))


def recovery(overrides: list[str], folder: Path) -> tuple[Run, dict[str, Any], Recovery, Recovery]:
    """The run in ``folder``, trained if it is not there; its bayes figures; what it recovered, and at its start."""
    cfg = compose("train", overrides)
    if not (folder / "report.json").is_file():
        require(not folder.exists(), f"{folder} holds a run that was stopped; delete it, or give another runs=")
        folder.mkdir(parents=True)
        train(cfg, folder, overrides, reference=False)
    run = Run.open(folder)
    require(
        all(run.report["config"][key] == cfg[key] for key in ("dataset", "model", "train", "seed")),
        f"{folder} holds a run of another setting; delete it, or give another runs=",
    )
    job, about = set_up(cfg), cfg["dataset"]
    rows, _ = some_rows(job.data.valid)
    orders = np.array(
        [[one.get(name, 0.0) for name in job.data.fields] for one in about["interactions"]], dtype=np.float64
    )
    logs = hidden_logs(about["field_sizes"], about["spread"], about["data_seed"])
    start = match(orders, learned_directions(job.model, logs, rows))
    load_weights(job.model, folder)
    return run, job.data.meta["bayes"], match(orders, learned_directions(job.model.eval(), logs, rows)), start


def draw_planted(found: Sequence[tuple[int, Recovery]], file: Path) -> None:
    planted = found[0][1].planted
    fields = [f"f{f}" for f in range(planted.shape[1])]
    columns = [f"vector {k}" for k in range(1, 1 + len(planted))]
    panels = [("planted", planted)]
    panels += [(f"learned, seed {seed}: cosine {one.cosines.mean():.2f}", one.matched) for seed, one in found]
    limit = max(float(np.abs(values).max()) for _, values in panels)
    figure = new(2.4 * len(panels), 0.34 * len(fields) + 0.7)
    for axes, (title, values) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        heat_map(axes, values.T, fields, columns, limit)
        axes.set_title(title)
    save(figure, file)


def planted_table(found: Sequence[tuple[Run, dict[str, Any], Recovery, Recovery]]) -> str:
    lines = [
        "| seed | validation AUC | best possible | cosine | of each vector | at the start | by chance | error "
        "| at the start | by chance |",
        "|--:|--:|--:|--:|---|--:|--:|--:|--:|--:|",
    ]
    for run, bayes, end, start in found:
        vectors = (run.report["config"]["model"]["orders"] or end.planted.shape[1:])[0]
        cosine, error = by_chance(end.planted, vectors, draws=1000, seed=0)
        each = ", ".join(f"{value:.2f}" for value in end.cosines)
        lines.append(
            f"| {run.report['seed']} | {run.report['valid']['auc']:.5f} | {bayes['valid']['auc']:.5f} "
            f"| {end.cosines.mean():.3f} | {each} | {start.cosines.mean():.3f} | {cosine:.3f} "
            f"| {end.errors.mean():.3f} | {start.errors.mean():.3f} | {error:.3f} |"
        )
    return "\n".join(lines) + "\n"


# The interactions of a run


def interactions(asked: dict[str, str]) -> None:
    largest, shuffles = whole(asked, "largest", 2), whole(asked, "shuffles", 2)
    require(bool(asked["run"]), "run=: give the folder of a finished run of EulerNet")
    folder, output = Path(asked["run"]).expanduser(), Path(asked["output"])
    require(folder.is_dir(), f"run={folder}: no such folder; give that of a finished run of EulerNet")
    predictor = Predictor.load(folder)
    data = Run.open(folder).open_store(asked["data_dir"] or None)
    x, labels = some_rows(data.valid)
    explicit, names = Explicit.of(predictor.model, x), data.fields
    logits = predictor.score(x.numpy())

    def drop(part: Any) -> tuple[float, float]:
        lost = carried(labels, logits, np.asarray(part), shuffles=shuffles, seed=0)
        return float(lost.mean()), float(lost.std(ddof=1))

    sets = [
        fields for size in range(1, min(largest, len(names)) + 1) for fields in combinations(range(len(names)), size)
    ]
    parts, terms = explicit.parts(sets).numpy(), explicit.terms().numpy()
    alone = parts[:, : len(names)].sum(1)
    explicit_part = terms.sum(1)
    context = {
        "all of the explicit part": drop(explicit_part),
        "its single fields": drop(alone),
        "its interactions": drop(explicit_part - alone),
        "the implicit part": drop(logits - explicit_part),
    }
    found = [(label(fields, names), drop(parts[:, s])) for s, fields in enumerate(sets) if len(fields) > 1]
    found = sorted(found, key=lambda one: -one[1][0])[:SHOWN]
    vectors = [(str(m + 1), drop(term)) for m, term in enumerate(terms.T)]
    draw_orders(explicit.orders.numpy(), names, output / "orders")
    ranked = sorted(vectors, key=lambda one: -one[1][0])
    draw_carried({"order vectors": ranked, "interactions": found}, output / "interactions")
    tables = [
        vectors_table(explicit, names, [lost for _, lost in vectors]),
        sets_table(found, "interaction"),
        sets_table(context.items(), "part of the logit"),
    ]
    write(output / "interactions.md", "\n".join(tables))


def some_rows(split: Split) -> tuple[torch.Tensor, np.ndarray]:
    """x and labels of the first rows of a split."""
    some, labels, rows = [], [], 0
    for x, y in split.batches(8192):
        some.append(x)
        labels.append(y)
        rows += len(y)
        if rows >= ROWS:
            break
    return torch.cat(some)[:ROWS], torch.cat(labels)[:ROWS].numpy()


def label(fields: Fields, names: Sequence[str]) -> str:
    return " \N{MULTIPLICATION SIGN} ".join(names[f] for f in fields)


def vectors_table(explicit: Explicit, names: Sequence[str], lost: Sequence[tuple[float, float]]) -> str:
    """Of each order vector the fields that move its phase, up to 90 % of it, and the AUC that it carries."""
    lines = ["| vector | its strongest fields: order, share | AUC carried |", "|--:|---|--:|"]
    strengths = explicit.strengths().numpy()
    for m in sorted(range(len(lost)), key=lambda m: -lost[m][0]):
        order, share = np.argsort(-strengths[:, m]), 0.0
        strongest = []
        for f in order:
            strongest.append(f"{names[f]} {number(float(explicit.orders[f, m]))} ({strengths[f, m]:.0%})")
            share += strengths[f, m]
            if share >= 0.9:
                break
        lines.append(f"| {m + 1} | {', '.join(strongest)} | {spread(*lost[m])} |")
    return "\n".join(lines) + "\n"


def sets_table(found: Iterable[tuple[str, tuple[float, float]]], what: str) -> str:
    lines = [f"| {what} | AUC carried |", "|---|--:|", *(f"| {name} | {spread(*lost)} |" for name, lost in found)]
    return "\n".join(lines) + "\n"


def spread(value: float, deviation: float) -> str:
    return f"{number(value, 5)} ± {deviation:.5f}"


def draw_orders(orders: np.ndarray, names: Sequence[str], file: Path) -> None:
    figure = new(0.56 * orders.shape[1] + 1.6, 0.34 * len(names) + 0.7)
    axes = figure.subplots()
    heat_map(axes, orders, names, [str(m + 1) for m in range(orders.shape[1])], float(np.abs(orders).max()))
    axes.set_title("learned order vectors")
    save(figure, file)


def draw_carried(panels: dict[str, list[tuple[str, tuple[float, float]]]], file: Path) -> None:
    """A bar a vector or set of fields, with the number beside it: most of them are next to nothing."""
    figure = new(8.4, 0.27 * max(map(len, panels.values())) + 0.9)
    for axes, (title, found) in zip(figure.subplots(1, len(panels), width_ratios=(2, 3)), panels.items(), strict=True):
        names, values = [name for name, _ in found][::-1], [lost for _, (lost, _) in found][::-1]
        deviations = [deviation for _, (_, deviation) in found][::-1]
        axes.barh(names, values, xerr=deviations, color=GOOD, ecolor=INK, height=0.62)
        gap = 0.03 * max(values)
        for place, (value, deviation) in enumerate(zip(values, deviations, strict=True)):
            axes.text(max(value, 0) + deviation + gap, place, number(value, 5), va="center", fontsize=8)
        axes.set_xlim(min(0, *values), 1.4 * max(values))
        axes.set_title(title, loc="left")
        axes.set_xlabel("validation AUC carried")
        axes.spines["left"].set_visible(False)
        axes.tick_params(axis="y", length=0)
        axes.locator_params(axis="x", nbins=4)
    save(figure, file)


# Test AUC by one key of the configuration


def curves(asked: dict[str, str]) -> None:
    folder = Path(asked["results"]).expanduser()
    require(folder.is_dir(), f"results={folder}: no such folder")
    settings = {
        place.name: [Run.open(file.parent).report for file in sorted(place.glob("*/report.json"))]
        for place in sorted(folder.iterdir())
        if place.is_dir()
    }
    settings = {name: reports for name, reports in settings.items() if reports}
    require(bool(settings), f"results={folder}: no run there; give a folder of settings, as results/movielens_1m is")
    base = choose(settings, asked["base"], "base")[0]
    panels = {name: panel(key, base, list(settings.values())) for name, key in AXES.items()}
    panels = {name: points for name, points in panels.items() if len(points) > 1}
    require(bool(panels), f"{folder} has no setting beside {asked['base']} that differs by layers, orders or dimension")
    draw_curves(panels, Path(asked["output"]) / "curves")
    lines = ["| what | number | seeds | test AUC |", "|---|--:|--:|--:|"]
    for name, points in panels.items():
        for x, values in points.items():
            lines.append(f"| {name} | {x} | {len(values)} | {mean_and_deviation(values)} |")
    write(Path(asked["output"]) / "curves.md", "\n".join(lines) + "\n")


def layers_of(base: dict[str, Any], model: dict[str, Any]) -> int | None:
    same = base["orders"] is not None and model["orders"] is not None
    widths = set(model["orders"]) if same else set()
    return len(model["orders"]) if same and widths == {base["orders"][0]} else None


def vectors_of(base: dict[str, Any], model: dict[str, Any]) -> int | None:
    orders = model["orders"]
    return orders[0] if orders is not None and len(orders) == 1 else None


def dimension_of(base: dict[str, Any], model: dict[str, Any]) -> int | None:
    return model["embedding_dim"]


# The name of an axis: its key of the configuration, and the value on it, None where a model has no place there.
AXES = {
    "layers": ("model.orders", layers_of),
    "order vectors": ("model.orders", vectors_of),
    "dimensions": ("model.embedding_dim", dimension_of),
}


def panel(
    axis: tuple[str, Any], base: dict[str, Any], settings: Sequence[Sequence[dict[str, Any]]]
) -> dict[int, list[float]]:
    """Test AUCs by x, of the settings whose configurations are that of ``base`` but for the key of the axis."""
    key, value_of = axis
    found: dict[int, list[float]] = {}
    for reports in settings:
        for report in reports:
            x = value_of(base["config"]["model"], report["config"]["model"]) if comparable(base, report, key) else None
            if x is not None:
                found.setdefault(x, []).append(report["test"]["auc"])
    return dict(sorted(found.items()))


def comparable(base: dict[str, Any], report: dict[str, Any], key: str) -> bool:
    one, other = ({**essence(of["config"]), key: None} for of in (base, report))
    return one == other and base["dataset"]["digest"] == report["dataset"]["digest"]


def draw_curves(panels: dict[str, dict[int, list[float]]], file: Path) -> None:
    figure = new(2.5 * len(panels) + 0.3, 2.6)
    for axes, (name, points) in zip(
        figure.subplots(1, len(panels), sharey=True, squeeze=False)[0], panels.items(), strict=True
    ):
        xs = list(points)
        means = [mean(values) for values in points.values()]
        bars = [stdev(values) if len(values) > 1 else 0.0 for values in points.values()]
        for x, values in points.items():
            axes.scatter([x] * len(values), values, s=9, color=DULL, zorder=2)
        axes.errorbar(xs, means, yerr=bars, color=GOOD, marker="o", markersize=4, capsize=3, linewidth=1.4, zorder=3)
        if max(xs) > 3 * min(xs) and name != "layers":
            axes.set_xscale("log", base=2)
        axes.set_xticks(xs, [str(x) for x in xs])
        axes.minorticks_off()
        axes.set_xlabel(name)
        axes.grid(axis="y", color="#e6e3de", linewidth=0.8)
        axes.set_axisbelow(True)
        axes.yaxis.set_major_formatter("{x:.4f}")
    figure.axes[0].set_ylabel("test AUC")
    save(figure, file)


def write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(file, lambda new: new.write_text(text))
    print(text)
    print(f"figures and tables: {file.parent}")


if __name__ == "__main__":
    main()
