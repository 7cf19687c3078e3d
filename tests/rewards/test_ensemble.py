"""Ensembles: the bounds by hand, and no trust in a member that stands alone."""

import numpy as np
import pytest

from tfalign.rewards import (
    Ensemble,
    mean_less_deviation,
    mean_less_variance,
    worst_case,
)

SCORES = np.array([[1.0, 0.0, 5.0], [3.0, 0.0, -1.0]], "float32")


@pytest.mark.parametrize(
    ("bound", "expected"),
    [
        (worst_case, [1.0, 0.0, -1.0]),
        (mean_less_deviation, [1.0, 0.0, -1.0]),
        (lambda scores: mean_less_deviation(scores, 2.0), [0.0, 0.0, -4.0]),
        (lambda scores: mean_less_variance(scores, 0.5), [1.5, 0.0, -2.5]),
    ],
)
def test_bounds_by_hand(bound, expected):
    ensemble = Ensemble([lambda *_: SCORES[0], lambda *_: SCORES[1]], bound)
    scores = ensemble(None, None, None)
    np.testing.assert_allclose(scores, expected)
    assert scores.dtype == np.float32


def test_a_member_that_is_fooled_does_not_decide():
    """A response one member overrates by far ranks below one that all like."""
    members = [np.array([1.0, 0.0]), np.array([1.1, 0.1]), np.array([0.9, 30.0])]
    scores = Ensemble([lambda *_, m=member: m for member in members])(None, None, None)
    assert scores[0] > scores[1]
    assert np.mean(members, axis=0)[0] < np.mean(members, axis=0)[1]


def test_one_is_no_ensemble_and_nan_stays_nan():
    with pytest.raises(ValueError, match="two rewards or more. Received: 1"):
        Ensemble([lambda *_: SCORES[0]])
    for bound in (worst_case, mean_less_deviation, mean_less_variance):  # for rollouts to refuse
        broken = Ensemble([lambda *_: SCORES[0], lambda *_: np.array([1.0, np.nan, 1.0])], bound)
        assert np.isnan(broken(None, None, None)).tolist() == [False, True, False]
