"""Arrays cut into parts along their first axis, for loops that look at one part at a time."""

from __future__ import annotations

from keras import ops

from tfalign.functional.arrays import Array


def take_part(parts: Array, number: int | Array) -> Array:
    """parts[number] of [N, ...], for a number that is traced."""
    start = (number,) + (0,) * (len(parts.shape) - 1)
    return ops.squeeze(ops.slice(parts, start, (1, *parts.shape[1:])), 0)


def put_part(parts: Array, number: int | Array, part: Array) -> Array:
    """The parts [N, ...] with ``part`` in place of parts[number], for a number that is traced."""
    start = (number,) + (0,) * (len(parts.shape) - 1)
    return ops.slice_update(parts, start, ops.expand_dims(part, 0))
