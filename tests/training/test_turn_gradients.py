"""Gradients of turn-level credit against enumerated ones, in a conversation of two turns on tables of logits.

Three tokens, one of which ends a turn; after the first turn a user says one word, and every turn earns something.
"""

from __future__ import annotations

import numpy as np
import pytest
from keras import ops

from experiments.studies.enumerable import mirror
from tfalign import backend
from tfalign.enumerable import Problem, TabularCritic
from tfalign.models import SeparateActorCritic
from tfalign.training.algorithms import algorithm
from tfalign.training.credit import Scored
from tfalign.training.responses import RolloutConfig
from tfalign.training.rollouts import RolloutWorker

V, R, BETA, ROWS = 3, 5, 0.3, 4096
PROBLEM = Problem(V, R, seed=1, user=mirror(V))
NUM = len(PROBLEM.responses)
RNG = np.random.default_rng(4)
LOGITS = RNG.normal(size=PROBLEM.ref_logits.shape).astype("float32")
ENDS = PROBLEM.mask & (PROBLEM.responses == V - 1)
# a turn earns what its text and that before it say, whatever follows
PAID = {}
for row, column in zip(*np.nonzero(ENDS)):
    PAID.setdefault(tuple(PROBLEM.responses[row, : column + 1]), RNG.normal())
EARNED = np.zeros((NUM, R), "float32")
for row, column in zip(*np.nonzero(ENDS)):
    EARNED[row, column] = PAID[tuple(PROBLEM.responses[row, : column + 1])]
POLICY = PROBLEM.policy()
POLICY.backbone.table.assign(LOGITS)
CRITIC = TabularCritic(len(LOGITS), V)
CRITIC.backbone.table.assign(RNG.normal(size=(len(LOGITS), 1)).astype("float32"))
LOG_PROBS, REF_LOG_PROBS = map(PROBLEM.token_log_probs, (POLICY, PROBLEM.policy()))
P = np.exp(LOG_PROBS.sum(axis=1))


def score_functions():
    """float64[N, R, prefixes, V]: the gradient of each of the policy's tokens' log-prob with respect to the table."""
    pi = np.exp(LOGITS, dtype="float64") / np.exp(LOGITS, dtype="float64").sum(1, keepdims=True)
    gradients = np.zeros((NUM, R, *LOGITS.shape))
    for row, (response, own, written) in enumerate(
        zip(PROBLEM.responses, PROBLEM.mask, PROBLEM.written)
    ):
        prefix = 0
        for t in np.nonzero(written)[0]:
            if own[t]:
                gradients[row, t, prefix] = (np.arange(V) == response[t]) - pi[prefix]
            prefix = V * prefix + response[t] + 1
    return gradients


SCORES = score_functions()


def exact_gradient():
    """Of E[what all turns earn - beta KL], differentiated by hand."""
    total = EARNED.sum(axis=1) - BETA * (LOG_PROBS - REF_LOG_PROBS).sum(axis=1)
    return np.einsum("y,y,ytsv->sv", P, total, SCORES)


def reward(token_ids, padding_mask, response_mask):
    """What each token earns, float32[B, R]."""
    rows = PROBLEM.table(np.arange(NUM))(token_ids, padding_mask, response_mask)
    return EARNED[rows.astype(int)]


def chosen(name):
    given = {"gae_lambda": 1.0, "whiten_advantages": False}
    return algorithm(name, kl_in="reward", kl_coefficient=BETA, **given)


def gradients_of_rows(credit):
    """float64[N, prefixes, V], of the loss of every response."""
    token_ids, padding_mask = PROBLEM.inputs()
    values = np.where(
        PROBLEM.mask, np.asarray(CRITIC(token_ids, padding_mask=padding_mask))[:, :R], 0
    )
    kl = (LOG_PROBS - REF_LOG_PROBS).astype("float32")
    zeros = np.zeros(NUM, "float32")
    scored = Scored(EARNED.sum(1), kl, PROBLEM.mask, values.astype("float32"), zeros, 1, EARNED)
    advantages = np.asarray(credit(scored, np.float32(BETA)).advantages, "float64")
    return -np.einsum("yt,ytsv->ysv", advantages, SCORES)


def test_there_are_conversations_of_two_turns():
    assert (ENDS.sum(axis=1) == 2).any() and (PROBLEM.written & ~PROBLEM.mask).any()
    assert P.sum() == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("name", ["turn_ppo", "ppo"])
def test_in_the_mean_it_is_the_policy_gradient(name):
    """Whatever the critic; also token by token, with the rewards where they were earned."""
    mean = np.tensordot(P, gradients_of_rows(chosen(name).credit), 1)
    np.testing.assert_allclose(mean, -exact_gradient(), atol=2e-6)


@pytest.mark.parametrize("name", ["turn_ppo", "ppo"])
def test_samples_give_it_within_three_standard_errors(name):
    algorithm_ = chosen(name)
    config = RolloutConfig(R, stop_tokens=(V - 1,), user=mirror(V))
    model = SeparateActorCritic(POLICY, CRITIC)
    worker = RolloutWorker(model, PROBLEM.policy(), reward, config, algorithm_.credit)
    rollout, _ = worker(PROBLEM.prompts(ROWS), seed=5, kl_coefficient=BETA)

    def loss():
        total, weight, metrics = algorithm_.loss(model, rollout)
        return total, (weight, metrics)

    _, (_, metrics), (sampled,) = backend.value_and_grad(loss, [POLICY.backbone.table])
    assert float(metrics["max_log_ratio"][0]) < 1e-4
    sampled = ops.convert_to_numpy(sampled).astype("float64") / ROWS
    gradients, exact = gradients_of_rows(algorithm_.credit), -exact_gradient()
    directions = np.stack([exact, *np.random.default_rng(3).normal(size=(4, *exact.shape))])
    directions /= np.sqrt((directions**2).sum((1, 2), keepdims=True))
    along = np.einsum("ysv,dsv->yd", gradients, directions)
    centre = np.einsum("sv,dsv->d", exact, directions)
    error = np.sqrt(P @ np.square(along - centre) / ROWS)
    found = np.einsum("sv,dsv->d", sampled, directions)
    assert (np.abs(found - centre) < 3 * error).all(), (found - centre) / error
    assert error[0] < 0.15 * np.linalg.norm(exact)  # a wrong sign or factor would show


def test_a_turn_s_variance_is_not_that_of_its_tokens():
    """The two credits are different ones."""
    ours, theirs = (gradients_of_rows(chosen(name).credit) for name in ("turn_ppo", "ppo"))
    assert np.abs(ours - theirs).max() > 0.1
