"""Prefix encoders: conditions, things beside the text, as columns that a decoder reads before its tokens.

Each makes K columns of width W from a condition of B rows, and checks conditions on the host before a program takes
them. ``models.Conditioned`` puts the columns in front of a prompt.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops

from tfalign.layers.initializers import Normal
from tfalign.types import Array, Shape


class PrefixEncoder(keras.layers.Layer):
    """Base of the prefix encoders; subclasses define ``build``, ``call`` and ``condition_shape``.

    Args:
        num_columns: int, K.
        width: int, W, of the model that reads them.
        initializer_range: float, standard deviation at initialisation.

    Call arguments:
        condition: array[B, ...].

    Returns:
        float[B, K, W].
    """

    def __init__(
        self, num_columns: int, width: int, initializer_range: float = 0.02, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        if num_columns < 1:
            raise ValueError(
                f"A prefix has at least one column. Received: num_columns={num_columns}"
            )
        self.num_columns = num_columns
        self.width = width
        self.initializer_range = initializer_range

    @property
    def condition_shape(self) -> Shape:
        """Shape of a condition, without its rows."""
        raise NotImplementedError

    def checked(self, condition: Array) -> np.ndarray:
        """A condition as an array that the layer can take.

        Raises:
            ValueError: if its shape is another.
        """
        condition = np.asarray(condition)
        if condition.shape[1:] != self.condition_shape or not condition.ndim:
            raise ValueError(
                f"A condition has one row a prompt, each of shape {self.condition_shape}. "
                f"Received: an array of shape {condition.shape}"
            )
        return condition

    def compute_output_shape(self, condition_shape: Shape) -> Shape:
        return (condition_shape[0], self.num_columns, self.width)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {
            "num_columns": self.num_columns,
            "width": self.width,
            "initializer_range": self.initializer_range,
        }


@keras.saving.register_keras_serializable("tfalign")
class IdPrefix(PrefixEncoder):
    """K learned columns for each of N things, such as users (prefix tuning with one prefix for each; Li and Liang
    2021, at the embeddings alone: prompt tuning, Lester et al. 2021).

    Args:
        num_ids: int, N.
        num_columns, width, initializer_range: see ``PrefixEncoder``.

    Call arguments:
        condition: int32[B], in [0, N).

    Returns:
        float[B, K, W].

    >>> users = IdPrefix(100, num_columns=4, width=8)
    >>> tuple(users(users.checked([7, 7, 99])).shape)
    (3, 4, 8)
    """

    def __init__(self, num_ids: int, num_columns: int, width: int, **kwargs: Any) -> None:
        super().__init__(num_columns, width, **kwargs)
        self.num_ids = num_ids

    def build(self, condition_shape: Shape | None = None) -> None:
        self.table = self.add_weight(
            name="table",
            shape=(self.num_ids, self.num_columns, self.width),
            initializer=Normal(stddev=self.initializer_range),
        )
        self.built = True

    @property
    def condition_shape(self) -> Shape:
        return ()

    def checked(self, condition: Array) -> np.ndarray:
        ids = super().checked(condition).astype("int32")
        outside = (ids < 0) | (ids >= self.num_ids)
        if outside.any():
            raise ValueError(
                f"A condition is a number from 0 to {self.num_ids - 1}. "
                f"Received: {ids[outside][0]} in row {int(np.argmax(outside))}"
            )
        return ids

    def call(self, condition: Array) -> Array:
        return ops.take(ops.convert_to_tensor(self.table), ops.cast(condition, "int32"), axis=0)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"num_ids": self.num_ids}


@keras.saving.register_keras_serializable("tfalign")
class VectorPrefix(PrefixEncoder):
    """K columns that are a linear map of a vector: a user's fitted vector, an embedding of another model.

    Args:
        size: int, D.
        num_columns, width, initializer_range: see ``PrefixEncoder``.

    Call arguments:
        condition: float32[B, D].

    Returns:
        float[B, K, W].
    """

    def __init__(self, size: int, num_columns: int, width: int, **kwargs: Any) -> None:
        super().__init__(num_columns, width, **kwargs)
        self.size = size

    def build(self, condition_shape: Shape | None = None) -> None:
        self.dense = keras.layers.Dense(
            self.num_columns * self.width,
            kernel_initializer=Normal(stddev=self.initializer_range),
            bias_initializer=Normal(stddev=self.initializer_range),
            dtype=self.dtype_policy,
            name="dense",
        )
        self.dense.build((None, self.size))
        self.built = True

    @property
    def condition_shape(self) -> Shape:
        return (self.size,)

    def checked(self, condition: Array) -> np.ndarray:
        return super().checked(condition).astype("float32")

    def call(self, condition: Array) -> Array:
        columns = self.dense(ops.cast(condition, self.compute_dtype))
        return ops.reshape(columns, (-1, self.num_columns, self.width))

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"size": self.size}


@keras.saving.register_keras_serializable("tfalign")
class PatchPrefix(PrefixEncoder):
    """A column for each square patch of an image, a linear map of its pixels with a place (Dosovitskiy et al. 2021,
    eq. 1, without a class token; Fuyu's way into a decoder).

    Args:
        image_shape: (int, int, int), height, width and channels.
        patch_size: int, S, dividing height and width; K is their number.
        width, initializer_range: see ``PrefixEncoder``.

    Call arguments:
        condition: float32[B, height, width, channels].

    Returns:
        float[B, K, W].

    >>> tuple(PatchPrefix((4, 6, 1), patch_size=2, width=8)(ops.zeros((3, 4, 6, 1))).shape)
    (3, 6, 8)
    """

    def __init__(
        self, image_shape: tuple[int, int, int], patch_size: int, width: int, **kwargs: Any
    ) -> None:
        kwargs.pop("num_columns", None)  # of a saved one
        height, length, _ = image_shape
        if height % patch_size or length % patch_size:
            raise ValueError(
                "Patches must divide an image. Received: "
                f"patch_size={patch_size}, image_shape={tuple(image_shape)}"
            )
        super().__init__((height // patch_size) * (length // patch_size), width, **kwargs)
        self.image_shape = tuple(image_shape)
        self.patch_size = patch_size

    def build(self, condition_shape: Shape | None = None) -> None:
        start = Normal(stddev=self.initializer_range)
        self.dense = keras.layers.Dense(
            self.width, kernel_initializer=start, dtype=self.dtype_policy, name="dense"
        )
        self.dense.build((None, None, self.patch_size**2 * self.image_shape[-1]))
        self.places = self.add_weight(
            name="places", shape=(self.num_columns, self.width), initializer=start.clone()
        )
        self.built = True

    @property
    def condition_shape(self) -> Shape:
        return self.image_shape

    def checked(self, condition: Array) -> np.ndarray:
        return super().checked(condition).astype("float32")

    def call(self, condition: Array) -> Array:
        size, (height, length, channels) = self.patch_size, self.image_shape
        cut = (-1, height // size, size, length // size, size, channels)
        patches = ops.transpose(ops.reshape(condition, cut), (0, 1, 3, 2, 4, 5))
        pixels = ops.reshape(patches, (-1, self.num_columns, size * size * channels))
        return self.dense(ops.cast(pixels, self.compute_dtype)) + self.places

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {
            "image_shape": self.image_shape,
            "patch_size": self.patch_size,
        }
