"""AUC by brute force, logloss by its definition."""

import math

import numpy as np
import pytest
import reference
from hypothesis import given
from hypothesis import strategies as st

from eulernet.measures.metrics import auc, logloss
from eulernet.measures.table import Metrics

scored = st.lists(st.tuples(st.integers(0, 1), st.integers(-4, 4)), min_size=2, max_size=40).filter(
    lambda rows: 0 < sum(label for label, _ in rows) < len(rows)
)


@given(scored)
def test_auc_equals_brute_force_with_ties(rows):
    labels, scores = zip(*rows, strict=True)
    got = auc(np.array(labels), np.array(scores, dtype=np.float64))
    assert got == pytest.approx(reference.auc(list(labels), list(scores)), abs=1e-12)


@given(scored)
def test_logloss_equals_its_definition(rows):
    labels, scores = zip(*rows, strict=True)
    got = logloss(np.array(labels), np.array(scores))
    assert got == pytest.approx(reference.logloss(list(labels), list(scores)), rel=1e-12)


def test_logloss_is_exact_where_an_epsilon_would_show():
    assert logloss(np.array([0, 1]), np.array([800.0, 800.0])) == 400.0
    assert logloss(np.array([1]), np.array([40.0])) == pytest.approx(math.exp(-40.0), rel=1e-12)


def test_metrics_read_well():
    metrics = Metrics.of(np.array([0, 1, 1]), np.array([-1.0, 0.0, 2.0]))
    assert str(metrics) == f"auc=1.000000  logloss={metrics.logloss:.6f}"
