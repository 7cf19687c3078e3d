"""Sampled gradients of every algorithm against enumerated ones, on tables of logits.

Three tokens, one of which stops, at most three of them: 15 responses, 225 pairs of them. The
gradient of a token's log-prob with respect to its row of logits is e_token - pi, so what an
algorithm should do in the mean is a sum in NumPy over all responses, or over all pairs.
"""

import dataclasses

import numpy as np
import pytest
from keras import ops

from tests.sampling import with_slow
from tfalign import backend
from tfalign.enumerable import Problem, TabularCritic
from tfalign.functional.advantages import vtrace
from tfalign.functional.aggregation import sequence_mean
from tfalign.functional.kl import k1, k2
from tfalign.models import Actor, SeparateActorCritic
from tfalign.objectives import A2C, Reinforce, TruncatedImportance, VTrace
from tfalign.training.algorithms import ALGORITHMS, POLICY_GRADIENTS, algorithm
from tfalign.training.credit import Scored
from tfalign.training.responses import RolloutConfig
from tfalign.training.rollouts import RolloutWorker
from tfalign.types import Rollout

V, R, BETA, GROUPS = 3, 3, 0.4, 4096
PROBLEM = Problem(V, R, seed=1)
NUM = len(PROBLEM.responses)
RNG = np.random.default_rng(2)
LOGITS = RNG.normal(size=PROBLEM.ref_logits.shape).astype("float32")
VALUES = RNG.normal(size=(len(LOGITS), 1)).astype("float32")
# Whitening divides by a deviation that is estimated from the very batch: see test_credit.
CLIPPED = [name for name, chosen in ALGORITHMS.items() if hasattr(chosen.objective, "clip")]
UNBIASED = {
    "reinforce",
    "reinforce_moving",
    "reinforce_baseline",
    "reinforce_is",
    "remax",
    "vtrace",
}


def policy_of(logits):
    policy = PROBLEM.policy()
    policy.backbone.table.assign(logits)
    return policy


POLICY = policy_of(LOGITS)
CRITIC = TabularCritic(len(LOGITS), V)
CRITIC.backbone.table.assign(VALUES)
LOG_PROBS = PROBLEM.token_log_probs(POLICY)
REF_LOG_PROBS = PROBLEM.token_log_probs(PROBLEM.policy())
P = np.exp(LOG_PROBS.sum(axis=1))
MASK, LENGTHS = PROBLEM.mask, PROBLEM.mask.sum(axis=1)


def score_functions():
    """float64[N, R, prefixes, V]: the gradient of every token's log-prob with respect to the table."""
    pi = np.exp(LOGITS - LOGITS.max(1, keepdims=True), dtype="float64")
    pi /= pi.sum(1, keepdims=True)
    gradients = np.zeros((NUM, R, *LOGITS.shape))
    for row, (response, mask) in enumerate(zip(PROBLEM.responses, MASK)):
        prefix = 0
        for t, token in enumerate(response[mask]):
            gradients[row, t, prefix] = (np.arange(V) == token) - pi[prefix]
            prefix = V * prefix + token + 1
    return gradients


SCORE_FUNCTIONS = score_functions()


def exact_policy_gradient():
    """Of E[reward - beta KL], the sum over all responses differentiated by hand."""
    earned = PROBLEM.rewards - BETA * (LOG_PROBS - REF_LOG_PROBS).sum(axis=1)
    return np.einsum("y,y,ytsv->sv", P, earned, SCORE_FUNCTIONS)


def chosen_algorithm(name):
    changes = (
        {"whiten_advantages": False} if name in ("ppo", "a2c", "reinforce_pp", "turn_ppo") else {}
    )
    changes |= {"group_size": 2} if ALGORITHMS[name].credit.needs_group else {}
    return algorithm(name, kl_in="reward", kl_coefficient=BETA, **changes)


def worker_of(chosen):
    model = SeparateActorCritic(POLICY, CRITIC) if chosen.needs_critic else Actor(POLICY)
    config = RolloutConfig(R, stop_tokens=(V - 1,), group_size=chosen.group_size)
    baseline = chosen.baseline and chosen.baseline()
    worker = RolloutWorker(model, PROBLEM.policy(), PROBLEM.reward, config, chosen.credit, baseline)
    if chosen.baseline and "value" in baseline.state():
        baseline.update(0.7)
    return worker


def gradient_of(worker, objective, rollout):
    """float64[prefixes, V], of the loss' sum, and the metrics."""

    def loss():
        total, weight, metrics = objective(worker.actor_critic, rollout)
        return total, (weight, metrics)

    _, (_, metrics), (gradient,) = backend.value_and_grad(loss, [POLICY.backbone.table])
    return ops.convert_to_numpy(gradient).astype("float64"), metrics


def state_values():
    """float32[N, R], of the prefix before every token."""
    token_ids, padding_mask = PROBLEM.inputs()
    values = ops.convert_to_numpy(CRITIC(token_ids, padding_mask=padding_mask))[:, :R]
    return np.where(MASK, values, 0).astype("float32")


def expected(chosen, worker):
    """(probability float64[groups], gradient float64[groups, prefixes, V]) of every group there is."""
    size = chosen.group_size
    members = np.stack(np.meshgrid(*[np.arange(NUM)] * size, indexing="ij"), -1).reshape(-1, size)
    rows = members.ravel()
    baseline = np.zeros(len(rows), "float32")
    if worker.baseline is not None:
        baseline += worker.baseline(worker, PROBLEM.prompts(1))[0]
    scored = Scored(
        PROBLEM.rewards[rows],
        (LOG_PROBS - REF_LOG_PROBS).astype("float32")[rows],
        MASK[rows],
        state_values()[rows],
        baseline,
        size,
    )
    credited = chosen.credit(scored, np.float32(BETA))
    advantages = np.asarray(credited.advantages).astype("float64")
    if isinstance(chosen.objective, VTrace):  # on-policy: return less value, whatever the credit
        advantages = np.where(MASK, to_go(np.asarray(credited.rewards)) - state_values(), 0.0)
    if chosen.objective.aggregate is sequence_mean:
        advantages /= LENGTHS[rows, None]
    of_row = -np.einsum("yt,ytsv->ysv", advantages, SCORE_FUNCTIONS[rows])
    return P[members].prod(axis=1), of_row.reshape(-1, size, *LOGITS.shape).sum(axis=1)


def to_go(rewards):
    return rewards[:, ::-1].cumsum(axis=1)[:, ::-1]


@pytest.mark.parametrize("name", with_slow(POLICY_GRADIENTS, ["ppo", "grpo", "rloo", "vtrace"]))
def test_samples_give_the_enumerated_gradient_within_three_standard_errors(name):
    chosen = chosen_algorithm(name)
    worker = worker_of(chosen)
    probabilities, gradients = expected(chosen, worker)
    mean = np.tensordot(probabilities, gradients, 1)
    rollout, _ = worker(PROBLEM.prompts(GROUPS), seed=5, kl_coefficient=BETA)
    sampled, metrics = gradient_of(worker, chosen.loss, rollout)
    sampled /= GROUPS
    assert float(metrics["max_log_ratio"][0]) < 1e-4
    if "clip_fraction" in metrics:
        assert float(metrics["clip_fraction"][0]) == 0
    directions = np.stack([mean, *np.random.default_rng(3).normal(size=(4, *mean.shape))])
    directions /= np.sqrt((directions**2).sum((1, 2), keepdims=True))
    along = np.einsum("gsv,dsv->gd", gradients, directions)
    centre = probabilities @ along
    error = np.sqrt(probabilities @ np.square(along - centre) / GROUPS)
    found = np.einsum("sv,dsv->d", sampled, directions)
    assert (np.abs(found - centre) < 3 * error).all(), (found - centre) / error
    assert error[0] < 0.15 * np.linalg.norm(mean)  # a wrong sign or factor would show


@pytest.mark.parametrize("name", with_slow(CLIPPED, ["ppo", "dapo"]))
def test_at_ratio_one_the_clip_changes_nothing(name):
    """So what was shown above of the clipped gradient holds without a clip."""
    chosen = chosen_algorithm(name)
    worker = worker_of(chosen)
    rollout, _ = worker(PROBLEM.prompts(64), seed=6, kl_coefficient=BETA)
    wide = dict.fromkeys({"clip", "clip_high"} & vars(chosen.loss).keys(), 1e6)
    clipped, _ = gradient_of(worker, chosen.loss, rollout)
    free, _ = gradient_of(worker, dataclasses.replace(chosen.loss, **wide), rollout)
    np.testing.assert_allclose(clipped, free, atol=1e-5)
    assert np.abs(free).max() > 0.1


@pytest.mark.parametrize("name", sorted(UNBIASED | {"rloo", "dr_grpo"}))
def test_in_the_mean_it_is_the_policy_gradient(name):
    """Whatever the baseline; n responses of a group give n times it, Dr. GRPO n - 1 times."""
    chosen = chosen_algorithm(name)
    probabilities, gradients = expected(chosen, worker_of(chosen))
    times = {"rloo": 2, "dr_grpo": 1}.get(name, 1)
    mean = np.tensordot(probabilities, gradients, 1)
    np.testing.assert_allclose(mean, -times * exact_policy_gradient(), atol=2e-6)


def enumerated_rollout(policy_log_probs, advantages, rewards=None, weights=None):
    """Rollout of every response once, as sampled by a policy of these log-probs."""
    token_ids, padding_mask = PROBLEM.inputs()
    weights = np.ones(NUM) if weights is None else weights
    zeros = np.zeros((NUM, R), "float32")
    return Rollout(
        token_ids=token_ids,
        padding_mask=padding_mask,
        response_mask=MASK,
        log_probs=policy_log_probs.astype("float32"),
        ref_log_probs=REF_LOG_PROBS.astype("float32"),
        values=state_values(),
        rewards=zeros if rewards is None else rewards.astype("float32"),
        advantages=(advantages * weights[:, None]).astype("float32"),
        returns=zeros,
        scores=PROBLEM.rewards,
    )


def rewards_at_the_end():
    last = np.arange(R) == LENGTHS[:, None] - 1
    return np.where(last, PROBLEM.rewards[:, None], 0.0)


def test_a2c_is_the_first_update_of_ppo():
    """Huang et al. 2022: while ratios and values have not moved, in the policy and in the critic."""
    ppo, a2c = algorithm("ppo"), algorithm("a2c")
    worker = worker_of(ppo)
    rollout, _ = worker(PROBLEM.prompts(64), seed=7, kl_coefficient=BETA)
    tables = [POLICY.backbone.table, CRITIC.backbone.table]

    def gradients(objective):
        def loss():
            total, weight, metrics = objective(worker.actor_critic, rollout)
            return total, (weight, metrics)

        return [ops.convert_to_numpy(x) for x in backend.value_and_grad(loss, tables)[2]]

    for ours, theirs in zip(gradients(ppo.loss), gradients(a2c.loss)):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)
        assert np.abs(ours).max() > 0.1


def test_vtrace_on_policy_is_a2c_with_the_returns():
    rewards = rewards_at_the_end()
    advantages = np.where(MASK, to_go(rewards) - state_values(), 0.0)
    worker = worker_of(chosen_algorithm("vtrace"))
    batch = enumerated_rollout(LOG_PROBS, advantages, rewards)
    ours, _ = gradient_of(worker, VTrace(), batch)
    theirs, _ = gradient_of(worker, A2C(), batch)
    np.testing.assert_allclose(ours, theirs, atol=1e-5)
    assert np.abs(ours).max() > 0.1


def test_vtrace_from_an_older_policy_values_the_newer_one():
    """Without truncation the mean target of a state, under mu, is its value under pi."""
    mask = MASK.astype("float32")
    values = np.pad(state_values(), ((0, 0), (0, 1)))
    continues = np.pad(mask[:, 1:], ((0, 0), (0, 1)))
    corrections = vtrace(
        LOG_PROBS.astype("float32"),
        REF_LOG_PROBS.astype("float32"),
        rewards_at_the_end().astype("float32"),
        values,
        continues,
        1e9,
        1e9,
    )
    targets = np.asarray(corrections)[:, 0] + values[:, 0]
    sampled_by = np.exp(REF_LOG_PROBS.sum(axis=1))
    assert sampled_by @ targets == pytest.approx(P @ PROBLEM.rewards, abs=1e-5)
    assert abs(sampled_by @ PROBLEM.rewards - P @ PROBLEM.rewards) > 0.1  # uncorrected


def test_truncated_importance_without_truncation_is_the_newer_policy_gradient():
    """Token by token that is exact for the last token of a response given the state before it, so:
    for the sum over the last tokens' rows, each weighed as mu reaches it."""
    worker = worker_of(chosen_algorithm("reinforce"))
    last = (np.arange(R) == LENGTHS[:, None] - 1) & (LENGTHS[:, None] == R)
    advantages = np.where(last, PROBLEM.rewards[:, None], 0.0)
    by_mu = np.exp(REF_LOG_PROBS.sum(axis=1))
    reached = np.exp(np.where(last, 0, REF_LOG_PROBS).sum(axis=1))  # mu's way there, pi's last step
    by_mu_then_pi = reached * np.exp(np.where(last, LOG_PROBS, 0).sum(axis=1))
    corrected, metrics = gradient_of(
        worker,
        TruncatedImportance(cap=1e9),
        enumerated_rollout(REF_LOG_PROBS, advantages, weights=by_mu),
    )
    exact, _ = gradient_of(
        worker, Reinforce(), enumerated_rollout(LOG_PROBS, advantages, weights=by_mu_then_pi)
    )
    np.testing.assert_allclose(corrected, exact, atol=1e-6)
    assert float(metrics["clip_fraction"][0]) == 0
    _, metrics = gradient_of(
        worker, TruncatedImportance(cap=1.0), enumerated_rollout(REF_LOG_PROBS, advantages)
    )
    assert 0 < float(metrics["clip_fraction"][0] / metrics["clip_fraction"][1]) < 1


def test_k2_in_the_loss_has_the_gradient_of_every_state_s_kl():
    """Each state's KL to the reference, weighed by how often it is visited."""
    worker = worker_of(chosen_algorithm("reinforce"))

    def mean_gradient(estimator):
        objective = Reinforce(kl_coefficient=1.0, kl_estimator=estimator)
        total = np.zeros_like(LOGITS, "float64")
        for row in range(NUM):
            only = (np.arange(NUM) == row)[:, None] & MASK
            batch = enumerated_rollout(LOG_PROBS, np.zeros((NUM, R)))
            gradient, _ = gradient_of(worker, objective, batch._replace(response_mask=only))
            total += P[row] * gradient
        return total

    log_ratios = np.where(MASK, LOG_PROBS - REF_LOG_PROBS, 0.0)
    expected_k2 = np.einsum("y,yt,ytsv->sv", P, log_ratios, SCORE_FUNCTIONS)
    np.testing.assert_allclose(mean_gradient(k2), expected_k2, atol=1e-5)
    np.testing.assert_allclose(mean_gradient(k1), 0.0, atol=1e-5)  # no use in a loss
    assert np.abs(expected_k2).max() > 0.05
