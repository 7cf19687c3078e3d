"""The best of a training so far: the lowest held-out loss, its step, and the weights that had it."""

from __future__ import annotations

import math
from typing import Any

import keras
import numpy as np
from keras import ops


class Best:
    """What of a training was best, as a part of its checkpoints, see ``RunState``.

    >>> model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, use_bias=False)])
    >>> kernel, best = model.layers[0].kernel, Best(model, keeps_weights=True)
    >>> for step, (loss, weight) in enumerate([(2.0, 1.0), (1.0, 2.0), (1.5, 3.0)], start=1):
    ...     _ = kernel.assign([[weight]])
    ...     best.see(step, loss)
    >>> best.step, best.loss, best.waited
    (2, 1.0, 1)
    >>> best.put_back()
    >>> float(kernel[0, 0])
    2.0

    Args:
        model: keras.Model that is trained.
        keeps_weights: whether a copy of its trainable weights is kept, as much memory again.

    Attributes:
        step: of the lowest loss; None before the first evaluation.
        loss: the lowest; one that is not a number is none.
        waited: evaluations since then.
        variables: list of keras.Variable, the weights kept.
    """

    def __init__(self, model: keras.Model, keeps_weights: bool) -> None:
        self._weights = model.trainable_variables if keeps_weights else []
        self.variables = [_copy(weight) for weight in self._weights]
        self.step: int | None = None
        self.loss: float | None = None
        self.waited = 0

    def see(self, step: int, loss: float) -> None:
        """Takes note of an evaluation after a step."""
        if math.isfinite(loss) and (self.loss is None or loss < self.loss):
            self.step, self.loss, self.waited = step, loss, 0
            _assign(self.variables, self._weights)
        else:
            self.waited += 1

    def put_back(self) -> None:
        """Gives the model the best weights, where they are kept and there are any."""
        if self.step is not None:
            _assign(self._weights, self.variables)

    def state(self) -> dict[str, Any]:
        """As JSON can hold it; the weights are ``variables``."""
        return {"step": self.step, "loss": self.loss, "waited": self.waited}

    def restore(self, state: dict[str, Any]) -> None:
        """Goes back to a ``state``."""
        self.step, self.loss, self.waited = (state[name] for name in ("step", "loss", "waited"))


def _copy(weight):
    name = f"best_{weight.path.replace('/', '_')}"
    return keras.Variable(np.asarray(weight), trainable=False, dtype=weight.dtype, name=name)


def _assign(variables, values):
    for variable, value in zip(variables, values, strict=True):
        variable.assign(ops.copy(value.value))  # a buffer of its own: an update donates the other
