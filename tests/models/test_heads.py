"""Heads by hand; the contract every layer keeps is checked in tests/layers."""

import numpy as np
import pytest

from tfalign.models import ScalarRewardHead, ValueHead

HIDDEN = np.random.default_rng(0).normal(size=(2, 4, 3)).astype("float32")


def test_normalisation_gives_mean_0_and_deviation_1_and_composes():
    features = np.random.default_rng(1).normal(2, 3, size=(500, 3)).astype("float32")
    head = ScalarRewardHead()
    for _ in range(2):
        scores = np.asarray(head(features))
        head.normalize(scores.mean(), scores.std())
        normal = np.asarray(head(features))
        assert normal.mean() == pytest.approx(0, abs=1e-4)
        assert normal.std() == pytest.approx(1, abs=1e-4)
        np.testing.assert_array_equal(np.argsort(normal), np.argsort(scores))
        features = features * 5 + 7  # the policy has moved; normalise again


@pytest.mark.parametrize("std", [0.0, -1.0, float("inf"), float("nan")])
def test_scores_without_spread_cannot_be_normalised(std):
    head = ScalarRewardHead()
    head.build((None, 3))
    kernel = np.asarray(head.dense.kernel)
    with pytest.raises(ValueError, match="Received: std="):
        head.normalize(0.0, std)
    np.testing.assert_array_equal(head.dense.kernel, kernel)


def test_reward_kernel_starts_at_its_papers_spread():
    head = ScalarRewardHead()
    head.build((None, 9_999))
    assert np.std(head.dense.kernel) == pytest.approx(0.01, rel=0.05)
    assert float(head.dense.bias[0]) == 0


def test_values_start_at_zero_and_are_float32():
    head = ValueHead(dtype="mixed_bfloat16")
    values = np.asarray(head(HIDDEN))
    assert values.dtype == np.float32
    np.testing.assert_array_equal(values, np.zeros((2, 4)))
