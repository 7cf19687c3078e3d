"""Initializers of kernels, which cost nothing while weights are about to be loaded."""

from __future__ import annotations

import contextlib
import contextvars
from collections.abc import Iterator

import keras
from keras import ops

from tfalign.types import Array

_to_be_loaded = contextvars.ContextVar("to_be_loaded", default=False)


@keras.saving.register_keras_serializable("tfalign")
class Normal(keras.initializers.RandomNormal):
    """N(0, stddev^2); zeros while ``weights_to_be_loaded``."""

    def __call__(self, shape: tuple[int, ...], dtype: str | None = None) -> Array:
        if _to_be_loaded.get():
            return ops.zeros(shape, dtype)
        return super().__call__(shape, dtype)


@contextlib.contextmanager
def weights_to_be_loaded() -> Iterator[None]:
    """Context manager: layers built within it get no random kernels, which for a large model take long and, for
    a moment, several times the memory of its largest."""
    token = _to_be_loaded.set(True)
    try:
        yield
    finally:
        _to_be_loaded.reset(token)
