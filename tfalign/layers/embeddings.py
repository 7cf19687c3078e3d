"""Token embeddings and the LM head that turns hidden states into logits."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from tfalign.layers.initializers import Normal
from tfalign.types import Array, Shape


@keras.saving.register_keras_serializable("tfalign")
class TokenEmbedding(keras.layers.Layer):
    """Token embedding, whose table can serve as the LM head (tied weights).

    Args:
        vocab_size: int, V.
        width: int, W.
        tied: bool, read out with the transposed table (Press and Wolf 2017); else with a kernel
            of its own.
        initializer_range: float, standard deviation at initialisation.
        scale: float, what embeddings are multiplied by, the LM head's kernel not; sqrt(W) in the original
            Transformer and Gemma.

    Call arguments:
        token_ids: int32[B, T].

    Returns:
        float[B, T, W].
    """

    def __init__(
        self,
        vocab_size: int,
        width: int,
        tied: bool = True,
        initializer_range: float = 0.02,
        scale: float = 1.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.scale = scale
        self.vocab_size = vocab_size
        self.width = width
        self.tied = tied
        self.initializer_range = initializer_range

    def build(self, token_ids_shape: Shape | None = None) -> None:
        initializer = Normal(stddev=self.initializer_range)
        self.embeddings = self.add_weight(
            name="embeddings", shape=(self.vocab_size, self.width), initializer=initializer
        )
        if not self.tied:
            self.kernel = self.add_weight(
                name="readout", shape=(self.width, self.vocab_size), initializer=initializer.clone()
            )
        self.built = True

    def call(self, token_ids: Array) -> Array:
        embedded = ops.take(ops.convert_to_tensor(self.embeddings), token_ids, axis=0)
        return embedded if self.scale == 1.0 else embedded * self.scale

    def untie(self) -> None:
        """Gives the LM head a kernel of its own, which starts as the transposed table."""
        if not self.tied:
            return
        self._tracker.unlock()  # Keras closes a built layer to new weights
        self.kernel = self.add_weight(
            name="readout", shape=(self.width, self.vocab_size), initializer="zeros"
        )
        self._tracker.lock()
        self.kernel.assign(ops.transpose(self.embeddings))
        self.tied = False

    def readout_kernel(self) -> Array:
        """float[W, V] in the compute dtype. A loop over tokens takes it once, before it starts:
        transposing the table in every step costs more than the product itself."""
        kernel = ops.transpose(self.embeddings) if self.tied else self.kernel
        return ops.cast(kernel, self.compute_dtype)

    def compute_output_shape(self, token_ids_shape: Shape) -> Shape:
        return (*token_ids_shape, self.width)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {
            "vocab_size": self.vocab_size,
            "width": self.width,
            "tied": self.tied,
            "initializer_range": self.initializer_range,
            "scale": self.scale,
        }
