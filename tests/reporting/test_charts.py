"""What is drawn is what was given: escaped, in place, and no more than fits."""

import csv
import io
import re
from html import unescape
from urllib.parse import unquote

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pages import assert_whole
from sklearn.inspection import permutation_importance as sklearn_importance
from sklearn.metrics import roc_auc_score

from eulernet.measures.importance import permutation_importance
from eulernet.measures.metrics import auc
from eulernet.reporting import charts, curves
from eulernet.reporting.html import Html, breakable, join, tag


def test_text_is_escaped_and_html_is_not():
    bad = "<script>alert('&')</script>"
    assert tag("p", bad, title=bad) == (
        '<p title="&lt;script&gt;alert(&#x27;&amp;&#x27;)&lt;/script&gt;">'
        "&lt;script&gt;alert('&amp;')&lt;/script&gt;</p>"
    )
    assert tag("p", tag("b", "x"), Html("<i></i>"), class_="a", fill_opacity=0.25, hidden=None) == (
        '<p class="a" fill-opacity="0.2"><b>x</b><i></i></p>'
    )
    assert breakable("a_<b> c_d") == "a_<wbr>&lt;b&gt; c_d"
    assert join("a<", tag("wbr")) == "a&lt;<wbr>"


@given(st.floats(-1e6, 1e6), st.floats(1e-6, 1e6))
def test_ticks_are_round_and_within(low, width):
    found = charts.ticks(low, low + width)
    assert 1 <= len(found) <= 12
    slack = 1e-6 * width + 4 * np.spacing(abs(low) + width)
    assert all(low - slack <= tick <= low + width + slack for tick in found)
    steps = np.diff(found)
    assert np.allclose(steps, steps[0] if len(steps) else 0, rtol=1e-4)
    if len(steps) and width > 1e-3 * abs(low):
        mantissa = steps[0] / 10 ** np.floor(np.log10(steps[0] * 1.001))
        assert min(abs(mantissa - nice) for nice in (1, 2, 5, 10)) < 0.01


@pytest.mark.parametrize(
    ("value", "steps", "text"),
    [
        (0.895, [0.89, 0.895], "0.895"),
        (-0.2, [-0.2, 0.0], "\N{MINUS SIGN}0.2"),
        (20, [0, 20], "20"),
        (1000, [0, 500, 1000], "1k"),
        (2_500_000, [0, 500_000], "2.5M"),
    ],
)
def test_ticks_read_well(value, steps, text):
    assert charts.tick_text(value, steps) == text


@given(st.lists(st.floats(0, 200), min_size=1, max_size=8))
def test_labels_are_moved_apart_in_order(heights):
    moved = np.array(charts.apart(heights, 14.0, 0.0, 200.0))
    order = np.argsort(heights, kind="stable")
    assert (np.diff(moved[order]) >= 14 - 1e-9).all()
    assert (moved >= -1e-9).all()
    assert (moved <= 200 + 1e-9).all()
    if len(heights) == 1:
        assert moved == heights


def test_a_point_is_where_the_axes_say():
    plot = charts.Plot("what", (0, 10), (0, 1), "x")
    assert plot.at(0, 0) == (charts.LEFT, charts.HEIGHT - charts.BOTTOM)
    assert plot.at(10, 1) == (charts.WIDTH - charts.RIGHT, charts.TOP)


def test_a_line_that_leaves_the_axes_is_cut_off():
    plot = charts.Plot("what", (0, 1), (0, 1), "x")
    plot.line([(0, 0.5), (1, 0.5)], "c1")
    assert plot.marks[-1].startswith("<path")
    plot.line([(0, 0.5), (1, 5.0)], "c1")
    assert plot.marks[-1].startswith("<svg")


@given(st.lists(st.tuples(st.integers(0, 1), st.integers(-9, 9)), min_size=2, max_size=60))
def test_the_area_under_the_roc_points_is_the_auc(rows):
    labels, scores = (np.array(column) for column in zip(*rows, strict=True))
    if 0 < labels.sum() < len(labels):
        x, y = zip(*curves.roc_points(labels, scores), strict=True)
        assert (x[0], y[0], x[-1], y[-1]) == (0, 0, 1, 1)
        assert np.trapezoid(y, x) == pytest.approx(auc(labels, scores), abs=1e-9)


def test_the_roc_of_many_rows_is_few_points():
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 2, 50_000)
    scores = labels + generator.normal(size=50_000)
    x, y = zip(*curves.roc_points(labels, scores), strict=True)
    assert len(x) <= 201
    assert np.trapezoid(y, x) == pytest.approx(auc(labels, scores), abs=1e-4)


def test_charts_are_well_formed_and_without_holes():
    labels = np.array([0, 1, 1, 0, 1, 0] * 20)
    logits = np.linspace(-2, 2, 120)
    history = {"epoch": [1.0], "valid_auc": [0.7], "valid_logloss": [0.5], "train_loss": [0.5]}
    orders = np.array([[1.0, -0.001], [0.0, -2.0]])
    rows = [("a<b", "0.7", [0.7], 0.6, 0.8)]
    drawings = [
        curves.roc(labels, [("c1", "test", logits)]),
        curves.reliability(labels, [("c1", "test", logits)]),
        curves.precision_recall(labels, [("c1", "test", logits)]),
        curves.gains(labels, [("c1", "test", logits)]),
        curves.lift(labels, [("c1", "test", logits)]),
        curves.calibration_gaps(labels, [("c1", "test", logits)]),
        curves.histograms(labels, logits),
        curves.histograms(labels, np.full(120, -4.0)),
        curves.validation(history, 1),
        curves.losses(history, 1),
        curves.learning("valid_auc", "AUC", [("c1", "test", history)]),
        charts.heat_map("orders", orders, ["f0", "f1"], ["1", "2"]),
        charts.heat_map("orders", np.zeros((2, 20)), ["f0", "f1"], [str(i) for i in range(20)]),
        charts.intervals("AUC", rows, (0.5, 1.0), 0.7, x_name="AUC", names=8),
    ]
    assert_whole("<!DOCTYPE html>" + join(*drawings))
    assert "\N{MINUS SIGN}2.00" in drawings[11]
    assert "\N{MINUS SIGN}0.00" not in drawings[11]


def data_of(drawn):
    """The CSV behind the link of a figure: {series: [(x, y), ...]}."""
    (address,) = re.findall(r'href="data:text/csv,([^"]*)"', drawn)
    found = {}
    for name, x, y in list(csv.reader(io.StringIO(unquote(unescape(address)))))[1:]:
        found.setdefault(name, []).append((float(x), float(y)))
    return found


def test_precision_recall_gain_and_lift_are_counts_from_the_highest_score_down():
    draw = np.random.default_rng(3)
    labels, scores = draw.integers(0, 2, 150), draw.integers(0, 60, 150) / 7.0
    everyone = [("c1", "a, [b]", scores)]
    recall, gained, lifted = [], [(0.0, 0.0)], []
    for score in sorted(set(scores), reverse=True):
        shown = scores >= score
        clicks, rows = labels[shown].sum() / labels.sum(), shown.mean()
        recall.append((clicks, labels[shown].mean()))
        gained.append((rows, clicks))
        lifted.append((rows, clicks / rows))
    for drawn, wanted in (
        (curves.precision_recall(labels, everyone), recall),
        (curves.gains(labels, everyone), gained),
        (curves.lift(labels, everyone), lifted),
    ):
        (points,) = data_of(drawn).values()
        assert len(points) > 40
        nearest = np.abs(np.array(points)[:, None] - np.array(wanted)).max(axis=2).min(axis=1)
        assert nearest.max() < 1e-6


def test_epochs_are_whole_and_figures_can_be_had_as_csv():
    history = {"epoch": [1.0, 2.0, 3.0], "valid_auc": [0.7, 0.71, 0.72], "valid_logloss": [0.5, 0.4, 0.6]}
    drawn = curves.learning("valid_auc", "AUC", [("c1", "one, seed 1", history)])
    assert re.findall(r'class="tick mid">([^<]*)<', drawn) == ["1", "2", "3"]
    assert data_of(drawn) == {"one, seed 1": [(1, 0.7), (2, 0.71), (3, 0.72)]}


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("eulernet_averaged", "eulernet_averaged"),
        ("eulernet_without_something_long", "eulernet_wi…thing_long"),
        ("eulernet lr=0.01 embedding_dim=16", "eulernet lr=0.01 e…=16"),
        ("fm embedding_dim=8 lr=0.003", "fm embeddi…=8 lr=0.003"),
        ("fm lr=0.003 embedding_dim=8 weight_decay=1e-06", None),
    ],
)
def test_what_a_name_is_shortened_to(text, shown):
    short = charts.shorten(text, 22)
    assert len(short) <= 22
    if shown is not None:
        assert short == shown
    assert short.endswith(text[-3:])


def test_importance_is_scikit_learns_where_both_permute_alike():
    """What is not used is worth nothing; a field of two columns is permuted as one."""
    draw = np.random.default_rng(5)
    x = draw.integers(0, 50, (4000, 4)).astype(np.int32)
    labels = (draw.random(4000) < 1 / (1 + np.exp(-(x @ np.array([0.1, 0.0, 0.05, 0.05]) - 5)))).astype(int)
    columns = {"a": [slice(0, 1)], "unused": [slice(1, 2)], "c": [slice(2, 4)]}
    found, again = (
        permutation_importance(
            lambda ids: ids @ np.array([0.1, 0.0, 0.05, 0.05]), x, labels, columns, seed=1, repeats=4
        )
        for _ in range(2)
    )
    assert found == again
    assert found["auc"] == pytest.approx(roc_auc_score(labels, x @ np.array([0.1, 0.0, 0.05, 0.05])), abs=1e-9)
    assert found["fields"]["unused"]["auc"]["each"] == [0.0] * 4
    lost = [-found["fields"][name]["auc"]["value"] for name in columns]

    class Fitted:
        def fit(self, x, y):
            return self

        def score(self, x, y):
            return roc_auc_score(y, x @ np.array([0.1, 0.0, 0.05, 0.05]))

    theirs = sklearn_importance(Fitted(), x, labels, n_repeats=20, random_state=0).importances_mean
    assert lost[0] == pytest.approx(theirs[0], abs=0.02)
    assert lost[2] > theirs[2:].max()
