"""Whether numbers on their way into a file, or out of one, are finite."""

from __future__ import annotations

import os
from collections.abc import Mapping

import numpy as np

_PIECE = 1 << 20  # numbers looked at together


def check_finite(
    file: str | os.PathLike,
    tensors: Mapping[str, np.ndarray],
    error: type[ValueError] = ValueError,
) -> None:
    """Raises unless all numbers are finite: weights with a NaN are neither written nor loaded.

    Args:
        file: where the tensors go or come from, for the message.
        tensors: name -> array; bfloat16 is a dtype of ``ml_dtypes``.
        error: the class of what is raised.

    Raises:
        ValueError: naming the file, the first tensor with such a number, and how many it has.

    >>> check_finite("model.safetensors", {"kernel": np.array([1.0, np.nan], "float32")})
    Traceback (most recent call last):
    ValueError: model.safetensors: tensor 'kernel' must be finite. Received: 1 of 2 numbers are not
    """
    for name, tensor in tensors.items():
        if np.dtype(tensor.dtype).kind in "biu":
            continue
        numbers = np.reshape(tensor, -1)
        pieces = (numbers[at : at + _PIECE] for at in range(0, numbers.size, _PIECE))
        count = sum(piece.size - int(np.count_nonzero(np.isfinite(piece))) for piece in pieces)
        if count:
            raise error(
                f"{file}: tensor {name!r} must be finite. Received: {count} of {numbers.size} numbers"
                " are not"
            )
