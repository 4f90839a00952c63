"""Measures of rows that are spread over ranks: those of all rows in one place, ties and weights included."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eulernet.measures.spread import Ranks, buckets, measure_spread
from eulernet.measures.table import Metrics


class Meeting:
    """Ranks that are threads of this process."""

    def __init__(self, count):
        self.barrier, self.given = Barrier(count), [None] * count

    def rank(self, number):
        def gather(value):
            self.barrier.wait()
            self.given[number] = value
            self.barrier.wait()
            return list(self.given)

        return Ranks(number, gather, lambda parts: np.concatenate([sent[number] for sent in gather(parts)]))


def in_ranks(work, parts):
    """``work(*part, ranks)`` of every rank."""
    meeting = Meeting(len(parts))
    with ThreadPoolExecutor(len(parts)) as pool:
        return [each.result() for each in [pool.submit(work, *part, meeting.rank(i)) for i, part in enumerate(parts)]]


def values(metrics):
    return np.array([metrics.auc, metrics.logloss, *metrics.others.values()])


@settings(max_examples=40, deadline=None)
@given(data=st.data(), rows=st.integers(1, 200), ranks=st.integers(1, 5), ties=st.sampled_from([3, 50, 10**9]))
def test_measures_are_those_of_all_rows_in_one_place(data, rows, ranks, ties):
    draw = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    logits = draw.integers(0, ties, rows) / ties * 8 - 4
    labels = (draw.random(rows) < data.draw(st.sampled_from([0.0, 0.2, 0.5, 1.0]))).astype(np.float64)
    weights = data.draw(st.sampled_from([None, draw.integers(1, 9, rows) / 4]))
    cuts = np.sort(draw.integers(0, rows + 1, ranks - 1))  # some ranks may have no row
    if data.draw(st.booleans()):  # each rank another range of scores
        order = np.argsort(logits)
        logits, labels, weights = logits[order], labels[order], None if weights is None else weights[order]
    parts = zip(*(np.split(a, cuts) for a in (labels, logits)), strict=True)
    if weights is None:
        parts = [(*part, None) for part in parts]
    else:
        parts = [(*part, w) for part, w in zip(parts, np.split(weights, cuts), strict=True)]
    found, wanted = in_ranks(measure_spread, parts), Metrics.of(labels, logits, weights)
    assert list(found[0].others) == list(wanted.others)
    np.testing.assert_allclose(values(found[0]), values(wanted), rtol=1e-12, atol=1e-12)
    for other in found[1:]:
        assert str(values(other).tolist()) == str(values(found[0]).tolist())  # NaN equals NaN


def test_a_rank_gets_about_its_share_of_the_rows():
    draw = np.random.default_rng(1)
    rows = [np.column_stack([draw.normal(i, 1, 5000), np.zeros(5000), np.ones(5000)]) for i in range(4)]
    sent = in_ranks(lambda part, ranks: [len(bucket) for bucket in buckets(part, ranks)], [(part,) for part in rows])
    assert max(np.sum(sent, axis=0)) < 1.1 * 5000


def test_no_rows_at_all():
    none = np.zeros(0)
    with pytest.raises(ValueError, match="there are no rows to measure"):
        in_ranks(measure_spread, [(none, none, None)])
