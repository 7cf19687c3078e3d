"""Masked reductions over real tokens, and positions from masks.

A mask is bool and true at real tokens. Masked-out elements are selected away, never multiplied by
zero, so that neither their value (NaN and infinity included) nor their gradient leaks.
"""

from __future__ import annotations

import math

from keras import ops

from tfalign.functional.arrays import Array
from tfalign.functional.magnitude import safe_scale


def masked_sum(x: Array, mask: Array, axis: int | tuple[int, ...] | None = None) -> Array:
    """Sum over the elements where the mask is true.

    Args:
        x: float[...], any shape.
        mask: bool[...], broadcastable to x.
        axis: int, tuple of ints or None (all axes).

    Returns:
        float32, x's shape without the reduced axes; 0 where nothing is selected.
    """
    return ops.sum(_select(x, mask), axis=axis)


def masked_mean(x: Array, mask: Array, axis: int | tuple[int, ...] | None = None) -> Array:
    """Mean over the elements where the mask is true.

    Args:
        x: float[...], any shape.
        mask: bool[...], broadcastable to x.
        axis: int, tuple of ints or None (all axes).

    Returns:
        float32, x's shape without the reduced axes; 0 where nothing is selected.
    """
    selected = _select(x, mask)
    scale = safe_scale(selected, axis)
    mean = ops.sum(selected * scale, axis=axis) / ops.maximum(_count(x, mask, axis), 1.0)
    return mean / ops.squeeze(scale, axis)


def masked_variance(
    x: Array, mask: Array, axis: int | tuple[int, ...] | None = None, bessel: bool = False
) -> Array:
    """Variance over the elements where the mask is true, in two passes.

    Args:
        x: float[...], any shape.
        mask: bool[...], broadcastable to x.
        axis: int, tuple of ints or None (all axes).
        bessel: bool, divide by the count less one (an unbiased estimate) instead of the count.

    Returns:
        float32, x's shape without the reduced axes; 0 where fewer than two are selected, infinite
        where the variance itself is no float32.
    """
    selected = _select(x, mask)
    scale = safe_scale(selected, axis)
    count = _count(x, mask, axis, keepdims=True)
    scaled = selected * scale
    mean = ops.sum(scaled, axis=axis, keepdims=True) / ops.maximum(count, 1.0)
    deviations = scaled - mean  # selected before the square too: its gradient is 2 x
    degrees = _count(x, mask, axis) - (1.0 if bessel else 0.0)
    variance = masked_sum(ops.square(deviations), mask, axis) / ops.maximum(degrees, 1.0)
    scale = ops.squeeze(scale, axis)
    return variance / scale / scale


def masked_whiten(x: Array, mask: Array, shift_mean: bool = True, epsilon: float = 1e-8) -> Array:
    """Scale to unit variance over real tokens, (x - mean) / sqrt(variance + epsilon).

    The mean and the (population) variance are those of the whole array. Advantages are shifted to
    mean 0 as well; whitened rewards keep their mean (Ziegler et al. 2019).

    Args:
        x: float[...], per-token values.
        mask: bool[...], true at real tokens.
        shift_mean: bool, whether the mean becomes 0; if false it is added back.
        epsilon: float, added to the variance.

    Returns:
        float32, x's shape; 0 where the mask is false. Equal values have exactly no deviation, however
        large they are.
    """
    selected = _select(x, mask)
    scale = safe_scale(selected)
    scaled = selected * scale
    mean = masked_mean(scaled, mask)
    deviations = _select(scaled - mean, mask)
    spread = ops.sqrt(masked_variance(scaled, mask) + epsilon * scale * scale)
    differ = _differ(selected, mask)
    whitened = ops.where(differ, deviations / ops.where(differ, spread, 1.0), 0.0)
    return whitened if shift_mean else _select(whitened + mean / scale, mask)


def positions_from_mask(mask: Array) -> Array:
    """Position of every token: how many real tokens stand before it.

    Left padding, right padding and no padding give a token the same position.

    Args:
        mask: bool[B, T], true at real tokens.

    Returns:
        int32[B, T]; [0, 0, 1, 1] has the positions [0, 0, 0, 1], so padding on the left gets 0.
    """
    real = ops.cast(mask, "int32")
    return ops.cumsum(real, axis=-1) - real


def document_positions(segment_ids: Array) -> Array:
    """Position of every token in its document, of documents that stand side by side in a row.

    Args:
        segment_ids: int32[B, T], one number for all tokens of a document, 0 at padding.

    Returns:
        int32[B, T]; [1, 1, 2, 2, 2, 0] has the positions [0, 1, 0, 1, 2, 0]; padding gets 0.
    """
    segment_ids = ops.convert_to_tensor(segment_ids, "int32")
    begins = ops.not_equal(segment_ids[:, 1:], segment_ids[:, :-1])
    begins = ops.pad(begins, ((0, 0), (1, 0)), constant_values=True)
    number = ops.cumsum(ops.cast(begins, "int32"), axis=-1) - 1  # of a token's document in its row
    column = ops.cumsum(ops.ones_like(number), axis=-1) - 1
    starts = ops.sort(ops.where(begins, column, ops.shape(column)[-1]), axis=-1)
    position = column - ops.take_along_axis(starts, number, axis=-1)
    return ops.where(segment_ids > 0, position, 0)


def last_true_index(mask: Array) -> Array:
    """Column of the last real token.

    Args:
        mask: bool[B, T], true at real tokens.

    Returns:
        int32[B]; -1 for a row without one.
    """
    columns = ops.arange(mask.shape[-1], dtype="int32")
    return ops.max(ops.where(ops.cast(mask, "bool"), columns, -1), axis=-1)


def to_left_padded(token_ids: Array, mask: Array) -> tuple[Array, Array]:
    """Move the real tokens of every row to its end, in their order.

    Args:
        token_ids: int32[B, T], padded anywhere.
        mask: bool[B, T], true at real tokens.

    Returns:
        (int32[B, T], bool[B, T]): each row permuted, padding first, and its mask.
    """
    mask = ops.cast(mask, "bool")
    columns = ops.arange(mask.shape[-1], dtype="int32")
    sort_keys = ops.where(mask, columns + mask.shape[-1], columns)  # distinct: any sort is stable
    order = ops.argsort(sort_keys, axis=-1)
    return (
        ops.take_along_axis(token_ids, order, axis=-1),
        ops.take_along_axis(mask, order, axis=-1),
    )


def _select(x, mask):
    return ops.where(ops.cast(mask, "bool"), ops.cast(x, "float32"), 0.0)


def _differ(selected, mask):
    """bool[1, ...], whether the real tokens have more than one value, x's number of axes."""
    mask = ops.broadcast_to(ops.cast(mask, "bool"), selected.shape)
    highest = ops.max(ops.where(mask, selected, -math.inf), keepdims=True)
    lowest = ops.min(ops.where(mask, selected, math.inf), keepdims=True)
    return ops.logical_not(highest <= lowest)  # of NaN too: it is not to be whitened away


def _count(x, mask, axis, keepdims=False):
    selected = ops.broadcast_to(ops.cast(mask, "bool"), x.shape)
    return ops.sum(ops.cast(selected, "float32"), axis=axis, keepdims=keepdims)
