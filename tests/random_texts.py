"""Texts out of the automaton of a regular expression."""

from __future__ import annotations

import numpy as np

from tfalign.functional.automata import NEVER, trimmed
from tfalign.text.byte_automata import compile_pattern


def random_texts(pattern, draw, count, longest):
    """Texts out of random steps of a pattern, towards an end from so many bytes on.

    Args:
        pattern: see ``compile_pattern``.
        draw: random.Random.
        count: int, of the texts; fewer where the pattern has none.
        longest: int, bytes.
    """
    steps, may_end = compile_pattern(pattern)
    steps, may_end, distances = trimmed(steps, may_end)
    for _ in range(count if distances[0] < NEVER else 0):
        state, text = 0, bytearray()
        while not (may_end[state] and (draw.random() < 0.3 or (steps[state] < 0).all())):
            after = steps[state]
            possible = after >= 0
            if len(text) > longest:
                possible &= distances[after] < distances[state]
            byte = draw.choice(np.flatnonzero(possible).tolist())
            text.append(byte)
            state = after[byte]
        yield text.decode("utf-8")
