"""Retrieval metrics against hand-worked tables."""

from __future__ import annotations

import numpy as np
import pytest

from tfalign.evaluation.retrieval import (
    ndcg_at,
    recall_at,
    reciprocal_rank,
    retrieval_metrics,
)

FOUND = [[3, 1, 2, 0], [0, 1, 2, 3], [2, 3, -1, -1], [1, 0, 2, 3]]
RELEVANT = [{1: 1.0, 2: 1.0, 9: 1.0}, {0: 3.0}, {0: 1.0}, {3: 1.0, 0: 2.0}]


def test_recall_and_reciprocal_rank_by_hand():
    """Of query 0 the second rank is the first right one, and 9 is never found."""
    np.testing.assert_allclose(recall_at(FOUND, RELEVANT, 2), [1 / 3, 1, 0, 1 / 2])
    np.testing.assert_allclose(recall_at(FOUND, RELEVANT, 4), [2 / 3, 1, 0, 1])
    np.testing.assert_allclose(reciprocal_rank(FOUND, RELEVANT, 4), [1 / 2, 1, 0, 1 / 2])
    np.testing.assert_allclose(reciprocal_rank(FOUND, RELEVANT, 1), [0, 1, 0, 0])


def test_ndcg_by_hand():
    """1 / log2(3) = 0.63093, 1 / log2(4) = 0.5, 1 / log2(5) = 0.43068."""
    third, fourth = 0.5, 0.430677
    second = 0.630930
    expected = [
        (second + third) / (1 + second + third),  # three are relevant
        1.0,
        0.0,
        (2 * second + fourth) / (2 + second),
    ]
    np.testing.assert_allclose(ndcg_at(FOUND, RELEVANT, 4), expected, atol=1e-5)
    np.testing.assert_allclose(ndcg_at(FOUND[3:], RELEVANT[3:], 1), [0.0])


def test_means_over_queries():
    measured = retrieval_metrics(FOUND, RELEVANT, k=4)
    assert measured["recall_at_1"] == pytest.approx(1 / 4)
    assert measured["recall_at_4"] == pytest.approx((2 / 3 + 1 + 0 + 1) / 4)
    assert measured["mrr_at_4"] == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("found", "relevant", "k", "message"),
    [
        ([[1, 2]], [{1: 1.0}, {2: 1.0}], 1, r"Received: documents of shape \(1, 2\) and 2 queries"),
        ([[1, 2]], [{}], 1, "Query 0 needs relevant documents"),
        ([[1, 2]], [{1: 0.0}], 1, "positive finite gains"),
        ([[1, 1]], [{1: 1.0}], 1, "a document is found twice"),
        ([[1, 2]], [{1: 1.0}], 3, r"k must be in \[1, 2\].* Received: k=3"),
        ([[1, 2]], [{1: 1.0}], 0, "Received: k=0"),
    ],
)
def test_bad_input_is_told(found, relevant, k, message):
    with pytest.raises(ValueError, match=message):
        ndcg_at(found, relevant, k)
