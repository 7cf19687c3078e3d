"""Rollouts: sampled and scored alike, and credited as the formulas say."""

import dataclasses

import keras
import numpy as np
import pytest
from keras import ops

from tfalign.decoding import Greedy, generate
from tfalign.models import (
    Actor,
    CausalLM,
    GPTConfig,
    SeparateActorCritic,
    SharedActorCritic,
    separate_critic,
)
from tfalign.objectives import GRPO, PPO
from tfalign.rewards.errors import RewardError
from tfalign.training.baselines import GreedyBaseline
from tfalign.training.credit import GAE, LeaveOneOut, RewardToGo
from tfalign.training.lagrange import CostLimit, CostLimits
from tfalign.training.learner import Learner
from tfalign.training.responses import RolloutConfig, join
from tfalign.training.rollouts import RolloutWorker
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
    return worker, type(rollout)(*(x if x is None else np.asarray(x) for x in rollout)), statistics


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
    programs = (worker.responder.generator.compiled, worker.comparison, worker.crediting)
    assert [program.traces for program in programs] == [1, 1, 1]


def test_statistics_are_scalars(case):
    worker, rollout, _ = case
    answers = worker.responder(prompts(), 11)
    baseline = np.zeros(len(answers.scores), "float32")
    _, statistics = worker.finish(*answers[1:3], answers[0], answers[3], np.float32(0.05), baseline)
    assert {np.asarray(value).shape for value in statistics.values()} == {()}


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
    scores = np.array([0, 1, bad, 2, bad, 0, 0, 0], "float32")
    broken = RolloutWorker(worker.actor_critic, worker.reference, lambda *_: scores, worker.config)
    broken.responder.generator = worker.responder.generator
    with pytest.raises(RewardError, match=f"score of row 2 is not finite. Received: {bad}"):
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


NO_BASELINE = np.zeros(4, "float32")
CREDIT_CHOICES = {field.name for field in dataclasses.fields(GAE)}


def credit(beta=0.3, tokens=TOKENS, **choices):
    """``RolloutWorker.finish`` of the arrays above."""
    of_credit = {name: choices.pop(name) for name in CREDIT_CHOICES & choices.keys()}
    config = RolloutConfig(R, stop_tokens=(3,), **choices)
    model = SharedActorCritic(CausalLM(GPTConfig(V, 4, 1, 1, max_positions=8)))
    worker = RolloutWorker(model, model.policy, None, config, GAE(**of_credit))
    worker._reference_log_probs = lambda *_: np.where(MASK, REF_LOG_PROBS, np.nan)
    token_ids = np.concatenate([np.ones((4, 2), "int32"), tokens], axis=1)
    padding_mask = np.concatenate([np.ones((4, 2), "bool"), MASK], axis=1)
    generation = Generation(tokens, LOG_PROBS, MASK, VALUES)
    rollout, statistics = worker.finish(
        token_ids, padding_mask, generation, SCORES, np.float32(beta), NO_BASELINE
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


@pytest.mark.slow
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
@pytest.mark.parametrize("pad_id", [0, pytest.param(3, marks=pytest.mark.slow)])
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
    token_ids, mask = join(asked, generation)
    np.testing.assert_array_equal(token_ids, [[9, 0, 5, 8, 0], [6, 7, 0, 3, 4]])
    np.testing.assert_array_equal(mask, [[0, 1, 1, 1, 0], [1, 1, 1, 1, 1]])


# Groups, on a tiny model that needs no critic.


def actor_worker(credit=None, reward=count_of_sevens, **choices):
    policy, reference = CausalLM(MODEL), CausalLM(MODEL)
    set_weights(policy, 0)
    set_weights(reference, 1)
    config = RolloutConfig(R, temperature=TEMPERATURE, stop_tokens=(3,), group_size=2, **choices)
    return RolloutWorker(Actor(policy), reference, reward, config, credit or LeaveOneOut())


@pytest.fixture(scope="module")
def grouped():
    worker = actor_worker()
    return worker, worker(prompts(), seed=11, kl_coefficient=0.05)


def test_a_group_has_one_prompt_and_streams_of_its_own(grouped):
    worker, (rollout, statistics) = grouped
    token_ids = np.asarray(rollout.token_ids)
    np.testing.assert_array_equal(token_ids[:, :P], np.repeat(prompts().token_ids, 2, axis=0))
    assert (token_ids[0::2, P:] != token_ids[1::2, P:]).any(axis=1).mean() > 0.5
    # completion g of a prompt draws from stream 2 * row_id + g, wherever its prompt stands
    order = np.array([3, 0, 7, 1, 6, 2, 5, 4])
    asked = prompts()
    shuffled = Prompts(asked.token_ids[order], asked.mask[order])
    again, _ = worker(shuffled, seed=11, kl_coefficient=0.05, row_ids=order)
    groups = np.asarray(again.token_ids).reshape(B, 2, -1)
    np.testing.assert_array_equal(groups, token_ids.reshape(B, 2, -1)[order])
    scores = np.asarray(rollout.scores).reshape(B, 2)
    assert statistics["spread"] == (scores[:, 0] != scores[:, 1]).mean()


def test_without_a_critic_no_value_is_computed(grouped):
    worker, (rollout, statistics) = grouped
    assert worker.responder.generator.value_head is None
    assert not np.asarray(rollout.values).any()
    assert "explained_variance" not in statistics
    with_critic = worker_of(True, (3,), reference_seed=1)
    unused = RolloutWorker(
        with_critic.actor_critic, with_critic.reference, None, with_critic.config, RewardToGo()
    )
    assert unused.responder.generator.value_head is None


@pytest.mark.slow
def test_groups_of_equal_scores_are_drawn_again(grouped):
    """At most as often as allowed, all rows in the same program; others stay as they were."""
    first, (rollout, statistics) = grouped
    calls = []

    def reward(*answered):
        calls.append(answered)
        return count_of_sevens(*answered)

    worker = actor_worker(reward=reward, redraws=3)
    worker.actor_critic.set_weights(first.actor_critic.get_weights())
    again, redrawn = worker(prompts(), seed=11, kl_coefficient=0.05)
    assert statistics["spread"] < 1 and 2 <= len(calls) <= 4
    assert redrawn["spread"] > statistics["spread"]
    assert worker.responder.generator.compiled.traces == 1
    scores = np.asarray(rollout.scores).reshape(B, 2)
    spread = np.repeat(scores[:, 0] != scores[:, 1], 2)
    for field in ("token_ids", "response_mask", "log_probs", "scores"):
        np.testing.assert_array_equal(
            np.asarray(getattr(again, field))[spread], np.asarray(getattr(rollout, field))[spread]
        )
    once_more, _ = worker(prompts(), seed=11, kl_coefficient=0.05)
    np.testing.assert_array_equal(once_more.token_ids, again.token_ids)


@pytest.mark.slow
def test_redraws_are_bounded():
    calls = []

    def indifferent(token_ids, *_):
        calls.append(1)
        return np.zeros(len(token_ids), "float32")

    worker = actor_worker(reward=indifferent, redraws=3, drop_zero_spread=True)
    rollout, statistics = worker(prompts(), seed=0, kl_coefficient=0.05)
    assert len(calls) == 4 and statistics["spread"] == 0
    assert not np.asarray(rollout.response_mask).any()
    learner = Learner(worker.actor_critic, GRPO(), keras.optimizers.SGD(1.0))
    before = worker.actor_critic.get_weights()
    scalars = learner.update(rollout)  # a batch of which nothing counts
    assert all(np.isfinite(float(value)) for value in scalars.values())
    for old, new in zip(before, worker.actor_critic.get_weights()):
        np.testing.assert_array_equal(old, new)


def test_what_counts_in_the_loss():
    """Rows 0 and 1 are one group, 2 and 3 another; row 1 never ends."""
    scores = np.array([1, 1, 2, 0], "float32")
    token_ids = np.concatenate([np.ones((4, 2), "int32"), TOKENS], axis=1)
    generation = Generation(TOKENS, LOG_PROBS, MASK, None)

    def counted(**choices):
        worker = actor_worker(**choices)
        worker._reference_log_probs = lambda *_: REF_LOG_PROBS
        given = (token_ids, None, generation, scores)
        rollout, _ = worker.finish(*given, np.float32(0.0), NO_BASELINE)
        mask, advantages = np.asarray(rollout.response_mask), np.asarray(rollout.advantages)
        rows = mask.any(axis=1)
        np.testing.assert_array_equal(mask, MASK & rows[:, None])
        return rows.tolist(), advantages[:, 0].tolist()

    assert counted() == ([True] * 4, [0, 0, 2, -2])
    assert counted(drop_zero_spread=True)[0] == [False, False, True, True]
    assert counted(mask_overlong=True)[0] == [True, False, True, True]
    # lengths 3, 5, 5, 1 of at most 5, the last 4 of which cost up to 1: 0.5, 1, 1 and 0
    assert counted(overlong_buffer=4)[1] == [0.5, -0.5, 1, -1]


@pytest.mark.slow
def test_greedy_baseline_scores_the_greedy_response():
    baseline = GreedyBaseline()
    worker = RolloutWorker(
        actor_worker().actor_critic,
        actor_worker().reference,
        count_of_sevens,
        RolloutConfig(R, stop_tokens=(3,)),
        RewardToGo(),
        baseline,
    )
    greedy = generate(
        worker.actor_critic.policy,
        *prompts(),
        max_new_tokens=R,
        sampler=Greedy(),
        stop_tokens=(3,),
    )
    expected = ((np.asarray(greedy.tokens) == 7) & np.asarray(greedy.mask)).sum(axis=1)
    np.testing.assert_array_equal(baseline(worker, prompts()), expected)
    rollout, _ = worker(prompts(), seed=0, kl_coefficient=0.0)
    advantages, returns = np.asarray(rollout.advantages), np.asarray(rollout.returns)
    np.testing.assert_allclose((returns - advantages)[:, 0], expected)
    assert worker.stateful == {"baseline": baseline}


@pytest.mark.slow
def test_a_cost_that_is_not_finite_names_the_row():
    worker = actor_worker()
    free, broken = (
        CostLimit(lambda token_ids, *_, value=value: np.full(len(token_ids), value), 0.0)
        for value in (0.0, np.inf)
    )
    worker.responder.cost_limits = CostLimits({"free": free, "broken": broken})
    with pytest.raises(RewardError, match="cost broken of row 0 is not finite. Received: inf"):
        worker(prompts(), seed=0, kl_coefficient=0.0)
