"""Turns of conversations: tables by hand, and loops in NumPy."""

from __future__ import annotations

import numpy as np
import pytest
from keras import ops

from tfalign.functional.advantages import generalized_advantages, grpo_advantages, rewards_to_go
from tfalign.functional.turns import (
    group_turn_advantages,
    turn_advantages,
    turn_numbers,
    turn_returns,
)

# the policy says two tokens, hears one, says one, hears two, says one
TALK = np.array([[True, True, False, True, False, False, True, False]])


def test_turns_are_numbered():
    np.testing.assert_array_equal(turn_numbers(TALK), [[0, 0, 0, 1, 1, 1, 2, 2]])


def test_what_is_earned_from_a_turn_on():
    rewards = np.array([[1, 2, 9, 4, 9, 9, 8, 9]], "float32")
    np.testing.assert_allclose(turn_returns(rewards, TALK), [[15, 12, 8, 0]])


def test_advantages_by_hand():
    rewards = np.array([[1, 2, 9, 4, 9, 9, 8, 9]], "float32")
    values = np.array([[5, 7, 7, 3, 7, 7, 2, 7]], "float32")
    # turns of rewards 3, 4, 8 and values 5, 3, 2; gamma 0.5, lambda 0.5
    deltas = [3 + 0.5 * 3 - 5, 4 + 0.5 * 2 - 3, 8 - 2]
    third = deltas[2]
    second = deltas[1] + 0.25 * third
    first = deltas[0] + 0.25 * second
    advantages, returns = turn_advantages(rewards, values, TALK, 0.5, 0.5)
    shown = [first, first, 0, second, 0, 0, third, 0]
    np.testing.assert_allclose(advantages, [shown], rtol=1e-6)
    given = [first + 5, first + 5, 0, second + 3, 0, 0, third + 2, 0]
    np.testing.assert_allclose(returns, [given], rtol=1e-6)


def test_turns_of_one_token_are_tokens(rng):
    mask = np.arange(9)[None, :] % 2 == 0
    mask = np.repeat(mask, 4, axis=0)
    rewards, values = (rng.normal(size=mask.shape).astype("float32") for _ in range(2))
    for ours, theirs in zip(
        turn_advantages(rewards, values, mask, 0.9, 0.8),
        generalized_advantages(rewards, values, mask, 0.9, 0.8),
    ):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)


def random_talks(rng, rows, columns):
    """bool[B, R], runs of the policy's tokens and of others', then nothing; each begins with the policy."""
    mask = np.zeros((rows, columns), bool)
    for row in mask:
        at, own = 0, True
        end = rng.integers(1, columns + 1)
        while at < end:
            size = int(rng.integers(1, 4))
            row[at : min(at + size, end)] = own
            at, own = at + size, not own
    return mask


def loop_over_groups(rewards, mask, size):
    """``group_turn_advantages`` turn by turn."""
    numbers, to_go = np.asarray(turn_numbers(mask)), np.asarray(rewards_to_go(rewards, mask))
    found = np.zeros(mask.shape)
    for first in range(0, len(mask), size):
        rows = range(first, first + size)
        for turn in range(mask.shape[1]):
            returns = {}
            for row in rows:
                columns = np.nonzero(mask[row] & (numbers[row] == turn))[0]
                if len(columns):
                    returns[row] = columns, to_go[row, columns[0]]
            earned = np.array([value for _, value in returns.values()])
            if len(earned) < 2 or np.ptp(earned) == 0:
                continue
            for row, (columns, value) in returns.items():
                found[row, columns] = (value - earned.mean()) / (earned.std(ddof=1) + 1e-4)
    return found


def test_groups_against_a_loop(rng):
    mask = random_talks(rng, 24, 11)
    rewards = np.where(mask, rng.normal(size=mask.shape), 0).astype("float32")
    advantages = group_turn_advantages(rewards, mask, 4)
    np.testing.assert_allclose(advantages, loop_over_groups(rewards, mask, 4), atol=1e-4)


def test_a_single_turn_is_grpo(rng):
    mask = np.arange(6)[None, :] < rng.integers(1, 7, size=16)[:, None]
    scores = rng.normal(size=16).astype("float32")
    rewards = np.where(np.arange(6) == mask.sum(1)[:, None] - 1, scores[:, None], 0)
    expected = np.where(mask, np.asarray(grpo_advantages(scores, 4))[:, None], 0)
    found = group_turn_advantages(rewards.astype("float32"), mask, 4)
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("value", [0.1, 1e30])
def test_equal_returns_are_exactly_nothing(value):
    rewards = np.full((3, 8), np.float32(value))
    found = ops.convert_to_numpy(group_turn_advantages(rewards, np.repeat(TALK, 3, axis=0), 3))
    np.testing.assert_array_equal(found, np.zeros((3, 8)))


def test_huge_rewards_stay_finite():
    rewards = np.zeros((2, 8), "float32")
    rewards[:, 6] = 1e30, -1e30
    found = group_turn_advantages(rewards, np.repeat(TALK, 2, axis=0), 2)
    np.testing.assert_allclose(np.asarray(found)[:, 0], [0.7071, -0.7071], atol=1e-3)
