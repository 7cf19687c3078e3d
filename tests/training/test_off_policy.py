"""Rollouts of an older policy: corrected ones lead to the exact optimum, uncorrected ones do not.

The hardest case that can be enumerated: the reference samples to the end, however far the policy
has moved from it.
"""

import numpy as np
import pytest

from experiments.studies.exact_optimum import ExactOptimumConfig, solve, with_kl_in_reward
from tfalign.enumerable import Problem, TabularCritic, total_variation
from tfalign.models import Actor, SeparateActorCritic
from tfalign.training.algorithms import algorithm
from tfalign.training.responses import OlderResponder, RolloutConfig
from tfalign.training.rollouts import RolloutWorker

SMALL = Problem(3, 2)
BETA = 0.5


def distance(name, problem=SMALL, beta=BETA, cap=None, **changes):
    policy = solve(problem, with_kl_in_reward(name, beta, cap), ExactOptimumConfig(**changes))
    return total_variation(problem.probabilities(policy), problem.optimum(beta))


@pytest.mark.parametrize("name", ["vtrace", "reinforce_is"])
@pytest.mark.slow
def test_corrected_it_arrives_although_the_reference_samples(name):
    assert distance(name, reference_samples=True, cap=1e9, steps=150, batch_size=256) < 0.02


@pytest.mark.exhaustive
@pytest.mark.slow
def test_uncorrected_it_does_not():
    start = total_variation(SMALL.probabilities(SMALL.policy()), SMALL.optimum(BETA))
    assert start > 0.2
    assert distance("reinforce", reference_samples=True, steps=150, batch_size=256) > 0.1


@pytest.mark.slow
@pytest.mark.parametrize(("name", "mark"), [("vtrace", 0.05), ("reinforce_is", 0.05)])
def test_six_tokens_four_steps(name, mark):
    assert distance(name, Problem(6, 4), 1.0, reference_samples=True, cap=1e9) <= mark


@pytest.mark.parametrize("name", ["reinforce", "vtrace"])
def test_kl_and_values_are_of_today_and_log_probs_of_the_sampler(name):
    policy, sampler = SMALL.policy(), SMALL.policy()
    policy.backbone.table.assign(2 * SMALL.ref_logits)
    chosen = algorithm(name)
    critic = TabularCritic(SMALL.num_prefixes, SMALL.vocab_size)
    critic.backbone.table.assign(np.arange(SMALL.num_prefixes, dtype="float32")[:, None])
    model = SeparateActorCritic(policy, critic) if chosen.needs_critic else Actor(policy)
    config = RolloutConfig(2, stop_tokens=(SMALL.stop_token,))
    older = OlderResponder(sampler, SMALL.reward, config)
    worker = RolloutWorker(model, SMALL.policy(), SMALL.reward, config, chosen.credit, older=older)
    rollout, statistics = worker(SMALL.prompts(64), seed=0, kl_coefficient=BETA)
    mask = np.asarray(rollout.response_mask)
    tokens = np.where(mask, np.asarray(rollout.token_ids)[:, -2:], 0)
    rows = [SMALL.responses.tolist().index(row) for row in tokens.tolist()]
    by_sampler, by_policy = (SMALL.token_log_probs(model)[rows] for model in (sampler, policy))
    np.testing.assert_allclose(rollout.log_probs, by_sampler, atol=1e-5)
    kl = by_policy - by_sampler  # the sampler is the reference still
    assert statistics["kl"] == pytest.approx(kl.sum(axis=1).mean(), abs=1e-5)
    assert statistics["behind"] == pytest.approx(-statistics["kl"], abs=1e-5)
    np.testing.assert_allclose(
        np.asarray(rollout.rewards).sum(axis=1),
        SMALL.rewards[rows] - BETA * kl.sum(axis=1),
        atol=1e-5,
    )
    states = np.where(mask, np.stack([np.zeros(64), tokens[:, 0] + 1], axis=1), 0)
    expected = states if chosen.needs_critic else np.zeros_like(states)
    np.testing.assert_allclose(rollout.values, expected, atol=1e-5)
