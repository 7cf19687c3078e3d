"""Positional embeddings: learned, sinusoidal and rotary."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
from keras import ops

from tfalign.layers.initializers import Normal
from tfalign.types import Array, Shape


@keras.saving.register_keras_serializable("tfalign")
class LearnedPositions(keras.layers.Layer):
    """Learned positional embeddings, one vector per position (GPT, Radford et al. 2018; BERT, Devlin
    et al. 2019).

    Args:
        max_positions: int, number of positions; positions at or above it are not valid.
        width: int, W.
        initializer_range: float, standard deviation at initialisation.

    Call arguments:
        positions: int32[B, T].

    Returns:
        float[B, T, W].
    """

    def __init__(
        self, max_positions: int, width: int, initializer_range: float = 0.02, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.max_positions = max_positions
        self.width = width
        self.initializer_range = initializer_range

    def build(self, positions_shape: Shape | None = None) -> None:
        self.embeddings = self.add_weight(
            name="embeddings",
            shape=(self.max_positions, self.width),
            initializer=Normal(stddev=self.initializer_range),
        )
        self.built = True

    def start_as_sinusoids(self) -> None:
        """Sets the vectors to ``SinusoidalPositions`` of the same mean square as random ones: neighbours
        are alike from the first update on, and may become anything."""
        table = SinusoidalPositions(self.width)(ops.arange(self.max_positions)[None])[0]
        self.embeddings.assign(math.sqrt(2.0) * self.initializer_range * table)

    def call(self, positions: Array) -> Array:
        return ops.take(ops.convert_to_tensor(self.embeddings), positions, axis=0)

    def compute_output_shape(self, positions_shape: Shape) -> Shape:
        return (*positions_shape, self.width)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {
            "max_positions": self.max_positions,
            "width": self.width,
            "initializer_range": self.initializer_range,
        }


@keras.saving.register_keras_serializable("tfalign")
class SinusoidalPositions(keras.layers.Layer):
    """Fixed sinusoidal positional embeddings (Vaswani et al. 2017, section 3.5).

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

    def __init__(self, width: int, base: float = 10_000.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if width % 2:
            raise ValueError(f"Sinusoidal positions need an even width. Received: width={width}")
        self.width = width
        self.base = base

    def build(self, positions_shape: Shape | None = None) -> None:
        self.built = True

    def call(self, positions: Array) -> Array:
        frequencies, _ = rotary_frequencies(self.width, self.base)
        angles = ops.cast(positions, "float32")[..., None] * frequencies
        interleaved = ops.stack([ops.sin(angles), ops.cos(angles)], axis=-1)
        return ops.cast(
            ops.reshape(interleaved, (*ops.shape(positions), self.width)), self.compute_dtype
        )

    def compute_output_shape(self, positions_shape: Shape) -> Shape:
        return (*positions_shape, self.width)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"width": self.width, "base": self.base}


@dataclasses.dataclass(frozen=True)
class Rotary:
    """Rotary positions of an attention layer.

    Attributes:
        base: float.
        scaling: how a model was stretched to longer texts, see ``rotary_frequencies``; None for not at all.
    """

    base: float = 10_000.0
    scaling: Mapping[str, Any] | None = None

    def check(self, head_dim: int) -> None:
        """Raises a ValueError if heads of this width cannot be turned, or the scaling is unknown."""
        if head_dim % 2:
            raise ValueError(
                f"Rotary positions need an even head_dim. Received: head_dim={head_dim}"
            )
        rotary_frequencies(head_dim, self.base, self.scaling)

    def __call__(self, heads: Array, positions: Array) -> Array:
        """See ``rotate``."""
        return rotate(heads, positions, self.base, self.scaling)


def rotate(
    heads: Array, positions: Array, base: float = 10_000.0, scaling: Mapping[str, Any] | None = None
) -> Array:
    """Rotary position embedding (Su et al. 2021, eq. 34; the half-split layout of GPT-NeoX).

    Feature i of the first half and feature i of the second half form a plane that is turned by
    position / base^(2i/D), so that the product of a rotated query and a rotated key depends only on
    the distance between their positions.

    Args:
        heads: float[B, H, T, D], D even.
        positions: int32[B, T].
        base: float.
        scaling: mapping, see ``rotary_frequencies``.

    Returns:
        float[B, H, T, D] in the dtype of ``heads``; the angles are float32 in any case.
    """
    frequencies, magnitude = rotary_frequencies(heads.shape[-1], base, scaling)
    angles = (ops.cast(positions, "float32")[..., None] * frequencies)[:, None]
    cos = ops.cast(ops.cos(angles) * magnitude, heads.dtype)
    sin = ops.cast(ops.sin(angles) * magnitude, heads.dtype)
    first, second = ops.split(heads, 2, axis=-1)
    return ops.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)


def rotary_frequencies(
    width: int, base: float, scaling: Mapping[str, Any] | None = None
) -> tuple[np.ndarray, float]:
    """Rotary frequencies of a head's planes, and the factor that scales queries and keys.

    Args:
        width: int, D.
        base: float.
        scaling: how a model was stretched to longer texts, as config.json states it: a mapping of
            "rope_type", one of ``ROTARY_SCALINGS``, and that function's arguments; None for
            base^(-2i/D).

    Returns:
        (float32[D/2], radians a position; float).

    Raises:
        ValueError: if the scaling is not known or its arguments are not those it takes.
    """
    frequencies = np.power(base, -np.arange(0, width, 2) / width)
    if scaling is None:
        return frequencies.astype("float32"), 1.0
    choices = dict(scaling)
    kind = choices.pop("rope_type", None)
    if kind not in ROTARY_SCALINGS:
        raise ValueError(
            f"Rotary positions can be scaled by {', '.join(ROTARY_SCALINGS)}; others change with the"
            f" length of the text, which a cache of turned keys cannot. Received: {kind!r}"
        )
    try:
        scaled, magnitude = ROTARY_SCALINGS[kind](frequencies, **choices)
    except TypeError as error:
        raise ValueError(f"Rotary positions: {error}. Received: {dict(scaling)}") from None
    return scaled.astype("float32"), magnitude


def linear(frequencies: np.ndarray, factor: float) -> tuple[np.ndarray, float]:
    """Positions divided by ``factor`` (Chen et al. 2023, "Extending context window of large language
    models via positional interpolation")."""
    return frequencies / factor, 1.0


def llama3(
    frequencies: np.ndarray,
    factor: float,
    low_freq_factor: float,
    high_freq_factor: float,
    original_max_position_embeddings: int,
) -> tuple[np.ndarray, float]:
    """Planes that turn less than ``low_freq_factor`` times in the original length are slowed down by
    ``factor``, those that turn more than ``high_freq_factor`` times stay, and those between are mixed
    linearly (Llama 3.1's own code, apply_scaling in models/llama3/reference_impl/model.py)."""
    turns = original_max_position_embeddings * frequencies / (2 * math.pi)
    kept = np.clip((turns - low_freq_factor) / (high_freq_factor - low_freq_factor), 0, 1)
    return frequencies * (kept + (1 - kept) / factor), 1.0


def yarn(
    frequencies: np.ndarray,
    factor: float,
    original_max_position_embeddings: int,
    attention_factor: float | None = None,
    beta_fast: float | None = None,
    beta_slow: float | None = None,
    mscale: float | None = None,
    mscale_all_dim: float | None = None,
    truncate: bool = True,
) -> tuple[np.ndarray, float]:
    """Planes that turn fewer than ``beta_slow`` times in the original length are slowed down by
    ``factor``, those that turn more than ``beta_fast`` times stay, those between are mixed by their
    index; queries and keys grow by ``attention_factor`` (Peng et al. 2023, "YaRN", sections 3.2 and
    3.4; ``mscale`` and ``mscale_all_dim`` are DeepSeek's form of it)."""
    planes = len(frequencies)
    growth = -math.log(frequencies[1] / frequencies[0]) if planes > 1 else 1.0  # per plane, in nats

    def plane_of(turns):
        return math.log(original_max_position_embeddings / (turns * 2 * math.pi)) / growth

    low, high = plane_of(beta_fast or 32), plane_of(beta_slow or 1)
    if truncate:
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, 2 * planes - 1)
    slowed = np.clip((np.arange(planes) - low) / (high - low or 0.001), 0, 1)

    def magnitude(scale=1.0):
        return 0.1 * scale * math.log(factor) + 1.0 if factor > 1 else 1.0

    if attention_factor is None:
        both = mscale and mscale_all_dim
        attention_factor = magnitude(mscale) / magnitude(mscale_all_dim) if both else magnitude()
    return frequencies * (slowed / factor + 1 - slowed), attention_factor


ROTARY_SCALINGS = {"linear": linear, "llama3": llama3, "yarn": yarn}
