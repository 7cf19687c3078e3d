"""What a constraint lets through, listed."""

from __future__ import annotations

import numpy as np

from tfalign.types import Prompts


def walks_of(constraint, prompt, stop):
    """All token sequences that a constraint allows after a prompt, a set of tuples that end with the stop token."""
    states, texts, found = constraint.start(Prompts(np.array([prompt]), None)), [()], set()
    while texts:
        rows, tokens = np.nonzero(np.asarray(constraint.allowed(states)))
        following = [(*texts[row], token) for row, token in zip(rows, tokens.tolist())]
        goes_on = tokens != stop
        found |= {text for text, more in zip(following, goes_on) if not more}
        texts = [text for text, more in zip(following, goes_on) if more]
        states = constraint.follow(np.asarray(states)[rows[goes_on]], tokens[goes_on])
    return found
