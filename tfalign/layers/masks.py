"""Attention masks: bool, true where a query may attend to a key, broadcastable to [B, H, Q, K]; and the same as a rule,
``Visibility``, whose memory is linear in the length.

The masks take Keras' symbolic tensors too, whose length need not be known.
"""

from __future__ import annotations

import dataclasses
from typing import Any

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
    _check_window(window)
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


@dataclasses.dataclass(frozen=True)
class Visibility:
    """Which keys each query may attend to, as a rule.

    ``MultiHeadAttention`` and the blocks take one wherever they take a bool mask, which is an array of Q x K
    entries where this is at most Q + K numbers. A query attends to the keys of its own document. In a
    functional model of your own use the masks: Keras looks for its symbolic tensors in no record.

    Attributes:
        key_documents: int32[B, K], number of each key's document, 0 for one that no query may attend to; None
            where there is but document 1.
        query_documents: int32[B, Q], that of each query, -1 for one that attends to none; None for document 1.
        causal: bool, whether keys behind the query are left out.
        window: int, how many columns away, on either side, the first key is that is left out; None for no limit.
        first: int, or int32 scalar, or int32[B] for each row: the column of the first query, counted as the keys are.

    >>> rule = Visibility.of_documents(ops.array([[1, 1, 2, 0]]), causal=True)
    >>> ops.convert_to_numpy(rule.mask(4, 4)).astype(int)[0, 0].tolist()
    [[1, 0, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0]]
    """

    key_documents: Array | None = None
    query_documents: Array | None = None
    causal: bool = False
    window: int | None = None
    first: int | Array = 0

    def __post_init__(self) -> None:
        _check_window(self.window)

    @classmethod
    def of_real(cls, padding_mask: Array, **choices: Any) -> Visibility:
        """Queries attend to the real keys.

        Args:
            padding_mask: bool[B, K], true at real tokens.
            choices: ``causal``, ``window``, ``first``.
        """
        return cls(ops.cast(padding_mask, "int32"), **choices)

    @classmethod
    def of_documents(cls, segment_ids: Array, **choices: Any) -> Visibility:
        """Tokens attend within their own document.

        Args:
            segment_ids: int32[B, T], 1, 2, ... per document, 0 at padding.
            choices: ``causal``, ``window``.
        """
        documents = ops.convert_to_tensor(segment_ids, "int32")
        return cls(documents, ops.where(documents > 0, documents, -1), **choices)

    def among(self, padding_mask: Array) -> Visibility:
        """The same, of the keys where bool[B, K] is true alone."""
        documents = ops.cast(padding_mask, "int32")
        if self.key_documents is not None:
            documents = documents * self.key_documents
        return dataclasses.replace(self, key_documents=documents)

    def mask(self, num_queries: int | Array, num_keys: int | Array) -> Array | None:
        """The rule as an array: bool broadcastable to [B, 1, Q, K]; None for all."""
        mask = None
        if self.key_documents is not None:
            documents = (
                1 if self.query_documents is None else self.query_documents[:, None, :, None]
            )
            mask = ops.equal(self.key_documents[:, None, None, :], documents)
        if self.causal or self.window is not None:
            first = ops.reshape(ops.convert_to_tensor(self.first, "int32"), (-1, 1, 1, 1))
            distance = first + ops.arange(num_queries)[:, None] - ops.arange(num_keys)
            for near in self._near(distance):
                mask = near if mask is None else mask & near
        return mask

    def _near(self, distance):
        """Conditions on the columns from a query back to a key."""
        if self.causal:
            yield distance >= 0
        if self.window is not None:
            yield (distance if self.causal else ops.abs(distance)) < self.window


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


def with_keys(
    attention_mask: Visibility | Array | None, *padding_masks: Array | None
) -> Visibility | Array | None:
    """An attention mask combined with a padding mask of the keys.

    Args:
        attention_mask: Visibility; or bool[B, Q, K], as Keras' own layers take it, or broadcastable to
            [B, H, Q, K]; None for all.
        padding_masks: bool[B, K] or None, such as Keras attaches to what an embedding with
            ``mask_zero`` returns.

    Returns:
        Visibility where one was given, else bool broadcastable to [B, H, Q, K]; None for all.
    """
    if len(getattr(attention_mask, "shape", ())) == 3:
        attention_mask = attention_mask[:, None]
    for padding_mask in padding_masks:
        if padding_mask is not None and isinstance(attention_mask, Visibility):
            attention_mask = attention_mask.among(padding_mask)
        elif padding_mask is not None:
            keys = key_mask(padding_mask)
            attention_mask = keys if attention_mask is None else attention_mask & keys
    return attention_mask


def real_keys(attention_mask: Visibility | Array | None) -> Array | None:
    """bool[B, K], true at the keys that some query may attend to, as far as a ``Visibility`` states it; None for
    all."""
    documents = getattr(attention_mask, "key_documents", None)
    return None if documents is None else documents > 0


def of_last(
    attention_mask: Visibility | Array | None, length: int | Array, count: int
) -> Visibility | Array | None:
    """An attention mask of T queries and keys, of the last ``count`` queries alone.

    Args:
        attention_mask: Visibility, or bool broadcastable to [B, H, T, T]; None for all.
        length: int or int32 scalar, T.
        count: int.
    """
    if isinstance(attention_mask, Visibility):
        documents = attention_mask.query_documents
        documents = None if documents is None else documents[:, -count:]
        return dataclasses.replace(attention_mask, query_documents=documents, first=length - count)
    if attention_mask is None or attention_mask.shape[-2] == 1:
        return attention_mask
    return attention_mask[..., -count:, :]


def _check_window(window):
    if window is not None and window < 1:
        raise ValueError(f"An attention window must be at least 1. Received: window={window}")


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
