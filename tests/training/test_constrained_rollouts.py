"""Rollouts under a constraint: sampler, objective and reference speak of one distribution."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from tests.sampling import with_slow
from tfalign.decoding import Greedy, generate
from tfalign.decoding.constraints import Automaton
from tfalign.models import Actor, CausalLM, GPTConfig, SeparateActorCritic, separate_critic
from tfalign.training.algorithms import ALGORITHMS, algorithm
from tfalign.training.kl_control import FixedKL
from tfalign.training.learner import Learner
from tfalign.training.on_policy import improve
from tfalign.training.optimizers import adamw
from tfalign.training.responses import OlderResponder, RolloutConfig
from tfalign.training.rollouts import RolloutWorker
from tfalign.types import Prompts

V, STOP, R, B = 7, 6, 5, 16
PROMPTS = Prompts(np.array([[1, 2], [3, 4], [0, 1], [5, 5]] * 4, "int32"), np.ones((B, 2), "bool"))
# the digits may not fall: after token n come n and what is above
RISING = np.where(np.arange(V) >= np.arange(V)[:, None], np.arange(V)[None, :], -1)
COMPARING = {name for name, chosen in ALGORITHMS.items() if chosen.arrange is not None}


def rising():
    return Automaton(RISING, np.ones(V, "bool"), [STOP], R)


def model():
    return CausalLM(GPTConfig(V, 16, 1, 2, max_positions=16, initializer_range=0.4))


def reward(token_ids, padding_mask, response_mask):
    return (np.asarray(token_ids)[:, -R:] * np.asarray(response_mask)).sum(axis=1).astype("float32")


def worker_of(chosen, policy, older=None):
    needs = chosen.credit.needs_values
    actor = SeparateActorCritic(policy, separate_critic(policy)) if needs else Actor(policy)
    reference = CausalLM.from_config(policy.get_config())
    reference.set_weights([w + 0.1 for w in policy.get_weights()])
    config = RolloutConfig(R, 0.8, (STOP,), group_size=chosen.group_size, constraint=rising())
    made = older and OlderResponder(older, reward, config)
    return RolloutWorker(actor, reference, reward, config, chosen.credit, older=made)


@pytest.mark.parametrize("name", with_slow(sorted(set(ALGORITHMS) - COMPARING), ["grpo"], every=3))
def test_the_first_ratio_is_one(name):
    check_first_ratio(name, None)


@pytest.mark.slow
def test_the_first_ratio_of_a_chunked_read_out_is_one():
    check_first_ratio("ppo", 7)


def check_first_ratio(name, chunk):
    chosen = algorithm(name, temperature=0.8, constraint=rising(), chunk=chunk)
    worker = worker_of(chosen, model())
    learner = Learner(worker.actor_critic, chosen.loss, adamw(1e-2))
    prompts = PROMPTS.each(lambda x: x[: B // chosen.group_size])
    before = [w.copy() for w in learner.model.get_weights()]
    rollout, metrics = improve(worker, learner, prompts, FixedKL(0.1), seed=1, step=1, epochs=1)
    assert metrics["first_max_log_ratio"] <= 1e-5
    tokens = np.asarray(rollout.token_ids)[:, -R:]
    mask = np.asarray(rollout.response_mask)
    falls = (np.diff(tokens, axis=1) < 0) & mask[:, 1:]
    assert not falls.any() and metrics["ended"] == 1
    assert any((a != b).any() for a, b in zip(before, learner.model.get_weights()))


@pytest.mark.slow
def test_the_references_log_probs_are_restricted_too():
    """By hand: softmax over what may follow, of the reference's logits at the sampler's temperature."""
    worker = worker_of(ALGORITHMS["rloo"], model())
    rollout, statistics = worker(PROMPTS.each(lambda x: x[:4]), 3, 0.0)
    mask, ids = np.asarray(rollout.response_mask), np.asarray(rollout.token_ids)
    logits = np.asarray(worker.reference(ids, padding_mask=np.asarray(rollout.padding_mask)))
    logits = logits[:, 1:-1].astype("float64") / 0.8
    states, tokens = np.asarray(rollout.constraint_states), ids[:, -R:]
    allowed = np.asarray(worker.config.constraint.allowed(states))
    logits = np.where(allowed, logits, -np.inf)
    log_probs = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
    expected = np.take_along_axis(log_probs, tokens[..., None], axis=-1)[..., 0]
    np.testing.assert_allclose(np.asarray(rollout.ref_log_probs)[mask], expected[mask], atol=1e-5)
    kl = np.where(mask, np.asarray(rollout.log_probs) - expected, 0).sum(axis=1).mean()
    assert statistics["kl"] == pytest.approx(kl, abs=1e-4)


@pytest.mark.slow
def test_an_older_policys_ratio_is_of_the_restricted_distributions():
    older = model()
    chosen = algorithm("vtrace", temperature=0.8, constraint=rising())
    worker = worker_of(chosen, model(), older)
    worker.older.refresh(worker.actor_critic.policy)
    _, statistics = worker(PROMPTS, 3, 0.0)
    assert statistics["behind"] == pytest.approx(0, abs=1e-5)


@pytest.mark.slow
def test_accumulated_updates_carry_the_states():
    chosen = algorithm("rloo", temperature=0.8, constraint=rising())
    weights, start = [], model().get_weights()
    for accumulate in (1, 4):
        policy = model()
        policy.set_weights(start)
        worker = worker_of(chosen, policy)
        learner = Learner(worker.actor_critic, chosen.loss, keras.optimizers.SGD(0.1), accumulate)
        improve(
            worker, learner, PROMPTS.each(lambda x: x[:4]), FixedKL(0.0), seed=1, step=1, epochs=1
        )
        weights.append(policy.get_weights())
    for one, other in zip(*weights):
        np.testing.assert_allclose(one, other, atol=1e-5)


@pytest.mark.exhaustive
@pytest.mark.slow
def test_the_greedy_baseline_keeps_to_the_constraint():
    """ReMax's baseline by hand: the reward of the constrained greedy response."""
    chosen = ALGORITHMS["remax"]
    worker = worker_of(chosen, model())
    found = chosen.baseline()(worker, PROMPTS)
    policy = worker.actor_critic.policy
    greedy = generate(
        policy,
        PROMPTS.token_ids,
        max_new_tokens=R,
        sampler=Greedy(),
        stop_tokens=[STOP],
        constraint=rising(),
    )
    texts = np.concatenate([PROMPTS.token_ids, greedy.tokens], axis=1)
    np.testing.assert_array_equal(found, reward(texts, None, greedy.mask))
    tokens, mask = np.asarray(greedy.tokens), np.asarray(greedy.mask)
    assert not ((np.diff(tokens, axis=1) < 0) & mask[:, 1:]).any()
    free = generate(
        policy, PROMPTS.token_ids, max_new_tokens=R, sampler=Greedy(), stop_tokens=[STOP]
    )
    assert (np.asarray(free.tokens) != tokens).any()  # else nothing is shown


def test_what_compares_whole_responses_takes_none():
    with pytest.raises(ValueError, match="constraint does not apply to the algorithm online_dpo"):
        algorithm("online_dpo", constraint=rising())
