"""Heads: layers on a backbone's hidden states.

Padding never decides anything here: a head that reads one column is told which.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from tfalign.functional.soft_cap import soft_capped
from tfalign.layers import Dropout, activation_function
from tfalign.layers.initializers import Normal
from tfalign.types import Array


class _Head(keras.layers.Layer):
    """A head leaves Keras' mask of padding as it is, so that Keras' losses and metrics see it."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.supports_masking = True


@keras.saving.register_keras_serializable("tfalign")
class CausalLMHead(_Head):
    """LM head: hidden states to logits, with the kernel of the token embedding.

    Args:
        softcap: float, of soft-capped logits (Gemma 2); None for none.

    Call arguments:
        hidden: float[..., W].
        kernel: float[W, V], ``TokenEmbedding.readout_kernel()``.

    Returns:
        float32[..., V].
    """

    def __init__(self, softcap: float | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.softcap = softcap

    def call(self, hidden: Array, kernel: Array) -> Array:
        return soft_capped(ops.cast(ops.matmul(hidden, kernel), "float32"), self.softcap)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"softcap": self.softcap}

    def compute_output_shape(
        self, hidden_shape: tuple[int | None, ...], kernel_shape: tuple[int | None, ...]
    ) -> tuple[int | None, ...]:
        return (*hidden_shape[:-1], kernel_shape[-1])


@keras.saving.register_keras_serializable("tfalign")
class MaskedLMHead(_Head):
    """BERT's masked-LM transform: dense, activation, LayerNorm, LM head and bias
    (Devlin et al. 2019, appendix A.2).

    Args:
        vocab_size: int, V.
        activation: as in ``layers.FeedForward``.
        norm_epsilon: float.
        initializer_range: float.

    Call arguments:
        hidden: float[..., W]; only masked positions need to be given.
        kernel: float[W, V], the token embedding's LM head.

    Returns:
        float32[..., V].
    """

    def __init__(
        self,
        vocab_size: int,
        activation: str = "gelu",
        norm_epsilon: float = 1e-12,
        initializer_range: float = 0.02,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.vocab_size = vocab_size
        self.activation = activation
        self.norm_epsilon = norm_epsilon
        self.initializer_range = initializer_range

    def build(
        self,
        hidden_shape: tuple[int | None, ...],
        kernel_shape: tuple[int | None, ...] | None = None,
    ) -> None:
        self.dense = _dense(self, hidden_shape[-1], self.initializer_range, "dense")
        self.norm = keras.layers.LayerNormalization(
            epsilon=self.norm_epsilon, dtype=self.dtype_policy, name="norm"
        )
        self.bias = self.add_weight(name="bias", shape=(self.vocab_size,), initializer="zeros")
        self.dense.build(hidden_shape)
        self.norm.build(hidden_shape)
        self.built = True

    def call(self, hidden: Array, kernel: Array) -> Array:
        x = self.norm(activation_function(self.activation)(self.dense(hidden)))
        return ops.cast(ops.matmul(x, kernel) + self.bias, "float32")

    def compute_output_shape(
        self, hidden_shape: tuple[int | None, ...], kernel_shape: tuple[int | None, ...]
    ) -> tuple[int | None, ...]:
        return (*hidden_shape[:-1], self.vocab_size)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {
            "vocab_size": self.vocab_size,
            "activation": self.activation,
            "norm_epsilon": self.norm_epsilon,
            "initializer_range": self.initializer_range,
        }


@keras.saving.register_keras_serializable("tfalign")
class ClassifierHead(_Head):
    """Dropout and a linear map to classes: of each token (``TokenClassifierHead``), of a pooled
    vector (``PooledClassifierHead``), or of a pair of sentences (``NextSentenceHead``).

    Args:
        num_classes: int, C.
        dropout: float.
        initializer_range: float.

    Call arguments:
        features: float[..., W].

    Returns:
        float32[..., C], logits.
    """

    def __init__(
        self, num_classes: int, dropout: float = 0.0, initializer_range: float = 0.02, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.num_classes = num_classes
        self.dropout = dropout
        self.initializer_range = initializer_range

    def build(self, features_shape: tuple[int | None, ...]) -> None:
        self.drop = Dropout(self.dropout, dtype=self.dtype_policy)
        self.dense = _dense(self, self.num_classes, self.initializer_range, "dense")
        self.dense.build(features_shape)
        self.built = True

    def call(self, features: Array, training: bool | None = None) -> Array:
        if self.dropout:
            features = self.drop(features, training=training)
        return ops.cast(self.dense(features), "float32")

    def compute_output_shape(
        self, features_shape: tuple[int | None, ...]
    ) -> tuple[int | None, ...]:
        return (*features_shape[:-1], self.num_classes)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {
            "num_classes": self.num_classes,
            "dropout": self.dropout,
            "initializer_range": self.initializer_range,
        }


@keras.saving.register_keras_serializable("tfalign")
class TokenClassifierHead(ClassifierHead):
    """float[B, T, W] -> float32[B, T, C]: a class for every token."""


@keras.saving.register_keras_serializable("tfalign")
class PooledClassifierHead(ClassifierHead):
    """float[B, W] -> float32[B, C]: a class for the pooled sequence."""


@keras.saving.register_keras_serializable("tfalign")
class NextSentenceHead(ClassifierHead):
    """float[B, W] -> float32[B, 2]: does the second segment follow the first
    (Devlin et al. 2019, section 3.1, task 2)? Class 0 is "it follows"."""

    def __init__(self, num_classes: int = 2, **kwargs: Any) -> None:
        super().__init__(num_classes, **kwargs)


@keras.saving.register_keras_serializable("tfalign")
class ValueHead(_Head):
    """Value head: a critic's value of each state; zero at the start (Ziegler et al. 2019, as in
    "The N implementation details of RLHF with PPO").

    Call arguments:
        hidden: float[..., W].

    Returns:
        float32[...].
    """

    def build(self, hidden_shape: tuple[int | None, ...]) -> None:
        self.dense = keras.layers.Dense(
            1, kernel_initializer="zeros", dtype=self.dtype_policy, name="dense"
        )
        self.dense.build(hidden_shape)
        self.built = True

    def call(self, hidden: Array) -> Array:
        return ops.cast(self.dense(hidden)[..., 0], "float32")

    def compute_output_shape(self, hidden_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return hidden_shape[:-1]


@keras.saving.register_keras_serializable("tfalign")
class ScalarRewardHead(_Head):
    """Reward head: a scalar score of the pooled text, ``GPT.pool`` or ``BERT.pool``.

    The kernel starts as N(0, 1/sqrt(W + 1)), the bias at zero (Stiennon et al. 2020).

    Call arguments:
        features: float[B, W].

    Returns:
        float32[B].
    """

    def build(self, features_shape: tuple[int | None, ...]) -> None:
        start = Normal(stddev=(features_shape[-1] + 1) ** -0.5)
        self.dense = keras.layers.Dense(1, kernel_initializer=start, dtype="float32", name="dense")
        self.dense.build(features_shape)
        self.built = True

    def call(self, features: Array) -> Array:
        return self.dense(features)[:, 0]

    def compute_output_shape(
        self, features_shape: tuple[int | None, ...]
    ) -> tuple[int | None, ...]:
        return features_shape[:1]

    def normalize(self, mean: float, std: float) -> None:
        """Scales and shifts the linear map, so that scores of this mean and deviation become N(0, 1).

        Raises:
            ValueError: if ``std`` is not a positive finite number.
        """
        if not 0 < std < float("inf"):
            raise ValueError(f"Scores must spread to be normalised. Received: std={std}")
        self.dense.kernel.assign(self.dense.kernel / std)
        self.dense.bias.assign((self.dense.bias - mean) / std)


def _dense(layer, units, stddev, name):
    return keras.layers.Dense(
        units,
        kernel_initializer=Normal(stddev=stddev),
        dtype=layer.dtype_policy,
        name=name,
    )
