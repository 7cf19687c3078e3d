"""Finite automata over bytes: out of regular expressions, and lifted to the tokens of a vocabulary."""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence

import numpy as np

_END = 256  # behind the bytes, what ends a text
# Around a pattern, for two reasons of the library's. It also makes the automaton that finds the pattern anywhere in a
# text, which may have very many states, but few where the pattern begins with a byte that does not occur further on.
# And it loses steps out of states in which a text may end; with a byte behind the pattern there are none.
_MARK = 0
_ROUNDS = 100  # of minimisation


def compile_pattern(pattern: str) -> tuple[np.ndarray, np.ndarray]:
    """The automaton of the UTF-8 texts that a regular expression matches as a whole, of few states.

    Args:
        pattern: str, in the syntax of Rust's ``regex``: as Python's, without ^, $, look-around and
            back-references. No text has the character NUL, whatever the pattern says.

    Returns:
        (int32[N, 256], the state after each byte, -1 where there is none; bool[N], whether a text may end).
        State 0 is the first.

    Raises:
        ValueError: if the pattern is refused.
        ImportError: without outlines-core.

    >>> steps, may_end = compile_pattern("a+")
    >>> (steps[:, ord("a")].tolist(), may_end.tolist())
    ([1, 1], [False, True])
    """
    try:
        from outlines_core import Index, Vocabulary
    except ImportError as error:
        raise ImportError(
            "Regular expressions and JSON schemas need outlines-core: pip install tfalign[constraints]"
        ) from error
    _check_groups(pattern)
    try:
        index = Index(rf"\x{_MARK:02x}(?:{pattern})\x{_MARK:02x}", _bytes_alone(Vocabulary))
    except (ValueError, RuntimeError) as error:
        raise ValueError(f"The pattern is refused: {error}. Received: {pattern[:200]!r}") from error
    found, final = index.get_transitions(), set(index.get_final_states())
    first = found.pop(index.get_initial_state())[_MARK]
    number = {state: i for i, state in enumerate(dict.fromkeys([first, *found.keys() - final]))}
    steps = np.full((len(number), _END), -1, "int32")
    may_end = np.zeros(len(number), "bool")
    for state, row in number.items():
        may_end[row] = found[state].pop(_MARK, first) in final
        steps[row, list(found[state])] = [number[after] for after in found[state].values()]
    return _minimized(steps, may_end)


def _check_groups(pattern):
    """Raises a ValueError if a group is closed that was not opened: what stands around it is ours."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            re.compile(pattern)
    except re.error as error:  # many a pattern of Rust's is none of Python's
        if "unbalanced" in str(error):
            raise ValueError(
                f"The pattern is refused: {error}. Received: {pattern[:200]!r}"
            ) from None
    except (OverflowError, RecursionError):
        pass


def lift(
    steps: np.ndarray, pieces: Sequence[bytes], vocab_size: int
) -> tuple[np.ndarray, np.ndarray]:
    """The same automaton over tokens, which are pieces of bytes. Many tokens do alike in every state.

    Args:
        steps: int32[N, 256], see ``compile_pattern``.
        pieces: list of bytes, by id; an empty one is no step from any state.
        vocab_size: int, V; ids from ``len(pieces)`` on are no steps either.

    Returns:
        (int32[N, K], the state after a token of each kind, -1 where there is none; int32[V], the kinds).

    Raises:
        ValueError: if there are more pieces than ids.

    >>> lift(np.array([[-1] * 97 + [1] + [-1] * 158, [-1] * 256]), [b"a", b"aa"], 3)
    (array([[-1,  1],
           [-1, -1]], dtype=int32), array([1, 0, 0], dtype=int32))
    """
    if len(pieces) > vocab_size:
        raise ValueError(
            f"The tokenizer has {len(pieces)} tokens, the model ids for {vocab_size}. Received:"
            f" vocab_size={vocab_size}"
        )
    steps = np.vstack([steps, np.full((1, 256), -1)]).astype("int32")  # the last stands for -1
    first = np.arange(len(steps) - 1, dtype="int32")
    columns = {np.full_like(first, -1).tobytes(): 0}
    kinds = np.zeros(vocab_size, "int32")
    read = [(b"", first)]  # beginnings of the piece, and the states behind them
    for token_id in sorted(range(len(pieces)), key=pieces.__getitem__):
        piece = pieces[token_id]
        while not piece.startswith(read[-1][0]):
            read.pop()
        states = read[-1][1]
        for byte in piece[len(read[-1][0]) :]:
            states = steps[states, byte]
        if piece:
            read.append((piece, states))
            kinds[token_id] = columns.setdefault(states.tobytes(), len(columns))
    table = np.frombuffer(b"".join(columns), "int32").reshape(len(columns), len(first))
    return table.T, kinds


def _bytes_alone(vocabulary):
    """The library's vocabulary of one token a byte."""
    return vocabulary(_END, {bytes([byte]): [byte] for byte in range(_END)})


def _minimized(steps, accepting):
    """The automaton of fewest states: those are one from which the same texts lead to an end (Moore 1956).

    Long chains of states take a round for each: after some rounds the automaton stays as it is.
    """
    kinds = np.unique(steps, axis=1)
    groups, count = accepting.astype("int64"), len(np.unique(accepting))
    for _ in range(_ROUNDS):
        signatures = np.ascontiguousarray(
            np.column_stack([groups, np.append(groups, [-1])[kinds]]), "int32"
        )
        rows = signatures.view(f"V{signatures.itemsize * signatures.shape[1]}").reshape(-1)
        _, first, groups = np.unique(rows, return_index=True, return_inverse=True)
        if len(first) == count:
            break
        count = len(first)
    else:
        return steps, accepting
    order = np.concatenate([[groups[0]], np.delete(np.arange(count), groups[0])])
    number = np.append(np.argsort(order), [-1])  # by the group; the last stands for -1
    kept = first[order]
    return number[np.append(groups, [-1])[steps[kept]]].astype("int32"), accepting[kept]
