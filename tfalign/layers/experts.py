"""Mixtures of experts: feed-forward networks of which each token uses a few (Shazeer et al. 2017)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from tfalign.layers import routing
from tfalign.layers.feed_forward import activation_function
from tfalign.layers.initializers import Normal
from tfalign.types import Array, Shape


@keras.saving.register_keras_serializable("tfalign")
class Experts(keras.layers.Layer):
    """E gated feed-forward networks without biases, see ``GatedFeedForward``, each on rows of its own.

    Args:
        num_experts: int, E.
        hidden_dim: int, F, the inner width of each.
        activation: see ``FeedForward``.
        initializer_range, output_initializer_range: as in ``FeedForward``.

    Call arguments:
        x: float[B, E, C, W].

    Returns:
        float[B, E, C, W].
    """

    def __init__(
        self,
        num_experts: int,
        hidden_dim: int,
        activation: str | Callable[[Array], Array] = "silu",
        initializer_range: float = 0.02,
        output_initializer_range: float | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.num_experts = num_experts
        self.hidden_dim = hidden_dim
        self.activation = activation
        self.initializer_range = initializer_range
        self.output_initializer_range = output_initializer_range or initializer_range

    def build(self, x_shape: Shape) -> None:
        width = x_shape[-1]
        wide = self.num_experts, width, self.hidden_dim
        self.gate = self._kernel("gate", wide, self.initializer_range)
        self.inner = self._kernel("inner", wide, self.initializer_range)
        narrow = self.num_experts, self.hidden_dim, width
        self.outer = self._kernel("outer", narrow, self.output_initializer_range)
        self._activate = activation_function(self.activation)
        self.built = True

    def call(self, x: Array) -> Array:
        gate = ops.einsum("becw,ewf->becf", x, self.gate)
        hidden = self._activate(gate) * ops.einsum("becw,ewf->becf", x, self.inner)
        return ops.einsum("becf,efw->becw", hidden, self.outer)

    def of_all(self, x: Array, weights: Array) -> Array:
        """The weighted sum of what every expert makes of every token: one network E times as wide.

        Args:
            x: float[B, T, W].
            weights: float[B, T, E].

        Returns:
            float[B, T, W].
        """
        gate = ops.einsum("btw,ewf->btef", x, self.gate)
        hidden = self._activate(gate) * ops.einsum("btw,ewf->btef", x, self.inner)
        return ops.einsum("btef,efw->btw", hidden * weights[..., None], self.outer)

    def _kernel(self, name, shape, stddev):
        return self.add_weight(name=name, shape=shape, initializer=Normal(stddev=stddev))

    def compute_output_shape(self, x_shape: Shape) -> Shape:
        return x_shape

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {
            "num_experts": self.num_experts,
            "hidden_dim": self.hidden_dim,
            "activation": self.activation,
            "initializer_range": self.initializer_range,
            "output_initializer_range": self.output_initializer_range,
        }


@keras.saving.register_keras_serializable("tfalign")
class MixtureOfExperts(keras.layers.Layer):
    """A feed-forward network for each token from those that a router chooses: the sum of k experts' outputs, by the
    probabilities the router gives them (Mixtral, Jiang et al. 2024, section 2.1).

    Without a capacity every expert computes every token, E / k times the operations, with weights of 0 for those
    not chosen: exact for any batch, and no more memory traffic where a step's tokens choose all experts anyway.
    With a capacity factor f, and only while training, each expert takes at most ceil(f k N / E) of the N real
    tokens of a row, first choices first, then in their order; the others it drops (GShard, Lepikhin et al. 2021,
    algorithm 1, whose groups are rows here: what is dropped depends on no other row, and not on padding).

    The load-balancing loss is E sum_e f_e P_e, f_e the fraction of a row's tokens that chose expert e (summing to
    k) and P_e the mean of its probability (Fedus et al. 2022, eq. 4 to 6; 1 times k where all are used alike), in
    mean over tokens: a sum over rows, so that replicas and accumulation add up. ``training.Learner`` collects it
    for any objective; elsewhere it is one of Keras' ``losses``.

    Args:
        num_experts: int, E.
        num_experts_per_token: int, k.
        hidden_dim: int, inner width of each expert.
        activation: see ``FeedForward``.
        normalize: bool, whether the weights of a token's experts are scaled to sum to 1.
        capacity_factor: float, f; None for no limit.
        loss_coefficient: float, of the load-balancing loss.
        initializer_range, output_initializer_range: as in ``FeedForward``.

    Call arguments:
        x: float[B, T, W].
        padding_mask: bool[B, T], true at real tokens; None for all.
        training: bool, whether the capacity counts.
        mask, x_mask: bool[B, T], Keras' own mask of padding. Keras fills it in; ``padding_mask`` counts where both
            are there.

    Returns:
        float[B, T, W].

    Raises:
        ValueError: if there are fewer experts than each token uses, or the factor is not positive.

    >>> layer = MixtureOfExperts(num_experts=4, num_experts_per_token=2, hidden_dim=8)
    >>> layer(ops.ones((2, 3, 6))).shape
    (2, 3, 6)
    """

    def __init__(
        self,
        num_experts: int,
        num_experts_per_token: int,
        hidden_dim: int,
        activation: str | Callable[[Array], Array] = "silu",
        normalize: bool = True,
        capacity_factor: float | None = None,
        loss_coefficient: float = 0.001,
        initializer_range: float = 0.02,
        output_initializer_range: float | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if not 1 <= num_experts_per_token <= num_experts:
            raise ValueError(
                "A token uses one expert or more of those there are. Received: "
                f"num_experts_per_token={num_experts_per_token}, num_experts={num_experts}"
            )
        if capacity_factor is not None and not capacity_factor > 0:
            raise ValueError(
                f"A capacity factor must be positive. Received: capacity_factor={capacity_factor}"
            )
        self.num_experts = num_experts
        self.num_experts_per_token = num_experts_per_token
        self.hidden_dim = hidden_dim
        self.activation = activation
        self.normalize = normalize
        self.capacity_factor = capacity_factor
        self.loss_coefficient = loss_coefficient
        self.initializer_range = initializer_range
        self.output_initializer_range = output_initializer_range or initializer_range
        self.supports_masking = True

    def build(self, x_shape: Shape) -> None:
        self.router = keras.layers.Dense(
            self.num_experts,
            use_bias=False,
            kernel_initializer=Normal(stddev=self.initializer_range),
            dtype=self.dtype_policy,
            name="router",
        )
        self.router.build(x_shape)
        self.experts = Experts(
            self.num_experts,
            self.hidden_dim,
            self.activation,
            self.initializer_range,
            self.output_initializer_range,
            dtype=self.dtype_policy,
            name="experts",
        )
        self.experts.build((*x_shape[:-2], self.num_experts, None, x_shape[-1]))
        self.built = True

    def call(
        self,
        x: Array,
        padding_mask: Array | None = None,
        training: bool | None = None,
        mask: Array | None = None,
        x_mask: Array | None = None,
    ) -> Array:
        probabilities = ops.softmax(ops.cast(self.router(x), "float32"), axis=-1)
        weights, chosen = ops.top_k(probabilities, self.num_experts_per_token)
        if self.normalize:
            weights = weights / ops.sum(weights, axis=-1, keepdims=True)
        masks = [m for m in (padding_mask, mask, x_mask) if m is not None]
        real = ops.cast(masks[0], "float32") if masks else ops.ones_like(weights[..., 0])
        is_chosen = ops.one_hot(chosen, self.num_experts, dtype="float32")  # [B, T, k, E]
        kept = real[..., None]
        if training and self.capacity_factor is not None:
            slots, kept = self._slots(is_chosen, real)
            y = self._of_slots(x, weights * kept, slots)
        else:
            spread = ops.sum(is_chosen * weights[..., None], axis=2)
            y = self.experts.of_all(x, ops.cast(spread, self.compute_dtype))
        self._tell(probabilities, is_chosen, real, kept, training)
        return y

    def capacity(self, length: int) -> int:
        """Tokens of a row that an expert has room for, if all of its ``length`` are real: C."""
        share = self.capacity_factor * self.num_experts_per_token * length / self.num_experts
        return min(length, math.ceil(share))

    def _slots(self, is_chosen, real):
        """(int32[B, T, k] from 0 to E C, where each choice goes in the experts' buffers, E C for nowhere; float32[B, T,
        k], 1 where it goes somewhere)."""
        rows, length, count, experts = is_chosen.shape
        room = self.capacity(length)
        in_order = ops.transpose(is_chosen * real[..., None, None], (0, 2, 1, 3))
        in_order = ops.reshape(in_order, (-1, count * length, experts))  # first choices first
        before = ops.cumsum(in_order, axis=1) - in_order
        own = ops.sum(in_order, axis=-1)
        share = self.capacity_factor * count / experts * ops.sum(real, axis=1, keepdims=True)
        place = ops.sum(before * in_order, axis=-1)
        kept = own * ops.cast(place < ops.ceil(share), "float32")
        expert = ops.sum(in_order * ops.arange(experts, dtype="float32"), axis=-1)
        slots = ops.where(kept > 0, expert * room + place, float(experts * room))
        by_token = [
            ops.transpose(ops.reshape(x, (-1, count, length)), (0, 2, 1)) for x in (slots, kept)
        ]
        return ops.cast(by_token[0], "int32"), by_token[1]

    def _of_slots(self, x, weights, slots):
        """What the experts make of the tokens in their buffers, by token: float[B, T, W]."""
        _, length, width = x.shape
        count, room = slots.shape[-1], self.capacity(length)
        places = self.num_experts * room
        flat = ops.reshape(slots, (-1, length * count))
        token_of_slot = self._inverse(flat, count, places, length)
        padded = ops.pad(x, ((0, 0), (0, 1), (0, 0)))  # an empty slot holds zeros
        buffers = ops.take_along_axis(padded, token_of_slot[..., None], axis=1)
        outputs = self.experts(ops.reshape(buffers, (-1, self.num_experts, room, width)))
        outputs = ops.pad(ops.reshape(outputs, (-1, places, width)), ((0, 0), (0, 1), (0, 0)))
        found = ops.take_along_axis(outputs, flat[..., None], axis=1)
        found = ops.reshape(found, (-1, length, count, width))
        return ops.sum(found * ops.cast(weights, self.compute_dtype)[..., None], axis=2)

    def _inverse(self, flat, count, places, length):
        """int32[B, places]: the number of the token in each slot, ``length`` in an empty one."""
        rows = ops.shape(flat)[0]
        row = ops.broadcast_to(ops.arange(rows, dtype="int32")[:, None], ops.shape(flat))
        token = ops.arange(length * count, dtype="int32") // count
        at = ops.reshape(ops.stack([row, flat], axis=-1), (-1, 2))
        tokens = ops.reshape(ops.broadcast_to(token - length, ops.shape(flat)), (-1,))
        return ops.scatter(at, tokens, (rows, places + 1))[:, :places] + length

    def _tell(self, probabilities, is_chosen, real, kept, training):
        """Records the sums of this call, or adds the loss to Keras' while training."""
        if not (routing.is_collecting() or training):
            return
        tokens = ops.sum(real, axis=1)
        counts = ops.sum(is_chosen * real[..., None, None], axis=(1, 2))
        mean = ops.sum(probabilities * real[..., None], axis=1) / ops.maximum(tokens, 1.0)[:, None]
        balance = self.num_experts * ops.sum(ops.stop_gradient(counts) * mean)
        chosen = self.num_experts_per_token * ops.sum(tokens)
        kept = ops.sum(ops.broadcast_to(kept, ops.shape(is_chosen)[:3]))
        sums = routing.RoutingSums(
            self.loss_coefficient * balance, balance, ops.sum(tokens), chosen - kept, chosen
        )
        if routing.is_collecting():
            routing.record(sums)
        else:
            self.add_loss(sums.loss / ops.maximum(sums.tokens, 1.0))

    def compute_output_shape(self, x_shape: Shape, *_: Any, **__: Any) -> Shape:
        return x_shape

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {
            "num_experts": self.num_experts,
            "num_experts_per_token": self.num_experts_per_token,
            "hidden_dim": self.hidden_dim,
            "activation": self.activation,
            "normalize": self.normalize,
            "capacity_factor": self.capacity_factor,
            "loss_coefficient": self.loss_coefficient,
            "initializer_range": self.initializer_range,
            "output_initializer_range": self.output_initializer_range,
        }


def has_experts(model: keras.layers.Layer) -> bool:
    """Whether a built model routes tokens to experts."""
    return any(isinstance(layer, MixtureOfExperts) for layer in model._flatten_layers())
