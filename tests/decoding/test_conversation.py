"""Conversations in the decode loop: the walk through the MDP, token by token, and the full forward pass."""

from __future__ import annotations

import numpy as np
import pytest

from tests.sampling import with_slow
from tfalign.decoding import Automaton, Generator, Greedy, Sampler, StateConstraint
from tfalign.decoding.conversation import Conversation
from tfalign.environments import LearnedUser, ScriptedUser
from tfalign.functional.log_probs import token_log_probs
from tfalign.functional.random import uniform
from tfalign.functional.text_state import State, initial, terminal, transition
from tfalign.models import CausalLM, GPTConfig, ValueHead
from tfalign.models.neural_ngram import NeuralNGramConfig
from tfalign.models.recurrent import RecurrentConfig
from tfalign.types import Prompts

V, STOP, R = 12, 9, 14
PROMPTS = np.array([[1, 2, 3], [0, 5, 3], [4, 5, 6], [0, 0, 7], [2, 2, 2]], "int32")
MASK = np.array([[1, 1, 1], [0, 1, 1], [1, 1, 1], [0, 0, 1], [1, 1, 1]], "bool")
LINES = [[10, 11], [10], [11, 11, 10]]
NOT_ABOVE_4 = np.where((np.arange(V) < 5)[None, :], 0, -1)


@pytest.fixture(scope="module")
def policy():
    return CausalLM(
        GPTConfig(V, 16, 2, 2, max_positions=32, rotary_base=1e4, initializer_range=0.4)
    )


@pytest.fixture(scope="module")
def value_head():
    head = ValueHead()
    head.build((None, None, 16))
    return head


def echo(state):
    """Repeats the policy's last token twice; silent in rows whose prompt has three tokens and after two lines."""
    last = np.asarray(state.token_ids)[:, 3:]
    length = np.asarray(state.response_length)
    before_stop = np.take_along_axis(last, np.maximum(length - 2, 0)[:, None], axis=1)
    lengths = np.where(np.asarray(state.user_turns) < 2, 2, 0)
    lengths = np.where((np.asarray(state.prompt_mask).sum(axis=1) == 3) & (length > 6), 0, lengths)
    return np.repeat(before_stop, 2, axis=1).astype("int32"), lengths


USERS = {
    "script": lambda policy: ScriptedUser(LINES),
    "host": lambda policy: echo,
    "model": lambda policy: LearnedUser(policy, 3, 2, (STOP,)),
}


def walk(policy, user, sampler, constraint, value_head, seed):
    """The same by hand: one token at a time through ``transition``, each from the full forward pass."""
    state = State(*map(np.asarray, initial(Prompts(PROMPTS, MASK), R)))
    rows = len(PROMPTS)
    log_probs, values = np.zeros((rows, R)), np.zeros((rows, R))
    while not np.asarray(terminal(state)).all():
        ids, mask = np.asarray(state.token_ids), np.asarray(state.padding_mask)
        hidden = np.asarray(policy.backbone(ids, padding_mask=mask))
        at = np.asarray(state.response_length)
        here = hidden[np.arange(rows), np.minimum(at + 2, ids.shape[1] - 1)]
        logits = policy.logits(here)
        if constraint is not None:
            allowed = StateConstraint(constraint)(state)
            logits = np.where(allowed, logits, -1e30)
        tokens, chosen = sampler.choose(logits, uniform(seed, np.arange(rows), at))
        runs = ~np.asarray(terminal(state))
        log_probs[runs, at[runs]] = np.asarray(chosen)[runs]
        values[runs, at[runs]] = np.asarray(value_head(here))[runs]
        state = transition(state, np.asarray(tokens), (STOP,), user)
        state = State(*map(np.asarray, state))
    return state, log_probs, values


@pytest.mark.parametrize(
    ("name", "constrained"),
    [
        ("script", False),
        ("host", True),
        *(
            pytest.param(*case, marks=pytest.mark.slow)
            for case in (("script", True), ("host", False), ("model", False), ("model", True))
        ),
    ],
)
def test_it_is_the_walk_through_the_process(policy, value_head, name, constrained):
    user, sampler = USERS[name](policy), Sampler(6.0)
    constraint = Automaton(NOT_ABOVE_4, [True], [STOP]) if constrained else None
    talk = Conversation(policy, R, user, sampler, [STOP], 0, value_head, constraint)
    found = talk(PROMPTS, MASK, seed=4)
    state, log_probs, values = walk(policy, user, sampler, constraint, value_head, 4)
    np.testing.assert_array_equal(found.tokens, np.asarray(state.token_ids)[:, 3:])
    np.testing.assert_array_equal(found.mask, state.response_mask)
    np.testing.assert_array_equal(found.written, state.written_mask)
    mask = np.asarray(found.mask)
    np.testing.assert_allclose(np.asarray(found.log_probs)[mask], log_probs[mask], atol=1e-5)
    np.testing.assert_allclose(np.asarray(found.values)[mask], values[mask], atol=1e-5)
    assert (np.asarray(found.log_probs)[~mask] == 0).all()
    assert (np.asarray(found.written) & ~mask).any() and talk.speaking.traces == 1
    if constrained:
        assert np.isin(np.asarray(found.tokens)[mask], [*range(5), STOP]).all()


@pytest.mark.slow
def test_log_probs_are_those_of_the_whole_text(policy):
    found = Conversation(policy, R, echo, Sampler(), [STOP, 8])(PROMPTS, MASK, seed=1)
    ids = np.concatenate([PROMPTS, found.tokens], axis=1)
    mask = np.concatenate([MASK, found.padding_mask], axis=1)
    hidden = np.asarray(policy.backbone(ids, padding_mask=mask))[:, 2:-1]
    expected = np.asarray(token_log_probs(policy.logits(hidden), found.tokens))
    np.testing.assert_allclose(
        np.asarray(found.log_probs)[found.mask], expected[found.mask], atol=1e-5
    )


@pytest.mark.slow
@pytest.mark.parametrize("sampler", with_slow([Sampler(6.0), Greedy()], [Greedy()]))
def test_with_a_silent_user_it_is_the_plain_loop(policy, sampler):
    def silent(state):
        return np.zeros((len(PROMPTS), 1), "int32"), np.zeros(len(PROMPTS), "int32")

    found = Conversation(policy, R, silent, sampler, [STOP])(PROMPTS, MASK, seed=2)
    plain = Generator(policy, R, sampler, [STOP])(PROMPTS, MASK, seed=2)
    np.testing.assert_array_equal(found.tokens, plain.tokens)
    np.testing.assert_array_equal(found.mask, plain.mask)
    np.testing.assert_array_equal(found.written, plain.mask)
    np.testing.assert_allclose(found.log_probs, plain.log_probs, atol=1e-5)


@pytest.mark.exhaustive
@pytest.mark.slow
def test_a_row_does_not_depend_on_the_batch(policy):
    talk = Conversation(policy, R, ScriptedUser(LINES), Sampler(6.0), [STOP])
    whole = talk(PROMPTS, MASK, seed=3)
    order = np.array([3, 1])
    some = talk(PROMPTS[order], MASK[order], seed=3, row_ids=order)
    for one, other in zip(whole, some):
        if one is not None:
            np.testing.assert_allclose(np.asarray(one)[order], other, atol=1e-5)


@pytest.mark.slow
def test_a_users_word_outside_the_vocabulary_is_told(policy):
    def loud(state):
        return np.full((len(PROMPTS), 1), V + 3), np.ones(len(PROMPTS), "int32")

    talk = Conversation(policy, R, loud, Sampler(8.0), [STOP])
    with pytest.raises(
        ValueError, match=r"user says in row \d .* vocabulary of 12. Received: \[15\]"
    ):
        talk(PROMPTS, MASK)


@pytest.mark.parametrize(
    "config", [RecurrentConfig(V, 8, 1, cell="gru"), NeuralNGramConfig(V, 3, 4, 4)]
)
def test_a_model_whose_cache_is_a_state_is_refused(config):
    """Rows that wait for others would go on in it."""
    with pytest.raises(ValueError, match="by column. Received: a backbone of type"):
        Conversation(CausalLM(config), R, echo, Sampler(), [STOP])
