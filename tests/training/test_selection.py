"""What a group of rollouts becomes: the best, or the best and the worst; and where that leads."""

import keras
import numpy as np
import pytest

from tfalign.enumerable import Problem, total_variation
from tfalign.models import Actor
from tfalign.objectives import OnlineDPO, Reinforce
from tfalign.training.algorithms import ALGORITHMS, algorithm
from tfalign.training.kl_control import FixedKL
from tfalign.training.learner import Learner
from tfalign.training.on_policy import improve
from tfalign.training.optimizers import WarmupDecay
from tfalign.training.responses import RolloutConfig
from tfalign.training.rollouts import RolloutWorker
from tfalign.training.selection import best_and_worst, best_of_groups, best_rows
from tfalign.types import Rollout

SMALL = Problem(3, 2)
SCORES = np.array([1.0, 3.0, -2.0, 5.0, 5.0, 5.0, 0.0, 0.0, 0.5], "float32")  # groups of three


def rollout_of(scores, response=4, prompt=2):
    """Row b is made of the number b."""
    rows = len(scores)
    number = np.arange(rows)[:, None]
    mask = np.arange(response) < 1 + number % response
    per_token = np.where(mask, number, 0).astype("float32")
    return Rollout(
        token_ids=np.broadcast_to(number, (rows, prompt + response)).astype("int32"),
        padding_mask=np.concatenate([np.ones((rows, prompt), "bool"), mask], axis=1),
        response_mask=mask,
        log_probs=per_token,
        ref_log_probs=per_token,
        values=per_token,
        rewards=per_token,
        advantages=per_token,
        returns=per_token,
        scores=scores,
    )


def test_the_best_of_each_group():
    rollout = rollout_of(SCORES)
    best = best_of_groups(rollout, 3)
    assert np.asarray(best.token_ids)[:, 0].tolist() == [1, 3, 8]  # of equal ones the first
    np.testing.assert_array_equal(best.advantages, rollout.response_mask[[1, 3, 8]])
    np.testing.assert_array_equal(best.scores, [3, 5, 0.5])
    assert best_rows(SCORES, 9).tolist() == [3]


def test_the_best_and_the_worst_of_each_group():
    rollout = rollout_of(SCORES)
    pairs = best_and_worst(rollout, 3)
    assert pairs.token_ids[:, :, 0].tolist() == [[1, 2], [3, 3], [8, 6]]
    # summed over their tokens: 1 in 2, 2 in 3, 3 in 4, 8 in 1, 6 in 3
    np.testing.assert_array_equal(pairs.ref_log_probs, [[2, 6], [12, 12], [8, 18]])
    real = rollout.response_mask
    np.testing.assert_array_equal(pairs.response_mask[[0, 2]], real[[[1, 2], [8, 6]]])
    assert not pairs.response_mask[1].any()  # all equal: nothing to prefer


def trained(name, steps, reward=SMALL.reward, batch_size=128, **changes):
    """The policy an algorithm of comparison arrives at on the small problem."""
    chosen = algorithm(name, **changes)
    policy = SMALL.policy()
    config = RolloutConfig(2, stop_tokens=(SMALL.stop_token,), group_size=chosen.group_size)
    worker = RolloutWorker(Actor(policy), SMALL.policy(), reward, config, chosen.credit)
    schedule = WarmupDecay(0.1, steps, shape="linear")
    optimizer = keras.optimizers.Adam(schedule, beta_2=0.99)
    learner = Learner(worker.actor_critic, chosen.loss, optimizer)
    for step in range(1, steps + 1):
        _, metrics = improve(
            worker,
            learner,
            SMALL.prompts(batch_size // chosen.group_size),
            FixedKL(0.0),
            seed=0,
            step=step,
            epochs=1,
            arrange=chosen.arrange,
        )
    return policy, metrics


@pytest.mark.slow
def test_online_dpo_arrives_at_the_exact_optimum():
    """A reward with Gumbel noise ranks two responses as Bradley and Terry would."""
    rng = np.random.default_rng(0)

    def noisy(*answered):
        rewards = SMALL.reward(*answered)
        return rewards + rng.gumbel(size=len(rewards)).astype("float32")

    policy, metrics = trained("online_dpo", 400, noisy, batch_size=512, beta=0.5)
    found, expected = SMALL.probabilities(policy), SMALL.optimum(0.5)
    assert total_variation(found, expected) < 0.05
    assert total_variation(SMALL.probabilities(SMALL.policy()), expected) > 0.2
    assert "first_max_log_ratio" not in metrics and metrics["weight"] > 100


@pytest.mark.slow
def test_rejection_sampling_climbs_to_the_best_response():
    policy, metrics = trained("rejection_sampling", 40)
    best = SMALL.probabilities(policy)[SMALL.rewards.argmax()]
    assert best > 0.9 > SMALL.probabilities(SMALL.policy())[SMALL.rewards.argmax()]
    assert metrics["first_max_log_ratio"] < 1e-4


def test_the_algorithms_are_what_the_papers_have():
    assert ALGORITHMS["online_dpo"].loss == OnlineDPO(beta=0.1)
    assert ALGORITHMS["rejection_sampling"].loss == Reinforce()
    with pytest.raises(ValueError, match="OnlineDPO has no KL term. Received: kl_coefficient=0.1"):
        algorithm("online_dpo", kl_coefficient=0.1)


def test_what_cannot_be_divided_is_told():
    worker = RolloutWorker(
        Actor(SMALL.policy()),
        SMALL.policy(),
        SMALL.reward,
        RolloutConfig(2, stop_tokens=(SMALL.stop_token,), group_size=4),
        ALGORITHMS["rejection_sampling"].credit,
    )
    with pytest.raises(ValueError, match="8 minibatches do not divide 4 rows to learn from"):
        improve(
            worker,
            None,
            SMALL.prompts(4),
            FixedKL(0.0),
            seed=0,
            step=1,
            minibatch_size=2,
            arrange=best_of_groups,
        )
