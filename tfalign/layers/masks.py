"""Attention masks: bool, true where a query may look at a key, broadcastable to [B, H, Q, K]."""

from __future__ import annotations

from keras import ops


def key_mask(padding_mask):
    """Every query sees the real keys.

    Args:
        padding_mask: bool[B, K], true at real tokens.

    Returns:
        bool[B, 1, 1, K].
    """
    return ops.cast(padding_mask, "bool")[:, None, None, :]


def causal_mask(length):
    """A query sees the keys up to its own column: bool[1, 1, T, T]."""
    column = ops.arange(length)
    return (column[None, :] <= column[:, None])[None, None]


def banded_mask(length, window):
    """A query sees keys fewer than ``window`` columns away, on either side: bool[1, 1, T, T].

    With ``causal_mask`` this is the locally banded attention of Child et al. 2019 (Sparse
    Transformers), which GPT-3 alternates with dense attention (Brown et al. 2020, section 2.1).

    Raises:
        ValueError: if ``window`` is not positive.
    """
    if window < 1:
        raise ValueError(f"An attention window must be at least 1. Received: window={window}")
    column = ops.arange(length)
    return (ops.abs(column[None, :] - column[:, None]) < window)[None, None]


def segment_mask(segment_ids):
    """Documents packed into one row see only themselves.

    Args:
        segment_ids: int32[B, T], 1, 2, ... per document, 0 at padding.

    Returns:
        bool[B, 1, T, T], true where query and key belong to one document and the key is real.
    """
    same = segment_ids[:, :, None] == segment_ids[:, None, :]
    return (same & (segment_ids > 0)[:, None, :])[:, None]


def column_distances(column, count, length):
    """How far before each of N further columns the columns of a cache stand.

    Args:
        column: int32 scalar, the first of the further columns, for every row; or int32[B], for each.
        count: int, N.
        length: int, L, columns of the cache.

    Returns:
        int32[1 or B, 1, N, L]; a query sees the keys at distances of 0 and more.
    """
    first = ops.reshape(ops.convert_to_tensor(column, "int32"), (-1, 1))
    return (first + ops.arange(count))[:, None, :, None] - ops.arange(length)
