"""Intermediate states of a backbone's blocks, for interpretability."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import keras
from keras import ops

from tfalign.layers import Visibility
from tfalign.types import Array


class Trace(NamedTuple):
    """One call of a backbone of L blocks."""

    states: tuple[Any, ...]  # L + 1 of float[B, T, W]: before the first block, and after each
    masks: tuple[Any, ...]  # L of Visibility, or bool broadcastable to [B, H, T, T]
    positions: Any | None  # int32[B, T], where the blocks use them


def trace_blocks(
    blocks: Sequence[keras.layers.Layer],
    x: Array,
    masks: Sequence[Visibility | Array],
    positions: Array | None = None,
) -> Trace:
    """The ``Trace`` of blocks that begin with x."""
    states = [x]
    for block, mask in zip(blocks, masks):
        states.append(block(states[-1], attention_mask=mask, positions=positions))
    return Trace(tuple(states), tuple(masks), positions)


def all_real(embedded: Array) -> Array:
    """bool[B, T], true everywhere, for float[B, T, W]."""
    return ops.ones_like(embedded[..., 0], dtype="bool")
