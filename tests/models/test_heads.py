"""Heads by hand; the contract every layer keeps is checked in tests/layers."""

import numpy as np
import pytest

from tfalign.models import ScalarRewardHead, ValueHead

HIDDEN = np.random.default_rng(0).normal(size=(2, 4, 3)).astype("float32")


def test_score_is_read_at_the_last_real_token_on_either_side():
    head = ScalarRewardHead()
    mask = np.array([[1, 1, 0, 0], [0, 0, 1, 1]], "bool")
    scores = head(HIDDEN, padding_mask=mask)
    kernel, bias = head.dense.get_weights()
    expected = [HIDDEN[0, 1] @ kernel[:, 0], HIDDEN[1, 3] @ kernel[:, 0]]
    np.testing.assert_allclose(scores, expected + bias, rtol=1e-5)


def test_normalisation_gives_mean_0_and_deviation_1_and_composes():
    hidden = np.random.default_rng(1).normal(2, 3, size=(500, 1, 3)).astype("float32")
    mask = np.ones((500, 1), "bool")
    head = ScalarRewardHead()
    order = np.argsort(head(hidden, padding_mask=mask))
    for _ in range(2):
        scores = np.asarray(head(hidden, padding_mask=mask))
        head.normalize(scores.mean(), scores.std())
        normal = np.asarray(head(hidden, padding_mask=mask))
        assert normal.mean() == pytest.approx(0, abs=1e-4)
        assert normal.std() == pytest.approx(1, abs=1e-4)
        hidden = hidden * 5 + 7  # the policy has moved; normalise again
        order = np.argsort(head(hidden, padding_mask=mask))
    assert np.array_equal(order, np.argsort(head(hidden, padding_mask=mask)))
    assert [weight.path for weight in head.non_trainable_weights] == [
        weight.path for weight in (head.gain, head.shift)
    ]


@pytest.mark.parametrize("std", [0.0, -1.0, float("inf"), float("nan")])
def test_scores_without_spread_cannot_be_normalised(std):
    head = ScalarRewardHead()
    head.build((None, None, 3))
    with pytest.raises(ValueError, match="Received: std="):
        head.normalize(0.0, std)
    assert float(head.gain) == 1.0


def test_reward_kernel_starts_at_its_papers_spread():
    head = ScalarRewardHead()
    head.build((None, None, 9_999))
    assert np.std(head.dense.kernel) == pytest.approx(0.01, rel=0.05)
    assert float(head.dense.bias[0]) == 0


def test_values_start_at_zero_and_are_float32():
    head = ValueHead(dtype="mixed_bfloat16")
    values = np.asarray(head(HIDDEN))
    assert values.dtype == np.float32
    np.testing.assert_array_equal(values, np.zeros((2, 4)))
