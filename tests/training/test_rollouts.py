"""Rollouts: sampled and scored alike, and credited as the formulas say."""

import numpy as np
import pytest
from keras import ops

from tfalign.models import (
    CausalLM,
    GPTConfig,
    SeparateActorCritic,
    SharedActorCritic,
    separate_critic,
)
from tfalign.objectives import PPO
from tfalign.training.rollouts import RolloutConfig, RolloutWorker
from tfalign.types import Generation, Prompts

V, B, P, R = 13, 8, 6, 5
TEMPERATURE = 0.7
LENGTHS = [6, 1, 3, 5, 2, 6, 4, 1]
MODEL = GPTConfig(V, 16, 2, 2, max_positions=16)


def set_weights(model, seed):
    rng = np.random.default_rng(seed)
    for variable in model.trainable_variables:
        variable.assign(rng.normal(0, 0.3, variable.shape).astype("float32"))


def prompts():
    rng = np.random.default_rng(3)
    mask = np.arange(P) >= P - np.array(LENGTHS)[:, None]
    return Prompts(np.where(mask, rng.integers(4, V, (B, P)), 0).astype("int32"), mask)


def count_of_sevens(token_ids, padding_mask, response_mask):
    is_seven = np.asarray(token_ids)[:, -R:] == 7
    return (is_seven & np.asarray(response_mask)).sum(axis=1).astype("float32")


def worker_of(shared, stop_tokens, reference_seed):
    policy, reference = CausalLM(MODEL), CausalLM(MODEL)
    model = SharedActorCritic(policy)
    if not shared:
        model = SeparateActorCritic(policy, separate_critic(policy))
        set_weights(model.critic, 5)
    set_weights(policy, 0)
    set_weights(reference, reference_seed)
    if shared:
        model.value_head.dense.set_weights([np.linspace(-1, 1, 16)[:, None], np.array([0.5])])
    config = RolloutConfig(R, temperature=TEMPERATURE, stop_tokens=stop_tokens)
    return RolloutWorker(model, reference, count_of_sevens, config)


@pytest.fixture(scope="module")
def shared():
    """One trunk; the reference is another model."""
    worker = worker_of(True, (3,), reference_seed=1)
    return worker, *worker(prompts(), seed=11, kl_coefficient=0.05)


@pytest.fixture(scope="module")
def separate():
    """Two trunks, two stop tokens; the reference is the policy itself."""
    worker = worker_of(False, (3, 8), reference_seed=0)
    return worker, *worker(prompts(), seed=11, kl_coefficient=0.05)


@pytest.fixture(params=["shared", "separate"])
def case(request):
    worker, rollout, statistics = request.getfixturevalue(request.param)
    return worker, type(rollout)(*map(np.asarray, rollout)), statistics


def test_ratio_is_one_on_the_first_minibatch(case):
    worker, rollout, _ = case
    objective = PPO(temperature=TEMPERATURE)
    _, _, metrics = objective(worker.actor_critic, rollout)
    assert float(metrics["max_log_ratio"][0]) <= 1e-4
    assert float(metrics["clip_fraction"][0]) == 0
    _, _, other = PPO(temperature=1.0)(worker.actor_critic, rollout)
    assert float(other["max_log_ratio"][0]) > 0.1  # what another temperature would do


def unpadded(rollout, row):
    """(ids int32[1, n], where the response begins, its length) of one row without its padding."""
    ids = rollout.token_ids[row][rollout.padding_mask[row]][None]
    length = int(rollout.response_mask[row].sum())
    return ids, ids.shape[1] - length, length


def test_log_probs_and_values_are_those_of_the_row_alone(case):
    """The state before response token t stands at column P - 1 + t."""
    worker, rollout, _ = case
    policy = worker.actor_critic.policy
    for row in range(B):
        ids, start, length = unpadded(rollout, row)
        assert start == LENGTHS[row]
        states = slice(start - 1, start - 1 + length)
        for field, model in (("log_probs", policy), ("ref_log_probs", worker.reference)):
            logits = ops.convert_to_numpy(model(ids))[0, states] / TEMPERATURE
            table = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
            expected = table[np.arange(length), ids[0, start:]]
            np.testing.assert_allclose(getattr(rollout, field)[row, :length], expected, atol=2e-5)
        if isinstance(worker.actor_critic, SharedActorCritic):
            values = worker.actor_critic.value_head(policy.backbone(ids))
        else:
            values = worker.actor_critic.critic(ids)
        expected = ops.convert_to_numpy(values)[0, states]
        np.testing.assert_allclose(rollout.values[row, :length], expected, atol=2e-5)
    assert rollout.values[rollout.response_mask].std() > 0.05


def test_layout(case):
    worker, rollout, statistics = case
    asked = prompts()
    np.testing.assert_array_equal(rollout.token_ids[:, :P], asked.token_ids)
    np.testing.assert_array_equal(rollout.padding_mask[:, :P], asked.mask)
    np.testing.assert_array_equal(rollout.padding_mask[:, P:], rollout.response_mask)
    padding = ~rollout.response_mask
    assert padding.any()
    for field in ("log_probs", "ref_log_probs", "values", "rewards", "advantages", "returns"):
        assert not getattr(rollout, field)[padding].any(), field
    assert not rollout.token_ids[:, P:][padding].any()
    np.testing.assert_array_equal(
        rollout.scores, count_of_sevens(rollout.token_ids, None, rollout.response_mask)
    )
    assert statistics["response_length"] == rollout.response_mask.sum() / B


def test_every_stop_token_ends_a_response_and_nothing_else_does(case):
    worker, rollout, statistics = case
    stops, ended, seen = worker.config.stop_tokens, 0, set()
    for tokens, mask in zip(rollout.token_ids[:, P:], rollout.response_mask):
        length = int(mask.sum())
        assert mask[:length].all() and length > 0
        assert not set(tokens[: length - 1]) & set(stops)
        if tokens[length - 1] in stops:
            ended += 1
            seen.add(int(tokens[length - 1]))
        else:
            assert length == R
    assert seen == set(stops)
    assert statistics["ended"] == ended / B


def test_kl_is_zero_against_itself(separate, shared):
    _, rollout, statistics = separate
    np.testing.assert_allclose(rollout.log_probs, rollout.ref_log_probs, atol=2e-5)
    assert abs(statistics["kl"]) < 1e-4
    assert abs(shared[2]["kl"]) > 0.1


def test_kl_is_summed_over_a_response(shared):
    _, rollout, statistics = shared
    kl = (np.asarray(rollout.log_probs) - np.asarray(rollout.ref_log_probs)).sum(axis=1).mean()
    np.testing.assert_allclose(statistics["kl"], kl, rtol=1e-4)


def test_same_seed_same_rollout_and_one_program_for_all_coefficients(shared):
    worker, rollout, _ = shared
    again, _ = worker(prompts(), seed=11, kl_coefficient=0.5)
    other, _ = worker(prompts(), seed=12, kl_coefficient=0.5)
    np.testing.assert_array_equal(again.token_ids, rollout.token_ids)
    assert (np.asarray(other.token_ids) != np.asarray(rollout.token_ids)).any()
    assert (np.asarray(again.rewards) != np.asarray(rollout.rewards)).any()
    assert (worker.compiled.traces, worker.generator.compiled.traces) == (1, 1)


def test_rows_do_not_depend_on_their_batch(shared):
    worker, rollout, _ = shared
    order = np.array([3, 0, 7, 1, 6, 2, 5, 4])
    asked = prompts()
    shuffled = Prompts(asked.token_ids[order], asked.mask[order])
    again, _ = worker(shuffled, seed=11, kl_coefficient=0.05, row_ids=order)
    np.testing.assert_array_equal(again.token_ids, np.asarray(rollout.token_ids)[order])


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_score_that_is_not_finite_names_the_row(shared, bad):
    worker, *_ = shared
    scores = np.array([0, 1, bad, 2, bad], "float32")
    with pytest.raises(ValueError, match=f"score of row 2 is not finite. Received: {bad}"):
        worker._check(scores)
    broken = RolloutWorker(
        worker.actor_critic, worker.reference, lambda *_: np.full(B, bad), worker.config
    )
    broken.generator = worker.generator
    with pytest.raises(ValueError, match="score of row 0 is not finite"):
        broken(prompts(), seed=0, kl_coefficient=0.05)


# Crediting, by hand. Rows: ends early; never ends; ends at the limit; ends at once. The stop
# token is 3, and what stands behind the end must not matter.
TOKENS = np.array([[4, 5, 3, 0, 0], [4, 5, 6, 7, 8], [4, 5, 6, 7, 3], [3, 0, 0, 0, 0]], "int32")
MASK = np.arange(R) < np.array([[3], [5], [5], [1]])
SCORES = np.array([1.0, 2.0, -1.5, 0.5], "float32")


def per_token(seed):
    return np.where(MASK, np.random.default_rng(seed).normal(size=(4, R)), 0).astype("float32")


LOG_PROBS, REF_LOG_PROBS, VALUES = (per_token(seed) for seed in (1, 2, 3))


def oracle(beta, scores, gamma=1.0, gae_lambda=0.95, whiten_rewards=False, whiten_advantages=True):
    """algorithms.md, PPO, items 7, 9 and 10."""
    rewards = -beta * (LOG_PROBS - REF_LOG_PROBS).astype("float64")
    rewards[np.arange(4), MASK.sum(1) - 1] += scores
    if whiten_rewards:
        mean, variance = rewards[MASK].mean(), rewards[MASK].var()
        rewards = np.where(MASK, (rewards - mean) / np.sqrt(variance + 1e-8) + mean, 0)
    advantages, following, next_value = np.zeros((4, R)), np.zeros(4), np.zeros(4)
    for t in reversed(range(R)):
        following = MASK[:, t] * (
            rewards[:, t] + gamma * next_value - VALUES[:, t] + gamma * gae_lambda * following
        )
        next_value, advantages[:, t] = VALUES[:, t], following
    returns = advantages + VALUES
    if whiten_advantages:
        real = advantages[MASK]
        advantages = np.where(MASK, (advantages - real.mean()) / np.sqrt(real.var() + 1e-8), 0)
    return rewards, advantages, returns


def credit(beta=0.3, tokens=TOKENS, **choices):
    """``RolloutWorker._credit`` of the arrays above."""
    config = RolloutConfig(R, stop_tokens=(3,), **choices)
    model = SharedActorCritic(CausalLM(GPTConfig(V, 4, 1, 1, max_positions=8)))
    worker = RolloutWorker(model, model.policy, None, config)
    worker._reference_log_probs = lambda *_: np.where(MASK, REF_LOG_PROBS, np.nan)
    token_ids = np.concatenate([np.ones((4, 2), "int32"), tokens], axis=1)
    padding_mask = np.concatenate([np.ones((4, 2), "bool"), MASK], axis=1)
    generation = Generation(tokens, LOG_PROBS, MASK, VALUES)
    rollout, statistics = worker._credit(
        token_ids, padding_mask, generation, SCORES, np.float32(beta)
    )
    return rollout, {name: float(value) for name, value in statistics.items()}


def assert_credited(rollout, rewards, advantages, returns):
    for field, expected in (("rewards", rewards), ("advantages", advantages), ("returns", returns)):
        np.testing.assert_allclose(
            np.asarray(getattr(rollout, field)), expected, atol=2e-6, err_msg=field
        )


@pytest.mark.parametrize(
    "choices",
    [
        {},
        {"gamma": 0.9, "gae_lambda": 0.8},
        {"whiten_rewards": True},
        {"whiten_advantages": False},
        {"whiten_rewards": True, "whiten_advantages": False, "gae_lambda": 0.0},
    ],
    ids=str,
)
def test_rewards_advantages_and_returns(choices):
    rollout, _ = credit(**choices)
    assert_credited(rollout, *oracle(0.3, SCORES, **choices))
    np.testing.assert_array_equal(np.asarray(rollout.scores), SCORES)


def test_score_stands_at_the_last_real_token():
    rollout, _ = credit(beta=0.0)
    expected = [[0, 0, 1, 0, 0], [0, 0, 0, 0, 2], [0, 0, 0, 0, -1.5], [0.5, 0, 0, 0, 0]]
    np.testing.assert_array_equal(np.asarray(rollout.rewards), expected)


@pytest.mark.parametrize(
    ("choices", "second"),
    [
        ({}, 2.0),
        ({"missing_stop_score": -1.0}, -1.0),
        ({"missing_stop_penalty": 0.75}, 1.25),
        ({"missing_stop_score": -1.0, "missing_stop_penalty": 0.75}, -1.0),
    ],
    ids=str,
)
@pytest.mark.parametrize("pad_id", [0, 3])
def test_a_response_that_never_ends(choices, second, pad_id):
    """Only the second row; a padding id that is the stop token changes nothing."""
    tokens = np.where(MASK, TOKENS, pad_id).astype("int32")
    rollout, statistics = credit(tokens=tokens, pad_id=pad_id, **choices)
    scores = [1.0, second, -1.5, 0.5]
    np.testing.assert_array_equal(np.asarray(rollout.scores), scores)
    assert_credited(rollout, *oracle(0.3, scores))
    assert statistics["ended"] == 0.75
    assert statistics["score"] == np.mean(scores)


def test_statistics():
    _, statistics = credit()
    rewards, _, returns = oracle(0.3, SCORES)
    residual = (returns - VALUES)[MASK]
    expected = {
        "score": 0.5,
        "kl": (LOG_PROBS - REF_LOG_PROBS).sum() / 4,
        "response_length": 14 / 4,
        "ended": 0.75,
        "return": rewards.sum() / 4,
        "explained_variance": 1 - residual.var() / returns[MASK].var(),
    }
    assert statistics == pytest.approx(expected, rel=1e-5)


def test_join_puts_padding_in_front():
    """Right-padded prompts come out left-padded; nothing is taken for padding by its id."""
    asked = Prompts(np.array([[0, 5, 9], [6, 7, 0]]), np.array([[1, 1, 0], [1, 1, 1]], "bool"))
    generation = Generation(
        np.array([[8, 0], [3, 4]]), None, np.array([[1, 0], [1, 1]], "bool"), None
    )
    token_ids, mask = RolloutWorker.join(asked, generation)
    np.testing.assert_array_equal(token_ids, [[9, 0, 5, 8, 0], [6, 7, 0, 3, 4]])
    np.testing.assert_array_equal(mask, [[0, 1, 1, 1, 0], [1, 1, 1, 1, 1]])
