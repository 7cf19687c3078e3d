"""Constraints: tables by hand, what an automaton lets through, and that every loop keeps to it."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from keras import ops

from tests.sampling import with_slow
from tfalign import backend
from tfalign.decoding import BeamSearch, Generator, Greedy, Sampler, generate
from tfalign.decoding.constraints import (
    Automaton,
    ConstraintError,
    StateConstraint,
    restricted,
    states_before,
)
from tfalign.environments import mdp
from tfalign.functional.log_probs import entropy, token_log_probs
from tfalign.functional.projected_log_probs import projected_log_probs_and_entropies
from tfalign.functional.text_state import initial, transition
from tfalign.models import CausalLM, GPTConfig
from tfalign.types import Prompts

V, STOP, R = 6, 5, 5
PROMPTS = np.array([[1, 2], [3, 4], [0, 1]], "int32")


def table(rows):
    """int32[S, V] from a dict of transitions for each state."""
    return np.array([[row.get(token, -1) for token in range(V)] for row in rows])


@pytest.fixture(scope="module")
def policy():
    return CausalLM(GPTConfig(V, 16, 1, 2, max_positions=16, initializer_range=0.5))


@pytest.fixture(scope="module")
def zeros_then_one():
    """0*1, and 2 2."""
    return Automaton(table([{0: 0, 1: 1, 2: 2}, {}, {2: 1}]), [False, True, False], [STOP])


def language(automaton, limit=R):
    """All texts an automaton lets through, walked token by token: tuples that end with the stop token."""
    ended, texts = set(), [()]
    states = automaton.start(Prompts(PROMPTS[:1], None))
    for length in range(1, limit + 1):
        allowed = np.asarray(automaton.allowed(states))
        assert allowed.any(axis=1).all(), texts
        rows, tokens = np.nonzero(allowed)
        following = [(*texts[row], token) for row, token in zip(rows, tokens.tolist())]
        goes_on = tokens != STOP
        ended |= {text for text, more in zip(following, goes_on) if not more}
        texts = [text for text, more in zip(following, goes_on) if more]
        if length == limit or not texts:
            return ended
        states = automaton.follow(np.asarray(states)[rows[goes_on]], tokens[goes_on])
    return ended


def test_what_is_allowed_by_hand(zeros_then_one):
    assert language(zeros_then_one) == {
        *((*[0] * n, 1, STOP) for n in range(R - 1)),
        *((*[0] * n, 2, 2, STOP) for n in range(R - 2)),
    }
    within = zeros_then_one.within(3)
    assert language(within) == {(1, STOP), (0, 1, STOP), (2, 2, STOP)}


def test_dead_ends_are_no_part_of_it():
    automaton = Automaton(table([{0: 1, 1: 2}, {0: 1}, {}]), [False, False, True], [STOP])
    assert language(automaton) == {(1, STOP)}
    assert automaton.next_states.shape == (2, V)


@pytest.mark.parametrize("seed", range(6))
def test_an_intersection_is_what_both_allow(seed):
    """Random automata, against all texts of up to four tokens run through both."""
    random = np.random.default_rng(seed)

    def draw(states):
        rows = random.integers(-1, states, (states, V))
        return Automaton(rows, random.random(states) < 0.6, [STOP])

    try:
        one, other = draw(3), draw(4)
    except ConstraintError:
        pytest.skip("one of them allows nothing")
    expected = language(one) & language(other)
    try:
        both = one & other
    except ConstraintError:
        assert not expected
        return
    assert language(both) == expected
    shortest = min(map(len, expected), default=R)
    within = {text for text in expected if len(text) <= shortest}
    if expected:
        assert language(both.within(shortest)) == within


@pytest.mark.parametrize(
    "sampler", with_slow([Sampler(8.0), Sampler(0.3, top_k=2), Greedy()], [Sampler(8.0)])
)
def test_every_sample_is_in_the_language(policy, zeros_then_one, sampler):
    allowed = zeros_then_one.within(R)
    texts = language(allowed)
    prompts = np.repeat(PROMPTS, 40, axis=0)
    found = generate(
        policy,
        prompts,
        max_new_tokens=R,
        sampler=sampler,
        stop_tokens=[STOP],
        constraint=allowed,
    )
    rows = zip(np.asarray(found.tokens), np.asarray(found.mask))
    said = {tuple(row[mask].tolist()) for row, mask in rows}
    assert said <= texts
    if sampler == Sampler(8.0):
        assert said == texts


def restricted_log_probs(policy, prompt, text, automaton):
    """Log-probs of a text by hand: the full forward pass, softmax over what is allowed."""
    ids = np.array([[*prompt, *text]], "int32")
    logits = np.asarray(policy(ids))[0, len(prompt) - 1 : -1].astype("float64")
    state, result = automaton.start(Prompts(ids[:1], None)), []
    for row, token in zip(logits, text):
        allowed = np.asarray(automaton.allowed(state))[0]
        row = np.where(allowed, row, -np.inf)
        result.append(row[token] - row.max() - np.log(np.exp(row - row.max()).sum()))
        state = automaton.follow(state, np.array([token]))
    return np.array(result)


def test_log_probs_are_those_of_the_restricted_distribution(policy, zeros_then_one):
    within = zeros_then_one.within(R)
    generator = Generator(policy, R, Sampler(), [STOP], constraint=within)
    found = generator(PROMPTS, seed=3)
    for row in range(len(PROMPTS)):
        mask = np.asarray(found.mask)[row]
        text = np.asarray(found.tokens)[row][mask]
        expected = restricted_log_probs(policy, PROMPTS[row], text, within)
        np.testing.assert_allclose(np.asarray(found.log_probs)[row][mask], expected, atol=1e-5)
    states = np.asarray(states_before(within, Prompts(PROMPTS, None), found.tokens))
    mask = np.asarray(found.mask)
    np.testing.assert_array_equal(states[mask], np.asarray(found.constraint_states)[mask])


@pytest.mark.slow
def test_without_a_constraint_nothing_changes(policy):
    everything = Automaton(np.zeros((1, V), "int32"), [True], [STOP])
    free = generate(policy, PROMPTS, max_new_tokens=R, stop_tokens=[STOP])
    constrained = generate(
        policy, PROMPTS, max_new_tokens=R, stop_tokens=[STOP], constraint=everything
    )
    for one, other in zip(free[:3], constrained[:3]):
        np.testing.assert_array_equal(one, other)
    assert free.constraint_states is None


def test_beam_search_finds_the_best_of_the_language(policy, zeros_then_one):
    within = zeros_then_one.within(R)
    found = BeamSearch(policy, R, width=8, stop_tokens=[STOP], constraint=within)(PROMPTS)
    for row, prompt in enumerate(PROMPTS):
        totals = {
            text: restricted_log_probs(policy, prompt, text, within).sum()
            for text in language(within)
        }
        mask = np.asarray(found.mask)[row]
        assert tuple(np.asarray(found.tokens)[row][mask]) == max(totals, key=totals.get)


def test_a_constraint_that_allows_nothing_names_prompt_and_state(policy):
    class Nothing:
        def start(self, prompts):
            return ops.arange(prompts.token_ids.shape[0], dtype="int32")

        def allowed(self, states):
            return ops.broadcast_to((states != 2)[:, None], (states.shape[0], V))

        def follow(self, states, tokens):
            return states

    with pytest.raises(ConstraintError, match="no token in state 2, before token 0 .* prompt 2"):
        generate(policy, PROMPTS, max_new_tokens=2, constraint=Nothing())


@pytest.mark.parametrize(
    ("rows", "accepting", "choices", "message"),
    [
        ([{0: 0}], [False], {}, "allows nothing"),
        (
            [{0: 1}, {1: 2}, {}],
            [False, False, True],
            {"max_new_tokens": 2},
            "shortest text .* has 3",
        ),
        ([{0: 3}], [True], {}, "states below 1, or -1. Received: -1 to 3"),
        ([{0: 0}], [True, False], {}, r"shapes \[1, 6\] and \[2\]"),
        ([{0: 0}], [True], {"stop_tokens": [V]}, "stop_tokens are ids below 6"),
        ([{0: 0}], [True], {"max_new_tokens": 0}, "max_new_tokens"),
    ],
)
def test_mistakes_are_told(rows, accepting, choices, message):
    with pytest.raises(ValueError, match=message):
        Automaton(table(rows), accepting, **{"stop_tokens": [STOP]} | choices)


def test_it_travels_to_another_process(zeros_then_one):
    copy = pickle.loads(pickle.dumps(zeros_then_one.within(4)))
    assert language(copy) == language(zeros_then_one.within(4))


def test_the_process_allows_what_the_loop_does(policy, zeros_then_one):
    within = zeros_then_one.within(R)
    allowed = StateConstraint(within)
    for text in sorted(language(within)):
        state = initial(Prompts(PROMPTS[:1], np.ones((1, 2), "bool")), R)
        following = within.start(Prompts(PROMPTS[:1], None))
        for token in text:
            np.testing.assert_array_equal(allowed(state), within.allowed(following))
            state = transition(state, np.array([token], "int32"), [STOP])
            following = within.follow(following, np.array([token]))
    process = mdp.TextGenerationMDP(
        Prompts(PROMPTS, np.ones_like(PROMPTS, "bool")),
        lambda token_ids, padding_mask, response_mask: ops.zeros(token_ids.shape[0]),
        R,
        V,
        (STOP,),
        allowed_tokens=allowed,
    )
    assert np.asarray(process.action_mask(process.initial(np.arange(3)))).sum() == 3 * 3


def test_the_chunked_read_out_is_the_plain_one(zeros_then_one):
    """Values and gradients, of every state."""
    random = np.random.default_rng(0)
    hidden = random.normal(size=(2, 3, 4)).astype("float32")
    kernel = random.normal(size=(4, V)).astype("float32")
    states = np.array([[0, 1, 2], [2, 0, 3]], "int32")
    tokens = np.array([[0, STOP, 2], [2, 1, STOP]], "int32")

    def restrict(logits, states):
        return restricted(logits, zeros_then_one, states)

    def chunked(hidden):
        return projected_log_probs_and_entropies(hidden, kernel, tokens, 2, 0.7, restrict, states)

    def plain(hidden):
        logits = restrict(ops.matmul(hidden, kernel), states)
        return token_log_probs(logits, tokens, 0.7), entropy(logits, 0.7)

    for one, other in zip(chunked(hidden), plain(hidden)):
        np.testing.assert_allclose(one, other, atol=1e-5)
    assert np.asarray(chunked(hidden)[1])[0, 1] == 0  # one token alone is allowed there
    gradients = [
        backend.input_gradient(
            lambda x, read=read: sum(ops.sum(ops.square(y)) for y in read(x)), hidden
        )[1]
        for read in (chunked, plain)
    ]
    np.testing.assert_allclose(*gradients, atol=1e-5)
