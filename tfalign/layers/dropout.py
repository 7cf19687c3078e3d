"""Dropout whose random numbers an XLA program makes as it goes."""

from __future__ import annotations

import math

import keras
from keras import ops

from tfalign.functional.random import threefry2x32
from tfalign.types import Array


@keras.saving.register_keras_serializable("tfalign")
class Dropout(keras.layers.Dropout):
    """Dropout (Srivastava et al. 2014): zeros with probability ``rate``, the rest divided by 1 - rate.

    As ``keras.layers.Dropout``, arguments and seed generator included, with Threefry numbers that are computed in the
    loop that needs them, forward and backward, the same on both backends: TensorFlow's own generator took a
    hundred times as long as the rest of such a loop on a CPU (docs/results/dropout.md).

    Call arguments:
        inputs: float[B, ...].
        training: bool, whether anything is dropped.

    Returns:
        float[B, ...], of the inputs' dtype.

    >>> import numpy as np
    >>> kept = np.asarray(Dropout(0.25, seed=1)(np.ones((100, 100), "float32"), training=True))
    >>> np.unique(kept).round(3).tolist(), round(float((kept > 0).mean()), 2)
    ([0.0, 1.333], 0.75)
    """

    def call(self, inputs: Array, training: bool | None = False) -> Array:
        if not training or self.rate == 0:
            return inputs
        if self.rate == 1:
            return ops.zeros_like(inputs)
        kept = self._bits(ops.shape(inputs)) >= ops.cast(round(self.rate * 2**32), "uint32")
        return ops.where(kept, inputs / (1.0 - self.rate), ops.zeros_like(inputs))

    def _bits(self, shape):
        """uint32[noise_shape], of this call: counted by row and by place within it."""
        wanted = self.noise_shape or (None,) * len(shape)
        rows, *rest = (size if own is None else own for own, size in zip(wanted, shape))
        axes = len(rest)
        row = ops.reshape(ops.arange(rows, dtype="int32"), (-1,) + (1,) * axes)
        place = ops.reshape(ops.arange(math.prod(rest), dtype="int32"), (1, *rest))
        seed = self.seed_generator.next()
        bits, _ = threefry2x32((seed[0], seed[1]), (row, place))
        return bits
