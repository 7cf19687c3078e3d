"""Weighted sums of rewards, of texts and of rollouts."""

import numpy as np
import pytest

from tfalign.rewards import Combination, ExactMatch, Repetition, RewardError, TextReward

RIGHT = ExactMatch(lambda prompt: "a b")


def test_of_rules():
    reward = Combination({"right": (2.0, RIGHT), "repeats": (-0.5, Repetition(1))})
    assert reward.each("", "a b") == {"right": 1.0, "repeats": 0.0}
    assert reward("", "a b") == 2.0
    assert reward.each("", "a a a a") == {"right": 0.0, "repeats": 0.75}
    assert reward("", "a a a a") == -0.375


def test_of_reward_functions_of_rollouts():
    token_ids = np.array([[7, 1, 2], [7, 1, 1]], "int32")
    mask = np.ones((2, 3), "bool")

    def decode(ids):
        return " ".join(" ab"[token] if token < 3 else "?" for token in ids)

    def learned(token_ids, padding_mask, response_mask):
        return np.array([0.25, 4.0], "float32")

    reward = Combination({"rule": (1.0, TextReward(RIGHT, decode)), "learned": (0.5, learned)})
    np.testing.assert_array_equal(reward(token_ids, mask, mask[:, 1:]), [1.125, 2.0])
    each = reward.each(token_ids, mask, mask[:, 1:])
    np.testing.assert_array_equal(each["rule"], [1, 0])
    np.testing.assert_array_equal(each["learned"], [0.25, 4.0])


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), np.array([0.0, np.nan])])
def test_names_the_part_that_is_not_finite(bad):
    reward = Combination({"right": (1.0, RIGHT), "mine": (0.0, lambda p, r: bad)})
    with pytest.raises(RewardError, match="part mine is not finite"):
        reward("", "")


@pytest.mark.parametrize("parts", [{}, {"a": (float("nan"), RIGHT)}])
def test_refuses(parts):
    with pytest.raises(ValueError, match="at least one part|weight of a must be finite"):
        Combination(parts)
