"""Every credit by hand, on two groups of two responses."""

import numpy as np
import pytest

from tfalign.models import Actor, CausalLM, GPTConfig
from tfalign.training.baselines import GreedyBaseline, MovingBaseline
from tfalign.training.credit import (
    GAE,
    GroupCentred,
    GroupRelative,
    LeaveOneOut,
    RewardToGo,
    Scored,
)
from tfalign.training.responses import RolloutConfig
from tfalign.training.rollouts import RolloutWorker
from tfalign.types import Prompts

MASK = np.array([[1, 1, 1], [1, 1, 0], [1, 0, 0], [1, 1, 1]], "bool")
SCORES = np.array([1, 3, 2, 2], "float32")
KL = np.where(MASK, [[0.1, 0.2, 0.3], [0.4, 0.2, 9], [0.5, 9, 9], [0.1, 0.1, 0.3]], 0)
VALUES = np.where(MASK, 0.5, 0).astype("float32")
BETA = 0.5
# scores - beta * KL of the response: 1 - 0.3, 3 - 0.3, 2 - 0.25, 2 - 0.25
TOTALS = np.array([0.7, 2.7, 1.75, 1.75])
TO_GO = np.array([[0.7, 0.75, 0.85], [2.7, 2.9, 0], [1.75, 0, 0], [1.75, 1.8, 1.85]])


def credited(credit, scores=SCORES, values=None, baseline=0.0, beta=BETA):
    baseline = np.full(4, baseline, "float32")
    scored = Scored(scores, KL.astype("float32"), MASK, values, baseline, group_size=2)
    return [np.asarray(x) for x in credit(scored, np.float32(beta))]


def over_tokens(per_response):
    return np.where(MASK, np.asarray(per_response)[:, None], 0.0)


@pytest.mark.parametrize(
    ("credit", "expected"),
    [
        (GroupCentred(), [-1, 1, 0, 0]),
        (LeaveOneOut(), [-2, 2, 0, 0]),
        (GroupRelative(), [-1 / (2**0.5 + 1e-4), 1 / (2**0.5 + 1e-4), 0, 0]),
    ],
    ids=str,
)
def test_groups(credit, expected):
    rewards, advantages, returns = credited(credit)
    np.testing.assert_allclose(rewards.sum(axis=1), TOTALS, atol=1e-6)
    np.testing.assert_allclose(advantages, over_tokens(expected), atol=1e-6)
    np.testing.assert_allclose(returns, TO_GO, atol=1e-6)


@pytest.mark.parametrize("credit", [GroupCentred(), LeaveOneOut(), GroupRelative()], ids=str)
def test_a_group_of_equal_scores_gets_exactly_nothing(credit):
    """However large the score, and whatever its rounding."""
    for score in (0.1, 1e6, 3e38 / 4):
        _, advantages, _ = credited(credit, np.full(4, score, "float32"), beta=0.0)
        assert not advantages.any()


@pytest.mark.parametrize("credit", [GroupCentred(), LeaveOneOut(), GroupRelative()], ids=str)
def test_a_constant_added_to_all_scores_changes_nothing(credit):
    _, advantages, _ = credited(credit)
    _, moved, _ = credited(credit, SCORES + 8)
    np.testing.assert_allclose(moved, advantages, atol=1e-5)


@pytest.mark.parametrize("baseline", [0.0, 1.5])
def test_reward_to_go(baseline):
    rewards, advantages, returns = credited(RewardToGo(), baseline=baseline)
    np.testing.assert_allclose(returns, TO_GO, atol=1e-6)
    np.testing.assert_allclose(advantages, np.where(MASK, TO_GO - baseline, 0), atol=1e-6)


def test_discounted_reward_to_go():
    _, _, returns = credited(RewardToGo(gamma=0.5))
    np.testing.assert_allclose(returns[1], [-0.2 + 0.5 * 2.9, 2.9, 0], atol=1e-6)


def test_whitened_over_the_real_tokens():
    _, advantages, _ = credited(RewardToGo(whiten_advantages=True))
    real = TO_GO[MASK]
    expected = np.where(MASK, (TO_GO - real.mean()) / np.sqrt(real.var() + 1e-8), 0)
    np.testing.assert_allclose(advantages, expected, atol=1e-5)


def test_gae_with_lambda_one_is_the_return_less_the_value():
    _, advantages, returns = credited(GAE(gae_lambda=1.0, whiten_advantages=False), values=VALUES)
    np.testing.assert_allclose(returns, TO_GO, atol=1e-6)
    np.testing.assert_allclose(advantages, np.where(MASK, TO_GO - 0.5, 0), atol=1e-6)


@pytest.mark.parametrize("credit", [GroupCentred(), LeaveOneOut(), GroupRelative(), RewardToGo()])
def test_a_row_without_a_token_has_no_advantage(credit):
    scored = Scored(
        SCORES, 0 * KL.astype("float32"), np.zeros_like(MASK), None, np.zeros(4, "float32"), 2
    )
    assert not any(np.asarray(x).any() for x in credit(scored, np.float32(BETA)))


EVERY = [
    GAE(),
    GAE(whiten_rewards=True),
    RewardToGo(),
    RewardToGo(whiten_advantages=True),
    GroupRelative(),
    GroupCentred(),
    LeaveOneOut(),
]


@pytest.mark.parametrize("credit", EVERY, ids=str)
def test_nothing_finite_becomes_infinite(credit):
    """Rows of no token and of one, scores of a million, references that all but exclude a token."""
    for seed in range(20):
        rng = np.random.default_rng(seed)
        rows, length, size = 2 * int(rng.integers(1, 5)), int(rng.integers(1, 7)), 2
        mask = np.arange(length) < rng.integers(0, length + 1, rows)[:, None]
        scale = 10.0 ** rng.integers(0, 7)
        numbers = [scale * rng.normal(size=mask.shape) for _ in range(2)]
        kl, values = (np.where(mask, x, 0).astype("float32") for x in numbers)
        scores = (scale * rng.normal(size=rows)).astype("float32")
        if seed % 3 == 0:
            scores[:] = scores[0]
        scored = Scored(scores, kl, mask, values, np.zeros(rows, "float32"), size)
        for part in credit(scored, np.float32(BETA)):
            assert np.isfinite(part).all() and not np.asarray(part)[~mask].any()


@pytest.mark.parametrize("credit", [x for x in EVERY if x != GAE(whiten_rewards=True)], ids=str)
@pytest.mark.parametrize("size", [1e10, 1e20, 1e30])
def test_huge_scores_are_credited_as_any_others(credit, size):
    """Whitened or relative to a group they have the same advantages, else ``size`` times as large ones."""
    rows = np.array([1.0, 3.0, 2.0, -4.0], "float32")
    zeros = np.zeros(MASK.shape, "float32")

    def advantages(factor):
        scored = Scored(rows * factor, zeros, MASK, zeros, zeros[:, 0], 2)
        return np.asarray(credit(scored, np.float32(0))[1]).astype("float64")

    one, large = advantages(np.float32(1)), advantages(np.float32(size))
    scale = np.abs(large).max() / np.abs(one).max()
    assert np.isclose(scale, 1, rtol=1e-3) or np.isclose(scale, size, rtol=1e-3)
    np.testing.assert_allclose(large / scale, one, atol=1e-3)
    assert one.any()


def worker(credit, **choices):
    model = CausalLM(GPTConfig(5, 4, 1, 1, max_positions=4))
    return RolloutWorker(Actor(model), model, None, RolloutConfig(2, **choices), credit)


def test_needs_are_checked_at_once():
    with pytest.raises(ValueError, match="GAE needs a critic. Received: .* type Actor"):
        worker(GAE())
    with pytest.raises(ValueError, match="LeaveOneOut compares .* Received: group_size=1"):
        worker(LeaveOneOut())
    with pytest.raises(ValueError, match="at least 1, and 2 where .* Received: group_size=1"):
        RolloutConfig(2, redraws=1)
    with pytest.raises(ValueError, match="Received: group_size=0"):
        RolloutConfig(2, group_size=0)


def test_moving_baseline():
    baseline = MovingBaseline(decay=0.75)
    prompts = Prompts(np.ones((3, 2), "int32"), np.ones((3, 2), "bool"))
    assert baseline(None, prompts).tolist() == [0, 0, 0]
    baseline.update(2.0)
    assert baseline(None, prompts).tolist() == [2, 2, 2]
    assert baseline.value == 2.0
    baseline.update(4.0)
    assert baseline.value == 2.5
    for mean_return in (np.nan, np.inf):  # of a batch that overflowed
        baseline.update(mean_return)
    assert baseline.value == 2.5
    resumed = MovingBaseline(decay=0.75)
    resumed.restore(baseline.state())
    assert resumed.value == 2.5
    with pytest.raises(ValueError, match="Received: decay=1.0"):
        MovingBaseline(decay=1.0)
    assert GreedyBaseline().state() == {}
