"""Conversations in slots: those of the plain loop, without its idle rows."""

from __future__ import annotations

import numpy as np
import pytest
from keras import ops

from tests.decoding.test_conversation import LINES, MASK, NOT_ABOVE_4, PROMPTS, STOP, V
from tests.sampling import with_slow
from tfalign.decoding import (
    Automaton,
    ContinuousConversation,
    Conversation,
    Greedy,
    Sampler,
    TextUser,
)
from tfalign.environments import ScriptedUser
from tfalign.models import CausalLM, GPTConfig, ValueHead

R, N, SEED = 14, 10, 5
IDS, REAL = np.tile(PROMPTS, (2, 1)), np.tile(MASK, (2, 1))


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


class Letters:
    """A tokenizer whose ids are letters."""

    stop_ids = (STOP,)

    def decode(self, ids):
        return "".join(chr(ord("a") + i) for i in ids)

    def decode_batch(self, batch):
        return [self.decode(ids) for ids in batch]

    def encode_following(self, texts):
        return [[ord(letter) - ord("a") for letter in text] for text in texts]


def knowing():
    """A user of texts that knows rows and records: it has ``row % 4`` lines for a row, of what it knows of it."""

    def answers(said):
        assert all(one.record == 7 * one.row for one in said)
        lines = ["abcde"[one.row % 5] * (1 + one.row % 2) for one in said]
        return [line * (len(one.turns) <= one.row % 4) for one, line in zip(said, lines)]

    return TextUser(answers, Letters())


USERS = {"script": lambda: ScriptedUser(LINES), "knowing": knowing}


def both(policy, user, slots, *how):
    """(Generation, rows run) of the plain loop, and of the loop with slots."""
    plain = Conversation(policy, R, user, *how)
    talk = ContinuousConversation(policy, R, user, slots, *how)
    row_ids = np.random.default_rng(0).permutation(100)[:N]
    given = IDS, REAL, SEED, row_ids, None, 7 * np.arange(N)
    found, row_steps = talk.counted(*given)
    assert talk.speaking.traces == talk.entering.traces == 1
    return plain.counted(*given), (found, row_steps)


@pytest.mark.parametrize(
    ("name", "slots", "is_constrained"),
    [
        ("knowing", 3, True),
        *(
            pytest.param(*case, marks=pytest.mark.slow)
            for case in [
                ("script", 4, False),
                ("script", 1, True),
                ("knowing", N, False),
                ("knowing", 2 * N, True),
            ]
        ),
    ],
)
def test_it_is_the_plain_loop(policy, value_head, name, slots, is_constrained):
    constraint = Automaton(NOT_ABOVE_4, [True], [STOP]) if is_constrained else None
    how = Sampler(2.0), [STOP], 0, value_head, constraint
    (plain, row_steps), (found, in_slots) = both(policy, USERS[name](), slots, *how)
    users = (np.asarray(plain.written) & ~np.asarray(plain.mask)).sum(axis=1)
    assert np.unique(users).size > 2 and np.unique(plain.mask.sum(axis=1)).size > 2
    for field in ("tokens", "mask", "written"):
        np.testing.assert_array_equal(getattr(found, field), getattr(plain, field))
    mask = np.asarray(plain.mask)
    for field in ("log_probs", "values", "constraint_states"):
        one, other = getattr(found, field), getattr(plain, field)
        assert (one is None) == (other is None)
        if one is not None:
            np.testing.assert_allclose(one[mask], other[mask], atol=1e-5)
            assert field == "constraint_states" or (one[~mask] == 0).all()
    assert mask.sum() <= in_slots and (slots >= N or in_slots <= row_steps)


class Counted:
    """A constraint under which every turn has as many tokens as the last token of the prompt says, its end counted."""

    def start(self, prompts):
        return prompts.token_ids[:, -1] - 1

    def allowed(self, states):
        return ops.where((states == 0)[:, None], ops.arange(32) == 0, ops.arange(32) > 0)

    def follow(self, states, tokens):
        return ops.maximum(states - 1, 0)


def turns_of(state):
    """A user whose rows have as many turns as the first token of their prompts says."""
    turns = np.asarray(state.token_ids)[:, 0]
    lengths = (np.asarray(state.user_turns) < turns - 1).astype("int32")
    return np.ones((len(turns), 1), "int32"), lengths


@pytest.fixture(scope="module")
def small():
    return CausalLM(GPTConfig(32, 8, 1, 2, max_positions=64))


@pytest.fixture(scope="module")
def counting(small):
    """The plain loop, and the one with two slots, of turns and tokens as prompts say."""
    how = Greedy(), [0], 0, None, Counted()
    return Conversation(small, 40, turns_of, *how), ContinuousConversation(
        small, 40, turns_of, 2, *how
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("turns", "tokens", "of_plain", "of_slots"),
    [
        # two slots: 1 and 4; then 1, 1 and 1 beside the second to fourth turn of the 4
        ([1, 4, 1, 1, 1], [2, 2, 2, 2, 2], 5 * 4 * 2, 2 * 4 * 2),
        # the last is alone
        ([2, 2, 2, 2, 2], [3, 3, 3, 3, 3], 5 * 2 * 3, 2 * 3 * 2 * 3),
        # the turns of a round are as long as its longest: (5, 1), then (1, 1), then 1
        ([1, 1, 1, 1, 1], [5, 1, 1, 1, 1], 5 * 5, 2 * (5 + 1 + 1)),
    ],
)
def test_rows_that_are_run_counted_by_hand(counting, turns, tokens, of_plain, of_slots):
    prompts = np.stack([turns, tokens], axis=1)
    plain, in_slots = counting
    assert plain.counted(prompts)[1] == of_plain
    found, row_steps = in_slots.counted(prompts)
    assert row_steps == of_slots
    np.testing.assert_array_equal(found.mask.sum(axis=1), np.multiply(turns, tokens))


@pytest.mark.slow
def test_fewer_rows_run_on_a_ragged_number_of_turns(small):
    """Geometric numbers of turns: the plain loop uses a third of its rows, slots of a quarter of them three quarters."""
    turns = np.minimum(np.random.default_rng(0).geometric(1 / 3, 48), 10)
    prompts = np.stack([turns, np.full(48, 3)], axis=1)
    how = Greedy(), [0], 0, None, Counted()
    plain, row_steps = Conversation(small, 40, turns_of, *how).counted(prompts)
    used = plain.mask.sum()
    assert used < 0.4 * row_steps
    found, row_steps = ContinuousConversation(small, 40, turns_of, 12, *how).counted(prompts)
    assert used > 0.75 * row_steps
    np.testing.assert_array_equal(found.tokens, plain.tokens)


@pytest.mark.parametrize("slots", with_slow([0, 1.5], [0]))
def test_slots_are_a_positive_number(policy, slots):
    with pytest.raises(ValueError, match=f"slots must be .* Received: slots={slots}"):
        ContinuousConversation(policy, R, ScriptedUser(LINES), slots)


@pytest.mark.slow
def test_a_users_word_outside_the_vocabulary_is_told_by_the_row_of_the_call(policy):
    def loud(state):
        bad = np.asarray(state.prompt_mask).sum(axis=1) == 1  # the prompts of rows 3 and 8
        return np.where(bad, V + 3, 1)[:, None], np.ones(len(bad), "int32")

    talk = ContinuousConversation(policy, 4, loud, 2, Greedy(), [*range(V)])
    with pytest.raises(ValueError, match=r"user says in row 3 .* vocabulary of 12. Received: \[15"):
        talk(IDS, REAL)
