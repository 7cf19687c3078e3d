"""GPT: a decoder-only Transformer. GPT-2, GPT-3 and Llama are choices in its configuration."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Mapping
from typing import Any

import keras
from keras import ops

from tfalign.functional.masking import document_positions, last_true_index, positions_from_mask
from tfalign.layers import (
    Dropout,
    FeedForward,
    GatedFeedForward,
    LearnedPositions,
    MixtureOfExperts,
    MultiHeadAttention,
    Rotary,
    TokenEmbedding,
    TransformerBlock,
    Visibility,
    normalization,
    run_blocks,
)
from tfalign.layers.routing import added_as_loss
from tfalign.models.gpt_config import GPTConfig
from tfalign.models.huggingface.writing import PretrainedModel
from tfalign.models.keras_use import Exported, with_unused
from tfalign.models.layouts import check_mesh, current_mesh
from tfalign.models.trace import Trace, all_real, trace_blocks
from tfalign.types import Array


@keras.saving.register_keras_serializable("tfalign")
class GPT(PretrainedModel, Exported, keras.Model):
    """The backbone: token ids to hidden states. ``models.CausalLM`` adds the LM head.

    Args:
        config: GPTConfig, or a dict of its fields.

    Call arguments:
        token_ids: int32[B, T].
        padding_mask: bool[B, T], true at real tokens, padding on either side; None for all.
        segment_ids: int32[B, T], documents packed into rows (0 at padding), instead of a
            padding mask; each document starts at position 0 and sees only itself.
        last: int, N, how many of the last columns are wanted, so that the last block need not
            work on the others; None for all T.
        places: int32[M], which of the B * T columns, counted row by row, are wanted, instead of the last.

    Returns:
        float[B, N, W] after the final normalisation, with places float[1, M, W]. Padding columns hold no meaning.
    """

    def __init__(self, config: GPTConfig | Mapping[str, Any], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.config = GPTConfig.from_dict(config) if isinstance(config, dict) else config
        c = self.config
        check_mesh(c, current_mesh())
        self.token_embedding = TokenEmbedding(
            c.vocab_size,
            c.width,
            tied=c.tied,
            initializer_range=c.initializer_range,
            scale=c.width**0.5 if c.scaled_embedding else 1.0,
            dtype=self.dtype_policy,
            name="token_embedding",
        )
        self.position_embedding = None
        if c.rotary_base is None:
            self.position_embedding = LearnedPositions(
                c.max_positions,
                c.width,
                initializer_range=c.initializer_range,
                dtype=self.dtype_policy,
                name="position_embedding",
            )
        rate = c.dropout if c.embedding_dropout is None else c.embedding_dropout
        self.embedding_dropout = Dropout(rate, dtype=self.dtype_policy)
        self.blocks = [self._block(index) for index in range(c.num_layers)]
        self.final_norm = normalization(c.norm, c.norm_epsilon, "final_norm", self.dtype_policy)
        self._build_all()

    def call(
        self,
        token_ids: Array,
        padding_mask: Array | None = None,
        segment_ids: Array | None = None,
        last: int | None = None,
        places: Array | None = None,
        training: bool | None = None,
    ) -> Array:
        embedded = self.token_embedding(token_ids)
        return self.from_embeddings(embedded, padding_mask, segment_ids, last, places, training)

    def from_embeddings(
        self,
        embedded: Array,
        padding_mask: Array | None = None,
        segment_ids: Array | None = None,
        last: int | None = None,
        places: Array | None = None,
        training: bool | None = None,
    ) -> Array:
        """As a call, of float[B, T, W] that stand for the token embeddings."""
        x, masks, positions = self._enter(embedded, padding_mask, segment_ids, training)
        given = {"positions": positions, "training": training}
        arguments = [given | {"attention_mask": mask} for mask in masks]
        arguments[-1:] = [arguments[-1] | {"last": last, "places": places}]
        routes = training and self.config.num_experts is not None
        with added_as_loss(self) if routes else contextlib.nullcontext():
            x = self.final_norm(run_blocks(self.blocks, x, arguments))
        if training and not self.config.tied:
            return with_unused(x, self.token_embedding.kernel)
        return x

    def trace(self, token_ids: Array, padding_mask: Array | None = None) -> Trace:
        """A call with all intermediate states: ``models.Trace``."""
        x, masks, positions = self._enter(self.token_embedding(token_ids), padding_mask)
        return trace_blocks(self.blocks, x, masks, positions)

    def _enter(self, embedded, padding_mask=None, segment_ids=None, training=None):
        """(what the first block gets, a mask for each block, positions)."""
        if segment_ids is not None:
            visible = Visibility.of_documents(segment_ids, causal=True)
            positions = document_positions(segment_ids)
        else:
            padding_mask = all_real(embedded) if padding_mask is None else padding_mask
            positions = positions_from_mask(padding_mask)
            visible = Visibility.of_real(padding_mask, causal=True)
        x = self._placed(embedded, positions)
        if self.embedding_dropout.rate:
            x = self.embedding_dropout(x, training=training)
        return x, self._mask_per_block(visible), positions

    def pool(self, hidden: Array, padding_mask: Array | None = None) -> Array:
        """Pooled representation of the text, the last real token's state: float[B, W].

        Args:
            hidden: float[B, T, W], from a call.
            padding_mask: bool[B, T]; None where the last column is real in every row.
        """
        if padding_mask is None:
            return hidden[:, -1]
        last = last_true_index(padding_mask)
        return ops.take_along_axis(hidden, last[:, None, None], axis=1)[:, 0]

    def new_cache(self, batch_size: int, length: int) -> tuple:
        """Empty key-value caches of ``length`` columns, one a block."""
        return tuple(block.attention.new_cache(batch_size, length) for block in self.blocks)

    def extend(
        self, token_ids: Array, cache: tuple, column: Array | int, visible: Array, positions: Array
    ) -> tuple[Array, tuple]:
        """Hidden states of N further columns, which join the cache.

        Args:
            token_ids: int32[B, N].
            cache: what ``new_cache`` or ``extend`` returned, of L columns.
            column: int32 scalar, where in the cache the first of them goes; or int32[B], for
                each row.
            visible: bool[B, L], true at the real tokens among all columns up to column + N - 1.
            positions: int32[B, N].

        Returns:
            (float[B, N, W], cache).
        """
        embedded = self.token_embedding(token_ids)
        return self.extend_embeddings(embedded, cache, column, visible, positions)

    def extend_embeddings(
        self, embedded: Array, cache: tuple, column: Array | int, visible: Array, positions: Array
    ) -> tuple[Array, tuple]:
        """As ``extend``, of float[B, N, W] that stand for the token embeddings."""
        masks = self._mask_per_block(Visibility.of_real(visible, causal=True, first=column))
        x = self._placed(embedded, positions)
        extended = []
        for block, block_cache, block_mask in zip(self.blocks, cache, masks):
            x, block_cache = block.extend(x, block_cache, column, block_mask, positions)
            extended.append(block_cache)
        return self.final_norm(x), tuple(extended)

    def readout_kernel(self) -> Array:
        """float[W, V], kernel of the LM head."""
        return self.token_embedding.readout_kernel()

    def _placed(self, embedded, positions):
        if self.position_embedding is None:
            return embedded
        return embedded + self.position_embedding(positions)

    def _mask_per_block(self, mask):
        """``mask`` for dense blocks, and ``mask`` within the window for the others."""
        banded = dataclasses.replace(mask, window=self.config.attention_window)
        return [banded if self.config.windows(block) else mask for block in range(len(self.blocks))]

    def _rotary(self, index):
        c = self.config
        if c.rotary_base is None or index in c.unrotated_blocks:
            return None
        if c.local_rotary_base is not None and c.windows(index):
            return Rotary(c.local_rotary_base)
        return Rotary(c.rotary_base, c.rotary_scaling)

    def _norms(self, name):
        """The norms of a sub-layer's input and output, None where there is none."""
        c = self.config
        names = f"{name}_norm", f"{name}_output_norm"
        without = {"input": 1, "output": 0, "both": None}[c.norm_placement]
        return {
            norm: None
            if place == without
            else normalization(c.norm, c.norm_epsilon, norm, self.dtype_policy)
            for place, norm in enumerate(names)
        }

    def _block(self, index):
        c = self.config
        shared = {"dtype": self.dtype_policy, "initializer_range": c.initializer_range}
        shared["output_initializer_range"] = c.initializer_range / (2 * c.num_layers) ** 0.5
        return TransformerBlock(
            self._attention(index, shared),
            feed_forward=self._feed_forward(index, shared),
            **self._norms("attention"),
            **self._norms("feed_forward"),
            dropout=c.dropout,
            dtype=self.dtype_policy,
            name=f"block_{index}",
        )

    def _attention(self, index, shared):
        c = self.config
        return MultiHeadAttention(
            c.num_heads,
            c.num_key_value_heads,
            head_dim=c.head_dim,
            rotary=self._rotary(index),
            head_norm_epsilon=c.norm_epsilon if c.head_norm else None,
            head_norm="rms" if c.norm == "layer" else c.norm,
            score_width=c.query_pre_attention_scalar,
            score_cap=c.attention_softcap,
            use_bias=c.use_bias if c.attention_bias is None else c.attention_bias,
            use_output_bias=c.attention_output_bias,
            dropout=c.dropout if c.attention_dropout is None else c.attention_dropout,
            name="attention",
            **shared,
        )

    def _feed_forward(self, index, shared):
        c = self.config
        if c.num_experts is not None and index not in c.dense_blocks:
            return MixtureOfExperts(
                c.num_experts,
                c.num_experts_per_token,
                c.expert_dim or c.hidden_dim or 4 * c.width,
                activation=c.activation,
                normalize=c.normalized_routing,
                capacity_factor=c.expert_capacity,
                loss_coefficient=c.router_loss,
                name="feed_forward",
                **shared,
            )
        feed_forward = GatedFeedForward if c.gated else FeedForward
        return feed_forward(
            c.hidden_dim or 4 * c.width,
            activation=c.activation,
            use_bias=c.use_bias,
            name="feed_forward",
            **shared,
        )

    def _build_all(self):
        """Weights exist from construction on: every size is in the configuration."""
        shape = (None, None, self.config.width)
        self.token_embedding.build()
        if self.position_embedding is not None:
            self.position_embedding.build()
        for layer in (*self.blocks, self.final_norm):
            layer.build(shape)
        self.built = True

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"config": self.config.to_dict()}
