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


def _potential(state):
    """Anything at all, and not 0 where an episode ends."""
    return ops.cast(ops.sum(state.token_ids, axis=1), "float32") - 7.5


@pytest.mark.parametrize("gamma", [1.0, 0.8])
def test_shaping_adds_up_to_minus_the_potential_of_the_prompt(states, gamma):
    shaped = [mdp.shaping(*pair, _potential, gamma) for pair in zip(states, states[1:])]
    total = sum(gamma**t * np.asarray(x) for t, x in enumerate(shaped))
    np.testing.assert_allclose(total, -np.asarray(_potential(states[0])), atol=1e-5)
    np.testing.assert_array_equal(shaped[-1], 0.0)  # all had ended before


def test_discount_is_gamma_until_termination(states):
    np.testing.assert_allclose(mdp.discount(states[3], 0.9), [0.9, 0, 0, 0])


def _process(**changes):
    return mdp.TextGenerationMDP(
        **{
            "prompts": PROMPTS,
            "score": _score,
            "max_new_tokens": R,
            "vocab_size": 10,
            "stop_tokens": STOPS,
            "pad_id": PAD,
        }
        | changes
    )


def test_the_process_is_the_functions_with_its_arguments(states):
    def penalty(state, actions):
        return 0.5 * ops.cast(actions, "float32")

    process = _process(gamma=0.9, penalty=penalty, potential=_potential)
    state = process.initial(np.arange(4, dtype="int32"))
    for expected, got in zip(states[0], state):
        np.testing.assert_array_equal(got, expected)
    for before, after, actions in zip(states, states[1:], ACTIONS.T):
        step = process.step(before, actions)
        for expected, got in zip(after, step.state):
            np.testing.assert_array_equal(got, expected)
        scores = mdp.reward(before, after, _score)
        running = ~np.asarray(mdp.terminal(before))
        rewards = scores - 0.5 * actions * running + mdp.shaping(before, after, _potential, 0.9)
        np.testing.assert_allclose(step.scores, scores)
        np.testing.assert_allclose(step.rewards, rewards, atol=1e-5)
    np.testing.assert_allclose(process.discount(states[3]), [0.9, 0, 0, 0])
    np.testing.assert_array_equal(process.terminal(states[2]), [False, True, True, False])
    assert np.all(process.action_mask(states[0])) and process.action_mask(states[0]).shape == (
        4,
        10,
    )


def test_the_limit_may_terminate():
    process = _process(limit_terminates=True)
    state = process.initial(np.arange(4, dtype="int32"))
    for actions, terminated in zip(ACTIONS.T, (TERMINATED | TRUNCATED).T):
        state, rewards, _ = process.step(state, actions)
        np.testing.assert_array_equal(state.terminated, terminated)
        assert not np.any(state.truncated)
    np.testing.assert_array_equal(rewards, [39, 0, 0, 47])
    np.testing.assert_array_equal(process.discount(state), np.zeros(4))


def test_prompts_are_taken_by_index():
    state = _process().initial(np.array([2, 0], "int32"))
    np.testing.assert_array_equal(state.token_ids[:, :2], [[4, 5], [1, 2]])


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"max_new_tokens": 0}, "max_new_tokens=0"),
        ({"vocab_size": 0}, "vocab_size=0"),
        ({"gamma": 1.5}, "gamma=1.5"),
        ({"stop_tokens": (10,)}, "vocabulary of 10. Received: 10"),
        ({"pad_id": -1}, "vocabulary of 10. Received: -1"),
        ({"max_length": 4}, "The prompt of row 0 is too long: 2 tokens and max_new_tokens=3"),
        ({"prompts": Prompts(PROMPTS.token_ids, PROMPTS.mask & [[1], [1], [0], [1]] > 0)}, "row 2"),
        ({"prompts": Prompts(PROMPTS.token_ids * 2, PROMPTS.mask)}, "row 2 has an id outside"),
    ],
)
def test_refuses_what_is_no_process(changes, message):
    with pytest.raises(ValueError, match=message):
        _process(**changes)
