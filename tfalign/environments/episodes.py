"""Episodes walked from the host, with every argument and reward checked: what the eager faces share.

A call that raises changes nothing, so an agent may correct itself, or begin anew. Nothing is compiled
before the first episode begins, and nothing compiled is copied: a copy, in this process or another,
goes on from where the original stood.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np

from tfalign import backend
from tfalign.environments.mdp import State, Step, TextGenerationMDP, initial
from tfalign.functional.arguments import check_size
from tfalign.threads import OneThread
from tfalign.types import NumberedPrompts, Prompts


class Episodes:
    """B rows, each at its own step of its own episode.

    Args:
        mdp: TextGenerationMDP; its functions may be Python functions that know no graph.
        num_rows: int, B.

    Attributes:
        state: State of numpy arrays; None before the first ``begin``.
        action_mask: bool[B, V], the actions to choose from in it.
        alone: OneThread, within which a face resets, steps or draws.

    Raises:
        ValueError: if ``num_rows`` is not positive.
    """

    def __init__(self, mdp: TextGenerationMDP, num_rows: int) -> None:
        if not isinstance(mdp, TextGenerationMDP):
            raise ValueError(f"mdp must be a TextGenerationMDP. Received: {type(mdp).__name__}")
        check_size("num_rows", num_rows)
        self.mdp = mdp
        self.num_rows = num_rows
        self.state = None
        self.action_mask = None
        self.alone = OneThread("environment")

    def __getstate__(self) -> dict[str, Any]:
        compiled = {"_initial", "_transition"}
        return {name: x for name, x in self.__dict__.items() if name not in compiled}

    @functools.cached_property
    def _initial(self):
        mdp = self.mdp
        return backend.jit(
            lambda *prompts: initial(NumberedPrompts(*prompts), mdp.max_new_tokens, mdp.pad_id)
        )

    @functools.cached_property
    def _transition(self):
        # a user may be a Python function, which no compiler knows
        return self.mdp.transition if self.mdp.user else backend.jit(self.mdp.transition)

    @property
    def prompt_columns(self) -> int:
        """P."""
        return self.mdp.prompts.token_ids.shape[1]

    @property
    def done(self) -> np.ndarray:
        """bool[B], rows whose episode is over."""
        return self.state.terminated | self.state.truncated

    def begin(self, prompts: Prompts, rows: np.ndarray | None = None) -> None:
        """Begins new episodes.

        Args:
            prompts: Prompts of B rows and P columns, padded on either side.
            rows: bool[B], which rows begin, the others go on; None for all.

        Raises:
            ValueError: if a prompt cannot begin an episode, naming the row.
        """
        rows = np.ones(self.num_rows, "bool") if rows is None else rows
        self.mdp.check(prompts)
        fresh = _to_numpy(self._initial(*prompts, prompts.rows))
        if self.state is not None:
            fresh = State(
                *(
                    np.where(rows.reshape((-1,) + (1,) * (new.ndim - 1)), new, old)
                    for new, old in zip(fresh, self.state)
                )
            )
        self._enter(fresh)

    def step(self, actions: np.ndarray) -> Step:
        """One action in every row that is not over; what stands in the others is ignored.

        Args:
            actions: int[B].

        Returns:
            Step of numpy arrays.

        Raises:
            RuntimeError: before the first ``begin``.
            ValueError: if an action is no allowed id, a reward is not finite, or a user's word is
                outside the vocabulary, naming the row.
        """
        if self.state is None:
            raise RuntimeError("step was called before the first episode began: call reset first")
        actions = self._check_actions(np.asarray(actions))
        following = _to_numpy(self._transition(self.state, actions))
        rewards, scores = map(np.asarray, self.mdp.earned(self.state, actions, following))
        if not np.isfinite(rewards).all():
            row = int(np.argmin(np.isfinite(rewards)))
            raise ValueError(f"The reward of row {row} is not finite. Received: {rewards[row]}")
        self._check_words(following)
        self._enter(following)
        return Step(following, rewards, scores)

    def _enter(self, state):
        mask = np.asarray(self.mdp.action_mask(state))
        shape = (self.num_rows, self.mdp.vocab_size)
        if mask.shape != shape or mask.dtype != bool:
            raise ValueError(
                f"allowed_tokens returns bool{list(shape)}. Received: {mask.dtype}{list(mask.shape)}"
            )
        self.action_mask, self.state = mask, state

    def _check_words(self, state):
        """The policy's actions have been checked; a user's words have not."""
        ids = state.token_ids[:, self.prompt_columns :]
        words = np.asarray(state.written_mask) & ~state.response_mask
        outside = (words & ((ids < 0) | (ids >= self.mdp.vocab_size))).any(axis=1)
        if outside.any():
            row = int(np.argmax(outside))
            raise ValueError(
                f"What the user says in row {row} has an id outside the vocabulary of "
                f"{self.mdp.vocab_size}. Received: {ids[row][words[row]].tolist()}"
            )

    def _check_actions(self, actions):
        if actions.shape != (self.num_rows,) or not np.issubdtype(actions.dtype, np.integer):
            raise ValueError(
                f"Actions are int[{self.num_rows}]. Received: {actions.dtype}{list(actions.shape)}"
            )
        running = ~self.done
        outside = running & ((actions < 0) | (actions >= self.mdp.vocab_size))
        if outside.any():
            row = int(np.argmax(outside))
            raise ValueError(
                f"The action of row {row} is outside the vocabulary of {self.mdp.vocab_size}. "
                f"Received: {actions[row]}"
            )
        actions = np.where(running, actions, self.mdp.pad_id).astype("int32")
        forbidden = running & ~self.action_mask[np.arange(self.num_rows), actions]
        if forbidden.any():
            row = int(np.argmax(forbidden))
            raise ValueError(
                f"The action of row {row} is not allowed in its state. Received: {actions[row]}"
            )
        return actions


def as_prompts(rows: Sequence[Sequence[int]], columns: int, pad_id: int = 0) -> Prompts:
    """Lists of ids as Prompts of a fixed width.

    Args:
        rows: list of lists of ids.
        columns: int, P.
        pad_id: int, what stands on the left of a shorter prompt.

    Returns:
        Prompts of numpy arrays.

    Raises:
        ValueError: if a prompt is no list of ids, is empty or has more than P tokens, naming the row.
    """
    token_ids = np.full(
        (len(rows), columns), pad_id, "int64"
    )  # which of them are known is checked later
    mask = np.zeros((len(rows), columns), "bool")
    for row, given in enumerate(rows):
        ids = _as_ids(row, given)
        if not 0 < len(ids) <= columns:
            raise ValueError(
                f"The prompt of row {row} must have 1 to {columns} tokens. Received: {len(ids)}"
            )
        token_ids[row, columns - len(ids) :] = ids
        mask[row, columns - len(ids) :] = True
    return Prompts(token_ids, mask)


def _as_ids(row, given):
    try:
        ids = np.asarray(given)
    except ValueError:  # nested lists of different lengths
        ids = np.empty((0, 0))
    if ids.ndim != 1 or (ids.size and ids.dtype.kind not in "iu"):
        raise ValueError(f"The prompt of row {row} must be a list of ids. Received: {given!r}")
    return ids


def as_indices(given: int | Sequence[int] | np.ndarray, count: int, num_rows: int) -> np.ndarray:
    """Rows of ``mdp.prompts``, one for each episode that begins: int64[num_rows].

    Args:
        given: int, or int[num_rows].
        count: int, how many prompts there are.
        num_rows: int.

    Raises:
        ValueError: if there is no such prompt.
    """
    try:
        indices = np.asarray(given)
    except ValueError:
        indices = np.empty((0, 0))
    if indices.shape not in ((), (num_rows,)) or indices.dtype.kind not in "iu":
        raise ValueError(
            f"prompt_index must be the number of a prompt, or {num_rows} of them. Received: {given!r}"
        )
    if indices.min() < 0 or indices.max() >= count:
        raise ValueError(f"prompt_index must lie in [0, {count}). Received: {given}")
    return np.broadcast_to(indices, num_rows)


def _to_numpy(state):
    return State(*map(np.asarray, state))
