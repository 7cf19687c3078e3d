"""A walk through the MDP or a face, a full forward a step, is the fused loop with its rollouts."""

import keras
import numpy as np
import pytest
from keras import ops

from tests.sampling import with_slow
from tfalign.decoding import Generator, Greedy, Sampler
from tfalign.environments import (
    KLPenalty,
    TextGenerationEnv,
    TextGenerationMDP,
    TextGenerationVectorEnv,
    mdp,
)
from tfalign.functional.log_probs import token_log_probs
from tfalign.functional.masking import last_true_index
from tfalign.functional.random import uniform
from tfalign.models import CausalLM, GPTConfig, SharedActorCritic
from tfalign.rewards import RewardModel
from tfalign.training.responses import RolloutConfig
from tfalign.training.rollouts import RolloutWorker
from tfalign.types import Prompts

B, P, R, V = 12, 4, 5, 17
STOPS, PAD, SEED, TEMPERATURE, BETA = (2, 5, 11, 14), 1, 5, 0.8, 0.3
GPT2 = GPTConfig(V, 16, 1, 2, max_positions=P + R, initializer_range=0.5)
LLAMA = GPT2.replace(
    num_key_value_heads=1,
    rotary_base=100.0,
    norm="rms",
    activation="silu",
    gated=True,
    use_bias=False,
    tied=False,
)
LENGTHS = np.tile([4, 1, 3, 2, 4, 1], 2)
PROMPTS = Prompts(
    np.random.default_rng(0).integers(0, V, size=(B, P)).astype("int32"),
    np.arange(P)[None, :] >= P - LENGTHS[:, None],
)


@pytest.fixture(scope="module", params=with_slow(["gpt2", "llama"], ["llama"]))
def worker(request):
    keras.utils.set_random_seed(0)
    config = {"gpt2": GPT2, "llama": LLAMA}[request.param]
    reward_model = RewardModel(config)

    def score(token_ids, padding_mask, response_mask):
        return reward_model(token_ids, padding_mask=padding_mask)

    rollouts = RolloutConfig(R, TEMPERATURE, STOPS, PAD)
    return RolloutWorker(SharedActorCritic(CausalLM(config)), CausalLM(config), score, rollouts)


def _last_logits(model, token_ids, padding_mask):
    logits = model(token_ids, padding_mask=padding_mask)
    last = last_true_index(padding_mask)
    return ops.take_along_axis(logits, last[:, None, None], axis=1)


def _walk(worker, sampler):
    """Tokens, log-probs and rewards of steps taken one by one: each [B, R], and the last state."""
    state = mdp.initial(PROMPTS, R, PAD)
    log_probs, rewards = [], []
    for t in range(R):
        uniforms = uniform(SEED, np.arange(B, dtype="int32"), np.int32(t))
        logits = _last_logits(worker.actor_critic.policy, *mdp.observation(state))[:, 0]
        actions, action_log_probs = sampler.choose(logits, uniforms)
        reference = _last_logits(worker.reference, *mdp.observation(state))
        ref_log_probs = token_log_probs(reference, actions[:, None], TEMPERATURE)[:, 0]
        following = mdp.transition(state, actions, STOPS)
        earned = mdp.reward(
            state, following, worker.responder.reward, action_log_probs, ref_log_probs, BETA
        )
        log_probs.append(ops.where(mdp.terminal(state), 0.0, action_log_probs))
        rewards.append(earned)
        state = following
    return state, np.stack(log_probs, axis=1), np.stack(rewards, axis=1)


@pytest.mark.parametrize("sampler", [Sampler(TEMPERATURE), Greedy()], ids=["sampled", "greedy"])
def test_walk_equals_rollout(worker, sampler, monkeypatch):
    if sampler != worker.responder.generator.sampler:
        other = Generator(worker.actor_critic.policy, R, sampler, STOPS, PAD)
        other.value_head = worker.responder.generator.value_head
        other.compiled = other.run  # compiled = eager is decoding's own test
        monkeypatch.setattr(worker.responder, "generator", other)
    rollout, _ = worker(PROMPTS, SEED, BETA)
    state, log_probs, rewards = _walk(worker, sampler)
    np.testing.assert_array_equal(state.token_ids, rollout.token_ids)
    np.testing.assert_array_equal(state.padding_mask, rollout.padding_mask)
    np.testing.assert_array_equal(state.response_mask, rollout.response_mask)
    np.testing.assert_allclose(log_probs, rollout.log_probs, atol=1e-5)
    np.testing.assert_allclose(rewards, rollout.rewards, atol=1e-5)
    assert np.all(mdp.terminal(state))
    ended = np.isin(np.asarray(state.token_ids), STOPS)[:, P:] & np.asarray(state.response_mask)
    np.testing.assert_array_equal(state.terminated, ended.any(axis=1))
    assert np.abs(rewards).max() > 0.1
    if sampler != Greedy():
        assert len(set(np.asarray(state.response_length))) > 2, "the seed shows no ragged endings"
        assert {*np.asarray(state.terminated)} == {False, True}


def _process(worker):
    policy = worker.actor_critic.policy
    penalty = KLPenalty(policy, worker.reference, BETA, TEMPERATURE)
    return TextGenerationMDP(PROMPTS, worker.responder.reward, R, V, STOPS, PAD, penalty=penalty)


def _act(worker, observation, rows, t):
    """What the sampler chooses for these rows with its own uniforms: (actions, log-probs)."""
    mask = observation["padding_mask"].astype("bool")
    logits = _last_logits(worker.actor_critic.policy, observation["token_ids"], mask)[:, 0]
    chosen = worker.responder.generator.sampler.choose(logits, uniform(SEED, rows, np.int32(t)))
    return [np.asarray(x) for x in chosen]


def test_a_walk_through_the_vector_environment_equals_rollout(worker):
    rollout, _ = worker(PROMPTS, SEED, BETA)
    vector = TextGenerationVectorEnv(B, _process(worker))
    observation, _ = vector.reset(options={"prompt_index": np.arange(B)})
    rows, running = np.arange(B, dtype="int32"), np.ones(B, "bool")
    tokens, log_probs, rewards = [np.zeros((B, R)) for _ in range(3)]
    for t in range(R):  # rows that are over go on to another episode, which is not looked at
        actions, log_probs[:, t] = _act(worker, observation, rows, t)
        tokens[:, t] = actions
        observation, earned, terminations, truncations, _ = vector.step(actions)
        rewards[:, t] = np.where(running, earned, 0.0)
        running &= ~(terminations | truncations)
    assert not running.any()
    _equals_rollout(rollout, tokens, log_probs, rewards)


@pytest.mark.slow
def test_a_walk_through_the_single_environment_equals_rollout(worker):
    rollout, _ = worker(PROMPTS, SEED, BETA)
    env = TextGenerationEnv(_process(worker))
    tokens, log_probs, rewards = [np.zeros((B, R)) for _ in range(3)]
    for row in range(B):
        observation, _ = env.reset(options={"prompt_index": row})
        for t in range(R):
            batch = {name: array[None] for name, array in observation.items()}
            actions, log_probs[row, t] = _act(worker, batch, np.array([row], "int32"), t)
            tokens[row, t] = actions[0]
            observation, rewards[row, t], terminated, truncated, info = env.step(actions[0])
            if terminated or truncated:
                break
        np.testing.assert_array_equal(info["response_mask"], rollout.response_mask[row])
        np.testing.assert_array_equal(observation["token_ids"], rollout.token_ids[row])
        assert info["score"] == pytest.approx(float(rollout.scores[row]), abs=1e-5)
    _equals_rollout(rollout, tokens, log_probs, rewards)


def _equals_rollout(rollout, tokens, log_probs, rewards):
    mask = np.asarray(rollout.response_mask)
    written = np.where(mask, np.asarray(rollout.token_ids)[:, P:], 0)
    np.testing.assert_array_equal(np.where(mask, tokens, 0), written)
    np.testing.assert_allclose(np.where(mask, log_probs, 0.0), rollout.log_probs, atol=1e-5)
    np.testing.assert_allclose(rewards, rollout.rewards, atol=1e-5)
