"""Token ids as a user hands them over, checked before any program runs: within a compiled one an id
outside the vocabulary is silently clamped to it."""

from __future__ import annotations

from typing import Any

import numpy as np


def checked_ids(
    token_ids: Any, vocab_size: int, mask: Any = None, what: str = "prompts"
) -> tuple[np.ndarray, np.ndarray]:
    """Ids of the vocabulary.

    Args:
        token_ids: int[B, T]; floats that are whole numbers will do.
        vocab_size: int, V.
        mask: bool[B, T], true at real tokens; None for all. What stands where it is false does not
            matter.
        what: str, what the rows are, for the messages.

    Returns:
        (token_ids int32[B, T], 0 where the mask is false; mask bool[B, T]), of NumPy.

    Raises:
        ValueError: if they are no matrix of ids, the mask is of another shape, or an id is outside
            the vocabulary, naming the row.

    >>> checked_ids([[3, 9]], vocab_size=8)
    Traceback (most recent call last):
    ValueError: Row 0 of the prompts has an id outside the vocabulary of 8. Received: 9
    """
    ids = _matrix(token_ids, what)
    mask = np.ones(ids.shape, "bool") if mask is None else np.asarray(mask, "bool")
    if mask.shape != ids.shape:
        raise ValueError(
            f"The mask of the {what} has an entry for every id, {list(ids.shape)}. "
            f"Received: {list(mask.shape)}"
        )
    wrong = mask & ~((ids >= 0) & (ids < vocab_size) & (ids == np.floor(ids)))
    if wrong.any():
        row, column = np.argwhere(wrong)[0]
        raise ValueError(
            f"Row {row} of the {what} has an id outside the vocabulary of {vocab_size}. "
            f"Received: {ids[row, column]}"
        )
    return np.where(mask, ids, 0).astype("int32"), mask


def _matrix(token_ids, what):
    try:
        ids = np.asarray(token_ids)
    except ValueError:  # rows of different lengths
        ids = np.empty(0, "object")
    if ids.ndim != 2 or not ids.size or ids.dtype.kind not in "iuf":
        received = " ".join(repr(token_ids).split())
        received = received if len(received) <= 80 else f"{received[:80]}..."
        raise ValueError(
            f"The {what} must be token ids, int[rows, columns], at least one. Received: {received}"
        )
    return ids
