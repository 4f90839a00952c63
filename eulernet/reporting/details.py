"""The later sections of the report of one run: slices, users, learned orders, settings."""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from eulernet.errors import UserError
from eulernet.reporting.charts import Plot, heat_map, intervals, legend
from eulernet.reporting.html import Html, scroll, tag
from eulernet.reporting.page import figure, figures, left_out, section, table
from eulernet.reporting.slices import by_value, per_user
from eulernet.runs.groups import flatten
from eulernet.runs.importance import orders_of
from eulernet.runs.run import Run, Scores

VALUES = 6  # of each field, in the slices


def slices(scored: Scores, measured: dict[str, Any]) -> Html:
    whole = measured["metrics"]["auc"]["value"]
    found = {field: by_value(scored, field, VALUES) for field in scored.data.fields}
    shown = {field: values for field, values in found.items() if values}
    names = min(16, max((len(value.name) for values in shown.values() for value in values), default=1))
    low = min((value.low for values in shown.values() for value in values), default=0.5)
    charts = []
    for field, values in shown.items():
        rows = [(value.name, f"{value.auc:.4f}", [value.auc], value.low, value.high) for value in values]
        counts = (
            f"{values[0].rows:,} to {values[-1].rows:,} rows each" if len(values) > 1 else f"{values[0].rows:,} rows"
        )
        drawn = intervals(f"AUC by {field}", rows, (low, 1.0), whole, x_name="AUC", names=names)
        charts.append(figure(field, counts, drawn))
    return section(
        "Where it ranks well",
        f"AUC among the test rows with one value of a field, for its {VALUES} most frequent values, with 95 % "
        f"intervals (DeLong). The dashed line is the AUC of all rows, {whole:.4f}.",
        figures(*charts),
    )


def users(scored: Scores, field: str, measured: dict[str, Any]) -> Html:
    mean, aucs = measured["metrics"]["grouped_auc"]["value"], per_user(scored, field)
    everyone = len(np.unique(scored.column(field)[:, 0]))
    if mean is None:
        return left_out("Within users", f"no {field} has both a click and another row among the test rows")
    counts, edges = np.histogram(aucs, np.linspace(0, 1, 21))
    plot = Plot("Users by their AUC", (0, 1), (0, 1.05 * float(counts.max())), "AUC of the user's own rows")
    for count, left, right in zip(counts.tolist(), edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        plot.bar(left, right, count, "c1", f"AUC {left:.2f} to {right:.2f}: {count:,} users")
    return section(
        "Within users",
        f"How well the rows of one {field} are put in order, which is what a recommendation needs: AUC {mean:.4f} on "
        f"average by rows (gAUC). {len(aucs):,} of {everyone:,} have both a click and another row, and count.",
        figures(figure("Users by their AUC", f"Number of {field} values.", plot.svg())),
    )


def orders(run: Run) -> Html:
    """Heat maps of the learned order vectors, of a model that has them."""
    try:
        layers = orders_of(run)
    except UserError as error:
        return left_out("Learned orders", f"they are in the weights, and {error}")
    if not layers:
        return Html()
    rows: Sequence[str] = list(run.report["dataset"]["field_sizes"])
    maps = []
    for number, values in enumerate(layers, 1):
        columns = [str(j + 1) for j in range(values.shape[1])]
        drawn = heat_map(f"Orders of layer {number}", values, rows, columns)
        reading = "A column is one order vector: the powers to which it raises each feature before it multiplies them."
        maps.append(figure(f"Layer {number}", reading, drawn, wide=True))
        rows = [f"vector {column}" for column in columns]
    return section(
        "Learned orders",
        "Which features each neuron multiplies, and to what power. 0 leaves one out, a negative power divides by it.",
        legend(("below", "negative"), ("above", "positive")),
        *maps,
    )


def ancestry(run: Run) -> Html:
    """The runs that this one goes on from, and what was new in its rows."""
    if not (chain := run.report.get("ancestry")):
        return Html()
    rows = [(one["run"], one["store"], f"{one['rows']:,}", one["weights"][:16]) for one in chain]
    new = ", ".join(f"{name} {one['new']:,}" for name, one in run.report["grown"].items())
    retired = sum(one["retired"] for one in run.report["grown"].values())
    more = f" New values here: {new}." if new else " No value was new here."
    about = "Training went on from the last of these runs, each of which went on from the one before it."
    drawn = table(("run", "dataset and digest of its rows", "training rows", "digest of its weights"), rows)
    last = f" {retired:,} that were not seen for long gave their rows away." if retired else ""
    return section("Ancestry", about + more + last, scroll("Ancestry", drawn))


def settings(run: Run) -> Html:
    report = run.report
    command = " ".join(["python -m eulernet.train", *map(quoted, report.get("overrides", []))])
    data = {
        "protocol": report["dataset"].get("protocol"),
        "digest": report["dataset"]["digest"],
        **{f"{part} rows": f"{rows:,}" for part, rows in report["dataset"]["rows"].items()},
    }
    where = {key: report.get(key) for key in ("device", "threads", "commit")}
    memory = report.get("peak_memory_bytes")
    where |= {"peak memory": None if memory is None else f"{memory / 2**20:,.0f} MiB", **report.get("versions", {})}
    config = {**report["config"], "train": {**report["config"]["train"], **report.get("auto", {})}}
    groups = {
        "Data": data,
        **{key.capitalize(): flatten(config[key]) for key in ("model", "train")},
        "Made with": where,
    }
    boxes = [
        tag(
            "figure",
            tag("figcaption", tag("h3", title)),
            table(("", ""), [(key, shown(value)) for key, value in group.items()]),
        )
        for title, group in groups.items()
    ]
    return section(
        "Settings",
        "What was asked for, and all that followed from it.",
        tag("pre", command),
        tag("div", *boxes, class_="settings"),
    )


def quoted(override: str) -> str:
    return f"'{override}'" if any(letter in override for letter in " [](){}*|&;<>$") else override


def shown(value: Any) -> str:
    return "null" if value is None else value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
