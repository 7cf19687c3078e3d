"""Checks of what a user passes in, before any program runs: within a compiled one an id outside the
vocabulary is silently clamped to it, and a function of other arguments fails with a trace."""

from __future__ import annotations

import inspect
import numbers
from collections.abc import Callable
from typing import Any

import numpy as np


def checked_ids(
    token_ids: Any, vocab_size: int, mask: Any = None, what: str = "prompt"
) -> tuple[np.ndarray, np.ndarray]:
    """Token ids, checked to be within the vocabulary.

    Args:
        token_ids: int[B, T]; floats that are whole numbers will do.
        vocab_size: int, V.
        mask: bool[B, T], true at real tokens; None for all. What stands where it is false does not
            matter.
        what: str, what a row is, for the messages.

    Returns:
        (token_ids int32[B, T], all in [0, V); mask bool[B, T]), of NumPy.

    Raises:
        ValueError: if they are no matrix of ids, the mask is of another shape, or an id is outside
            the vocabulary, naming the row.

    >>> checked_ids([[3, 9]], vocab_size=8)
    Traceback (most recent call last):
    ValueError: The prompt of row 0 has an id outside the vocabulary of 8. Received: [3, 9]
    """
    ids = _matrix(token_ids, what)
    mask = np.ones(ids.shape, "bool") if mask is None else np.asarray(mask, "bool")
    if mask.shape != ids.shape:
        raise ValueError(
            f"A mask has an entry for every id of the {what}s, {list(ids.shape)}. "
            f"Received: {list(mask.shape)}"
        )
    known = (ids >= 0) & (ids < vocab_size) & (ids == np.floor(ids))
    wrong = (mask & ~known).any(axis=1)
    if wrong.any():
        row = int(np.argmax(wrong))
        raise ValueError(
            f"The {what} of row {row} has an id outside the vocabulary of {vocab_size}. "
            f"Received: {_shortened(ids[row][mask[row]].tolist())}"
        )
    return np.where(known, ids, 0).astype("int32"), mask


def check_size(name: str, value: Any) -> None:
    """Raises a ValueError unless a size is a positive whole number."""
    if not isinstance(value, numbers.Integral):
        raise ValueError(f"{name} must be a whole number. Received: {name}={value!r}")
    if value < 1:
        raise ValueError(f"{name} must be at least 1. Received: {name}={value}")


def check_takes(function: Callable, what: str, *arguments: str) -> None:
    """Raises a ValueError unless a function takes this number of positional arguments.

    Args:
        function: what was given.
        what: str, what it is, for the message.
        arguments: names of what it will be called with.

    >>> check_takes(lambda prompt: 1.0, "A reward", "prompt", "response")
    Traceback (most recent call last):
    ValueError: A reward is called as f(prompt, response). Received: <lambda>(prompt)
    """
    name = getattr(function, "__name__", type(function).__name__)
    try:
        signature = inspect.signature(function) if callable(function) else None
    except (TypeError, ValueError):  # some built-in functions do not say
        return
    try:
        if signature is not None:
            signature.bind(*arguments)
            return
    except TypeError:
        name = f"{name}{signature}"
    raise ValueError(f"{what} is called as f({', '.join(arguments)}). Received: {name}")


def _matrix(token_ids, what):
    try:
        ids = np.asarray(token_ids)
    except ValueError:  # rows of different lengths
        ids = np.empty(0, "object")
    if ids.ndim != 2 or not ids.size or ids.dtype.kind not in "iuf":
        raise ValueError(
            f"The {what}s must be token ids, int[rows, columns], at least one of each. "
            f"Received: {_shortened(token_ids)}"
        )
    return ids


def _shortened(value, most=80):
    text = " ".join(repr(value).split())
    return text if len(text) <= most else f"{text[:most]}..."
