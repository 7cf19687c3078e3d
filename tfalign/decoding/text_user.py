"""A user of text: a function on the host that answers the policy's turns, once for the whole batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from tfalign.functional.text_state import State
from tfalign.types import Array


class Said(NamedTuple):
    """A conversation in which it is the user's turn."""

    row: int  # of the batch
    record: int | None  # the number of its prompt's record; None where prompts do not know theirs
    prompt: str
    turns: tuple[str, ...]  # the policy's, without the tokens that end them


class TextUser:
    """Says what a function of texts says: a simulator, a tool, a database, a person.

    >>> from tfalign.text import train_byte_bpe
    >>> tokenizer = train_byte_bpe([], 259)
    >>> user = TextUser(lambda said: [f"You said {one.turns[-1]}." for one in said], tokenizer)

    Args:
        function: ``list of Said -> list of (str or None)``, called with the rows whose turn is the user's; None, or
            nothing, ends a row. What it says must follow from what was said, for a run to be resumed bit for bit.
        tokenizer: of the policy.
        stop_tokens: ids that end a turn; the tokenizer's where None.
        max_turns: int, the policy's turns in a conversation; nobody answers the last. None for no limit.
        encode: ``list of answers -> list of ids``; ``tokenizer.encode_following`` where None.

    Raises:
        ValueError: if ``max_turns`` is not positive; in a call, if the function does not answer every row.
    """

    def __init__(
        self,
        function: Callable[[list[Said]], Sequence[Any]],
        tokenizer: Any,
        stop_tokens: Sequence[int] | None = None,
        max_turns: int | None = None,
        encode: Callable[[list[Any]], list[list[int]]] | None = None,
    ) -> None:
        if max_turns is not None and max_turns < 1:
            raise ValueError(f"max_turns must be at least 1. Received: max_turns={max_turns}")
        self.function = function
        self.tokenizer = tokenizer
        self.stop_tokens = tuple(tokenizer.stop_ids if stop_tokens is None else stop_tokens)
        self.max_turns = max_turns
        self._encode = tokenizer.encode_following if encode is None else encode

    def __call__(self, state: State) -> tuple[np.ndarray, np.ndarray]:
        """(token_ids int32[B, U], lengths int32[B]), see ``functional.text_state.transition``."""
        state = State(*map(np.asarray, state))
        said = self._said(state)
        answers = list(self.function(said)) if said else []
        if len(answers) != len(said):
            raise ValueError(
                f"A user answers every row. Received: {len(answers)} answers to {len(said)} rows"
            )
        spoken = [(one.row, answer) for one, answer in zip(said, answers) if answer]
        encoded = self._encode([answer for _, answer in spoken])
        lengths = np.zeros(len(state.terminated), "int32")
        token_ids = np.zeros((len(lengths), max(map(len, encoded), default=1) or 1), "int32")
        for (row, _), ids in zip(spoken, encoded):
            lengths[row] = len(ids)
            token_ids[row, : len(ids)] = ids
        return token_ids, lengths

    def _said(self, state):
        """Said of every row whose turn is the user's."""
        columns = state.prompt_mask.shape[1]
        found = []
        for row in np.nonzero(_is_due(state, self.stop_tokens))[0].tolist():
            ids, own = state.token_ids[row, columns:], state.response_mask[row]
            turns = turns_of(ids, own, self.stop_tokens, self.tokenizer)
            if self.max_turns is None or len(turns) < self.max_turns:
                prompt = state.token_ids[row, :columns][state.prompt_mask[row]].tolist()
                record = int(state.records[row])
                known = None if record < 0 else record
                found.append(Said(row, known, self.tokenizer.decode(prompt), turns))
        return found


def turns_of(
    ids: Array, of_policy: Array, stop_tokens: Sequence[int], tokenizer: Any
) -> tuple[str, ...]:
    """The texts of the policy's finished turns, without the tokens that end them.

    Args:
        ids: int32[R], a row's response.
        of_policy: bool[R], the policy's tokens in it.
        stop_tokens: ids that end a turn.
        tokenizer: of the policy.
    """
    ends = ends_of_turns(ids, of_policy, stop_tokens)
    begins = [0, *(ends[:-1] + 1).tolist()]
    parts = [ids[a:b][of_policy[a:b]].tolist() for a, b in zip(begins, ends.tolist())]
    return tuple(tokenizer.decode_batch(parts)) if parts else ()


def ends_of_turns(ids: Array, of_policy: Array, stop_tokens: Sequence[int]) -> np.ndarray:
    """int[...], the columns of the tokens that end the policy's turns, see ``turns_of``."""
    return np.nonzero(of_policy & np.isin(ids, stop_tokens))[0]


def _is_due(state, stop_tokens):
    """bool[B], rows that go on and whose last token is the policy's, and ends its turn."""
    last = np.maximum(state.response_length - 1, 0)[:, None]
    columns = state.prompt_mask.shape[1]
    tokens = np.take_along_axis(state.token_ids[:, columns:], last, axis=1)[:, 0]
    own = np.take_along_axis(state.response_mask, last, axis=1)[:, 0]
    over = state.terminated | state.truncated
    return ~over & (state.response_length > 0) & own & np.isin(tokens, stop_tokens)
