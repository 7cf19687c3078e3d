"""The MDP's core, transition by transition, against a table worked by hand."""

import keras
import numpy as np
import pytest
from keras import ops

from tfalign import backend
from tfalign.environments import mdp
from tfalign.types import Prompts

STOPS, PAD, R = (8, 9), 7, 3
PROMPTS = Prompts(
    np.array([[1, 2], [5, 3], [4, 5], [6, 0]], "int32"),
    np.array([[1, 1], [0, 1], [1, 1], [1, 0]], "bool"),  # the last one is padded on the right
)
# one column a step; row 0 runs to the limit, 1 stops at once, 2 second, 3 at the limit itself
ACTIONS = np.array([[1, 2, 3], [8, 1, 9], [2, 9, 4], [3, 0, 8]], "int32")
LENGTHS = np.array([[1, 2, 3], [1, 1, 1], [1, 2, 2], [1, 2, 3]])
TERMINATED = np.array([[0, 0, 0], [1, 1, 1], [0, 1, 1], [0, 0, 1]], "bool")
TRUNCATED = np.array([[0, 0, 1], [0, 0, 0], [0, 0, 0], [0, 0, 0]], "bool")


@pytest.fixture(scope="module")
def states():
    """The states before, between and after the three actions, and after one action more."""
    walk = [mdp.initial(PROMPTS, R, PAD)]
    for actions in (*ACTIONS.T, np.full(4, 2, "int32")):
        walk.append(mdp.transition(walk[-1], actions, STOPS))
    return [type(state)(*map(np.asarray, state)) for state in walk]


def test_starts_with_the_prompt_on_the_left_and_nothing_written(states):
    start = states[0]
    np.testing.assert_array_equal(start.token_ids[:, 2:], PAD)
    np.testing.assert_array_equal(start.token_ids[3, :2], [0, 6])
    np.testing.assert_array_equal(start.prompt_mask, [[1, 1], [0, 1], [1, 1], [0, 1]])
    token_ids, padding_mask = mdp.observation(start)
    np.testing.assert_array_equal(token_ids, start.token_ids)
    np.testing.assert_array_equal(
        padding_mask, np.pad(start.prompt_mask, ((0, 0), (0, R)), constant_values=False)
    )
    assert not np.any(mdp.terminal(start))


def test_every_step_is_as_worked_by_hand(states):
    for t, state in enumerate(states[1:4]):
        np.testing.assert_array_equal(state.response_length, LENGTHS[:, t])
        np.testing.assert_array_equal(state.terminated, TERMINATED[:, t])
        np.testing.assert_array_equal(state.truncated, TRUNCATED[:, t])
        np.testing.assert_array_equal(mdp.terminal(state), TERMINATED[:, t] | TRUNCATED[:, t])
        np.testing.assert_array_equal(mdp.discount(state), 1.0 - TERMINATED[:, t])
        np.testing.assert_array_equal(state.response_mask, np.arange(R) < LENGTHS[:, t, None])
    np.testing.assert_array_equal(
        states[3].token_ids[:, 2:], [[1, 2, 3], [8, PAD, PAD], [2, 9, PAD], [3, 0, 8]]
    )


def test_a_finished_row_stays_as_it_is(states):
    for before, after in zip(states[3], states[4]):
        np.testing.assert_array_equal(before, after)


def _score(token_ids, padding_mask, response_mask):
    """Tells apart every text: the sum of its tokens, and ten times the response's length."""
    total = ops.sum(ops.where(padding_mask, token_ids, 0), axis=1)
    length = ops.sum(ops.cast(response_mask, "int32"), axis=1)
    return ops.cast(total + 10 * length, "float32")


def test_the_score_is_earned_once_at_the_end(states):
    earned = np.stack([mdp.reward(*pair, _score) for pair in zip(states, states[1:])], axis=1)
    np.testing.assert_array_equal(
        earned, [[0, 0, 39, 0], [21, 0, 0, 0], [0, 40, 0, 0], [0, 0, 47, 0]]
    )


def test_the_kl_is_paid_for_every_token_written(states):
    log_probs, ref_log_probs = np.random.default_rng(0).normal(size=(2, 4, 4)).astype("float32")
    for t, (state, following) in enumerate(zip(states, states[1:])):
        plain = np.asarray(mdp.reward(state, following, _score))
        earned = mdp.reward(state, following, _score, log_probs[t], ref_log_probs[t], 0.25)
        penalty = 0.25 * (log_probs[t] - ref_log_probs[t]) * ~np.asarray(mdp.terminal(state))
        np.testing.assert_allclose(earned, plain - penalty, atol=1e-5)


@pytest.mark.skipif(keras.backend.backend() == "jax", reason="JAX traces what is not asked, too")
def test_the_score_is_asked_in_steps_in_which_a_row_ends(states):
    asked = []

    def score(token_ids, padding_mask, response_mask):
        asked.append(token_ids.shape[0])
        return np.full(4, np.nan, "float32")

    earned = [np.asarray(mdp.reward(*pair, score)) for pair in zip(states, states[1:])]
    assert asked == [4, 4, 4]  # not in the fourth step, where all had ended
    running = [np.isnan(column).tolist() for column in earned]
    assert running == [
        [False, True, False, False],
        [False, False, True, False],
        [True, False, False, True],
        [False] * 4,
    ]


def test_rows_may_be_at_different_steps(states):
    """A fresh row beside one in the middle of its episode, as automatic resets give."""
    mixed = type(states[0])(*(np.stack([a[0], b[2]]) for a, b in zip(states[0], states[1])))
    following = mdp.transition(mixed, ACTIONS[[0, 2], [0, 1]], STOPS)
    for name, first, second in zip(following._fields, states[1], states[2]):
        np.testing.assert_array_equal(getattr(following, name), np.stack([first[0], second[2]]))


def test_without_stop_tokens_only_the_limit_ends():
    state = mdp.initial(PROMPTS, 2)
    for actions in ACTIONS.T[:2]:
        state = mdp.transition(state, actions)
    assert np.all(state.truncated) and not np.any(state.terminated)


def test_a_step_compiles_to_one_program(states):
    def walk(state, actions, log_probs):
        following = mdp.transition(state, actions, STOPS)
        earned = mdp.reward(state, following, _score, log_probs, log_probs - 1.0, 0.5)
        return following, earned, mdp.discount(following)

    compiled = backend.jit(walk)
    for state, following, actions in zip(states, states[1:], ACTIONS.T):
        log_probs = -np.ones(4, "float32")
        got, earned, discount = compiled(state, actions, log_probs)
        for field, expected in zip(got, following):
            np.testing.assert_array_equal(field, expected)
        penalty = 0.5 * ~(state.terminated | state.truncated)
        np.testing.assert_allclose(earned, mdp.reward(state, following, _score) - penalty)
        np.testing.assert_array_equal(discount, mdp.discount(following))
    assert compiled.traces == 1


@pytest.mark.parametrize("max_new_tokens", [0, -1])
def test_no_new_tokens_are_refused(max_new_tokens):
    with pytest.raises(ValueError, match=f"Received: max_new_tokens={max_new_tokens}"):
        mdp.initial(PROMPTS, max_new_tokens)
