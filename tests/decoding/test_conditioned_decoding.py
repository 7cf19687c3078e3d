"""Conditions in the decode loops: the plain one, slots, a conversation, under a constraint."""

import numpy as np
import pytest

from tests.sampling import with_slow
from tfalign.decoding import (
    ContinuousConversation,
    ContinuousGenerator,
    Conversation,
    Generator,
    generate,
)
from tfalign.decoding.constraints import Automaton
from tfalign.functional.log_probs import token_log_probs
from tfalign.layers import IdPrefix
from tfalign.models import CausalLM, Conditioned, GPTConfig
from tfalign.models.gpt import GPT

V, STOP, R, B = 11, 3, 6, 6
CONFIG = GPTConfig(V, 16, 1, 2, max_positions=24)
IDS = np.array([[1, 2], [1, 2], [1, 2], [0, 4], [0, 4], [5, 5]], "int32")
MASK = np.array([[1, 1], [1, 1], [1, 1], [0, 1], [0, 1], [1, 1]], "bool")
USERS = np.array([0, 1, 1, 1, 2, 0])
ROWS = np.zeros(
    B, "int32"
)  # one stream of random numbers: only prompt and condition tell rows apart


@pytest.fixture(scope="module")
def model():
    made = CausalLM(Conditioned(GPT(CONFIG), IdPrefix(3, 2, 16)))
    random = np.random.default_rng(0)
    for weight in made.weights:
        weight.assign(random.normal(0, 0.4, weight.shape))
    return made


@pytest.fixture(scope="module")
def plain(model):
    return Generator(model, R, stop_tokens=(STOP,))(IDS, MASK, 7, ROWS, USERS)


def test_the_loop_samples_from_what_the_model_says(model, plain):
    tokens, mask = np.asarray(plain.tokens), np.asarray(plain.mask)
    ids = np.concatenate([IDS, tokens], axis=1)
    logits = model(ids, padding_mask=np.concatenate([MASK, mask], axis=1), condition=USERS)
    expected = np.asarray(token_log_probs(logits[:, 1:-1], tokens))
    np.testing.assert_allclose(np.asarray(plain.log_probs)[mask], expected[mask], atol=1e-5)


def test_rows_depend_on_their_own_condition_alone(model, plain):
    tokens = np.asarray(plain.tokens)
    np.testing.assert_array_equal(tokens[1], tokens[2])
    assert (tokens[0] != tokens[1]).any() and (tokens[3] != tokens[4]).any()
    order = np.array([5, 4, 3, 2, 1, 0])
    turned = Generator(model, R, stop_tokens=(STOP,))
    turned = turned(IDS[order], MASK[order], 7, ROWS, USERS[order])
    np.testing.assert_array_equal(np.asarray(turned.tokens)[order], tokens)


def test_slots_say_the_same(model, plain):
    """Rows 0 and 1 have one prompt and two conditions: it must be read twice."""
    slots = ContinuousGenerator(model, R, 2, stop_tokens=(STOP,))(IDS, MASK, 7, ROWS, USERS)
    np.testing.assert_array_equal(slots.tokens, plain.tokens)
    np.testing.assert_allclose(slots.log_probs, plain.log_probs, atol=1e-5)


@pytest.mark.parametrize("slots", with_slow([None, 2], [None]))
def test_a_conversation_of_one_turn_says_the_same(model, plain, slots):
    def silent(state):
        rows = len(state.terminated)
        return np.zeros((rows, 1), "int32"), np.zeros(rows, "int32")

    if slots is None:
        loop = Conversation(model, R, silent, stop_tokens=(STOP,))
    else:
        loop = ContinuousConversation(model, R, silent, slots, stop_tokens=(STOP,))
    talk = loop(IDS, MASK, 7, ROWS, USERS)
    np.testing.assert_array_equal(talk.mask, plain.mask)
    tokens = np.where(plain.mask, talk.tokens, 0)
    np.testing.assert_array_equal(tokens, np.where(plain.mask, plain.tokens, 0))


@pytest.mark.slow
def test_a_constraint_restricts_the_conditioned_distribution(model):
    """Digits may not fall; slots and the plain loop agree, and differ from what another condition says."""
    rising = np.where(np.arange(V) >= np.arange(V)[:, None], np.arange(V)[None, :], -1)
    automaton = Automaton(rising, np.ones(V, "bool"), [V - 1], R)
    how = {"stop_tokens": (V - 1,), "constraint": automaton}
    plain = Generator(model, R, **how)(IDS, MASK, 3, ROWS, USERS)
    slots = ContinuousGenerator(model, R, 2, **how)(IDS, MASK, 3, ROWS, USERS)
    np.testing.assert_array_equal(slots.tokens, plain.tokens)
    np.testing.assert_array_equal(slots.constraint_states, plain.constraint_states)
    tokens, mask = np.asarray(plain.tokens), np.asarray(plain.mask)
    assert not ((np.diff(tokens, axis=1) < 0) & mask[:, 1:]).any()
    others = Generator(model, R, **how)(IDS, MASK, 3, ROWS, 2 - USERS)
    assert (np.asarray(others.tokens) != tokens).any()


@pytest.mark.parametrize(
    ("condition", "sentence"),
    [
        (None, "reads a condition before each prompt. Received: none"),
        ([0, 1], "a row for each of 6 prompts. Received: 2 rows"),
        ([0, 1, 2, 3, 0, 0], "from 0 to 2. Received: 3 in row 3"),
    ],
)
def test_a_wrong_condition_is_refused(model, condition, sentence):
    with pytest.raises(ValueError, match=sentence):
        generate(model, IDS, MASK, max_new_tokens=R, condition=condition)


def test_a_model_without_conditions_is_given_none():
    with pytest.raises(ValueError, match="takes no condition. Received: one of 6 rows"):
        generate(CausalLM(CONFIG), IDS, MASK, max_new_tokens=R, condition=USERS)


def test_positions_are_what_the_prefix_leaves(model):
    with pytest.raises(ValueError, match="need 23 positions .* the model has 22"):
        generate(model, IDS, MASK, max_new_tokens=21, condition=USERS)
