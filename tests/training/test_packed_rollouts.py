"""Packed rollouts are those of padded rows, and their first ratio is 1, for every on-policy algorithm."""

from __future__ import annotations

import dataclasses
import functools

import numpy as np
import pytest

from tests.sampling import one_in
from tfalign.decoding import Automaton
from tfalign.environments import ScriptedUser
from tfalign.models import (
    Actor,
    CausalLM,
    GPTConfig,
    SeparateActorCritic,
    SharedActorCritic,
    separate_critic,
)
from tfalign.models.lora import WithoutAdapters, add_adapters
from tfalign.training.algorithms import ALGORITHMS, algorithm
from tfalign.training.kl_control import FixedKL
from tfalign.training.learner import Learner
from tfalign.training.on_policy import improve
from tfalign.training.optimizers import adamw
from tfalign.training.responses import OlderResponder, RolloutConfig
from tfalign.training.rollouts import RolloutWorker
from tfalign.types import Generation, LoRA, Prompts

V, STOPS, B = 11, (2, 6, 9), 16
MASK = np.array([[1, 1, 1], [0, 1, 1], [1, 1, 1], [0, 0, 1]] * 4, "bool")
PROMPTS = Prompts(np.random.default_rng(0).integers(0, V, (B, 3)).astype("int32"), MASK)
# with what comes after the end of a rising sequence
RISING = np.where(np.arange(V) >= np.arange(V)[:, None], np.arange(V)[None, :], -1)
CONFIGS = {
    "plain": RolloutConfig(8, 0.8, STOPS, packed=True),
    "constrained": RolloutConfig(
        8, 0.8, STOPS, packed=True, constraint=Automaton(RISING, np.ones(V, "bool"), STOPS, 8)
    ),
    "conversation": RolloutConfig(
        40, 0.8, STOPS, packed=True, user=ScriptedUser([[1, 3], [4], [5, 5, 1], [3, 1], [7]])
    ),
}
UPDATED = [name for name in ALGORITHMS if name != "online_dpo"]


def model(seed, positions=64):
    made = CausalLM(GPTConfig(V, 16, 1, 2, max_positions=positions))
    random = np.random.default_rng(seed)
    for variable in made.trainable_variables:
        variable.assign(random.normal(0, 0.3, variable.shape))
    return made


def reward(token_ids, padding_mask, response_mask):
    length = np.shape(response_mask)[1]
    return (np.asarray(token_ids)[:, -length:] * np.asarray(response_mask)).sum(1).astype("float32")


def actor_critic_of(needs_critic, separate=False):
    policy = model(0)
    if separate:
        return SeparateActorCritic(policy, separate_critic(policy))
    if not needs_critic:
        return Actor(policy)
    shared = SharedActorCritic(policy)
    shared.value_head.set_weights([0.3 + np.zeros(x.shape) for x in shared.value_head.weights])
    return shared


def worker_of(chosen, config, separate=False, older=None):
    actor_critic = actor_critic_of(chosen.needs_critic, separate)
    config = dataclasses.replace(config, group_size=chosen.group_size)
    older = older and OlderResponder(older, reward, config)
    baseline = chosen.baseline and chosen.baseline()
    return RolloutWorker(
        actor_critic, model(1), reward, config, chosen.credit, baseline, older=older
    )


@functools.cache
def programs_of(kind, needs_critic):
    """A worker, whose decode loop and comparison are the same for every algorithm."""
    return worker_of(ALGORITHMS["ppo" if needs_critic else "reinforce"], CONFIGS[kind])


def worker_with_programs(chosen, kind):
    """A worker of an algorithm that compiles neither loop nor comparison again."""
    shared = programs_of(kind, chosen.needs_critic)
    shared.actor_critic.set_weights(actor_critic_of(chosen.needs_critic).get_weights())
    config = dataclasses.replace(CONFIGS[kind], group_size=chosen.group_size)
    baseline = chosen.baseline and chosen.baseline()
    models = shared.actor_critic, shared.reference
    worker = RolloutWorker(*models, reward, config, chosen.credit, baseline)
    worker.responder.generator = shared.responder.generator
    worker.comparison = shared.comparison
    return worker


def improved(worker, chosen):
    learner = Learner(worker.actor_critic, chosen.loss, adamw(1e-2))
    prompts = PROMPTS.each(lambda x: x[: B // chosen.group_size])
    return improve(
        worker,
        learner,
        prompts,
        FixedKL(0.1),
        seed=1,
        step=1,
        epochs=1,
        arrange=chosen.arrange,
    )


@pytest.mark.parametrize(("name", "kind"), one_in(len(CONFIGS), list(UPDATED), list(CONFIGS)))
def test_the_first_ratio_is_one(name, kind):
    config = CONFIGS[kind]
    chosen = algorithm(name, temperature=0.8, constraint=config.constraint)
    worker = worker_with_programs(chosen, kind)
    before = worker.actor_critic.get_weights()
    rollout, metrics = improved(worker, chosen)
    assert metrics["first_max_log_ratio"] <= 1e-5
    assert any((a != b).any() for a, b in zip(before, worker.actor_critic.get_weights()))
    mask = np.asarray(rollout.response_mask)
    if kind == "conversation":
        turns = np.sum(np.diff(np.pad(mask, ((0, 0), (1, 0))).astype(int), axis=1) > 0, axis=1)
        assert turns.max() == 6


def test_reference_and_critic_say_what_they_say_of_padded_rows():
    random = np.random.default_rng(0)
    ids, mask = (
        random.integers(0, V, (B, 11)).astype("int32"),
        np.arange(8) < np.arange(B)[:, None] % 9,
    )
    generation = Generation(ids[:, 3:], np.zeros((B, 8), "float32"), mask, None)
    found = []
    for packed in (False, True):
        config = dataclasses.replace(CONFIGS["plain"], packed=packed)
        worker = worker_of(ALGORITHMS["ppo"], config, separate=True)
        worker.actor_critic.critic.set_weights(
            [
                0.1 * np.cos(np.arange(x.size)).reshape(x.shape)
                for x in worker.actor_critic.critic.get_weights()
            ]
        )
        worker.comparison = worker._compare  # as it is, not compiled
        found.append(worker.compare(ids, np.concatenate([MASK, mask], axis=1), generation))
    (expected, _, values), (packed, _, packed_values) = found
    np.testing.assert_allclose(packed, expected, atol=1e-5)
    np.testing.assert_allclose(packed_values, values, atol=1e-5)
    assert np.abs(values).max() > 1e-2


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "separate", "older"),
    [("ppo", True, False), ("ppo", False, False), ("grpo", False, False), ("vtrace", True, True)],
)
def test_a_rollout_is_that_of_padded_rows(name, separate, older):
    chosen = algorithm(name, temperature=0.8)
    copy = model(2) if older else None
    packed = worker_of(chosen, CONFIGS["plain"], separate, copy)
    padded = worker_of(chosen, dataclasses.replace(CONFIGS["plain"], packed=False), separate, copy)
    prompts = PROMPTS.each(lambda x: x[: B // chosen.group_size])
    (found, others), (expected, statistics) = packed(prompts, 5, 0.1), padded(prompts, 5, 0.1)
    assert np.unique(np.sum(expected.response_mask, axis=1)).size > 2
    for one, other in zip(found, expected):
        if other is not None:
            np.testing.assert_allclose(one, other, atol=1e-5)
    assert others == pytest.approx(statistics, abs=1e-4)


@pytest.mark.slow
def test_the_reference_of_an_adapted_policy_is_its_base():
    chosen, policy = algorithm("grpo", temperature=0.8), model(0)
    for layer in add_adapters(policy, LoRA(2)):
        layer.adapter.set_weights([w + 0.1 for w in layer.adapter.get_weights()])
    found = []
    for packed in (True, False):
        config = dataclasses.replace(CONFIGS["plain"], group_size=8, packed=packed)
        reference = WithoutAdapters(policy)
        worker = RolloutWorker(Actor(policy), reference, reward, config, chosen.credit)
        found.append(worker(PROMPTS.each(lambda x: x[:2]), 5, 0.1)[0])
    np.testing.assert_allclose(found[0].ref_log_probs, found[1].ref_log_probs, atol=1e-5)
    assert np.abs(np.subtract(found[0].ref_log_probs, found[0].log_probs)).max() > 1e-2
