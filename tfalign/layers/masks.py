"""Attention masks: bool, true where a query may attend to a key, broadcastable to [B, H, Q, K].

All of them take Keras' symbolic tensors too, whose length need not be known.
"""

from __future__ import annotations

from keras import ops

from tfalign.types import Array


def key_mask(padding_mask: Array) -> Array:
    """Padding mask: every query attends to the real keys.

    Args:
        padding_mask: bool[B, K], true at real tokens.

    Returns:
        bool[B, 1, 1, K].
    """
    return ops.cast(padding_mask, "bool")[:, None, None, :]


def causal_mask(length: int | Array) -> Array:
    """Causal mask: a query attends to keys up to its own column: bool[1, 1, T, T].

    Args:
        length: int, T; or a tensor [B, T] or [B, T, W] of that length, which in a functional model
            may not be known.

    Raises:
        ValueError: if the length is None.

    >>> import keras
    >>> causal_mask(keras.Input((None,))).shape
    (1, 1, None, None)
    """
    column = _columns(length)
    return (column[None, :] <= column[:, None])[None, None]


def banded_mask(length: int | Array, window: int) -> Array:
    """Banded mask: a query attends to keys fewer than ``window`` columns away, on either side:
    bool[1, 1, T, T].

    With ``causal_mask`` this is the locally banded attention of Child et al. 2019 (Sparse
    Transformers), which GPT-3 alternates with dense attention (Brown et al. 2020, section 2.1).

    Args:
        length: as of ``causal_mask``.
        window: int.

    Raises:
        ValueError: if ``window`` is not positive, or the length None.
    """
    if window < 1:
        raise ValueError(f"An attention window must be at least 1. Received: window={window}")
    column = _columns(length)
    return (ops.abs(column[None, :] - column[:, None]) < window)[None, None]


def segment_mask(segment_ids: Array) -> Array:
    """Mask of packed documents: tokens attend within their own document.

    Args:
        segment_ids: int32[B, T], 1, 2, ... per document, 0 at padding.

    Returns:
        bool[B, 1, T, T], true where query and key belong to one document and the key is real.
    """
    same = ops.equal(segment_ids[:, :, None], segment_ids[:, None, :])
    return (same & (segment_ids > 0)[:, None, :])[:, None]


def column_distances(column: int | Array, count: int, length: int) -> Array:
    """Distances from each of N new columns back to the columns of a cache.

    Args:
        column: int32 scalar, the first of the further columns, for every row; or int32[B], for each.
        count: int, N.
        length: int, L, columns of the cache.

    Returns:
        int32[1 or B, 1, N, L]; a query sees the keys at distances of 0 and more.
    """
    first = ops.reshape(ops.convert_to_tensor(column, "int32"), (-1, 1))
    return (first + ops.arange(count))[:, None, :, None] - ops.arange(length)


def columns_at(mask: Array, column: int | Array, count: int) -> Array:
    """Some columns of a mask.

    Args:
        mask: bool[B, L].
        column: int32 scalar, the first of them, for every row; or int32[B], for each.
        count: int, N.

    Returns:
        bool[B, N].
    """
    first = ops.reshape(ops.convert_to_tensor(column, "int32"), (-1, 1))
    chosen = ops.broadcast_to(first + ops.arange(count), (ops.shape(mask)[0], count))
    return ops.take_along_axis(mask, chosen, axis=1)


def with_keys(attention_mask: Array | None, *padding_masks: Array | None) -> Array | None:
    """An attention mask combined with a padding mask of the keys.

    Args:
        attention_mask: bool[B, Q, K], as Keras' own layers take it, or broadcastable to
            [B, H, Q, K]; None for all.
        padding_masks: bool[B, K] or None, such as Keras attaches to what an embedding with
            ``mask_zero`` returns.

    Returns:
        bool broadcastable to [B, H, Q, K]; None for all.
    """
    if attention_mask is not None and len(attention_mask.shape) == 3:
        attention_mask = attention_mask[:, None]
    for padding_mask in padding_masks:
        if padding_mask is not None:
            keys = key_mask(padding_mask)
            attention_mask = keys if attention_mask is None else attention_mask & keys
    return attention_mask


def _columns(length):
    """int32[T]: 0, 1, ..."""
    if length is None:
        raise ValueError(
            "The length is not known as the model is built: give the tensor itself, "
            "such as causal_mask(token_ids). Received: length=None"
        )
    axes = range(len(getattr(length, "shape", ())))
    if len(axes) < 2:
        return ops.arange(length)
    ones = ops.max(ops.ones_like(length, dtype="int32"), axis=[x for x in axes if x != 1])
    return ops.cumsum(ones) - 1
