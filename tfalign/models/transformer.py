"""The encoder-decoder Transformer (Vaswani et al. 2017)."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import keras
from keras import ops

from tfalign.functional.masking import positions_from_mask
from tfalign.layers import (
    CrossAttentionBlock,
    Dropout,
    FeedForward,
    MultiHeadAttention,
    SinusoidalPositions,
    TokenEmbedding,
    TransformerBlock,
    Visibility,
    normalization,
    run_blocks,
)
from tfalign.models.config import ModelConfig, preset
from tfalign.models.keras_use import Exported
from tfalign.models.layouts import check_mesh, current_mesh
from tfalign.types import Array


@dataclasses.dataclass(frozen=True)
class TransformerConfig(ModelConfig):
    """The shape of an encoder-decoder; the defaults are the paper's choices.

    Attributes:
        vocab_size: V, one vocabulary for source and target, embedded by one table, which is
            also the LM head (section 3.4).
        width: W.
        num_layers: blocks in the encoder, and as many in the decoder.
        num_heads: attention heads.
        hidden_dim: inner width of the feed-forward networks; None for 4 * width.
        pre_norm: normalise before the sub-layers instead of after; both stacks then end in a norm.
        activation: of the feed-forward networks.
        norm_epsilon: added to the variance.
        dropout: rate on embeddings, attention weights and sub-layer outputs (0.1 in the paper).
    """

    vocab_size: int
    width: int
    num_layers: int
    num_heads: int
    hidden_dim: int | None = None
    pre_norm: bool = False
    activation: str = "relu"
    norm_epsilon: float = 1e-6
    dropout: float = 0.0

    @classmethod
    def from_preset(cls, name: str, **changes: Any) -> TransformerConfig:
        """A named configuration with some fields changed, such as the vocabulary's size."""
        return preset(PRESETS, name, **changes)


PRESETS = {
    "tiny": TransformerConfig(512, 64, 2, 2),
    "mini": TransformerConfig(2_048, 128, 3, 4),
    "base": TransformerConfig(37_000, 512, 6, 8, dropout=0.1),
    "big": TransformerConfig(37_000, 1_024, 6, 16, dropout=0.3),
}


@keras.saving.register_keras_serializable("tfalign")
class Transformer(Exported, keras.Model):
    """Encoder-decoder Transformer: source and previous target tokens to next-token logits.

    Args:
        config: TransformerConfig, or a dict of its fields.

    Call arguments:
        source_ids: int32[B, S].
        target_ids: int32[B, T], the target shifted right (teacher forcing).
        source_mask: bool[B, S], true at real tokens; None for all.
        target_mask: bool[B, T]; None for all.

    Returns:
        float32[B, T, V].
    """

    def __init__(self, config: TransformerConfig | Mapping[str, Any], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.config = TransformerConfig.from_dict(config) if isinstance(config, dict) else config
        c = self.config
        check_mesh(c, current_mesh())
        self.token_embedding = TokenEmbedding(
            c.vocab_size,
            c.width,
            initializer_range=c.width**-0.5,
            dtype=self.dtype_policy,
            name="token_embedding",
        )
        self.positions = SinusoidalPositions(c.width, dtype=self.dtype_policy, name="positions")
        self.embedding_dropout = Dropout(c.dropout, dtype=self.dtype_policy)
        self.encoder = [self._encoder_block(index) for index in range(c.num_layers)]
        self.decoder = [self._decoder_block(index) for index in range(c.num_layers)]
        self.final_norms = [self._norm("encoder_norm"), self._norm("decoder_norm")]
        self._build_all()

    def call(
        self,
        source_ids: Array,
        target_ids: Array,
        source_mask: Array | None = None,
        target_mask: Array | None = None,
        training: bool | None = None,
    ) -> Array:
        context = self.encode(source_ids, source_mask, training)
        return self.decode(target_ids, context, source_mask, target_mask, training)

    def encode(
        self, source_ids: Array, source_mask: Array | None = None, training: bool | None = None
    ) -> Array:
        """int32[B, S] to float[B, S, W]."""
        source_mask = self._real(source_ids, source_mask)
        x, mask = self._embed(source_ids, source_mask, training), Visibility.of_real(source_mask)
        given = {"attention_mask": mask, "training": training}
        x = run_blocks(self.encoder, x, [given] * len(self.encoder))
        return self.final_norms[0](x) if self.config.pre_norm else x

    def decode(
        self,
        target_ids: Array,
        context: Array,
        source_mask: Array | None = None,
        target_mask: Array | None = None,
        training: bool | None = None,
    ) -> Array:
        """int32[B, T] and an encoded source to float32[B, T, V]."""
        target_mask = self._real(target_ids, target_mask)
        mask = Visibility.of_real(target_mask, causal=True)
        context_mask = None if source_mask is None else Visibility.of_real(source_mask)
        x = self._embed(target_ids, target_mask, training)
        given = {"context": context, "attention_mask": mask, "context_mask": context_mask}
        given |= {"training": training}
        x = run_blocks(self.decoder, x, [given] * len(self.decoder))
        return self.logits(self._decoder_end(x), self.readout_kernel())

    def readout_kernel(self) -> Array:
        """float[W, V], the transposed token embedding."""
        return self.token_embedding.readout_kernel()

    def logits(self, hidden: Array, kernel: Array) -> Array:
        """float[..., W] to float32[..., V]."""
        return ops.cast(ops.matmul(hidden, kernel), "float32")

    def remember(self, context: Array) -> tuple:
        """An encoded source, float[C, S, W], as the decoder's blocks look it up: a KeyValueCache each."""
        return tuple(block.cross_attention.remember(context) for block in self.decoder)

    def new_cache(self, batch_size: int, length: int) -> tuple:
        """Empty key-value caches of ``length`` target columns, one a block of the decoder."""
        return tuple(block.attention.new_cache(batch_size, length) for block in self.decoder)

    def extend(
        self,
        target_ids: Array,
        cache: tuple,
        column: Array | int,
        visible: Array,
        positions: Array,
        memory: tuple,
        source_mask: Array | None = None,
    ) -> tuple[Array, tuple]:
        """The decoder's states at N further target columns, which join the cache.

        Args:
            target_ids: int32[B, N].
            cache, column, visible, positions: as for ``GPT.extend``.
            memory: what ``remember`` returned, of C sources; target rows that share one stand side by
                side, B / C of them.
            source_mask: bool[C, S]; None for all.

        Returns:
            (float[B, N, W], cache).
        """
        mask = Visibility.of_real(visible, causal=True, first=column)
        context_mask = None if source_mask is None else Visibility.of_real(source_mask)
        x = self._scaled(target_ids) + self.positions(positions)
        extended = []
        for block, block_cache, block_memory in zip(self.decoder, cache, memory):
            x, block_cache = block.extend(x, block_cache, column, mask, block_memory, context_mask)
            extended.append(block_cache)
        return self._decoder_end(x), tuple(extended)

    def _decoder_end(self, x):
        return self.final_norms[1](x) if self.config.pre_norm else x

    def _scaled(self, token_ids):
        return self.token_embedding(token_ids) * self.config.width**0.5

    def _embed(self, token_ids, mask, training):
        x = self._scaled(token_ids) + self.positions(positions_from_mask(mask))
        return self.embedding_dropout(x, training=training) if self.config.dropout else x

    def _real(self, token_ids, mask):
        return ops.ones_like(token_ids, dtype="bool") if mask is None else mask

    def _encoder_block(self, index):
        return TransformerBlock(
            self._attention("attention"),
            self._norm("attention_norm"),
            self._feed_forward(),
            self._norm("feed_forward_norm"),
            **self._block_choices(f"encoder_{index}"),
        )

    def _decoder_block(self, index):
        return CrossAttentionBlock(
            self._attention("attention"),
            self._norm("attention_norm"),
            self._attention("cross_attention"),
            self._norm("cross_attention_norm"),
            self._feed_forward(),
            self._norm("feed_forward_norm"),
            **self._block_choices(f"decoder_{index}"),
        )

    def _block_choices(self, name):
        c = self.config
        return {
            "pre_norm": c.pre_norm,
            "dropout": c.dropout,
            "dtype": self.dtype_policy,
            "name": name,
        }

    def _attention(self, name):
        c = self.config
        return MultiHeadAttention(
            c.num_heads,
            dropout=c.dropout,
            initializer_range=c.width**-0.5,
            dtype=self.dtype_policy,
            name=name,
        )

    def _feed_forward(self):
        c = self.config
        return FeedForward(
            c.hidden_dim or 4 * c.width,
            activation=c.activation,
            initializer_range=c.width**-0.5,
            output_initializer_range=(c.hidden_dim or 4 * c.width) ** -0.5,
            dtype=self.dtype_policy,
            name="feed_forward",
        )

    def _norm(self, name):
        return normalization("layer", self.config.norm_epsilon, name, self.dtype_policy)

    def _build_all(self):
        shape = (None, None, self.config.width)
        self.token_embedding.build()
        for layer in (self.positions, *self.encoder, *self.decoder):
            layer.build(shape)
        if self.config.pre_norm:
            for norm in self.final_norms:
                norm.build(shape)
        self.built = True

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"config": self.config.to_dict()}
