"""Constraints: which tokens may come next, as data that travels through a compiled loop.

A constraint is a state machine over tokens. The decode loop keeps a state for each row, rollouts keep the state
before every token, and whoever reads log-probs afterwards restricts the same logits in the same way, so that
sampler, objective and reference speak of one distribution.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Protocol

import numpy as np
from keras import ops

from tfalign.decoding.samplers import allow
from tfalign.functional.arguments import check_size
from tfalign.functional.automata import NEVER, trimmed
from tfalign.types import Array, Prompts


class Constraint(Protocol):
    """Which tokens may come next. Made of ``keras.ops``, of static shapes.

    Where it allows nothing, a response cannot go on: whoever decodes raises a ConstraintError.
    """

    def start(self, prompts: Prompts) -> Array:
        """int32[B], the states before the first token of the responses to B prompts; not negative."""

    def allowed(self, states: Array) -> Array:
        """bool[..., V], the tokens that may follow in states int32[...]."""

    def follow(self, states: Array, tokens: Array) -> Array:
        """int32[...], the states after tokens int32[...]; of a stop token's nothing is asked."""


class ConstraintError(ValueError):
    """A constraint that allows no token."""


class Unconstrained:
    """Every token may come next."""

    def start(self, prompts: Prompts) -> Array:
        """int32[B], see ``Constraint``."""
        return ops.zeros((prompts.token_ids.shape[0],), "int32")

    def allowed(self, states: Array) -> None:
        """None, for all."""

    def follow(self, states: Array, tokens: Array) -> Array:
        """int32[...], see ``Constraint``."""
        return states


class Automaton:
    """A finite automaton over tokens, no path of which is a dead end.

    A response may end, with a stop token, in accepting states alone. With ``max_new_tokens`` it always does:
    a token is allowed only if what remains of the limit suffices to reach an end.

    Args:
        next_states: int[S, V], the state after each token, -1 where it is not allowed; state 0 is the first.
        accepting: bool[S].
        stop_tokens: ids that end a response.
        max_new_tokens: int, R, by which every response has ended; None for no limit.

    Attributes:
        next_states, accepting: as given, without the states and transitions from which no end is reached.

    Raises:
        ConstraintError: if no text ends, or none within ``max_new_tokens``.
        ValueError: if there is no stop token, or shapes do not fit.

    >>> a_then_stop = Automaton([[1, -1, -1], [-1, -1, -1]], [False, True], stop_tokens=[2])
    >>> a_then_stop.allowed([0, 1])
    <tf.Tensor: shape=(2, 3), dtype=bool, numpy=
    array([[ True, False, False],
           [False, False,  True]])>
    """

    def __init__(
        self,
        next_states: Array,
        accepting: Array,
        stop_tokens: Iterable[int],
        max_new_tokens: int | None = None,
    ) -> None:
        table, accepting = np.asarray(next_states, "int32"), np.asarray(accepting, "bool")
        self.stop_tokens = tuple(int(token) for token in stop_tokens)
        self.max_new_tokens = max_new_tokens
        _check(table, accepting, self.stop_tokens, max_new_tokens)
        table = table.copy()
        table[:, list(self.stop_tokens)] = -1
        self.next_states, self.accepting, distances = trimmed(table, accepting)
        if distances[0] == NEVER:
            raise ConstraintError(
                "The constraint allows nothing: no text ends in an accepting state"
            )
        _check_length(distances, max_new_tokens)
        self._hold(distances)

    def _hold(self, distances):
        """The tables that a program reads: the end is a state of its own, behind the others."""
        states, vocabulary = self.next_states.shape
        after = np.append(distances, [NEVER])[self.next_states]  # -1 reads the last
        needed = np.full((states + 1, vocabulary), NEVER, "int16")
        needed[:-1] = np.minimum(after + 1, NEVER)
        for stop_token in self.stop_tokens:
            needed[:-1, stop_token] = np.where(self.accepting, 1, NEVER)
        needed[-1, list(self.stop_tokens)] = 0
        followed = np.where(self.next_states < 0, states, self.next_states)
        columns, kind = np.unique(followed, axis=1, return_inverse=True)
        followed = np.vstack([columns, np.full((1, columns.shape[1]), states)])
        self._needed = ops.convert_to_tensor(needed)
        self._followed = ops.convert_to_tensor(followed.astype("int32"))
        self._kind = ops.convert_to_tensor(kind.reshape(-1).astype("int32"))

    def __reduce__(self) -> tuple:
        """What it is made of: another process holds tables of its own."""
        return type(self), (
            self.next_states,
            self.accepting,
            self.stop_tokens,
            self.max_new_tokens,
        )

    @property
    def vocab_size(self) -> int:
        """V."""
        return self.next_states.shape[1]

    def within(self, max_new_tokens: int) -> Automaton:
        """The same texts, as far as they end within so many tokens."""
        return Automaton(self.next_states, self.accepting, self.stop_tokens, max_new_tokens)

    def start(self, prompts: Prompts) -> Array:
        """int32[B], see ``Constraint``."""
        return ops.zeros((prompts.token_ids.shape[0],), "int32")

    def allowed(self, states: Array) -> Array:
        """bool[..., V], see ``Constraint``."""
        states, written = self._parts(ops.convert_to_tensor(states, "int32"))
        needed = ops.cast(ops.take(self._needed, states, axis=0), "int32")  # LiteRT compares these
        if self.max_new_tokens is None:
            return needed < NEVER
        return needed <= (self.max_new_tokens - written)[..., None]

    def follow(self, states: Array, tokens: Array) -> Array:
        """int32[...], see ``Constraint``; after a token that is not allowed only a stop token is."""
        states, written = self._parts(states)
        kinds = self._followed.shape[1]
        places = states * kinds + ops.take(self._kind, tokens)
        following = ops.take(ops.reshape(self._followed, (-1,)), places)
        if self.max_new_tokens is None:
            return following
        written = ops.minimum(written + 1, self.max_new_tokens)
        return following * (self.max_new_tokens + 1) + written

    def __and__(self, other: Automaton) -> Automaton:
        """The texts of both, within the smaller limit.

        Raises:
            ConstraintError: if there is none.
            ValueError: if vocabularies or stop tokens differ.
        """
        return _intersection(self, other)

    def _parts(self, states):
        """(state of the table, tokens written), int32[...] each."""
        if self.max_new_tokens is None:
            return states, None
        columns = self.max_new_tokens + 1
        return states // columns, states % columns


def restricted(logits: Array, constraint: Constraint | None, states: Array | None) -> Array:
    """Logits float[..., V] of the distribution under a constraint in states int32[...]; None for none."""
    return logits if constraint is None else allow(logits, constraint.allowed(states))


def restriction(constraint: Constraint | None) -> Callable[[Array, Array], Array] | None:
    """``restricted`` as a function ``(logits, states) -> logits``; None for none."""
    if constraint is None:
        return None
    return lambda logits, states: restricted(logits, constraint, states)


def states_before(
    constraint: Constraint, prompts: Prompts, tokens: Array, mask: Array | None = None
) -> Array:
    """The states before each token of given responses.

    Args:
        constraint: Constraint.
        prompts: Prompts of B rows.
        tokens: int32[B, R].
        mask: bool[B, R], the policy's tokens; behind others' words the constraint starts anew. None for all.

    Returns:
        int32[B, R].
    """
    tokens = ops.convert_to_tensor(tokens, "int32")
    mask = ops.ones_like(tokens, "bool") if mask is None else ops.convert_to_tensor(mask, "bool")
    first = constraint.start(prompts)

    def follow(t, carried):
        states, before = carried
        before = ops.slice_update(before, (0, t), states[:, None])
        followed = constraint.follow(states, ops.take(tokens, t, axis=1))
        return ops.where(ops.take(mask, t, axis=1), followed, first), before

    start = (first, ops.zeros(tokens.shape, "int32"))
    return ops.fori_loop(0, tokens.shape[1], follow, start)[1]


class StateConstraint:
    """What a constraint allows in a state of a text generation, for ``TextGenerationMDP(allowed_tokens=)``.

    Args:
        constraint: Constraint. It is followed along the policy's tokens; behind a user's words it starts anew.
    """

    def __init__(self, constraint: Constraint) -> None:
        self.constraint = constraint

    def __call__(self, state: Any) -> Array:
        """bool[B, V], the tokens that may follow in a ``functional.text_state.State``."""
        prompt_columns = state.prompt_mask.shape[1]
        tokens = ops.convert_to_tensor(state.token_ids, "int32")[:, prompt_columns:]
        prompts = Prompts(state.token_ids[:, :prompt_columns], state.prompt_mask)
        one_more = ((0, 0), (0, 1))
        mask = ops.pad(ops.convert_to_tensor(state.response_mask, "bool"), one_more)
        states = states_before(self.constraint, prompts, ops.pad(tokens, one_more), mask)
        now = ops.convert_to_tensor(state.response_length, "int32")[:, None]
        return self.constraint.allowed(ops.take_along_axis(states, now, axis=1)[:, 0])


def told(states: Array, allowed: Array) -> Array:
    """States int32[B] as ``Generation`` has them: -1 - state where ``allowed`` bool[B, V] is false everywhere."""
    return ops.where(ops.any(allowed, axis=-1), states, -1 - states)


def check_states(states: Array, mask: Array) -> None:
    """Raises a ConstraintError if nothing was allowed before a real token.

    Args:
        states: int32[B, R], see ``told``.
        mask: bool[B, R].
    """
    stuck = (np.asarray(states) < 0) & np.asarray(mask)
    if stuck.any():
        row, column = (int(x[0]) for x in np.nonzero(stuck))
        state = -1 - int(np.asarray(states)[row, column])
        raise ConstraintError(
            f"The constraint allows no token in state {state}, before token {column} of the response to "
            f"prompt {row}"
        )


def _check(table, accepting, stop_tokens, max_new_tokens):
    if table.ndim != 2 or accepting.shape != table.shape[:1] or not len(table):
        raise ValueError(
            "next_states is int[S, V] and accepting bool[S]. Received: shapes "
            f"{list(table.shape)} and {list(accepting.shape)}"
        )
    if table.min() < -1 or table.max() >= len(table):
        raise ValueError(
            f"next_states are states below {len(table)}, or -1. Received: {table.min()} to {table.max()}"
        )
    if not stop_tokens or not all(0 <= token < table.shape[1] for token in stop_tokens):
        raise ValueError(
            f"stop_tokens are ids below {table.shape[1]}, one at least. Received: {list(stop_tokens)}"
        )
    if max_new_tokens is not None:
        check_size("max_new_tokens", max_new_tokens)


def _check_length(distances, max_new_tokens):
    if max_new_tokens is not None and distances[0] > max_new_tokens:
        raise ConstraintError(
            f"The shortest text that the constraint allows has {distances[0]} tokens, its stop token "
            f"counted. Received: max_new_tokens={max_new_tokens}"
        )


def _intersection(one, other):
    if one.vocab_size != other.vocab_size or set(one.stop_tokens) != set(other.stop_tokens):
        raise ValueError(
            "An intersection is of one vocabulary and its stop tokens. Received: "
            f"{one.vocab_size} and {other.vocab_size} tokens, {list(one.stop_tokens)} and "
            f"{list(other.stop_tokens)}"
        )
    width = len(other.next_states)
    number, rows, pending = {0: 0}, [], [0]
    while pending:
        pair = pending.pop()
        first, second = one.next_states[pair // width], other.next_states[pair % width]
        both = np.where((first < 0) | (second < 0), -1, first * width + second)
        for following in np.unique(both[both >= 0]).tolist():
            if following not in number:
                number[following] = len(number)
                pending.append(following)
        rows.append((pair, both))
    table = np.full((len(number), one.vocab_size), -1, "int32")
    accepting = np.zeros(len(number), "bool")
    known = np.array(sorted(number))
    numbers = np.array([number[pair] for pair in known.tolist()])
    for pair, both in rows:
        places = np.searchsorted(known, both)
        table[number[pair]] = np.where(both < 0, -1, numbers[np.minimum(places, len(known) - 1)])
        accepting[number[pair]] = one.accepting[pair // width] and other.accepting[pair % width]
    limits = [limit for limit in (one.max_new_tokens, other.max_new_tokens) if limit is not None]
    return Automaton(table, accepting, one.stop_tokens, min(limits, default=None))
