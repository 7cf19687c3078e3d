"""Rollouts with slots are those without."""

from __future__ import annotations

import dataclasses

import keras
import numpy as np
import pytest

import tests.environments.test_four_faces as world
from tfalign.data import PromptRecord
from tfalign.decoding import Automaton, ContinuousGenerator
from tfalign.models import Actor, CausalLM, GPTConfig, SharedActorCritic
from tfalign.rewards.environment import EnvironmentReward
from tfalign.tools import Toolbox
from tfalign.training.algorithms import algorithm
from tfalign.training.kl_control import FixedKL
from tfalign.training.learner import Learner
from tfalign.training.on_policy import improve
from tfalign.training.optimizers import adamw
from tfalign.training.responses import OlderResponder, Responder, RolloutConfig
from tfalign.training.rollouts import RolloutWorker
from tfalign.types import NumberedPrompts, Prompts

V, STOPS, R, B = 11, (2, 6, 9), 6, 8
MASK = np.array(
    [[1, 1, 1], [0, 1, 1], [1, 1, 1], [0, 0, 1], [1, 1, 1], [0, 1, 1], [1, 1, 1], [0, 0, 1]]
)
PROMPTS = Prompts(
    np.random.default_rng(0).integers(0, V, (B, 3)).astype("int32"), MASK.astype("bool")
)
CONFIG = RolloutConfig(R, 0.8, STOPS)


def model(seed):
    made, random = CausalLM(GPTConfig(V, 16, 1, 2, max_positions=16)), np.random.default_rng(seed)
    for variable in made.trainable_variables:
        variable.assign(random.normal(0, 0.3, variable.shape))
    return made


def reward(token_ids, padding_mask, response_mask):
    return (np.asarray(token_ids)[:, -R:] * np.asarray(response_mask)).sum(axis=1).astype("float32")


def workers_of(chosen, older):
    """RolloutWorkers without slots and with three."""
    policy, reference = model(0), model(1)
    actor_critic = (SharedActorCritic if chosen.needs_critic else Actor)(policy)
    copy = model(2) if older else None
    for slots in (None, 3):
        config = dataclasses.replace(CONFIG, group_size=chosen.group_size, slots=slots)
        sampler = OlderResponder(copy, reward, config) if older else None
        yield RolloutWorker(actor_critic, reference, reward, config, chosen.credit, older=sampler)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "older"),
    [
        ("grpo", False),
        *(pytest.param("ppo", older, marks=pytest.mark.slow) for older in (False, True)),
    ],
)
def test_a_rollout_is_the_same_and_its_first_ratio_is_one(name, older):
    chosen = algorithm(name, temperature=0.8)
    plain, continuous = workers_of(chosen, older)
    prompts = PROMPTS.each(lambda x: x[: 2 * B // chosen.group_size])
    expected, statistics = plain(prompts, 5, 0.1)
    found, others = continuous(prompts, 5, 0.1)
    assert isinstance((continuous.older or continuous.responder).generator, ContinuousGenerator)
    assert np.unique(np.sum(expected.response_mask, axis=1)).size > 2
    np.testing.assert_array_equal(found.token_ids, expected.token_ids)
    for one, other in zip(found, expected):
        if one is not None:
            np.testing.assert_allclose(one, other, atol=1e-5)
    assert others == pytest.approx(statistics, abs=1e-4)
    if not older:
        learner = Learner(continuous.actor_critic, chosen.loss, adamw(1e-2))
        _, metrics = improve(continuous, learner, prompts, FixedKL(0.1), seed=1, step=1, epochs=1)
        assert metrics["first_max_log_ratio"] <= 1e-5


def test_slots_are_a_positive_number():
    with pytest.raises(ValueError, match="slots must be at least 1. Received: slots=0"):
        dataclasses.replace(CONFIG, slots=0)


class Counting:
    """An environment of as many turns as its record says, each of which earns what it says is one more than its number."""

    def reset(self, record):
        self.turns, self.left = record["turns"], record["turns"]

    def step(self, action):
        self.left -= 1
        return str(2 * (self.left % 3)), len(action) + 10 * self.turns, self.left <= 0


def in_turns(user, reward, slots, group_size=2):
    """ScoredResponses of conversations under a constraint, and what the user counted."""
    policy = CausalLM(
        GPTConfig(world.V, 16, 1, 2, max_positions=40, rotary_base=1e4, initializer_range=0.6)
    )
    constraint = Automaton(world.CALLS, [False, True, True], world.STOPS)
    config = RolloutConfig(18, 1.5, world.STOPS, group_size=group_size, slots=slots)
    config = dataclasses.replace(config, constraint=constraint, user=user)
    prompts = NumberedPrompts(*world.PROMPTS, np.array([3, 0, 2, 1]))
    responder = Responder(policy, reward, config)
    return responder(prompts, 5), getattr(user, "statistics", dict)()


def score(token_ids, padding_mask, response_mask):
    return np.sum(token_ids, axis=1, dtype="float32")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["tool", "environment"])
def test_users_tools_and_environments_keep_to_their_rows(kind):
    found = []
    for slots in (None, 3):
        keras.utils.set_random_seed(0)
        with Toolbox([world.twice]) as toolbox:
            user, reward = world.tool_user(toolbox), score
            if kind == "environment":
                records = [PromptRecord("", row={"turns": n}) for n in (1, 4, 2, 3)]
                reward = EnvironmentReward(Counting, records, user.tokenizer, world.STOPS)
                user = reward.user
            found.append(in_turns(user, reward, slots))
    (plain, counted), (in_slots, others) = found
    assert others == counted and np.unique(np.sum(plain.generation.mask, axis=1)).size > 2
    np.testing.assert_array_equal(in_slots.token_ids, plain.token_ids)
    np.testing.assert_array_equal(in_slots.scores, plain.scores)
    np.testing.assert_allclose(in_slots.generation.log_probs, plain.generation.log_probs, atol=1e-5)
    if kind == "environment":
        np.testing.assert_array_equal(in_slots.earned, plain.earned)
        assert np.unique(np.sum(plain.earned > 0, axis=1)).size > 2
