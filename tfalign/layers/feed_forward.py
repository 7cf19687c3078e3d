"""The position-wise feed-forward networks of a Transformer block."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras

from tfalign import backend
from tfalign.layers.initializers import Normal
from tfalign.types import Array, Shape


@keras.saving.register_keras_serializable("tfalign")
class FeedForward(keras.layers.Layer):
    """W -> hidden -> W with an activation between (Vaswani et al. 2017, eq. 2).

    Args:
        hidden_dim: int, the inner width, 4 W in most papers.
        activation: name or callable; "gelu" is the exact form (Hendrycks and Gimpel 2016),
            "gelu_tanh" GPT-2's approximation, "relu" the original Transformer's.
        use_bias: bool.
        initializer_range: float, standard deviation of the kernels.
        output_initializer_range: float, that of the second kernel (GPT-2 scales it down with
            depth); ``initializer_range`` where None.

    Call arguments:
        x: float[B, T, W].

    Returns:
        float[B, T, W].
    """

    def __init__(
        self,
        hidden_dim: int,
        activation: str | Callable[[Array], Array] = "gelu",
        use_bias: bool = True,
        initializer_range: float = 0.02,
        output_initializer_range: float | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.hidden_dim = hidden_dim
        self.activation = activation
        self.use_bias = use_bias
        self.initializer_range = initializer_range
        self.output_initializer_range = output_initializer_range or initializer_range
        self.supports_masking = True

    def build(self, x_shape: Shape) -> None:
        self.inner = self._dense(self.hidden_dim, self.initializer_range, "inner")
        self.outer = self._dense(x_shape[-1], self.output_initializer_range, "outer")
        self.inner.build(x_shape)
        self.outer.build((*x_shape[:-1], self.hidden_dim))
        self._activate = activation_function(self.activation)
        self.built = True

    def call(self, x: Array) -> Array:
        return backend.by_rows(self._network, x)

    def _network(self, x):
        return self.outer(self._activate(self.inner(x)))

    def compute_output_shape(self, x_shape: Shape) -> Shape:
        return x_shape

    def _dense(self, units, stddev, name):
        return keras.layers.Dense(
            units,
            use_bias=self.use_bias,
            kernel_initializer=Normal(stddev=stddev),
            dtype=self.dtype_policy,
            name=name,
        )

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {
            "hidden_dim": self.hidden_dim,
            "activation": self.activation,
            "use_bias": self.use_bias,
            "initializer_range": self.initializer_range,
            "output_initializer_range": self.output_initializer_range,
        }


@keras.saving.register_keras_serializable("tfalign")
class GatedFeedForward(FeedForward):
    """The gated form, outer(activation(gate(x)) * inner(x)); with "silu" it is SwiGLU
    (Shazeer 2020, eq. 6), Llama's choice.

    Arguments and shapes as in ``FeedForward``.
    """

    def __init__(
        self,
        hidden_dim: int,
        activation: str | Callable[[Array], Array] = "silu",
        use_bias: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(hidden_dim, activation=activation, use_bias=use_bias, **kwargs)

    def build(self, x_shape: Shape) -> None:
        self.gate = self._dense(self.hidden_dim, self.initializer_range, "gate")
        self.gate.build(x_shape)
        super().build(x_shape)

    def _network(self, x):
        return self.outer(self._activate(self.gate(x)) * self.inner(x))


def activation_function(activation: str | Callable[[Array], Array]) -> Callable[[Array], Array]:
    """Keras' activations by name, and "gelu_tanh", GPT-2's approximation of "gelu"."""
    if activation == "gelu_tanh":
        return lambda x: keras.ops.gelu(x, approximate=True)
    if activation == "gelu":
        return lambda x: keras.ops.gelu(x, approximate=False)
    return keras.activations.get(activation)
