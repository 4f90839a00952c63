"""Every entry of the table of measures has a place in each report; test_house.py has its other pieces."""

import json

import numpy as np
import pytest

from eulernet.measures.evaluation import evaluation
from eulernet.measures.table import BY_NAME, MEASURES, Metrics
from eulernet.runs.card import card
from eulernet.runs.evaluate import measures_lines

LABELS, LOGITS = np.array([0, 1, 1, 0, 1]), np.array([-1.0, 0.5, 2.0, 0.7, 1.0])


@pytest.mark.parametrize("measure", MEASURES, ids=lambda measure: measure.name)
def test_each_measure_is_shown(measure):
    found = evaluation(LABELS, LOGITS, np.array([0, 0, 0, 1, 1]), resamples=10, seed=0)["metrics"]
    (line,) = [line for line in measures_lines(found) if line.startswith(f"{measure.short} ")]
    numbers = [number for number in found[measure.name].values() if number is not None]
    assert [float(word) for word in line.split() if word[0].isdigit()] == pytest.approx(numbers, abs=1e-6)
    assert line.endswith(measure.title)
    assert len(line) <= 80
    if not measure.needs_groups:
        assert measure.name in Metrics.of(LABELS, LOGITS).plain()


def test_names_are_unique():
    assert len(BY_NAME) == len(MEASURES) == len({measure.short for measure in MEASURES})


def test_reports_of_this_version_have_every_measure_of_rows(trained):
    report = json.loads((trained.run / "report.json").read_text())
    assert set(report["test"]) == {measure.name for measure in MEASURES if not measure.needs_groups}


def test_a_card_of_an_older_report_says_what_it_has():
    meta = {"name": "x", "rows_in": {"train": 1}, "clicks": {"train": 0}, "fields": [], "protocol": ""}
    old = {part: {"auc": 0.5, "logloss": 0.7} for part in ("valid", "test")} | {"seed": 1, "epochs": 1, "best_epoch": 1}
    assert "* test: AUC 0.500000, logloss 0.700000\n" in card({"model": {"name": "lr"}}, meta, old)
