"""GPT: a decoder-only Transformer. GPT-2, GPT-3 and Llama are choices in its configuration."""

from __future__ import annotations

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
    MultiHeadAttention,
    Rotary,
    TokenEmbedding,
    TransformerBlock,
    Visibility,
    normalization,
    run_blocks,
)
from tfalign.models.config import ModelConfig, preset
from tfalign.models.huggingface.writing import PretrainedModel
from tfalign.models.keras_use import Exported, with_unused
from tfalign.models.layouts import check_mesh, current_mesh
from tfalign.models.trace import Trace, all_real, trace_blocks
from tfalign.types import Array


@dataclasses.dataclass(frozen=True)
class GPTConfig(ModelConfig):
    """The shape of a GPT; the defaults are GPT-2's choices (Radford et al. 2019).

    Attributes:
        vocab_size: V.
        width: W, of the residual stream.
        num_layers: number of blocks.
        num_heads: attention heads.
        num_key_value_heads: key-value heads, fewer for grouped-query attention; None for all.
        head_dim: None for width / num_heads.
        hidden_dim: inner width of the feed-forward network; None for 4 * width.
        max_positions: longest sequence.
        rotary_base: base of rotary positions (Su et al. 2021); None for learned positions.
        rotary_scaling: how rotary positions were stretched, see ``layers.rotary_frequencies``.
        unrotated_blocks: numbers of the blocks that do without positions (NoPE, Yang et al. 2025).
        norm: "layer" or "rms".
        norm_epsilon: added to the variance.
        activation: of the feed-forward network, see ``layers.FeedForward``.
        gated: gated feed-forward (SwiGLU with activation "silu").
        use_bias: biases in projections and feed-forward.
        attention_bias: biases of query, key and value; ``use_bias`` where None.
        attention_output_bias: bias of the attention's output; ``attention_bias`` where None.
        head_norm: RMSNorm of every query and key head, as Qwen3.
        attention_window: some blocks see only this many last tokens; None for dense attention.
        windowed_blocks: numbers of those blocks; None for the odd ones, as GPT-3's locally banded
            layers (Brown et al. 2020, section 2.1).
        tied: LM head with the transposed token embedding.
        dropout: rate on embeddings, attention weights and sub-layer outputs.
        attention_dropout, embedding_dropout: rates of their own there; ``dropout`` where None.
        initializer_range: standard deviation of the kernels; the residual projections' is divided
            by sqrt(2 * num_layers) (Radford et al. 2019, section 2.3).
    """

    vocab_size: int
    width: int
    num_layers: int
    num_heads: int
    num_key_value_heads: int | None = None
    head_dim: int | None = None
    hidden_dim: int | None = None
    max_positions: int = 1024
    rotary_base: float | None = None
    rotary_scaling: Mapping | None = None
    unrotated_blocks: tuple[int, ...] = ()
    norm: str = "layer"
    norm_epsilon: float = 1e-5
    activation: str = "gelu_tanh"
    gated: bool = False
    use_bias: bool = True
    attention_bias: bool | None = None
    attention_output_bias: bool | None = None
    head_norm: bool = False
    attention_window: int | None = None
    windowed_blocks: tuple[int, ...] | None = None
    tied: bool = True
    dropout: float = 0.0
    initializer_range: float = 0.02
    attention_dropout: float | None = None
    embedding_dropout: float | None = None

    @classmethod
    def from_preset(cls, name: str, **changes: Any) -> GPTConfig:
        """A named configuration with some fields changed, such as the vocabulary's size."""
        return preset(PRESETS, name, **changes)


def _llama(vocab_size, width, num_layers, num_heads, num_key_value_heads, hidden_dim, **more):
    return GPTConfig(
        vocab_size,
        width,
        num_layers,
        num_heads,
        num_key_value_heads=num_key_value_heads,
        hidden_dim=hidden_dim,
        **{"rotary_base": 10_000.0, "norm": "rms", "activation": "silu", "gated": True}
        | {"use_bias": False, "tied": False, "max_positions": 2048}
        | more,
    )


PRESETS = {
    # the narrow ones start wider than N(0, 0.02), about 1 / sqrt(width): they learn faster
    "tiny": GPTConfig(512, 64, 2, 2, max_positions=128, initializer_range=0.1),
    "mini": GPTConfig(2_048, 128, 4, 4, max_positions=256, initializer_range=0.08),
    "small": GPTConfig(8_192, 256, 8, 4, max_positions=512, initializer_range=0.06),
    "tiny_llama": _llama(512, 64, 2, 4, 2, 172, max_positions=128, initializer_range=0.1),
    "mini_llama": _llama(2_048, 128, 4, 4, 2, 344, max_positions=256, initializer_range=0.08),
    "gpt2": GPTConfig(50_257, 768, 12, 12),
    "gpt2_medium": GPTConfig(50_257, 1_024, 24, 16),
    "gpt2_large": GPTConfig(50_257, 1_280, 36, 20),
    "gpt2_xl": GPTConfig(50_257, 1_600, 48, 25),
}


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
        window = self.config.attention_window
        if window is None:
            return [mask] * len(self.blocks)
        banded = dataclasses.replace(mask, window=window)
        numbers, windowed = range(len(self.blocks)), self.config.windowed_blocks
        windowed = numbers[1::2] if windowed is None else windowed
        return [banded if number in windowed else mask for number in numbers]

    def _rotary(self, index):
        c = self.config
        if c.rotary_base is None or index in c.unrotated_blocks:
            return None
        return Rotary(c.rotary_base, c.rotary_scaling)

    def _block(self, index):
        c = self.config
        shared = {"dtype": self.dtype_policy, "initializer_range": c.initializer_range}
        shared["output_initializer_range"] = c.initializer_range / (2 * c.num_layers) ** 0.5
        feed_forward = GatedFeedForward if c.gated else FeedForward
        return TransformerBlock(
            MultiHeadAttention(
                c.num_heads,
                c.num_key_value_heads,
                head_dim=c.head_dim,
                rotary=self._rotary(index),
                head_norm_epsilon=c.norm_epsilon if c.head_norm else None,
                use_bias=c.use_bias if c.attention_bias is None else c.attention_bias,
                use_output_bias=c.attention_output_bias,
                dropout=c.dropout if c.attention_dropout is None else c.attention_dropout,
                name="attention",
                **shared,
            ),
            normalization(c.norm, c.norm_epsilon, "attention_norm", self.dtype_policy),
            feed_forward(
                c.hidden_dim or 4 * c.width,
                activation=c.activation,
                use_bias=c.use_bias,
                name="feed_forward",
                **shared,
            ),
            normalization(c.norm, c.norm_epsilon, "feed_forward_norm", self.dtype_policy),
            dropout=c.dropout,
            dtype=self.dtype_policy,
            name=f"block_{index}",
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
