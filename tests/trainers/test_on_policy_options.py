"""The options of ``OnPolicyTrainer``: the algorithm's own numbers, changes, contradictions."""

import types

import pytest

from tfalign.functional.aggregation import fixed_length_mean
from tfalign.functional.kl import k2
from tfalign.objectives import PPO
from tfalign.options import changed
from tfalign.rewards.callables import find_function
from tfalign.trainers.on_policy_options import ALGORITHMS as NAMES
from tfalign.trainers.on_policy_options import OnPolicyOptions
from tfalign.trainers.on_policy_parts import chosen_algorithm, rollout_config
from tfalign.training.algorithms import ALGORITHMS
from tfalign.training.credit import GAE


def chosen(algorithm="ppo", **options):
    return chosen_algorithm(algorithm, changed(OnPolicyOptions(), **options))


def test_the_names_of_the_options_are_the_algorithms():
    assert list(ALGORITHMS) == list(NAMES)


def test_ppo_by_default_with_the_published_numbers():
    ppo = chosen()
    assert ppo.loss == PPO(clip=0.2, value_clip=0.2, value_coefficient=0.1)
    assert ppo.credit == GAE(1.0, 0.95, whiten_rewards=False, whiten_advantages=True)
    assert (ppo.epochs, ppo.minibatches, ppo.kl_coefficient) == (4, 4, 0.05)
    assert (ppo.kl_in, ppo.group_size, ppo.redraws) == ("reward", 1, 0)


@pytest.mark.parametrize("name", ALGORITHMS)
def test_every_algorithm_is_its_own_without_options(name):
    assert chosen(name) == ALGORITHMS[name]


def test_options_change_what_they_name():
    grpo = chosen(
        "grpo",
        group_size=4,
        clip=0.1,
        clip_high=0.3,
        aggregate="fixed_length_mean",
        kl_estimator="k2",
        kl_coefficient=0.5,
        drop_zero_spread=True,
        temperature=0.7,
    )
    loss = grpo.loss
    assert (loss.clip, loss.clip_high, loss.temperature) == (0.1, 0.3, 0.7)
    assert (loss.aggregate, loss.kl_estimator, loss.kl_coefficient) == (fixed_length_mean, k2, 0.5)
    assert (grpo.group_size, grpo.drop_zero_spread) == (4, True)
    in_reward = chosen("grpo", kl_in="reward")
    assert in_reward.loss.kl_coefficient == 0 and in_reward.kl_coefficient == 0.04


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"algorithm": "rloo", "clip": 0.1}, "clip does not apply to the algorithm rloo"),
        ({"algorithm": "grpo", "value_clip": 0.1}, "value_clip does not apply to .* grpo"),
        ({"algorithm": "rloo", "gae_lambda": 0.9}, "gae_lambda does not apply to .* rloo"),
        ({"cap": 2.0}, "cap does not apply to the algorithm ppo"),
        ({"corrected": False}, "of an older policy's responses.*Received: refresh_every=1"),
        ({"algorithm": "remax", "critic": "separate"}, "needs an algorithm with a critic"),
        ({"algorithm": "grpo", "kl": "adaptive"}, "kl=adaptive changes a KL in the reward"),
        ({"algorithm": "rloo", "kl_estimator": "k2"}, "kl_estimator is of the KL in the loss"),
        ({"algorithm": "rloo", "group_size": 5}, "group_size must divide .* group_size=5"),
        ({"minibatch_size": 7}, "minibatch_size must divide"),
        ({"algorithm": "rloo", "beta": 0.2}, "beta does not apply to the algorithm rloo"),
        ({"algorithm": "online_dpo", "kl_coefficient": 0.1}, "OnlineDPO has no KL term. Received"),
        ({"algorithm": "online_dpo", "kl_in": "reward"}, "has no KL in the reward"),
        ({"algorithm": "online_dpo", "gamma": 0.9}, "gamma does not apply to .* online_dpo"),
        ({"algorithm": "online_dpo", "packed": True}, "response tokens.* Received: packed=True"),
        ({"algorithm": "sarsa"}, "Algorithms are ppo, .* Received: 'sarsa'"),
    ],
)
def test_contradictions_fail_in_a_sentence(options, sentence):
    with pytest.raises(ValueError, match=sentence):
        chosen(**options)


@pytest.mark.parametrize("name", ["no_such_module:length", "math:no_such_function", "nowhere.py:f"])
def test_a_reward_that_is_not_there_is_told(name):
    with pytest.raises(ValueError, match=f"The reward {name} cannot be imported"):
        find_function(name)


def test_slots_and_packed_go_down_to_rollouts():
    options = changed(OnPolicyOptions(), slots=16, packed=True)
    tokenizer = types.SimpleNamespace(stop_ids=(1,), pad_id=0)
    asked, plain = (rollout_config(chosen(), o, tokenizer) for o in (options, OnPolicyOptions()))
    assert asked.slots == 16 and asked.packed
    assert plain.slots is None and not plain.packed
    assert rollout_config(chosen(), options, tokenizer, user=lambda state: None).slots == 16


def test_a_constraint_is_given_once():
    tokenizer, ours = types.SimpleNamespace(stop_ids=(1,), pad_id=0), object()
    given = (tokenizer, 8, None, ours)
    assert rollout_config(chosen(), OnPolicyOptions(), *given).constraint is ours
    with pytest.raises(ValueError, match="constraint='regex:a' and a object"):
        rollout_config(chosen(), changed(OnPolicyOptions(), constraint="regex:a"), *given)
