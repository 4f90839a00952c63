"""What is drawn of one or several runs over the same axes: learning, ROC, calibration, scores."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from eulernet.measures.metrics import calibration_table, sigmoid
from eulernet.reporting.charts import Plot, spread
from eulernet.reporting.html import Html

Series = Sequence[tuple[str, str, Any]]  # (style, name, what is drawn so)


def learning(column: str, what: str, series: Series) -> Html:
    """A column of metrics.csv by epoch, of the history of each run; the axis leaves out its worst fifth."""
    values = np.sort([value for _, _, history in series for value in history[column]])
    rest = values[len(values) // 5 :] if column == "valid_auc" else values[: -(len(values) // 5) or None]
    last = max(history["epoch"][-1] for _, _, history in series)
    plot = Plot(f"{what} by epoch", (1, max(last, 2)), spread(rest.tolist()), "epoch", whole=True)
    for style, name, history in series:
        points = list(zip(history["epoch"], history[column], strict=True))
        plot.line(points, style, name)
        if len(points) == 1:
            plot.dot(*points[0], style, f"{points[0][1]:.5f}")
    return plot.svg()


def losses(history: dict[str, list[float]], best: int) -> Html:
    """Training and validation loss of one run; the line marks the epoch that was kept."""
    names = {"valid_logloss": "validation", "train_loss": "training"}
    values = [value for column in names for value in history[column]]
    epochs = history["epoch"]
    plot = Plot("Loss by epoch", (1, max(epochs[-1], 2)), spread(values), "epoch", right=82, whole=True)
    mark_best(plot, best)
    for style, column in zip(("c1", "c2"), names, strict=True):
        plot.line(list(zip(epochs, history[column], strict=True)), style, names[column])
    plot.ends([(history[c][-1], name, style) for style, (c, name) in zip(("c1", "c2"), names.items(), strict=True)])
    return plot.svg()


def validation(history: dict[str, list[float]], best: int) -> Html:
    values, epochs = history["valid_auc"], history["epoch"]
    plot = Plot("Validation AUC by epoch", (1, max(epochs[-1], 2)), spread(values), "epoch", whole=True)
    mark_best(plot, best)
    plot.line(list(zip(epochs, values, strict=True)), "c1", "validation AUC")
    plot.dot(best, values[best - 1], "c1", f"epoch {best}: {values[best - 1]:.5f}", 4.5)
    return plot.svg()


def mark_best(plot: Plot, best: int) -> None:
    plot.line([(best, plot.y[0]), (best, plot.y[1])], "dashed mute")


def roc(labels: np.ndarray, series: Series, weights: np.ndarray | None = None) -> Html:
    plot = Plot("ROC curve", (0, 1), (0, 1), "share of other rows that score as high")
    plot.line([(0, 0), (1, 1)], "dashed mute")
    for style, name, logits in series:
        points = roc_points(labels, logits, weights)
        if len(series) == 1:
            plot.area(points, style)
        plot.line(points, style, name)
    return plot.svg()


def precision_recall(labels: np.ndarray, series: Series, weights: np.ndarray | None = None) -> Html:
    """Share of clicks among the rows that score highest, against the share of all clicks that these rows hold."""
    plot = Plot("Precision by recall", (0, 1), (0, 1), "share of all clicks that is found")
    rate = float(np.average(labels, weights=weights))
    plot.line([(0, rate), (1, rate)], "dashed mute")
    for style, name, logits in series:
        clicks, rows = ranked(labels, logits, weights)
        shown = spaced(clicks[1:] / clicks[-1])
        plot.line([(clicks[i + 1] / clicks[-1], clicks[i + 1] / rows[i + 1]) for i in shown], style, name)
    return plot.svg()


def gains(labels: np.ndarray, series: Series, weights: np.ndarray | None = None) -> Html:
    """Share of all clicks among the rows that score highest, against the share of these rows."""
    plot = Plot("Clicks found by rows shown", (0, 1), (0, 1), "share of rows, the highest scores first")
    plot.line([(0, 0), (1, 1)], "dashed mute")
    for style, name, logits in series:
        clicks, rows = ranked(labels, logits, weights)
        shown = spaced(rows / rows[-1])
        points = [(rows[i] / rows[-1], clicks[i] / clicks[-1]) for i in shown]
        plot.line(points, style, name)
    return plot.svg()


def lift(labels: np.ndarray, series: Series, weights: np.ndarray | None = None) -> Html:
    """How many times the click rate of all rows the rows have that score highest, against the share of these rows."""
    curves = []
    for style, name, logits in series:
        clicks, rows = ranked(labels, logits, weights)
        share = rows[1:] / rows[-1]
        shown = [i for i in spaced(share) if share[i] >= 0.01]
        curves.append((style, name, [(share[i], clicks[i + 1] / clicks[-1] / share[i]) for i in shown]))
    top = max(y for _, _, points in curves for _, y in points)
    plot = Plot("Lift by rows shown", (0, 1), (0, 1.05 * top), "share of rows, the highest scores first")
    plot.line([(0, 1), (1, 1)], "dashed mute")
    for style, name, points in curves:
        plot.line(points, style, name)
    return plot.svg()


def ranked(labels: np.ndarray, scores: np.ndarray, weights: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Clicks and rows that score at least as high as each distinct score, from the highest down; 0 and 0 before."""
    order = np.argsort(scores, kind="stable")[::-1]
    last = np.flatnonzero(np.append(np.diff(scores[order]) != 0, True))
    weight = np.ones(len(order)) if weights is None else weights[order]
    return np.append(0, np.cumsum(weight * labels[order])[last]), np.append(0, np.cumsum(weight)[last])


def spaced(values: np.ndarray, most: int = 200) -> list[int]:
    """About ``most`` places of rising ``values``, evenly between the first and the last."""
    wanted = np.searchsorted(values, np.linspace(values[0], values[-1], most + 1))
    return np.unique(np.minimum(wanted, len(values) - 1)).tolist()


def roc_points(
    labels: np.ndarray, scores: np.ndarray, weights: np.ndarray | None = None, most: int = 200
) -> list[tuple[float, float]]:
    """(false, true positive rate) from the highest score down: about ``most`` points, evenly along the curve."""
    clicks, rows = ranked(labels, scores, weights)
    others = rows - clicks
    x, y = others / others[-1], clicks / clicks[-1]
    wanted = np.unique(np.searchsorted(x + y, np.linspace(0, 2, most + 1)))
    return list(zip(x[wanted].tolist(), y[wanted].tolist(), strict=True))


def reliability(labels: np.ndarray, series: Series, weights: np.ndarray | None = None) -> Html:
    """Actual against predicted click rate, in bins of equally many rows, with Wilson's 95 % intervals."""
    tables = [(style, name, calibration_table(labels, sigmoid(logits), weights)) for style, name, logits in series]
    top = min(1.0, 1.04 * max(max(line["high"], line["predicted"]) for *_, table in tables for line in table))
    plot = Plot("Actual against predicted click rate", (0, top), (0, top), "predicted click rate")
    plot.line([(0, 0), (top, top)], "dashed mute")
    for style, name, table in tables:
        plot.line([(line["predicted"], line["actual"]) for line in table], f"thin {style}", name)
        for line in table:
            plot.whisker(line["predicted"], line["low"], min(line["high"], top), style)
            title = f"{name}, {line['rows']:,} rows: predicted {line['predicted']:.4f}, actual {line['actual']:.4f}"
            plot.dot(line["predicted"], line["actual"], style, title)
    return plot.svg()


def calibration_gaps(labels: np.ndarray, series: Series, weights: np.ndarray | None = None) -> Html:
    """Actual minus predicted click rate by predicted click rate, with intervals where there is one series."""
    tables = [(style, name, calibration_table(labels, sigmoid(logits), weights)) for style, name, logits in series]
    ends = ("low", "high") if len(series) == 1 else ("actual", "actual")
    heights = [line[end] - line["predicted"] for *_, table in tables for line in table for end in ends]
    right = 1.02 * max(line["predicted"] for *_, table in tables for line in table)
    plot = Plot("Actual minus predicted click rate", (0, right), spread([*heights, 0.0]), "predicted click rate")
    plot.line([(0, 0), (right, 0)], "dashed mute")
    for style, name, table in tables:
        points = [(line["predicted"], line["actual"] - line["predicted"]) for line in table]
        plot.line(points, f"thin {style}" if len(series) == 1 else style, name)
        if len(series) == 1:
            for line, (x, y) in zip(table, points, strict=True):
                plot.whisker(x, line["low"] - x, line["high"] - x, style)
                plot.dot(x, y, style, f"{line['rows']:,} rows: {y:+.4f}")
    return plot.svg()


def histograms(labels: np.ndarray, logits: np.ndarray, weights: np.ndarray | None = None, bins: int = 40) -> Html:
    """The share of each class's rows by predicted click rate; the axis ends where next to no row is left."""
    p = sigmoid(logits)
    top = float(np.quantile(p, 0.999))
    edges = np.linspace(0, 1.0 if top > 0.5 else top, bins + 1)
    weight, shares = np.ones(len(p)) if weights is None else weights, []
    for inside in (labels == 0, labels == 1):
        counts = np.histogram(np.minimum(p[inside], edges[-1]), edges, weights=weight[inside])[0]
        shares.append(counts / weight[inside].sum())
    plot = Plot("Scores by class", (0, edges[-1]), (0, 1.05 * max(map(max, shares))), "predicted click rate")
    for style, name, share in zip(("c2", "c1"), ("others", "clicks"), shares, strict=True):
        steps = [(edge, share[i]) for i in range(bins) for edge in edges[i : i + 2]]
        plot.area(steps, style)
        plot.line(steps, f"thin {style}", name)
    return plot.svg()
