"""Where a token stands: learned, sinusoidal and rotary positions."""

from __future__ import annotations

import keras
import numpy as np
from keras import ops


@keras.saving.register_keras_serializable("tfalign")
class LearnedPositions(keras.layers.Layer):
    """One trained vector a position (GPT, Radford et al. 2018; BERT, Devlin et al. 2019).

    Args:
        max_positions: int, number of positions; positions at or above it are not valid.
        width: int, W.
        initializer_range: float, standard deviation at initialisation.

    Call arguments:
        positions: int32[B, T].

    Returns:
        float[B, T, W].
    """

    def __init__(self, max_positions, width, initializer_range=0.02, **kwargs):
        super().__init__(**kwargs)
        self.max_positions = max_positions
        self.width = width
        self.initializer_range = initializer_range

    def build(self, positions_shape=None):
        self.embeddings = self.add_weight(
            name="embeddings",
            shape=(self.max_positions, self.width),
            initializer=keras.initializers.RandomNormal(stddev=self.initializer_range),
        )
        self.built = True

    def call(self, positions):
        return ops.take(ops.convert_to_tensor(self.embeddings), positions, axis=0)

    def compute_output_shape(self, positions_shape):
        return (*positions_shape, self.width)

    def get_config(self):
        return super().get_config() | {
            "max_positions": self.max_positions,
            "width": self.width,
            "initializer_range": self.initializer_range,
        }


@keras.saving.register_keras_serializable("tfalign")
class SinusoidalPositions(keras.layers.Layer):
    """Fixed sines and cosines (Vaswani et al. 2017, section 3.5).

    Even features hold sin(position / base^(2i/W)), odd ones the cosine.

    Args:
        width: int, W, even.
        base: float, 10,000 in the paper.

    Call arguments:
        positions: int32[B, T].

    Returns:
        float[B, T, W].

    Raises:
        ValueError: if ``width`` is odd.
    """

    def __init__(self, width, base=10_000.0, **kwargs):
        super().__init__(**kwargs)
        if width % 2:
            raise ValueError(f"Sinusoidal positions need an even width. Received: width={width}")
        self.width = width
        self.base = base

    def build(self, positions_shape=None):
        self.built = True

    def call(self, positions):
        angles = _angles(positions, self.width, self.base)
        interleaved = ops.stack([ops.sin(angles), ops.cos(angles)], axis=-1)
        return ops.cast(
            ops.reshape(interleaved, (*ops.shape(positions), self.width)), self.compute_dtype
        )

    def compute_output_shape(self, positions_shape):
        return (*positions_shape, self.width)

    def get_config(self):
        return super().get_config() | {"width": self.width, "base": self.base}


def rotate(heads, positions, base=10_000.0):
    """Rotary position embedding (Su et al. 2021, eq. 34; the half-split layout of GPT-NeoX).

    Feature i of the first half and feature i of the second half form a plane that is turned by
    position / base^(2i/D), so that the product of a rotated query and a rotated key depends only on
    the distance between their positions.

    Args:
        heads: float[B, H, T, D], D even.
        positions: int32[B, T].
        base: float.

    Returns:
        float[B, H, T, D] in the dtype of ``heads``; the angles are float32 in any case.
    """
    angles = _angles(positions, heads.shape[-1], base)[:, None]
    cos, sin = ops.cast(ops.cos(angles), heads.dtype), ops.cast(ops.sin(angles), heads.dtype)
    first, second = ops.split(heads, 2, axis=-1)
    return ops.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)


def _angles(positions, width, base):
    """float32[..., width / 2]: position / base^(2i / width)."""
    frequencies = np.power(base, -np.arange(0, width, 2) / width).astype("float32")
    return ops.cast(positions, "float32")[..., None] * frequencies
