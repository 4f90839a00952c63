"""What is drawn of one or several runs over the same axes: learning, ROC, calibration, scores."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from eulernet.measures.metrics import calibration_table, sigmoid
from eulernet.reporting.charts import Plot, spread
from eulernet.reporting.html import Html

Series = Sequence[tuple[str, Any]]  # (style, what is drawn in it)


def learning(column: str, what: str, series: Series) -> Html:
    """A column of metrics.csv by epoch, of the history of each run; the axis leaves out its worst fifth."""
    values = np.sort([value for _, history in series for value in history[column]])
    rest = values[len(values) // 5 :] if column == "valid_auc" else values[: -(len(values) // 5) or None]
    last = max(history["epoch"][-1] for _, history in series)
    plot = Plot(f"{what} by epoch", (1, max(last, 2)), spread(rest.tolist()), "epoch")
    for style, history in series:
        points = list(zip(history["epoch"], history[column], strict=True))
        plot.line(points, style)
        if len(points) == 1:
            plot.dot(*points[0], style, f"{points[0][1]:.5f}")
    return plot.svg()


def losses(history: dict[str, list[float]], best: int) -> Html:
    """Training and validation loss of one run; the line marks the epoch that was kept."""
    names = {"valid_logloss": "validation", "train_loss": "training"}
    values = [value for column in names for value in history[column]]
    epochs = history["epoch"]
    plot = Plot("Loss by epoch", (1, max(epochs[-1], 2)), spread(values), "epoch", right=82)
    mark_best(plot, best)
    for style, column in zip(("c1", "c2"), names, strict=True):
        plot.line(list(zip(epochs, history[column], strict=True)), style)
    plot.ends([(history[c][-1], name, style) for style, (c, name) in zip(("c1", "c2"), names.items(), strict=True)])
    return plot.svg()


def validation(history: dict[str, list[float]], best: int) -> Html:
    values, epochs = history["valid_auc"], history["epoch"]
    plot = Plot("Validation AUC by epoch", (1, max(epochs[-1], 2)), spread(values), "epoch")
    mark_best(plot, best)
    plot.line(list(zip(epochs, values, strict=True)), "c1")
    plot.dot(best, values[best - 1], "c1", f"epoch {best}: {values[best - 1]:.5f}", 4.5)
    return plot.svg()


def mark_best(plot: Plot, best: int) -> None:
    plot.line([(best, plot.y[0]), (best, plot.y[1])], "dashed mute")


def roc(labels: np.ndarray, series: Series) -> Html:
    plot = Plot("ROC curve", (0, 1), (0, 1), "share of other rows that score as high")
    plot.line([(0, 0), (1, 1)], "dashed mute")
    for style, logits in series:
        points = roc_points(labels, logits)
        if len(series) == 1:
            plot.area(points, style)
        plot.line(points, style)
    return plot.svg()


def roc_points(labels: np.ndarray, scores: np.ndarray, most: int = 200) -> list[tuple[float, float]]:
    """(false, true positive rate) from the highest score down: about ``most`` points, evenly along the curve."""
    order = np.argsort(scores, kind="stable")[::-1]
    last = np.flatnonzero(np.append(np.diff(scores[order]) != 0, True))
    true = np.cumsum(labels[order])[last]
    false = last + 1 - true
    x, y = np.append(0, false / false[-1]), np.append(0, true / true[-1])
    wanted = np.unique(np.searchsorted(x + y, np.linspace(0, 2, most + 1)))
    return list(zip(x[wanted].tolist(), y[wanted].tolist(), strict=True))


def reliability(labels: np.ndarray, logits: np.ndarray) -> Html:
    """Actual against predicted click rate, in bins of equally many rows, with Wilson's 95 % intervals."""
    table = calibration_table(labels, sigmoid(logits))
    top = min(1.0, 1.04 * max(max(line["high"], line["predicted"]) for line in table))
    plot = Plot("Actual against predicted click rate", (0, top), (0, top), "predicted click rate")
    plot.line([(0, 0), (top, top)], "dashed mute")
    plot.line([(line["predicted"], line["actual"]) for line in table], "thin c1")
    for line in table:
        plot.whisker(line["predicted"], line["low"], min(line["high"], top), "c1")
        title = f"{line['rows']:,} rows: predicted {line['predicted']:.4f}, actual {line['actual']:.4f}"
        plot.dot(line["predicted"], line["actual"], "c1", title)
    return plot.svg()


def calibration_gaps(labels: np.ndarray, series: Series) -> Html:
    """Actual minus predicted click rate by predicted click rate, with intervals where there is one series."""
    tables = [(style, calibration_table(labels, sigmoid(logits))) for style, logits in series]
    ends = ("low", "high") if len(series) == 1 else ("actual", "actual")
    heights = [line[end] - line["predicted"] for _, table in tables for line in table for end in ends]
    right = 1.02 * max(line["predicted"] for _, table in tables for line in table)
    plot = Plot("Actual minus predicted click rate", (0, right), spread([*heights, 0.0]), "predicted click rate")
    plot.line([(0, 0), (right, 0)], "dashed mute")
    for style, table in tables:
        points = [(line["predicted"], line["actual"] - line["predicted"]) for line in table]
        plot.line(points, f"thin {style}" if len(series) == 1 else style)
        if len(series) == 1:
            for line, (x, y) in zip(table, points, strict=True):
                plot.whisker(x, line["low"] - x, line["high"] - x, style)
                plot.dot(x, y, style, f"{line['rows']:,} rows: {y:+.4f}")
    return plot.svg()


def histograms(labels: np.ndarray, logits: np.ndarray, bins: int = 40) -> Html:
    """The share of each class's rows by predicted click rate; the axis ends where next to no row is left."""
    p = sigmoid(logits)
    top = float(np.quantile(p, 0.999))
    edges = np.linspace(0, 1.0 if top > 0.5 else top, bins + 1)
    shares = [
        np.histogram(np.minimum(p[labels == label], edges[-1]), edges)[0] / (labels == label).sum() for label in (0, 1)
    ]
    plot = Plot("Scores by class", (0, edges[-1]), (0, 1.05 * max(map(max, shares))), "predicted click rate")
    for style, share in zip(("c2", "c1"), shares, strict=True):
        steps = [(edge, share[i]) for i in range(bins) for edge in edges[i : i + 2]]
        plot.area(steps, style)
        plot.line(steps, f"thin {style}")
    return plot.svg()
