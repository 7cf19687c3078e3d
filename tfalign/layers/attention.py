"""Multi-head attention, with grouped queries and a key-value cache."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

import keras
from keras import ops

from tfalign import backend
from tfalign.layers.dropout import Dropout
from tfalign.layers.initializers import Normal
from tfalign.layers.masks import Visibility, with_keys
from tfalign.layers.normalization import normalization
from tfalign.layers.positions import Rotary
from tfalign.layers.scaled_dot_product import attended, scaled_dot_product_attention
from tfalign.types import Array, Shape


class KeyValueCache(NamedTuple):
    """Key-value cache: keys and values of the columns so far, in buffers of a fixed length."""

    keys: Any  # float[B, G, L, D]
    values: Any  # float[B, G, L, D]


def _written(buffer, column, new):
    """The buffer float[B, G, L, D] with new columns float[B, G, N, D], see ``extend``."""
    if ops.ndim(column) == 0:
        return ops.slice_update(buffer, (0, 0, column, 0), new)
    batch, groups, count, head_dim = ops.shape(new)
    columns = column[:, None, None] + ops.arange(count, dtype="int32")
    zeros = ops.zeros((batch, groups, count), "int32")
    rows = zeros + ops.arange(batch, dtype="int32")[:, None, None]
    heads = zeros + ops.arange(groups, dtype="int32")[:, None]
    places = ops.stack([rows, heads, zeros + columns], axis=-1)
    return ops.scatter_update(
        buffer, ops.reshape(places, (-1, 3)), ops.reshape(new, (-1, head_dim))
    )


@keras.saving.register_keras_serializable("tfalign")
class MultiHeadAttention(keras.layers.Layer):
    """Multi-head attention (Vaswani et al. 2017, section 3.2.2) of a sequence to itself or to another.

    Args:
        num_heads: int, H.
        num_key_value_heads: int, G, dividing H; H where None.
        head_dim: int, D; W / H where None.
        rotary: Rotary, how heads are turned by their positions (or its fields as a mapping); None for no rotation.
        head_norm_epsilon: float, normalisation of every query and key head before its rotation (Henry et
            al. 2020, as in Qwen3); None for none.
        head_norm: its kind, see ``normalization``.
        score_width: float, the root of which scores are divided by; ``head_dim`` where None.
        score_cap: float, soft cap of the scores (Gemma 2); None for none.
        use_bias: bool, of the query, key and value projections.
        use_output_bias: bool, of the output projection; ``use_bias`` where None.
        dropout: float, rate on the attention weights.
        initializer_range: float, standard deviation of the kernels.
        output_initializer_range: float, that of the output kernel; ``initializer_range`` where None.

    Call arguments:
        x: float[B, Q, W].
        attention_mask: Visibility; or bool[B, Q, K], or broadcastable to [B, H, Q, K] as ``layers.masks``
            makes them; None for all.
        positions: int32[B, K], used by rotary positions alone; the queries' are the last Q. 0, 1, ...
            where None.
        context: float[B, K, C], what is attended to; ``x`` where None.
        mask, x_mask, context_mask: bool[B, K], Keras' own masks of padding: of x where it is the only
            tensor, of x, of the context. Keras fills them in, as for its own layers.

    Returns:
        float[B, Q, W].

    Raises:
        ValueError: if the heads do not divide the width or the key-value heads the heads, or a
            rotated head is odd in width.
    """

    def __init__(
        self,
        num_heads: int,
        num_key_value_heads: int | None = None,
        head_dim: int | None = None,
        rotary: Rotary | Mapping[str, Any] | None = None,
        head_norm_epsilon: float | None = None,
        head_norm: str = "rms",
        score_width: float | None = None,
        score_cap: float | None = None,
        use_bias: bool = True,
        use_output_bias: bool | None = None,
        dropout: float = 0.0,
        initializer_range: float = 0.02,
        output_initializer_range: float | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.num_heads = num_heads
        self.num_key_value_heads = num_key_value_heads or num_heads
        self.head_dim = head_dim
        self.rotary = Rotary(**rotary) if isinstance(rotary, Mapping) else rotary
        self.head_norm_epsilon = head_norm_epsilon
        self.head_norm = head_norm
        self.score_width = score_width
        self.score_cap = score_cap
        self.use_bias = use_bias
        self.use_output_bias = use_bias if use_output_bias is None else use_output_bias
        self.dropout = dropout
        self.initializer_range = initializer_range
        self.output_initializer_range = output_initializer_range or initializer_range
        self.supports_masking = True
        if num_heads % self.num_key_value_heads:
            raise ValueError(
                "num_heads must be a multiple of num_key_value_heads. Received: "
                f"num_heads={num_heads}, num_key_value_heads={self.num_key_value_heads}"
            )

    def build(
        self,
        x_shape: Shape,
        attention_mask_shape: Shape | None = None,
        positions_shape: Shape | None = None,
        context_shape: Shape | None = None,
    ) -> None:
        width = x_shape[-1]
        if self.head_dim is None and width % self.num_heads:
            raise ValueError(
                "The width must be a multiple of num_heads. Received: "
                f"width={width}, num_heads={self.num_heads}"
            )
        self.head_dim = self.head_dim or width // self.num_heads
        if self.rotary is not None:
            self.rotary.check(self.head_dim)
        context_shape = context_shape or x_shape
        heads_width = self.num_heads * self.head_dim
        groups_width = self.num_key_value_heads * self.head_dim
        self.query = self._dense(heads_width, "query")
        self.key = self._dense(groups_width, "key")
        self.value = self._dense(groups_width, "value")
        self.output_projection = keras.layers.Dense(
            width,
            use_bias=self.use_output_bias,
            kernel_initializer=Normal(stddev=self.output_initializer_range),
            dtype=self.dtype_policy,
            name="output",
        )
        self.query.build(x_shape)
        self.key.build(context_shape)
        self.value.build(context_shape)
        self.output_projection.build((*x_shape[:-1], heads_width))
        self.query_norm, self.key_norm = self._head_norm("query_norm"), self._head_norm("key_norm")
        self.weights_dropout = Dropout(self.dropout, dtype=self.dtype_policy)
        self.built = True

    def call(
        self,
        x: Array,
        attention_mask: Visibility | Array | None = None,
        positions: Array | None = None,
        context: Array | None = None,
        training: bool | None = None,
        mask: Array | None = None,
        x_mask: Array | None = None,
        context_mask: Array | None = None,
    ) -> Array:
        queries, memory = self._queries_and_memory(x, positions, context)
        of_keys = (mask, x_mask) if context is None else (context_mask,)
        return self._attend(queries, memory, with_keys(attention_mask, *of_keys), training)

    def attention_weights(
        self,
        x: Array,
        attention_mask: Visibility | Array | None = None,
        positions: Array | None = None,
        context: Array | None = None,
    ) -> Array:
        """Attention weights of a call with the same arguments: float32[B, H, Q, K]."""
        queries, memory = self._queries_and_memory(x, positions, context)
        _, weights = scaled_dot_product_attention(queries, *memory, attention_mask, self.score_cap)
        return ops.cast(weights, "float32")

    def remember(self, context: Array, positions: Array | None = None) -> KeyValueCache:
        """Keys and values of a context float[B, K, C], for ``look_up``: a ``KeyValueCache`` of K columns."""
        keys = self._turn(self._split(backend.by_rows(self.key, context)), self.key_norm, positions)
        return KeyValueCache(keys, self._split(backend.by_rows(self.value, context)))

    def look_up(
        self,
        x: Array,
        memory: KeyValueCache,
        mask: Visibility | Array | None,
        positions: Array | None = None,
    ) -> Array:
        """Cross-attention to keys and values from ``remember``.

        Args:
            x: float[B, Q, W].
            memory: KeyValueCache of K columns.
            mask: Visibility, or bool broadcastable to [B, H, Q, K]; None for all.
            positions: int32[B, Q].

        Returns:
            float[B, Q, W].
        """
        return self._attend(self._queries(x, positions), memory, mask)

    def new_cache(self, batch_size: int, length: int) -> KeyValueCache:
        """An empty ``KeyValueCache`` of ``length`` columns."""
        shape = (batch_size, self.num_key_value_heads, length, self.head_dim)
        empty = ops.zeros(shape, self.compute_dtype)
        return KeyValueCache(empty, empty)

    def extend(
        self,
        x: Array,
        cache: KeyValueCache,
        column: int | Array,
        mask: Visibility | Array,
        positions: Array | None = None,
    ) -> tuple[Array, KeyValueCache]:
        """Self-attention of N further columns to all columns so far.

        Args:
            x: float[B, N, W], the new columns.
            cache: KeyValueCache of L columns.
            column: int32 scalar, where in the cache the first of them goes, for every row; or
                int32[B], for each.
            mask: Visibility, or bool broadcastable to [B, H, N, L]; must hide columns at or above
                column + N.
            positions: int32[B, N].

        Returns:
            (float[B, N, W], KeyValueCache).
        """
        new = self.remember(x, positions)
        cache = KeyValueCache(
            _written(cache.keys, column, new.keys), _written(cache.values, column, new.values)
        )
        return self.look_up(x, cache, mask, positions), cache

    def _queries_and_memory(self, x, positions, context):
        if self.rotary is not None and positions is None:
            positions = ops.arange(ops.shape(x if context is None else context)[1])[None]
        query_positions = None if positions is None else positions[:, -ops.shape(x)[1] :]
        memory = self.remember(x if context is None else context, positions)
        return self._queries(x, query_positions), memory

    def _queries(self, x, positions):
        queries = self._turn(
            self._split(backend.by_rows(self.query, x)), self.query_norm, positions
        )
        if self.score_width in (None, self.head_dim):
            return queries
        return queries * (self.head_dim / self.score_width) ** 0.5

    def _attend(self, queries, memory, mask, training=None):
        if self.dropout and training:
            _, weights = scaled_dot_product_attention(queries, *memory, mask, self.score_cap)
            repeats = self.num_heads // self.num_key_value_heads
            values = ops.repeat(memory.values, repeats, axis=1)
            heads = ops.matmul(self.weights_dropout(weights, training=True), values)
        else:
            heads = attended(queries, *memory, mask, self.score_cap)
        batch, _, num_queries, _ = ops.shape(heads)
        joined = ops.reshape(
            ops.transpose(heads, (0, 2, 1, 3)),
            (batch, num_queries, self.num_heads * self.head_dim),
        )
        return backend.by_rows(self.output_projection, joined)

    def _split(self, x):
        """float[B, T, n D] -> float[B, n, T, D]."""
        batch, length, width = ops.shape(x)
        split = ops.reshape(x, (batch, length, width // self.head_dim, self.head_dim))
        return ops.transpose(split, (0, 2, 1, 3))

    def _turn(self, heads, norm, positions):
        """Query or key heads, float[B, n, T, D], normalised and rotated as configured."""
        heads = heads if norm is None else norm(heads)
        return heads if self.rotary is None else self.rotary(heads, positions)

    def _head_norm(self, name):
        if self.head_norm_epsilon is None:
            return None
        norm = normalization(self.head_norm, self.head_norm_epsilon, name, self.dtype_policy)
        norm.build((None, None, None, self.head_dim))
        return norm

    def _dense(self, units, name):
        return keras.layers.Dense(
            units,
            use_bias=self.use_bias,
            kernel_initializer=Normal(stddev=self.initializer_range),
            dtype=self.dtype_policy,
            name=name,
        )

    def compute_output_shape(self, x_shape: Shape, *_: Any, **__: Any) -> Shape:
        return x_shape

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {
            "num_heads": self.num_heads,
            "num_key_value_heads": self.num_key_value_heads,
            "head_dim": self.head_dim,
            "rotary": None if self.rotary is None else dataclasses.asdict(self.rotary),
            "head_norm_epsilon": self.head_norm_epsilon,
            "head_norm": self.head_norm,
            "score_width": self.score_width,
            "score_cap": self.score_cap,
            "use_bias": self.use_bias,
            "use_output_bias": self.use_output_bias,
            "dropout": self.dropout,
            "initializer_range": self.initializer_range,
            "output_initializer_range": self.output_initializer_range,
        }
