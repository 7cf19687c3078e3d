"""Conditions in rollouts: they go with their prompts, whatever is repeated, shuffled, scored or compared."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from tests.sampling import with_slow
from tfalign.functional.log_probs import token_log_probs
from tfalign.layers import IdPrefix, PatchPrefix
from tfalign.models import (
    Actor,
    CausalLM,
    Conditioned,
    GPTConfig,
    SeparateActorCritic,
    SharedActorCritic,
    separate_critic,
)
from tfalign.models.gpt import GPT
from tfalign.training.algorithms import ALGORITHMS, algorithm
from tfalign.training.kl_control import FixedKL
from tfalign.training.learner import Learner
from tfalign.training.on_policy import improve
from tfalign.training.optimizers import adamw
from tfalign.training.responses import OlderResponder, RolloutConfig
from tfalign.training.rollouts import RolloutWorker
from tfalign.types import NumberedPrompts

V, STOP, R, B, W = 7, 6, 4, 16, 16
USERS = np.tile(np.array([2, 0, 1, 0], "int32"), 4)
# two prompts, so that rows differ in their users alone
IDS = np.repeat(np.array([[1, 2], [3, 4]], "int32"), B // 2, axis=0)
PROMPTS = NumberedPrompts(IDS, np.ones(IDS.shape, "bool"), np.arange(B), USERS)


def conditioned(seed, encoder=None):
    encoder = encoder or IdPrefix(3, 2, W)
    gpt = GPT(GPTConfig(V, W, 1, 2, max_positions=R + 2 + encoder.num_columns))
    made, random = CausalLM(Conditioned(gpt, encoder)), np.random.default_rng(seed)
    for weight in made.weights:
        weight.assign(random.normal(0, 0.4, weight.shape))
    return made


def reward(token_ids, padding_mask, response_mask):
    return (np.asarray(token_ids)[:, -R:] * np.asarray(response_mask)).sum(axis=1).astype("float32")


def worker_of(chosen, policy, reference=None, shared=False, older=None, slots=None):
    actor_critic = Actor(policy)
    if chosen.credit.needs_values:
        critic = separate_critic(policy)
        critic.head.dense.kernel.assign(np.linspace(-1, 1, W)[:, None])
        actor_critic = SeparateActorCritic(policy, critic)
        if shared:
            actor_critic = SharedActorCritic(policy)
    reference = conditioned(1) if reference is None else reference
    config = RolloutConfig(R, 0.8, (STOP,), group_size=chosen.group_size, slots=slots)
    made = older and OlderResponder(older, reward, config)
    return RolloutWorker(actor_critic, reference, reward, config, chosen.credit, older=made)


def prompts_for(chosen):
    """Those of B responses."""
    return PROMPTS.each(lambda x: x[: B // chosen.group_size])


def log_probs_of(model, rollout, users):
    ids = np.asarray(rollout.token_ids)
    mask = np.asarray(rollout.padding_mask)
    told = {"condition": users} if model.takes_condition else {}
    logits = model(ids, padding_mask=mask, **told)[:, -R - 1 : -1]
    return np.asarray(token_log_probs(logits, ids[:, -R:], 0.8))


@pytest.mark.parametrize("name", with_slow(sorted(ALGORITHMS), ["grpo"], every=3))
def test_the_first_ratio_is_one_and_every_minibatch_keeps_its_users(name):
    """The policy does not move (learning rate 0), so the ratio is 1 in all minibatches of both epochs, if each row
    is scored under the condition it was sampled under."""
    chosen = algorithm(name, temperature=0.8)
    worker = worker_of(chosen, conditioned(0))
    learner = Learner(worker.actor_critic, chosen.loss, keras.optimizers.SGD(0.0))
    given = {"seed": 1, "step": 1, "epochs": 2}
    if chosen.arrange is None:
        given["minibatch_size"] = B // 4
    rollout, metrics = improve(
        worker, learner, prompts_for(chosen), FixedKL(0.1), arrange=chosen.arrange, **given
    )
    users = np.repeat(prompts_for(chosen).condition, chosen.group_size)
    np.testing.assert_array_equal(rollout.condition, users)
    expected = log_probs_of(worker.actor_critic.policy, rollout, users)
    mask = np.asarray(rollout.response_mask)
    np.testing.assert_allclose(np.asarray(rollout.log_probs)[mask], expected[mask], atol=1e-5)
    wrong = log_probs_of(worker.actor_critic.policy, rollout, np.roll(users, chosen.group_size))
    assert np.abs(wrong - expected)[mask].max() > 0.1  # else nothing is shown
    if "max_log_ratio" in metrics:
        assert metrics["first_max_log_ratio"] <= 1e-5 and metrics["max_log_ratio"] <= 1e-5


@pytest.mark.parametrize("takes", with_slow([True, False], [True]))
def test_the_reference_sees_the_condition_if_it_takes_one(takes):
    reference = conditioned(1) if takes else CausalLM(conditioned(1).backbone.gpt)
    worker = worker_of(ALGORITHMS["rloo"], conditioned(0), reference)
    rollout, _ = worker(prompts_for(ALGORITHMS["rloo"]), 3, 0.0)
    mask = np.asarray(rollout.response_mask)
    expected = log_probs_of(reference, rollout, rollout.condition)
    np.testing.assert_allclose(np.asarray(rollout.ref_log_probs)[mask], expected[mask], atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("shared", [True, False])
def test_the_critic_sees_the_condition(shared):
    chosen = ALGORITHMS["ppo"]
    worker = worker_of(chosen, conditioned(0), shared=shared)
    rollout, _ = worker(PROMPTS, 3, 0.0)
    given = rollout.token_ids, rollout.padding_mask
    _, values = worker.actor_critic(*given, response_length=R, condition=rollout.condition)
    mask = np.asarray(rollout.response_mask)
    found, expected = np.asarray(rollout.values)[mask], np.asarray(values)[mask]
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.slow
def test_slots_an_older_policy_and_micro_batches():
    """The rollout is the plain one, an equal older policy is not behind, and four micro-batches are the batch."""
    chosen = algorithm("vtrace", temperature=0.8)
    plain, _ = worker_of(chosen, conditioned(0))(PROMPTS, 3, 0.0)
    other = worker_of(chosen, conditioned(0), older=conditioned(0), slots=3)
    found, statistics = other(PROMPTS, 3, 0.0)
    np.testing.assert_array_equal(found.token_ids, plain.token_ids)
    np.testing.assert_allclose(found.log_probs, plain.log_probs, atol=1e-5)
    assert statistics["behind"] == pytest.approx(0, abs=1e-5)
    weights = []
    for accumulate in (1, 4):
        policy = conditioned(0)
        learner = Learner(
            Actor(policy), ALGORITHMS["rloo"].loss, keras.optimizers.SGD(0.1), accumulate
        )
        learner.update(plain)
        weights.append(policy.get_weights())
    for one, other in zip(*weights):
        np.testing.assert_allclose(one, other, atol=1e-5)


@pytest.mark.slow
def test_an_update_moves_the_prefixes_of_the_users_it_saw():
    policy, chosen = conditioned(0), ALGORITHMS["reinforce"]
    worker = worker_of(chosen, policy)
    learner = Learner(worker.actor_critic, chosen.loss, adamw(1e-2, weight_decay=0.0))
    before = np.array(policy.backbone.encoder.table)
    saw = PROMPTS.each(lambda x: x[USERS != 1])
    improve(worker, learner, saw, FixedKL(0.0), seed=1, step=1, epochs=1)
    moved = np.abs(np.array(policy.backbone.encoder.table) - before).max(axis=(1, 2))
    assert moved[0] > 1e-4 and moved[2] > 1e-4 and moved[1] == 0


@pytest.mark.slow
def test_images():
    """A condition of several axes: each row's own image, through groups and minibatches."""
    images = np.random.default_rng(0).normal(size=(B, 2, 4, 3)).astype("float32")
    chosen = algorithm("grpo", temperature=0.8)
    prompts = NumberedPrompts(*PROMPTS, PROMPTS.rows, images)
    prompts = prompts.each(lambda x: x[: B // chosen.group_size])
    encoder = PatchPrefix((2, 4, 3), 2, W)
    worker = worker_of(chosen, conditioned(0, encoder), CausalLM(conditioned(1).backbone.gpt))
    learner = Learner(worker.actor_critic, chosen.loss, keras.optimizers.SGD(0.0))
    given = {"seed": 1, "step": 1, "epochs": 2, "minibatch_size": B // 4}
    rollout, metrics = improve(worker, learner, prompts, FixedKL(0.1), **given)
    assert np.shape(rollout.condition) == (B, 2, 4, 3)
    assert metrics["max_log_ratio"] <= 1e-5
