"""What Keras expects of a model used within another one: that it can be exported, and that every weight has a
gradient, also one that an output does not depend on."""

from __future__ import annotations

import inspect
import os
from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

_KINDS = {"ids": "int32", "mask": "bool"}  # of an input, by the last word of its name


class Exported:
    """Gives a model ``export`` without an example.

    A model is exported with the inputs of its first call and those that stand before them, or, before
    any call, with its first two: token ids and the mask of their padding.

    >>> from tfalign.models import BERT, BERTConfig
    >>> bert = BERT(BERTConfig(vocab_size=9, width=8, num_layers=1, num_heads=2))
    >>> [spec.name for spec in bert.inputs_of_export()]
    ['token_ids', 'padding_mask']
    """

    _first_inputs = ""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if not self._first_inputs:
            given = inspect.signature(self.call).bind_partial(*args, **kwargs).arguments
            names = self._input_names()
            last = max((n for n, x in enumerate(names) if given.get(x) is not None), default=-1)
            self._first_inputs = " ".join(names[: last + 1])
        return super().__call__(*args, **kwargs)

    def _input_names(self) -> list[str]:
        return [name for name in inspect.signature(self.call).parameters if _dtype_of(name)]

    def inputs_of_export(self) -> list[keras.InputSpec]:
        """An input each, of any number of rows and columns."""
        names = self._first_inputs.split() or self._input_names()[:2]
        return [keras.InputSpec(shape=(None, None), dtype=_dtype_of(x), name=x) for x in names]

    def export(
        self,
        filepath: str | os.PathLike,
        format: str = "tf_saved_model",
        input_signature: Sequence[keras.InputSpec] | None = None,
        **choices: Any,
    ) -> None:
        """As ``keras.Model.export``."""
        signature = self.inputs_of_export() if input_signature is None else input_signature
        return super().export(filepath, format=format, input_signature=signature, **choices)


def _dtype_of(name: str) -> str | None:
    return _KINDS.get(name.rpartition("_")[2])


def with_unused(x: Any, *weights: Any) -> Any:
    """x, whose gradients for these weights are zeros where they would be missing.

    Keras warns of a trained weight without a gradient, as a mistake of the user's. Nothing is
    computed: the choice is made before the program runs.

    Args:
        x: float[...].
        weights: Keras variables that x may not rest on.

    Returns:
        float[...], x.
    """
    trained = [ops.sum(ops.cast(w, x.dtype)) for w in weights if w.trainable]
    return ops.where(True, x, sum(trained)) if trained else x
