"""State of a text generation: prompt and response so far, and its transitions.

Pure and batched, of static shapes: see ``environments.mdp``, whose state and transition these are.
States of NumPy arrays are walked on the host, where a user may be a Python function.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np
from keras import ops

from tfalign.functional.arrays import Array
from tfalign.functional.masking import to_left_padded


class State(NamedTuple):
    """State of one episode per row: P prompt columns, then R response columns."""

    token_ids: Any  # int32[B, T], left-padded prompt, response, padding id where none is yet
    prompt_mask: Any  # bool[B, P], true at the prompt's real tokens
    response_mask: Any  # bool[B, R], true at the policy's tokens: not the user's, not padding
    response_length: Any  # int32[B], columns written so far; the next one is column P + this
    terminated: Any  # bool[B], a stop token was drawn, and no user went on
    truncated: Any  # bool[B], all R columns are written, and the episode did not terminate
    records: Any  # int32[B], which record of the data the prompt is, -1 where it knows none; a policy does not see it

    @property
    def written_mask(self) -> Array:
        """bool[B, R], true at the tokens written so far, by the policy or the user."""
        columns = ops.arange(self.response_mask.shape[1], dtype="int32")
        return columns[None, :] < self.response_length[:, None]

    @property
    def padding_mask(self) -> Array:
        """bool[B, T], true at the real tokens of prompt and response."""
        return ops.concatenate([self.prompt_mask, self.written_mask], axis=1)

    @property
    def user_turns(self) -> Array:
        """int32[B], how often the user has spoken since the prompt."""
        users = ops.cast(self.written_mask & ~self.response_mask, "int32")
        after_policy = ops.cast(self.response_mask, "int32")[:, :-1] * users[:, 1:]
        return ops.sum(after_policy, axis=1)


def initial(prompts: Any, max_new_tokens: int, pad_id: int = 0) -> State:
    """The state in which nothing has been written.

    Args:
        prompts: Prompts, padded on either side; their ``rows`` are the records.
        max_new_tokens: int, R, the length limit.
        pad_id: int, what stands where no token has been written.

    Returns:
        State.

    Raises:
        ValueError: if ``max_new_tokens`` is not positive.
    """
    if max_new_tokens < 1:
        raise ValueError(
            f"max_new_tokens must be at least 1. Received: max_new_tokens={max_new_tokens}"
        )
    token_ids, mask = to_left_padded(
        ops.convert_to_tensor(prompts.token_ids, "int32"),
        ops.convert_to_tensor(prompts.mask, "bool"),
    )
    nobody = ops.zeros((token_ids.shape[0],), "bool")
    records = getattr(prompts, "rows", None)
    return State(
        token_ids=ops.pad(token_ids, ((0, 0), (0, max_new_tokens)), constant_values=pad_id),
        prompt_mask=mask,
        response_mask=ops.zeros((token_ids.shape[0], max_new_tokens), "bool"),
        response_length=ops.cast(nobody, "int32"),
        terminated=nobody,
        truncated=nobody,
        records=ops.cast(nobody, "int32") - 1 if records is None else ops.cast(records, "int32"),
    )


def transition(
    state: State,
    actions: Array,
    stop_tokens: Iterable[int] = (),
    user: Callable[[State], tuple[Array, Array]] | None = None,
) -> State:
    """Next state: unfinished rows append their action, and the user's turn where one is due.

    Args:
        state: State.
        actions: int32[B], the next tokens; those of finished rows are ignored.
        stop_tokens: ids that end the policy's turn; the stop token itself belongs to it.
        user: ``State -> (token_ids int32[B, U], lengths int32[B])``, what the user says after
            the policy's turn: the first ``lengths[b]`` tokens of row b, of which those beyond
            the limit are cut. None of them ends the episode. It is called with the whole batch, in
            a step in which a turn ends, and what it says to other rows is ignored. None for no
            user: the end of the turn is that of the episode.

    Returns:
        State.
    """
    running = ~terminal(state)
    token_ids, response_length, written = _write(
        state, actions[:, None], ops.cast(running, "int32")
    )
    state = state._replace(
        token_ids=token_ids,
        response_length=response_length,
        response_mask=state.response_mask | written,
    )
    stopped = running & False
    for stop_token in stop_tokens:
        stopped = stopped | (running & (actions == stop_token))
    if user is not None:
        return hear(state, stopped, user)
    return _over(state, state.terminated | stopped)


def hear(state: State, stopped: Array, user: Callable[[State], tuple[Array, Array]]) -> State:
    """The user's turn.

    Args:
        state: State.
        stopped: bool[B], rows in which the policy's turn is over; the others stay.
        user: see ``transition``.

    Returns:
        State, in which a row that stopped is terminated if the user says nothing, truncated if that fills it.
    """
    token_ids, response_length, silent = _hear(state, stopped, user)
    state = state._replace(token_ids=token_ids, response_length=response_length)
    return _over(state, (state.terminated & ~stopped) | silent)


def _over(state, terminated):
    """The state with rows that are over: terminated, or, at the limit of columns, truncated."""
    at_limit = state.response_length == state.response_mask.shape[1]
    return state._replace(terminated=terminated, truncated=at_limit & ~terminated)


def _write(state, token_ids, lengths):
    """Appends the first ``lengths[b]`` tokens to row b, as far as there is room.

    Returns:
        (token_ids int32[B, T], response_length int32[B], written bool[B, R]).
    """
    prompt_columns, limit = state.prompt_mask.shape[1], state.response_mask.shape[1]
    index = ops.arange(limit, dtype="int32")[None, :] - state.response_length[:, None]
    written = (index >= 0) & (index < lengths[:, None])
    index = ops.clip(index, 0, token_ids.shape[1] - 1)
    response = ops.where(
        written,
        ops.take_along_axis(token_ids, index, axis=1),
        state.token_ids[:, prompt_columns:],
    )
    return (
        ops.concatenate([state.token_ids[:, :prompt_columns], response], axis=1),
        ops.minimum(state.response_length + lengths, limit),
        written,
    )


def _hear(state, stopped, user):
    """The user's turn in rows that stopped: (token_ids, response_length, bool[B] nothing said)."""

    def ask():
        token_ids, lengths = _two(user(state))
        lengths = ops.where(stopped, ops.convert_to_tensor(lengths, "int32"), 0)
        words = ops.convert_to_tensor(token_ids, "int32")
        token_ids, response_length, _ = _write(state, words, lengths)
        return token_ids, response_length, stopped & (lengths == 0)

    return _if_any(stopped, ask, lambda: (state.token_ids, state.response_length, stopped))


def _if_any(mask, then, otherwise):
    """One branch or the other; of a NumPy mask on the host, so that it may be plain Python."""
    if isinstance(mask, np.ndarray):
        return then() if mask.any() else otherwise()
    return ops.cond(ops.any(mask), then, otherwise)


def observation(state: State) -> tuple[Array, Array]:
    """The policy's observation: (token_ids int32[B, T], padding_mask bool[B, T]).

    The distribution of the next token is read at the last real column, and how many columns are
    left says how near the limit is, so nothing is hidden that the future depends on.
    """
    return state.token_ids, state.padding_mask


def terminal(state: State) -> Array:
    """bool[B], whether the episode is over, for either reason."""
    return state.terminated | state.truncated


def _two(heard):
    if not isinstance(heard, (tuple, list)) or len(heard) != 2:
        raise ValueError(
            "A user returns (token_ids int32[B, U], lengths int32[B]). "
            f"Received: {type(heard).__name__}"
        )
    return heard
