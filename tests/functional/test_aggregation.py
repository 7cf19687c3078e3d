"""From tokens to a batch: worked by hand, and independent of how a batch is cut."""

import numpy as np
import pytest

from tfalign.functional.aggregation import (
    fixed_length_mean,
    micro_batch_token_mean,
    sequence_mean,
    token_mean,
)

LOSS = np.array([[1, 2, 3, 4], [10, 20, np.nan, np.nan], [6, np.inf, 0, 0]], "float32")
MASK = np.array([[1, 1, 1, 1], [1, 1, 0, 0], [1, 0, 0, 0]], "bool")
EVERY = (token_mean, sequence_mean, fixed_length_mean, micro_batch_token_mean)


@pytest.mark.parametrize(
    ("aggregate", "total", "weight"),
    [
        (token_mean, 46, 7),
        (sequence_mean, 2.5 + 15 + 6, 3),
        (fixed_length_mean, 46, 12),
        (micro_batch_token_mean, 46 / 7, 1),
    ],
)
def test_by_hand(aggregate, total, weight):
    assert [float(x) for x in aggregate(LOSS, MASK)] == pytest.approx([total, weight])


@pytest.mark.parametrize("aggregate", EVERY)
def test_micro_batches_add_up_to_the_batch(aggregate):
    """All but the one that is named for not doing so."""
    whole = np.array([float(x) for x in aggregate(LOSS, MASK)])
    parts = sum(np.array([float(x) for x in aggregate(LOSS[i:j], MASK[i:j])]) for i, j in CUTS)
    if aggregate is micro_batch_token_mean:
        assert parts == pytest.approx([40 / 6 + 6, 2])
    else:
        assert parts == pytest.approx(whole)


CUTS = ((0, 2), (2, 3))


@pytest.mark.parametrize("aggregate", EVERY)
def test_nothing_counts(aggregate):
    """A response without a token, and a batch of such: sums of 0, never NaN."""
    total, weight = aggregate(LOSS, np.zeros_like(MASK))
    assert float(total) == 0 and float(weight) >= 0
