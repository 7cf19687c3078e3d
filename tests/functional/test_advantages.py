import numpy as np
import pytest
from keras import ops

from tfalign.functional import advantages, importance


def numpy_reverse_recurrence(x, a):
    y, carry = np.zeros_like(x), np.zeros_like(x[:, 0])
    for t in reversed(range(x.shape[1])):
        carry = x[:, t] + a[:, t] * carry
        y[:, t] = carry
    return y


@pytest.mark.parametrize("length", [1, 2, 3, 64, 511])
def test_reverse_recurrence_against_a_loop(length, rng, compiled):
    x = rng.normal(size=(5, length))
    a = np.where(rng.random((5, length)) < 0.1, 0.0, 0.99)
    expected = numpy_reverse_recurrence(x, a)
    arrays = x.astype("float32"), a.astype("float32")
    values, (by_x, by_a) = compiled(advantages.reverse_recurrence)(*arrays)
    np.testing.assert_allclose(values, expected, rtol=1e-5, atol=2e-5)
    # d sum(y) / d x_t = 1 + a_{t-1} (1 + a_{t-2} (...)): the same recurrence, forwards.
    before = np.pad(a, ((0, 0), (1, 0)))[:, :-1]
    reach = numpy_reverse_recurrence(np.ones_like(a), before[:, ::-1])[:, ::-1]
    np.testing.assert_allclose(by_x, reach, rtol=1e-4)
    after = np.pad(expected, ((0, 0), (0, 1)))[:, 1:]
    np.testing.assert_allclose(by_a, reach * after, rtol=1e-3, atol=1e-3)


def test_reverse_recurrence_has_the_same_bits_in_any_bucket(rng):
    x = rng.normal(size=(4, 37)).astype("float32")
    a = np.full((4, 37), 0.95, "float32")
    short = advantages.reverse_recurrence(ops.convert_to_tensor(x), a)
    padding = ((0, 0), (0, 27))
    longer = advantages.reverse_recurrence(
        ops.convert_to_tensor(np.pad(x, padding)), np.pad(a, padding)
    )
    np.testing.assert_array_equal(short, longer[:, :37])
    row = advantages.reverse_recurrence(ops.convert_to_tensor(x[2:3]), a[2:3])
    np.testing.assert_array_equal(row, short[2:3])


def test_the_score_lands_on_the_last_real_token():
    kl = np.array([[0.1, 0.2, np.nan], [0.3, np.inf, np.nan]], "float32")
    mask = np.array([[1, 1, 0], [1, 0, 0]], bool)
    rewards = advantages.place_rewards(np.array([1.0, -2.0], "float32"), kl, mask, 0.5)
    np.testing.assert_allclose(rewards, [[-0.05, 0.9, 0], [-2.15, 0, 0]], rtol=1e-6)


def test_a_row_without_tokens_gets_no_reward():
    mask = np.zeros((1, 3), bool)
    rewards = advantages.place_rewards(np.ones(1, "float32"), np.ones((1, 3), "float32"), mask, 0.5)
    np.testing.assert_array_equal(rewards, np.zeros((1, 3)))


def test_gae_by_hand():
    # delta = (1 + 0.5*2 - 4, 3 + 0.5*6 - 2) = (-2, 4); A_0 = -2 + 0.5*0.5*4 = -1.
    result = advantages.gae(
        np.array([[1.0, 3.0]], "float32"),
        np.array([[4.0, 2.0, 6.0]], "float32"),
        np.array([[0.5, 0.5]], "float32"),
        0.5,
    )
    np.testing.assert_array_equal(result, [[-1.0, 4.0]])


def test_generalized_advantages_by_hand():
    # Two real tokens, gamma 1, lambda 0.5: delta = (0 + 2 - 1, 5 - 2) = (1, 3); A = (2.5, 3).
    rewards = np.array([[0.0, 5.0, np.nan]], "float32")
    values = np.array([[1.0, 2.0, np.inf]], "float32")
    mask = np.array([[True, True, False]])
    result, returns = advantages.generalized_advantages(rewards, values, mask, 1.0, 0.5)
    np.testing.assert_array_equal(result, [[2.5, 3.0, 0.0]])
    np.testing.assert_array_equal(returns, [[3.5, 5.0, 0.0]])


def test_generalized_advantages_against_a_loop(rng, compiled):
    lengths, num_columns = np.array([1, 4, 9, 9]), 9
    mask = np.arange(num_columns) < lengths[:, None]
    rewards, values = rng.normal(size=(2, 4, num_columns)).astype("float32")
    expected = np.zeros((4, num_columns))
    for row, length in enumerate(lengths):
        carry, next_value = 0.0, 0.0
        for t in reversed(range(length)):
            carry = rewards[row, t] + 0.9 * next_value - values[row, t] + 0.9 * 0.8 * carry
            expected[row, t], next_value = carry, values[row, t]
    (result, returns), _ = compiled(
        lambda *arrays: advantages.generalized_advantages(*arrays, 0.9, 0.8)
    )(rewards, values, mask)
    np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(returns, np.where(mask, expected + values, 0), atol=1e-5)


@pytest.mark.parametrize("gae_lambda", [0.0, 1.0])
def test_generalized_advantages_at_the_ends_of_lambda(gae_lambda, rng):
    rewards, values = rng.normal(size=(2, 2, 5)).astype("float32")
    mask = np.ones((2, 5), bool)
    _, returns = advantages.generalized_advantages(rewards, values, mask, 1.0, gae_lambda)
    if gae_lambda == 1.0:  # Monte-Carlo returns, whatever the critic says
        expected = np.cumsum(rewards[:, ::-1], axis=1)[:, ::-1]
    else:  # one step of temporal difference
        expected = rewards + np.pad(values[:, 1:], ((0, 0), (0, 1)))
    np.testing.assert_allclose(returns, expected, rtol=1e-5, atol=1e-5)


def test_what_a_user_says_in_between_takes_no_time(rng, compiled):
    """Advantages and returns of a conversation are those of the policy's tokens side by side."""
    mask = np.array([[1, 0, 0, 1, 1, 0, 1, 0], [1, 1, 0, 0, 1, 0, 0, 0], [0] * 8], "bool")
    rewards, values = rng.normal(size=(2, 3, 8)).astype("float32")

    log_probs, old_log_probs = rng.normal(size=(2, 3, 8)).astype("float32")

    def credit(rewards, values, log_probs, old_log_probs, mask):
        both = log_probs, old_log_probs
        return (
            *advantages.generalized_advantages(rewards, values, mask, 0.9, 0.8),
            advantages.rewards_to_go(rewards, mask, 0.9),
            *advantages.vtrace_of_responses(*both, rewards, values, mask),
            *advantages.vtrace_of_responses(*both, rewards, values, mask, 0.9, 2.0, 0.6),
            importance.token_log_ratio(*both, mask),
            importance.log_ratio_to_go(*both, mask),
            ops.where(mask, importance.sequence_log_ratio(*both, mask), 0.0),
        )

    order = np.argsort(~mask, axis=1, kind="stable")
    given = rewards, values, log_probs, old_log_probs, mask
    side_by_side = [np.take_along_axis(x, order, axis=1) for x in given]
    actual, _ = compiled(credit)(*given)
    for x, expected in zip(actual, credit(*side_by_side)):
        moved = np.take_along_axis(np.asarray(x), order, axis=1)
        np.testing.assert_allclose(moved, expected, rtol=1e-5, atol=1e-6)


def test_vtrace_over_a_users_turn_by_hand():
    """The policy's two tokens with ratios 1/2 and 1, a user's two columns between them. The second's
    target is its reward 2; the first's 0.5 + (1 + 3 - 0.5) / 2 + (2 - 3) / 2 = 1.75, whether its trace
    is held at 1 or at its ratio. The advantages are (1 + 2 - 0.5) / 2 and 2 - 3."""
    mask = np.array([[True, False, False, True]])
    rewards, values = np.array([[[1, 7, 7, 2]], [[0.5, 9, 9, 3]]], "float32")
    log_probs = np.array([[np.log(0.5), 5, -5, 0]], "float32")
    for clip_trace in (1.0, 0.5):
        targets, advantage = advantages.vtrace_of_responses(
            log_probs, np.zeros((1, 4), "float32"), rewards, values, mask, clip_trace=clip_trace
        )
        np.testing.assert_allclose(np.asarray(advantage), [[1.25, 0, 0, -1.0]], rtol=1e-6)
        np.testing.assert_allclose(np.asarray(targets), [[1.75, 0, 0, 2.0]], rtol=1e-6)
    with pytest.raises(ValueError, match="Received: clip_trace=0"):
        advantages.vtrace_of_responses(log_probs, log_probs, rewards, values, mask, 1.0, 1.0, 0)


def test_returns_by_hand():
    rewards = np.array([[1.0, 2.0]], "float32")
    halves = np.array([[0.5, 0.5]], "float32")
    # G_1 = 2 + 0.5*4 = 4, G_0 = 1 + 0.5*4 = 3.
    result = advantages.discounted_returns(rewards, halves, np.array([4.0], "float32"))
    np.testing.assert_array_equal(result, [[3.0, 4.0]])
    # G_1 = 2 + 0.5*4 = 4, G_0 = 1 + 0.5*(0.5*8 + 0.5*4) = 4.
    next_values = np.array([[8.0, 4.0]], "float32")
    result = advantages.lambda_returns(rewards, next_values, halves, 0.5)
    np.testing.assert_array_equal(result, [[4.0, 4.0]])


def vtrace_of(log_ratio, **options):
    zeros = np.zeros((1, 2), "float32")
    rewards = np.array([[1.0, 2.0]], "float32")
    values = np.array([[1.0, 1.0, 1.0]], "float32")
    halves = np.array([[0.5, 0.5]], "float32")
    log_ratios = zeros + np.float32(log_ratio)
    return advantages.vtrace(log_ratios, zeros, rewards, values, halves, **options)


def test_vtrace_by_hand():
    # On policy: delta = (1 + 0.5 - 1, 2 + 0.5 - 1) = (0.5, 1.5); error_0 = 0.5 + 0.5*1.5.
    np.testing.assert_array_equal(vtrace_of(0.0), [[1.25, 1.5]])
    # Ratio 1/2: weights 1/2 on the differences, and on the trace.
    np.testing.assert_allclose(vtrace_of(np.log(0.5)), [[0.4375, 0.75]], rtol=1e-6)
    # Ratio 4 held at rho-bar 2 and c-bar 1; far off policy it stays finite.
    expected = [[1.0 + 0.5 * 3.0, 3.0]]
    np.testing.assert_allclose(vtrace_of(np.log(4.0), clip_rho=2.0), expected, rtol=1e-6)
    np.testing.assert_allclose(vtrace_of(1e30, clip_rho=2.0), expected, rtol=1e-6)
    with pytest.raises(ValueError, match="Received: clip_rho=0"):
        vtrace_of(0.0, clip_rho=0)


SCORES = np.array([1.0, 3.0, 7.0, 7.0], "float32")


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (advantages.dr_grpo_advantages, [-1, 1, 0, 0]),
        (advantages.rloo_advantages, [-2, 2, 0, 0]),
        (advantages.grpo_advantages, [-1 / (2**0.5 + 1e-4), 1 / (2**0.5 + 1e-4), 0, 0]),
        (advantages.group_has_spread, [True, True, False, False]),
    ],
)
def test_groups_by_hand(function, expected):
    np.testing.assert_allclose(function(SCORES, 2), expected, rtol=1e-6)


@pytest.mark.parametrize(
    "function",
    [
        advantages.grpo_advantages,
        advantages.dr_grpo_advantages,
        advantages.rloo_advantages,
    ],
)
def test_a_group_of_equal_scores_gets_exactly_nothing(function):
    equal = np.full(7, 0.1, "float32")  # the mean of seven 0.1s does not round to 0.1
    np.testing.assert_array_equal(function(equal, 7), np.zeros(7))


@pytest.mark.parametrize("size", [1e4, 1e10, 1e20, 1e30, 1e38])
def test_huge_scores_are_compared_as_any_others(size):
    large = SCORES * np.float32(size / 7)
    scores = np.concatenate([large, SCORES])  # beside groups of an ordinary size
    expected = np.array([-1, 1, 0, 0]) * size / 7
    np.testing.assert_allclose(advantages.dr_grpo_advantages(scores, 2)[:4], expected, rtol=1e-5)
    np.testing.assert_allclose(advantages.rloo_advantages(scores, 2)[:4], 2 * expected, rtol=1e-5)
    relative = np.asarray(advantages.grpo_advantages(scores, 2))
    np.testing.assert_allclose(relative[:4], np.array([-1, 1, 0, 0]) / 2**0.5, rtol=1e-3)
    np.testing.assert_array_equal(relative[4:], advantages.grpo_advantages(SCORES, 2))
    opposite = np.array([3e38, -3e38], "float32")
    halves = advantages.grpo_advantages(opposite, 2)
    np.testing.assert_allclose(halves, [0.5**0.5, -(0.5**0.5)], rtol=1e-5)


@pytest.mark.parametrize("group_size", [1, 3])
def test_a_group_size_out_of_range_is_refused(group_size):
    with pytest.raises(ValueError, match=f"Received: group_size={group_size}"):
        advantages.rloo_advantages(SCORES, group_size)
