"""Normalisation layers by name: LayerNorm, RMSNorm, and RMSNorm with a scale around zero."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from tfalign.types import Array, Shape


@keras.saving.register_keras_serializable("tfalign")
class ZeroCenteredRMSNormalization(keras.layers.Layer):
    """RMSNorm multiplied by 1 + scale, which starts at zero (Gemma): weight decay pulls towards no scaling.

    Args:
        epsilon: float, added to the mean square.

    Call arguments:
        x: float[..., W].

    Returns:
        float[..., W] in the dtype of x; the scale is applied in float32.
    """

    def __init__(self, epsilon: float = 1e-6, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.epsilon = epsilon
        self.supports_masking = True

    def build(self, x_shape: Shape) -> None:
        self.scale = self.add_weight(
            name="scale", shape=(x_shape[-1],), initializer="zeros", autocast=False
        )
        self.built = True

    def call(self, x: Array) -> Array:
        scale = 1.0 + ops.cast(self.scale, "float32")
        return ops.rms_normalization(x, scale=scale, axis=-1, epsilon=self.epsilon)

    def compute_output_shape(self, x_shape: Shape) -> Shape:
        return x_shape

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"epsilon": self.epsilon}


NORMALIZATIONS = {
    "layer": keras.layers.LayerNormalization,
    "rms": keras.layers.RMSNormalization,
    "zero_centered_rms": ZeroCenteredRMSNormalization,
}


def normalization(
    kind: str, epsilon: float, name: str | None = None, dtype: str | keras.DTypePolicy | None = None
) -> keras.layers.Layer:
    """LayerNorm (Ba et al. 2016) for "layer", RMSNorm (Zhang and Sennrich 2019) for "rms", and
    ``ZeroCenteredRMSNormalization`` for "zero_centered_rms".

    Raises:
        ValueError: if it is none of these.
    """
    if kind not in NORMALIZATIONS:
        known = ", ".join(f'"{name}"' for name in NORMALIZATIONS)
        raise ValueError(f"A normalization is one of {known}. Received: {kind!r}")
    return NORMALIZATIONS[kind](epsilon=epsilon, name=name, dtype=dtype)
