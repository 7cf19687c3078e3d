"""Which packages are there, and what is said where TensorFlow is not.

This module imports neither Keras nor TensorFlow.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
from collections.abc import Iterator

TENSORFLOW_ITSELF = 'pip install "tfalign[tensorflow]"'
_OF_TENSORFLOW = ("tensorflow", "tensorflow_datasets")


def is_installed(package: str) -> bool:
    """Whether a top-level package could be imported; none is.

    >>> is_installed("json"), is_installed("no_such_package")
    (True, False)
    """
    try:
        return importlib.util.find_spec(package) is not None
    except (ImportError, ValueError):  # kept out of this process
        return False


def choose_backend() -> None:
    """Has Keras compute with JAX where that is installed and TensorFlow is not; what KERAS_BACKEND says stays. Keras
    by itself takes TensorFlow everywhere."""
    unsaid = "KERAS_BACKEND" not in os.environ
    if unsaid and not is_installed("tensorflow") and is_installed("jax"):
        os.environ["KERAS_BACKEND"] = "jax"


@contextlib.contextmanager
def needing_tensorflow(what: str, instead: str = "") -> Iterator[None]:
    """Within it an import that fails for want of TensorFlow, or TensorFlow Datasets, is one sentence.

    Args:
        what: what needs it, the sentence's subject.
        instead: what would do without it, as the sentence ends.

    Raises:
        ValueError: naming what is to be installed.

    >>> with needing_tensorflow("A SavedModel"):
    ...     raise ModuleNotFoundError("No module named 'tensorflow'", name="tensorflow")
    Traceback (most recent call last):
    ValueError: A SavedModel needs TensorFlow, which is not installed: pip install "tfalign[tensorflow]"
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in _OF_TENSORFLOW:
            raise
        raise ValueError(
            f"{what} needs TensorFlow, which is not installed: {TENSORFLOW_ITSELF}{instead}"
        ) from error
