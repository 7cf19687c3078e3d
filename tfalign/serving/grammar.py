"""What a response may be, as tables of a few kilobytes: a finite automaton over kinds of tokens, walked on the host."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection

import numpy as np

from tfalign.functional.automata import NEVER


@dataclasses.dataclass(frozen=True, eq=False)
class Grammar:
    """An automaton as ``decoding.Automaton`` without its limit, whose tokens of one kind do alike in every state.

    Attributes:
        next_states: int32[S, K], the state after a token of each kind, -1 where it is not allowed; state 0 is the
            first, and an end is reached from each.
        kinds: int32[V], of the tokens; of those in ``stop_tokens`` nothing is read.
        accepting: bool[S], where a response may end.
        distances: int32[S], tokens to the nearest end, its stop token counted.
        stop_tokens: ids that end a response.
    """

    next_states: np.ndarray
    kinds: np.ndarray
    accepting: np.ndarray
    distances: np.ndarray
    stop_tokens: tuple[int, ...]

    @property
    def num_bytes(self) -> int:
        """What it holds of memory."""
        tables = self.next_states, self.kinds, self.accepting, self.distances
        return sum(table.nbytes for table in tables)

    def check(self, vocab_size: int, stop_tokens: Collection[int], max_new_tokens: int) -> None:
        """Raises a ValueError unless a response of so many tokens can be one, and ends where it says."""
        if len(self.kinds) != vocab_size or not set(self.stop_tokens) <= set(stop_tokens):
            raise ValueError(
                f"A grammar is of the model's {vocab_size} tokens and ends at its stop tokens. Received: "
                f"{len(self.kinds)} tokens, stop_tokens={list(self.stop_tokens)}"
            )
        if self.distances[0] > max_new_tokens:
            raise ValueError(
                f"The shortest response of the format that was asked for has {self.distances[0]} tokens, its "
                f"stop token counted. Received: {max_new_tokens} tokens at most"
            )


class Walk:
    """The way of one response through a Grammar; it always ends in time.

    Args:
        grammar: Grammar.
        max_new_tokens: int, the response's; ``Grammar.check`` holds.

    >>> a_then_stop = Grammar(np.array([[1], [-1]]), np.array([0, 0]), np.array([False, True]), np.array([2, 1]), (1,))
    >>> walk = Walk(a_then_stop, 5)
    >>> first = walk.allowed().tolist()
    >>> walk.follow(0)
    >>> first, walk.allowed().tolist()
    ([True, False], [False, True])
    """

    def __init__(self, grammar: Grammar, max_new_tokens: int) -> None:
        self._grammar = grammar
        self._distances = np.append(grammar.distances, [NEVER])  # -1 reads the last
        self._left = max_new_tokens
        self._state = 0

    def allowed(self) -> np.ndarray:
        """bool[V], the tokens that may follow: at least one, and an end can still be reached after each."""
        grammar = self._grammar
        after = self._distances[grammar.next_states[self._state]]
        allowed = ((after < NEVER) & (after < self._left))[grammar.kinds]
        allowed[list(grammar.stop_tokens)] = grammar.accepting[self._state]
        return allowed

    def follow(self, token: int) -> None:
        """Takes a token that is allowed and does not stop."""
        self._state = self._grammar.next_states[self._state, self._grammar.kinds[token]]
        self._left -= 1
