"""Policy and critic: which column a value belongs to."""

import numpy as np
import pytest

from tfalign.models import (
    CausalLM,
    Critic,
    GPTConfig,
    SeparateActorCritic,
    SharedActorCritic,
    separate_critic,
)

V, P, R = 11, 4, 3
CONFIG = GPTConfig(V, 16, 2, 2, max_positions=16, initializer_range=0.3)
IDS = np.random.default_rng(0).integers(0, V, size=(2, P + R)).astype("int32")
MASK = np.array([[0, 0, 1, 1, 1, 1, 1], [1, 1, 1, 1, 1, 1, 1]], "bool")


def _randomise(layer):
    random = np.random.default_rng(1)
    layer.set_weights([random.normal(size=w.shape) for w in layer.get_weights()])


def test_shared_trunk_gives_the_policys_logits_and_a_value_of_the_same_states():
    policy = CausalLM(CONFIG)
    model = SharedActorCritic(policy)
    hidden, values = model(IDS, MASK, response_length=R)
    np.testing.assert_array_equal(values, np.zeros((2, R)))  # zero at the start
    _randomise(model.value_head)
    hidden, values = model(IDS, MASK, response_length=R)
    logits = np.asarray(policy(IDS, padding_mask=MASK))
    np.testing.assert_allclose(policy.logits(hidden), logits[:, P - 1 : -1], atol=1e-5)
    np.testing.assert_array_equal(values, model.value_head(hidden))
    assert len(model.weights) == len(policy.weights) + 2


def test_separate_critic_values_stand_before_their_tokens():
    policy, critic = CausalLM(CONFIG), Critic(CONFIG)
    _randomise(critic.head)
    hidden, values = SeparateActorCritic(policy, critic)(IDS, MASK, response_length=R)
    logits = np.asarray(policy(IDS, padding_mask=MASK))
    np.testing.assert_allclose(policy.logits(hidden), logits[:, P - 1 : -1], atol=1e-5)
    per_column = np.asarray(critic(IDS, padding_mask=MASK))
    np.testing.assert_allclose(values, per_column[:, P - 1 : -1], atol=1e-5)


@pytest.mark.parametrize("from_other", [True, False])
def test_critic_starts_from_another_models_trunk(from_other):
    policy, other = CausalLM(CONFIG), Critic(CONFIG)
    source = other if from_other else policy
    critic = separate_critic(policy, other if from_other else None)
    for weight, expected in zip(critic.backbone.get_weights(), source.backbone.get_weights()):
        np.testing.assert_array_equal(weight, expected)
    assert critic.backbone is not source.backbone
