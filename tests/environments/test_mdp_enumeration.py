"""Exact on an MDP small enough to enumerate: the Bellman equation and the policy gradient.

Three tokens, one of which stops, at most three of them: 15 responses and 7 states to act in.
"""

import dataclasses

import keras
import numpy as np
import pytest
from keras import ops

from tfalign import backend
from tfalign.decoding import Generator
from tfalign.environments import mdp
from tfalign.environments.tasks import best_returns
from tfalign.functional.advantages import generalized_advantages
from tfalign.functional.log_probs import token_log_probs
from tfalign.functional.losses import policy_gradient_loss
from tfalign.functional.masking import last_true_index, masked_sum
from tfalign.models import CausalLM, GPTConfig, SharedActorCritic
from tfalign.models.actor_critic import before_response
from tfalign.objectives import PPO
from tfalign.types import Prompts, Rollout

V, P, R, STOP, PAD, BETA = 3, 2, 3, 2, 0, 0.4
CONFIG = GPTConfig(V, 8, 1, 2, max_positions=P + R, initializer_range=0.7)
PROMPT = [0, 1]


def _extensions(prefix=()):
    """All responses that begin with the prefix."""
    if len(prefix) == R or STOP in prefix:
        return [prefix]
    return [response for token in range(V) for response in _extensions((*prefix, token))]


RESPONSES = _extensions()
STATES = sorted({y[:t] for y in RESPONSES for t in range(len(y))})  # those to act in
SCORES = dict(zip(RESPONSES, np.random.default_rng(3).normal(size=len(RESPONSES))))


def _written(token_ids, response_mask):
    rows = zip(np.asarray(token_ids)[:, P:].tolist(), np.asarray(response_mask))
    return [tuple(tokens[: int(mask.sum())]) for tokens, mask in rows]


def _score(token_ids, padding_mask, response_mask):
    """The table's score of a complete response, and nonsense for one that has not ended."""
    scores = [SCORES.get(y, np.nan) for y in _written(token_ids, response_mask)]
    return np.array(scores, "float32")


def _prompts(rows):
    return Prompts(np.tile(np.array(PROMPT, "int32"), (rows, 1)), np.ones((rows, P), "bool"))


def _next_log_probs(model, state):
    """float32[B, V], of every action."""
    token_ids, padding_mask = mdp.observation(state)
    logits = np.asarray(model(token_ids, padding_mask=padding_mask))
    last = np.asarray(last_true_index(padding_mask))
    return np.asarray(ops.log_softmax(logits[np.arange(len(last)), last]))


@pytest.fixture(scope="module")
def policy():
    keras.utils.set_random_seed(0)
    return CausalLM(CONFIG)


@pytest.fixture(scope="module")
def reference():
    return CausalLM(CONFIG)


@pytest.fixture(scope="module")
def enumeration(policy, reference):
    """Every response, walked through the MDP: a Rollout with nothing sampled about it."""
    return _walk(policy, reference, RESPONSES)


def _walk(policy, reference, responses):
    """Rollout of given responses, with values 0, gamma 1, lambda 1 and nothing whitened."""
    actions = np.array([y + (PAD,) * (R - len(y)) for y in responses], "int32")
    rows = np.arange(len(actions))
    state = mdp.initial(_prompts(len(actions)), R, PAD)
    columns = []
    for t in range(R):
        log_probs = _next_log_probs(policy, state)[rows, actions[:, t]]
        ref_log_probs = _next_log_probs(reference, state)[rows, actions[:, t]]
        following = mdp.transition(state, actions[:, t], (STOP,))
        earned = mdp.reward(state, following, _score, log_probs, ref_log_probs, BETA)
        columns.append((log_probs, ref_log_probs, np.asarray(earned)))
        state = following
    mask = np.asarray(state.response_mask)
    log_probs, ref_log_probs, rewards = (np.stack(c, axis=1) for c in zip(*columns))
    advantages, returns = generalized_advantages(rewards, np.zeros_like(rewards), mask, 1.0, 1.0)
    return Rollout(
        token_ids=np.asarray(state.token_ids),
        padding_mask=np.asarray(state.padding_mask),
        response_mask=mask,
        log_probs=np.where(mask, log_probs, 0.0),
        ref_log_probs=np.where(mask, ref_log_probs, 0.0),
        values=np.zeros_like(rewards),
        rewards=rewards,
        advantages=np.asarray(advantages),
        returns=np.asarray(returns),
        scores=np.array([SCORES[y] for y in responses], "float32"),
    )


def _values(enumeration):
    """The value of every state: the mean of what is still to be earned over its responses."""
    probabilities = np.exp(enumeration.log_probs.sum(axis=1))
    values = {}
    for prefix in STATES:
        t = len(prefix)
        inside = np.array([y[:t] == prefix for y in RESPONSES])
        to_go = enumeration.rewards[inside, t:].sum(axis=1)
        values[prefix] = np.average(to_go, weights=probabilities[inside])
    return values


def test_probabilities_of_all_responses_sum_to_one(enumeration):
    assert len(RESPONSES) == 15 and len(STATES) == 7
    assert np.exp(enumeration.log_probs.sum(axis=1)).sum() == pytest.approx(1.0, abs=1e-5)


def test_rewards_of_an_episode_sum_to_its_score_less_the_kl(enumeration):
    kl = (enumeration.log_probs - enumeration.ref_log_probs).sum(axis=1)
    np.testing.assert_allclose(
        enumeration.rewards.sum(axis=1), enumeration.scores - BETA * kl, atol=1e-5
    )


def test_values_solve_the_bellman_equation(policy, reference, enumeration):
    """V(s) = sum over a of pi(a | s) (r(s, a) + discount(s') V(s')), in all states at once."""
    values = _values(enumeration)
    level, checked = mdp.initial(_prompts(1), R, PAD), 0
    for _ in range(R):
        log_probs = _next_log_probs(policy, level).ravel()
        ref_log_probs = _next_log_probs(reference, level).ravel()
        rows = len(level.token_ids)
        state = type(level)(*(np.repeat(field, V, axis=0) for field in level))
        following = mdp.transition(state, np.tile(np.arange(V, dtype="int32"), rows), (STOP,))
        earned = mdp.reward(state, following, _score, log_probs, ref_log_probs, BETA)
        next_values = np.array(
            [values.get(y, 0.0) for y in _written(following.token_ids, following.response_mask)]
        )
        backup = np.exp(log_probs) * (
            np.asarray(earned) + np.asarray(mdp.discount(following)) * next_values
        )
        backup = backup.reshape(rows, V).sum(axis=1)
        expected = [values.get(y, 0.0) for y in _written(level.token_ids, level.response_mask)]
        np.testing.assert_allclose(backup, expected, atol=1e-5)
        checked += int((~np.asarray(mdp.terminal(level))).sum())
        level = following
    assert checked == len(STATES)
    assert np.all(mdp.terminal(level))


def _gradient(model, function):
    _, _, gradients = backend.value_and_grad(
        lambda: (function(), None), model.policy.trainable_variables
    )
    return np.concatenate([np.ravel(gradient) for gradient in gradients])


def _log_probs(model, batch):
    logits = before_response(model.policy, batch.token_ids, batch.padding_mask, R)
    return token_log_probs(logits, batch.token_ids[:, P:])


@pytest.fixture(scope="module")
def model(policy):
    return SharedActorCritic(policy)


@pytest.fixture(scope="module")
def exact(model, enumeration):
    """Gradient of the expected return, summed over all responses and differentiated."""

    def expected_return():
        log_probs = ops.where(enumeration.response_mask, _log_probs(model, enumeration), 0.0)
        kl = ops.sum(log_probs - enumeration.ref_log_probs, axis=1)
        return ops.sum(ops.exp(ops.sum(log_probs, axis=1)) * (enumeration.scores - BETA * kl))

    gradient = _gradient(model, expected_return)
    assert np.linalg.norm(gradient) > 0.05
    return gradient


def _weighted(batch, weights):
    return batch._replace(advantages=batch.advantages * weights[:, None])


def _ppo_gradient(model, batch):
    """Of the objective to be maximised; the ratio is 1, so nothing is clipped."""
    objective = PPO(value_coefficient=0.0)
    return _gradient(model, lambda: -objective(model, batch)[0])


def test_policy_gradient_loss_gives_the_exact_gradient(model, enumeration, exact):
    batch = _weighted(enumeration, np.exp(enumeration.log_probs.sum(axis=1)))

    def objective():
        loss = policy_gradient_loss(_log_probs(model, batch), batch.advantages)
        return -masked_sum(loss, batch.response_mask)

    np.testing.assert_allclose(_gradient(model, objective), exact, atol=1e-5)


@pytest.mark.parametrize(
    "baseline, gae_lambda", [("zero", 1.0), ("anything", 1.0), ("value", 1.0), ("value", 0.5)]
)
def test_ppo_gives_the_exact_gradient(model, enumeration, exact, baseline, gae_lambda):
    """Without bias: any baseline if lambda is 1, the true values whatever lambda is."""
    random = np.random.default_rng(0)
    of_state = {
        "zero": dict.fromkeys(STATES, 0.0),
        "anything": {state: random.normal() for state in STATES},
        "value": _values(enumeration),
    }[baseline]
    values = [
        [of_state.get(y[:t], 0.0) if t < len(y) else 0.0 for t in range(R)] for y in RESPONSES
    ]
    advantages, _ = generalized_advantages(
        enumeration.rewards,
        np.array(values, "float32"),
        enumeration.response_mask,
        1.0,
        gae_lambda,
    )
    batch = _weighted(
        enumeration._replace(advantages=np.asarray(advantages)),
        np.exp(enumeration.log_probs.sum(axis=1)),
    )
    np.testing.assert_allclose(_ppo_gradient(model, batch), exact, atol=1e-5)


def test_samples_give_the_exact_gradient_within_their_standard_error(
    policy, reference, model, enumeration, exact
):
    count = 8_192
    generation = Generator(policy, R, stop_tokens=(STOP,))(*_prompts(count), seed=1)
    mask = np.asarray(generation.mask)
    drawn = [tuple(row[keep]) for row, keep in zip(np.asarray(generation.tokens), mask)]
    shares = np.array([drawn.count(y) for y in RESPONSES]) / count
    probabilities = np.exp(enumeration.log_probs.sum(axis=1))
    assert shares.sum() == pytest.approx(1.0)
    error = np.sqrt(probabilities * (1 - probabilities) / count)
    assert (np.abs(shares - probabilities) < 4 * error).all()

    of_each = np.stack(
        [
            _ppo_gradient(model, _weighted(enumeration, one))
            for one in np.eye(len(RESPONSES), dtype="float32")
        ]
    )
    np.testing.assert_allclose(probabilities @ of_each, exact, atol=1e-5)
    estimate = _ppo_gradient(model, _walk(policy, reference, drawn)) / count
    np.testing.assert_allclose(estimate, shares @ of_each, atol=2e-4)  # 8,192 roundings

    directions = np.random.default_rng(0).normal(size=(8, len(exact)))
    directions = np.concatenate([exact[None], directions])
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    along = of_each @ directions.T
    mean = probabilities @ along
    error = np.sqrt(probabilities @ np.square(along - mean) / count)
    assert (np.abs(directions @ estimate - mean) < 3 * error).all()
    assert error[0] < 0.1 * np.linalg.norm(exact)  # a wrong sign or factor would show


def _optimal(gamma, potential=None):
    """(values, best first action) of every state, backwards from the ends: Bellman's optimality."""
    process = mdp.TextGenerationMDP(
        _prompts(1), _score, R, V, (STOP,), PAD, gamma, potential=potential
    )
    levels, rewards = [process.initial(np.zeros(1, "int32"))], []
    for _ in range(R):
        state = mdp.State(*(np.repeat(field, V, axis=0) for field in levels[-1]))
        actions = np.tile(np.arange(V, dtype="int32"), len(levels[-1].token_ids))
        following, earned, _ = process.step(state, actions)
        levels.append(following)
        rewards.append(np.asarray(earned))
    values, best = np.zeros(V**R), {}
    for level, earned in zip(levels[-2::-1], rewards[::-1]):
        action_values = (earned + gamma * values).reshape(-1, V)
        values = action_values.max(axis=1)  # 0 once an episode is over: nothing is earned there
        written = _written(level.token_ids, level.response_mask)
        best |= dict(zip(written, action_values.argmax(axis=1)))
    return values[0], {y: best[y] for y in STATES}


@pytest.mark.parametrize("gamma", [1.0, 0.7])
def test_shaping_leaves_the_optimal_policy_as_it_is(gamma):
    """Ng et al. 1999, theorem 1, and its corollary: values fall by the potential."""
    table = np.random.default_rng(5).normal(scale=3.0, size=(P + R, V)).astype("float32")

    def potential(state):
        return ops.sum(
            ops.where(state.padding_mask, table[np.arange(P + R), state.token_ids], 0), 1
        )

    value, best = _optimal(gamma)
    shaped_value, shaped_best = _optimal(gamma, potential)
    assert best == shaped_best
    at_prompt = float(potential(mdp.initial(_prompts(1), R, PAD))[0])
    assert shaped_value == pytest.approx(value - at_prompt, abs=1e-4)
    returns = [gamma ** (len(y) - 1) * SCORES[y] for y in RESPONSES]
    assert value == pytest.approx(max(returns), abs=1e-5)


def test_shaping_that_is_no_potential_moves_the_optimum():
    """So the test above can fail: a bonus for every step is not the difference of a potential."""
    process = mdp.TextGenerationMDP(_prompts(1), _score, R, V, (STOP,), PAD)
    eager = dataclasses.replace(
        process, penalty=lambda state, actions: -10.0 * ops.ones(len(actions))
    )
    assert best_returns(process)[0] == pytest.approx(max(SCORES.values()), abs=1e-5)
    long = max(SCORES[y] for y in RESPONSES if len(y) == R)
    assert best_returns(eager)[0] == pytest.approx(10.0 * R + long, abs=1e-4)


def test_best_returns_tries_what_is_allowed():
    def no_zero(state):
        return ops.broadcast_to(ops.arange(V) > 0, (len(state.token_ids), V))

    process = mdp.TextGenerationMDP(_prompts(1), _score, R, V, (STOP,), PAD, allowed_tokens=no_zero)
    assert best_returns(process)[0] == pytest.approx(
        max(SCORES[y] for y in RESPONSES if 0 not in y), abs=1e-5
    )
