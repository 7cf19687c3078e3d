"""Transformer blocks: residual connections around attention and feed-forward sub-layers.

The sub-layers are given, not chosen by name, so that GPT-2's, Llama's and BERT's blocks are one
class.
"""

from __future__ import annotations

import contextlib
import contextvars
from collections.abc import Iterator
from typing import Any

import keras
from keras import ops

from tfalign.layers.attention import KeyValueCache, MultiHeadAttention
from tfalign.layers.dropout import Dropout
from tfalign.layers.experts import MixtureOfExperts
from tfalign.layers.masks import Visibility, of_last, real_keys, with_keys
from tfalign.layers.routing import through
from tfalign.types import Array, Shape

_are_recomputed_whole = contextvars.ContextVar("are_recomputed_whole", default=False)


class ResidualBlock(keras.layers.Layer):
    """Base of the blocks: residual connections, their dropout, and configs of sub-layers.

    Attributes:
        remat: bool, of one block, or set on this class of all: whether the backward pass computes a
            block's states again from its input instead of keeping them (Chen et al. 2016). Costs a
            forward pass more. Not with dropout, an adapter's included, which would drop something else
            the second time.
        scan: bool or None, set on this class: whether a stack of equal blocks is compiled as one block in a
            loop, see ``run_blocks``; None: where it is deep.
    """

    sublayers: tuple[str, ...] = ()
    remat = False
    scan: bool | None = None

    def __init__(self, pre_norm: bool, dropout: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.pre_norm = pre_norm
        self.dropout = dropout
        self.residual_dropout = Dropout(dropout, dtype=self.dtype_policy)
        self.supports_masking = True

    def _build_sublayer(self, name, x_shape, **shapes):
        layer = getattr(self, name)
        if (
            layer is not None and not layer.built
        ):  # Keras builds a restored sub-layer as it restores its config
            layer.build(x_shape, **shapes)

    def _residual(self, x, norm, sublayer, training=None, output_norm=None):
        """x + f(norm(x)) in a pre-norm block, norm(x + f(x)) in a post-norm one.

        In a pre-norm block an output norm is applied to what f returns, and the norm may be None. A sub-layer
        may return the last columns alone; the others end here.
        """
        if self.pre_norm:
            y = sublayer(x if norm is None else norm(x))
            y = self._drop(y if output_norm is None else output_norm(y), training)
            return x[:, -ops.shape(y)[1] :] + y
        y = self._drop(sublayer(x), training)
        return norm(x[:, -ops.shape(y)[1] :] + y)

    def _kept_or_not(self, function, *states, training=None):
        """What a function makes of states that gradients flow to, with ``remat`` in two goes."""
        if not self.remat:
            return function(*states)
        layers = self._flatten_layers(include_self=False)
        dropout = max(x.rate for x in layers if isinstance(x, keras.layers.Dropout))
        if training and dropout:
            raise ValueError(f"remat needs dropout 0. Received: dropout={dropout}")
        if _are_recomputed_whole.get():
            return function(*states)
        return through(keras.remat, function)(*states)

    def _drop(self, x, training):
        return self.residual_dropout(x, training=training) if self.dropout else x

    def compute_output_shape(self, x_shape: Shape, *_: Any, **__: Any) -> Shape:
        return x_shape

    def get_config(self) -> dict[str, Any]:
        layers = {
            name: keras.saving.serialize_keras_object(getattr(self, name))
            for name in self.sublayers
        }
        return super().get_config() | layers | {"pre_norm": self.pre_norm, "dropout": self.dropout}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> ResidualBlock:
        layers = {
            name: keras.saving.deserialize_keras_object(config[name]) for name in cls.sublayers
        }
        return cls(**(config | layers))


@contextlib.contextmanager
def recomputed_whole() -> Iterator[None]:
    """What is called within is recomputed by the caller: a block with ``remat`` need not do it again."""
    token = _are_recomputed_whole.set(True)
    try:
        yield
    finally:
        _are_recomputed_whole.reset(token)


@keras.saving.register_keras_serializable("tfalign")
class TransformerBlock(ResidualBlock):
    """Self-attention and a feed-forward network: an encoder's block, or a GPT's under a causal mask.

    Args:
        attention: MultiHeadAttention.
        attention_norm: normalisation layer of the attention's input; None for none.
        feed_forward: FeedForward, GatedFeedForward or MixtureOfExperts.
        feed_forward_norm: that of the feed-forward network's.
        attention_output_norm, feed_forward_output_norm: normalisation layers of what the two return, before it
            is added: beside the others (Gemma 2) or instead of them (OLMo 2); None for none. For pre-norm
            blocks alone.
        pre_norm: bool, normalise each sub-layer's input (GPT-2, Xiong et al. 2020) or, if false,
            its residual sum (the original Transformer, BERT).
        dropout: float, rate on each sub-layer's output.

    Call arguments:
        x: float[B, T, W].
        attention_mask: Visibility, or bool broadcastable to [B, H, T, T]; None for all.
        positions: int32[B, T], used by rotary positions alone.
        last: int, N, how many of the last columns are wanted; None for all. The others are
            attended to and go no further.
        places: int32[M], which of the B * T columns, counted row by row, are wanted, instead of the last; None
            for all.
        mask, x_mask: bool[B, T], Keras' own mask of padding, where x is the only tensor and where it
            is not. Keras fills them in.

    Returns:
        float[B, N, W]; with places float[1, M, W].
    """

    sublayers = (
        "attention",
        "attention_norm",
        "feed_forward",
        "feed_forward_norm",
        "attention_output_norm",
        "feed_forward_output_norm",
    )

    def __init__(
        self,
        attention: MultiHeadAttention,
        attention_norm: keras.layers.Layer | None,
        feed_forward: keras.layers.Layer,
        feed_forward_norm: keras.layers.Layer | None,
        pre_norm: bool = True,
        dropout: float = 0.0,
        attention_output_norm: keras.layers.Layer | None = None,
        feed_forward_output_norm: keras.layers.Layer | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(pre_norm, dropout, **kwargs)
        self.attention_output_norm = attention_output_norm
        self.feed_forward_output_norm = feed_forward_output_norm
        norms = attention_norm, feed_forward_norm, attention_output_norm, feed_forward_output_norm
        if not pre_norm and (None in norms[:2] or norms[2:] != (None, None)):
            raise ValueError(
                "A post-norm block has a norm after each residual sum and no other. Received: "
                f"{[None if norm is None else norm.name for norm in norms]}"
            )
        self.attention = attention
        self.attention_norm = attention_norm
        self.feed_forward = feed_forward
        self.feed_forward_norm = feed_forward_norm

    def build(
        self,
        x_shape: Shape,
        attention_mask_shape: Shape | None = None,
        positions_shape: Shape | None = None,
    ) -> None:
        for name in self.sublayers:
            self._build_sublayer(name, x_shape)
        self.built = True

    def call(
        self,
        x: Array,
        attention_mask: Visibility | Array | None = None,
        positions: Array | None = None,
        last: int | None = None,
        places: Array | None = None,
        training: bool | None = None,
        mask: Array | None = None,
        x_mask: Array | None = None,
    ) -> Array:
        mask = with_keys(attention_mask, mask, x_mask)
        real = real_keys(mask)
        mask = mask if last is None else of_last(mask, ops.shape(x)[1], last)

        def attend(h):
            queries = h if last is None else h[:, -last:]
            return self.attention(
                queries, attention_mask=mask, positions=positions, context=h, training=training
            )

        def block(x):
            x = self._attended(x, attend, training)
            if places is not None:
                x = ops.take(ops.reshape(x, (-1, ops.shape(x)[-1])), places, axis=0)[None]
            return self._fed_forward(x, self._real(real, last, places), training)

        return self._kept_or_not(block, x, training=training)

    def extend(
        self,
        x: Array,
        cache: KeyValueCache,
        column: int | Array,
        mask: Visibility | Array,
        positions: Array | None = None,
    ) -> tuple[Array, KeyValueCache]:
        """The block on N further columns, as ``MultiHeadAttention.extend``: (x, cache)."""

        def attend(h):
            nonlocal cache
            y, cache = self.attention.extend(h, cache, column, mask, positions)
            return y

        x = self._attended(x, attend)
        return self._fed_forward(x), cache

    def _attended(self, x, attend, training=None):
        norms = self.attention_norm, self.attention_output_norm
        return self._residual(x, norms[0], attend, training, norms[1])

    def _fed_forward(self, x, real=None, training=None):
        def feed(h):
            if not isinstance(self.feed_forward, MixtureOfExperts):
                return self.feed_forward(h)
            return self.feed_forward(h, padding_mask=real, training=training)

        norms = self.feed_forward_norm, self.feed_forward_output_norm
        return self._residual(x, norms[0], feed, training, norms[1])

    def _real(self, real, last, places):
        """Of the real columns those that are wanted."""
        if real is None:
            return None
        if places is not None:
            return ops.take(ops.reshape(real, (-1,)), places, axis=0)[None]
        return real if last is None else real[:, -last:]


@keras.saving.register_keras_serializable("tfalign")
class CrossAttentionBlock(ResidualBlock):
    """A decoder block: causal self-attention, attention to an encoder's output, feed-forward
    (Vaswani et al. 2017, figure 1, right).

    Arguments as in ``TransformerBlock``, with ``cross_attention`` and its norm between the two.

    Call arguments:
        x: float[B, T, W].
        context: float[B, S, W], the encoder's output.
        attention_mask: Visibility, or bool broadcastable to [B, H, T, T], for the self-attention.
        context_mask: Visibility, or bool broadcastable to [B, H, T, S], or bool[B, S]: Keras fills in its own
            mask of the context's padding, as it does x_mask, bool[B, T], that of x.

    Returns:
        float[B, T, W].
    """

    sublayers = (
        "attention",
        "attention_norm",
        "cross_attention",
        "cross_attention_norm",
        "feed_forward",
        "feed_forward_norm",
    )

    def __init__(
        self,
        attention: MultiHeadAttention,
        attention_norm: keras.layers.Layer,
        cross_attention: MultiHeadAttention,
        cross_attention_norm: keras.layers.Layer,
        feed_forward: keras.layers.Layer,
        feed_forward_norm: keras.layers.Layer,
        pre_norm: bool = True,
        dropout: float = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(pre_norm, dropout, **kwargs)
        self.attention = attention
        self.attention_norm = attention_norm
        self.cross_attention = cross_attention
        self.cross_attention_norm = cross_attention_norm
        self.feed_forward = feed_forward
        self.feed_forward_norm = feed_forward_norm

    def build(
        self,
        x_shape: Shape,
        context_shape: Shape | None = None,
        attention_mask_shape: Shape | None = None,
        context_mask_shape: Shape | None = None,
    ) -> None:
        self._build_sublayer("cross_attention", x_shape, context_shape=context_shape or x_shape)
        for name in self.sublayers:
            self._build_sublayer(name, x_shape)
        self.built = True

    def call(
        self,
        x: Array,
        context: Array,
        attention_mask: Visibility | Array | None = None,
        context_mask: Visibility | Array | None = None,
        training: bool | None = None,
        x_mask: Array | None = None,
    ) -> Array:
        attention_mask = with_keys(attention_mask, x_mask)
        if len(getattr(context_mask, "shape", ())) == 2:
            context_mask = with_keys(None, context_mask)

        def attend(h):
            return self.attention(h, attention_mask=attention_mask, training=training)

        def block(x, context):
            def look_up(h):
                return self.cross_attention(
                    h, attention_mask=context_mask, context=context, training=training
                )

            x = self._residual(x, self.attention_norm, attend, training)
            x = self._residual(x, self.cross_attention_norm, look_up, training)
            return self._residual(x, self.feed_forward_norm, self.feed_forward, training)

        return self._kept_or_not(block, x, context, training=training)

    def extend(
        self,
        x: Array,
        cache: KeyValueCache,
        column: int | Array,
        mask: Visibility | Array,
        memory: KeyValueCache,
        context_mask: Visibility | Array | None = None,
    ) -> tuple[Array, KeyValueCache]:
        """The block on N further columns.

        Args:
            x, cache, column, mask: as ``MultiHeadAttention.extend``.
            memory: what ``cross_attention.remember`` made of C contexts. Rows of x that share a
                context, such as the beams of a search, stand side by side: B is a multiple of C.
            context_mask: Visibility of the keys alone, or bool broadcastable to [C, H, 1, S].

        Returns:
            (float[B, N, W], KeyValueCache).
        """

        def attend(h):
            nonlocal cache
            y, cache = self.attention.extend(h, cache, column, mask)
            return y

        def look_up(h):
            contexts, width = ops.shape(memory.keys)[0], ops.shape(h)[-1]
            queries = ops.reshape(h, (contexts, -1, width))  # all that share a context at once
            found = self.cross_attention.look_up(queries, memory, context_mask)
            return ops.reshape(found, ops.shape(h))

        x = self._residual(x, self.attention_norm, attend)
        x = self._residual(x, self.cross_attention_norm, look_up)
        return self._residual(x, self.feed_forward_norm, self.feed_forward), cache
