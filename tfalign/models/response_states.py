"""The states that response tokens are drawn from: where each response has a row of its own, and where several
share one.

Both forms answer the same questions, so that objectives and rollouts need not know which they have: what does a
model say at these states, and how do arrays of a number per response token get there and back?
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import keras
from keras import ops

from tfalign.models.actor_critic import before_response
from tfalign.models.conditioned import condition_argument
from tfalign.types import Array, PackedRows


class PaddedStates(NamedTuple):
    """B responses in rows of their own: the states are [B, R]."""

    token_ids: Array  # int32[B, T], left-padded prompt, then response
    padding_mask: Array  # bool[B, T]
    length: int  # R

    def outputs(
        self,
        model: Callable[..., Any],
        training: bool | None = None,
        condition: Array | None = None,
    ) -> Any:
        """What a backbone or a critic returns at the states; condition: array of B rows, if it takes one."""
        return before_response(model, *self, training, condition)

    def actor_critic(
        self, model: keras.Model, condition: Array | None = None
    ) -> tuple[Array, Array | None]:
        """(hidden, values) of an actor-critic at the states."""
        given = {"response_length": self.length} | condition_argument(condition)
        return model(self.token_ids, self.padding_mask, **given)

    def gather(self, per_token: Array | None) -> Array | None:
        """An array [B, R] in the order of the states."""
        return per_token

    def spread(self, per_state: Array | None) -> Array | None:
        """An array in the order of the states as [B, R]."""
        return per_state


class PackedStates(NamedTuple):
    """B responses that share rows: the states are [1, M], those of masked columns not among them."""

    rows: PackedRows
    shape: tuple[int, int]  # (B, R)

    def outputs(
        self,
        model: Callable[..., Any],
        training: bool | None = None,
        condition: Array | None = None,
    ) -> Any:
        """As ``PaddedStates.outputs``; no model that packs takes a condition."""
        rows, given = self.rows, condition_argument(condition)
        given |= {"segment_ids": rows.segment_ids, "places": rows.places, "training": training}
        return model(rows.token_ids, **given)

    def actor_critic(
        self, model: keras.Model, condition: Array | None = None
    ) -> tuple[Array, Array | None]:
        """(hidden, values) of an actor-critic at the states."""
        return model.read(functools.partial(self.outputs, condition=condition))

    def gather(self, per_token: Array | None) -> Array | None:
        """An array [B, R] in the order of the states; any of its elements where there is no token."""
        if per_token is None:
            return None
        flat = ops.reshape(per_token, (-1,))
        return ops.take(flat, ops.minimum(self.rows.cells, flat.shape[0] - 1), axis=0)[None]

    def spread(self, per_state: Array | None) -> Array | None:
        """An array in the order of the states as [B, R]; 0 in columns of which there is no state."""
        if per_state is None:
            return None
        count = self.shape[0] * self.shape[1]
        flat = ops.scatter(self.rows.cells[:, None], per_state[0], (count + 1,))
        return ops.reshape(flat[:count], self.shape)


def response_states(
    token_ids: Array, padding_mask: Array, length: int, packed: PackedRows | None
) -> PaddedStates | PackedStates:
    """The states before the response tokens of a batch.

    Args:
        token_ids: int32[B, T], left-padded prompt, then response.
        padding_mask: bool[B, T].
        length: int, R.
        packed: PackedRows of the same responses; None to take them as they are.
    """
    if packed is None:
        return PaddedStates(token_ids, padding_mask, length)
    return PackedStates(packed, (token_ids.shape[0], length))
