"""The report of one run, section by section."""

from typing import Any

import numpy as np

from eulernet.measures.calibration import before_and_after, calibrated
from eulernet.measures.evaluation import evaluation
from eulernet.measures.table import MEASURES
from eulernet.reporting import curves
from eulernet.reporting.charts import legend
from eulernet.reporting.details import ancestry, orders, settings, slices, users
from eulernet.reporting.html import Html, scroll, tag
from eulernet.reporting.importance import importance
from eulernet.reporting.page import figure, figures, header, left_out, section, table, tiles
from eulernet.runs.calibrate import read_calibration
from eulernet.runs.groups import base_name
from eulernet.runs.run import Run, Scores
from eulernet.training.history import monitor_of


def single(run: Run, scored: Scores | str, user: str | None, resamples: int, rows: int) -> list[Html]:
    """The parts of the page. ``scored`` is the reason where the test rows could not be scored.

    ``rows`` of them measure what each field is worth.
    """
    report = run.report
    tested = (
        f"tested once on {report['dataset']['rows']['test']:,} rows" if report["test"] else "kept; nothing was tested"
    )
    lead = (
        f"Trained on {report['dataset']['rows']['train']:,} rows for {report['epochs']} epochs; the weights of epoch "
        f"{report['best_epoch']}, best on validation, were {tested}."
    )
    parts = [header(f"{run.dataset} · seed {report['seed']}", base_name(run), lead)]
    if isinstance(scored, str):
        parts += [tiles(*outcome(run, None)), learning(run)]
        parts.append(
            left_out("Ranking, calibration and slices", f"they take the scores of the test rows, and {scored}")
        )
    else:
        groups = None if user is None else scored.column(user)[:, 0]
        measured = evaluation(scored.labels, scored.logits, groups, scored.weights, resamples=resamples, seed=0)
        parts += [tiles(*outcome(run, measured)), intervals_note(resamples), differs(run, measured)]
        parts += [learning(run), ranking(scored, measured)]
        parts += [calibration(scored, measured, read_calibration(run.folder)), slices(scored, measured)]
        parts.append(users(scored, user, measured) if user else Html())
        parts.append(importance(run, scored, rows) if rows else Html())
    return [*parts, orders(run), ancestry(run), settings(run)]


def outcome(run: Run, measured: dict[str, Any] | None) -> list[tuple[str, str, str]]:
    report, metrics = run.report, {} if measured is None else measured["metrics"]

    def interval(name: str, digits: int) -> str:
        low, high = (metrics.get(name, {}).get(end) for end in ("low", "high"))
        return "" if low is None or high is None else f"{low:.{digits}f} to {high:.{digits}f}"

    shown = []
    for measure in MEASURES:
        value = report["test"].get(measure.name, metrics.get(measure.name, {}).get("value"))
        if value is not None:
            title = f"Test {measure.title}" if measure.name in ("auc", "logloss") else measure.title
            shown.append((title, f"{value:.{measure.digits}f}", interval(measure.name, 4)))
    minutes = report["seconds"] / 60
    shown.append(("Validation AUC", f"{report['valid']['auc']:.5f}", f"epoch {report['best_epoch']}"))
    shown.append(("Parameters", f"{report['parameters']:,}", ""))
    time = f"{minutes:.1f} min" if minutes >= 1 else f"{report['seconds']:.0f} s"
    shown.append(("Training", time, f"{report.get('samples_per_second', 0):,.0f} samples/s"))
    return shown


def intervals_note(resamples: int) -> Html:
    words = f"Below the figures of the test rows: their 95 % intervals, from {resamples:,} resamples of these rows."
    return tag("p", words, class_="small") if resamples else Html()


def differs(run: Run, measured: dict[str, Any]) -> Html:
    """A warning where the weights do not give what the report says of them."""
    again, said = measured["metrics"]["auc"]["value"], run.report["test"]["auc"]
    if abs(again - said) < 1e-4:
        return Html()
    words = (
        f"These weights give the test rows an AUC of {again:.5f}; report.json says {said:.5f}. They are not of one run."
    )
    return tag("p", words, class_="missing")


def learning(run: Run) -> Html:
    best, by = run.report["best_epoch"], monitor_of(run.config).replace("auc", "AUC")
    return section(
        "Learning",
        f"The dashed line marks epoch {best}, whose weights were kept for their validation {by}.",
        figures(
            figure("Validation AUC", "Higher is better.", curves.validation(run.history, best)),
            figure("Loss", "Cross entropy a row, lower is better.", curves.losses(run.history, best)),
        ),
    )


def ranking(scored: Scores, measured: dict[str, Any]) -> Html:
    auc, clicks = measured["metrics"]["auc"]["value"], measured["clicks"]
    one = [("c1", "test", scored.logits)]
    reading = "Share of clicks found, against the share of other rows that score as high as they do."
    return section(
        "Ranking",
        f"Of a click and another row drawn at random, the click scores higher {auc:.2%} of the time.",
        figures(
            figure(f"ROC curve, AUC {auc:.5f}", reading, curves.roc(scored.labels, one, scored.weights)),
            figure(
                "Scores by class",
                "Share of the rows of each class; the less they overlap, the better.",
                legend(("c1", f"{clicks:,} clicks"), ("c2", f"{measured['rows'] - clicks:,} others")),
                curves.histograms(scored.labels, scored.logits, scored.weights),
            ),
            figure(
                f"Precision and recall, average precision {measured['metrics']['pr_auc']['value']:.4f}",
                "Share of clicks among the rows that score highest; the dashed line is the click rate of all rows.",
                curves.precision_recall(scored.labels, one, scored.weights),
            ),
            figure(
                "Gain",
                "Share of all clicks that the rows with the highest scores hold.",
                curves.gains(scored.labels, one, scored.weights),
            ),
            figure(
                "Lift",
                "How many times the click rate of all rows they have, from the first 1 % on.",
                curves.lift(scored.labels, one, scored.weights),
            ),
        ),
    )


def calibration(scored: Scores, measured: dict[str, Any], calibrator: dict[str, Any] | None) -> Html:
    metrics, rate = measured["metrics"], float(np.average(scored.labels, weights=scored.weights))
    error, entropy = metrics["expected_calibration_error"]["value"], metrics["normalised_entropy"]["value"]
    about = (
        f"The predicted click rate is off by {error:.4f} on average over the bins (expected calibration error). "
        f"The logloss is {entropy:.1%} of that of predicting {rate:.2%} for every row (normalised entropy)."
    )
    lines = measured["calibration"]
    rows = [
        (
            f"{line['lowest']:.3f} to {line['highest']:.3f}",
            f"{line['rows']:,}",
            *(f"{line[rate]:.4f}" for rate in ("predicted", "actual")),
        )
        for line in lines
    ]
    series = [("c1", "as trained", scored.logits)]
    if calibrator is not None:
        series.append(("c2", f"calibrated, {calibrator['method']}", calibrated(scored.logits, calibrator)))
    table_of_bins = table(("predicted click rate", "rows", "predicted", "actual"), rows, wide=True)
    return section(
        "Calibration",
        about,
        *([] if calibrator is None else [both(scored, series), legend(*((s, name) for s, name, _ in series))]),
        figures(
            figure(
                "Reliability",
                f"Actual click rate in {len(lines)} bins of equally many rows; on the dashed line it is as predicted.",
                curves.reliability(scored.labels, series, scored.weights),
            ),
            figure(
                "Actual minus predicted click rate",
                "The same, closer: the bars are 95 % intervals (Wilson) of what was clicked.",
                curves.calibration_gaps(scored.labels, series, scored.weights),
            ),
        ),
        tag(
            "details",
            tag("summary", f"The {len(lines)} bins as a table"),
            figure("Bins", "From the lowest prediction up.", scroll("Bins", table_of_bins)),
        ),
    )


def both(scored: Scores, series: curves.Series) -> Html:
    """What calibration changes."""
    found = before_and_after(scored.labels, series[0][2], series[1][2], scored.weights)
    rows = [
        (name, f"{one['auc']:.5f}", f"{one['logloss']:.5f}", f"{one['expected_calibration_error']:.5f}")
        for (_, name, _), one in zip(series, (found["before"], found["after"]), strict=True)
    ]
    drawn = table(("", "AUC", "logloss", "calibration error"), rows, wide=True)
    reading = "On the test rows; the calibrator was fitted on validation rows."
    return figure("Before and after calibration", reading, scroll("Before and after calibration", drawn), wide=True)
