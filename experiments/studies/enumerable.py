"""Users and constraints of the enumerable problems that are studied."""

from __future__ import annotations

import numpy as np

from tfalign.decoding.constraints import Automaton


def mirror(vocab_size):
    """User: says V - 2 less the policy's first token once, and then nothing; to a stop token it says V - 2."""

    def say(state):
        first = state.token_ids[:, 1]
        words = np.where(first == vocab_size - 1, vocab_size - 2, vocab_size - 2 - first)
        return words[:, None].astype("int32"), np.where(np.asarray(state.user_turns) < 1, 1, 0)

    return say


def no_repeats(vocab_size, horizon):
    """Constraint: no token twice in a row, and the last token V - 1 stops in time."""
    stop = vocab_size - 1
    after = np.tile(np.arange(vocab_size) + 1, (vocab_size, 1))  # state 1 + token; 0 is the start
    after[np.arange(1, vocab_size), np.arange(stop)] = -1
    return Automaton(
        np.where(after > stop, -1, after), np.ones(vocab_size, "bool"), [stop], horizon
    )
