"""BERT: a bidirectional Transformer encoder (Devlin et al. 2019)."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import keras
from keras import ops

from tfalign.functional.masking import positions_from_mask
from tfalign.layers import (
    Dropout,
    FeedForward,
    LearnedPositions,
    MultiHeadAttention,
    TokenEmbedding,
    TransformerBlock,
    Visibility,
    normalization,
    run_blocks,
)
from tfalign.layers.initializers import Normal
from tfalign.models.config import ModelConfig, preset
from tfalign.models.huggingface.writing import PretrainedModel
from tfalign.models.keras_use import Exported, with_unused
from tfalign.models.layouts import check_mesh, current_mesh
from tfalign.models.trace import Trace, all_real, trace_blocks
from tfalign.types import Array


@dataclasses.dataclass(frozen=True)
class BERTConfig(ModelConfig):
    """The shape of a BERT; the defaults are the paper's choices.

    Attributes:
        vocab_size: V.
        width: W.
        num_layers: number of blocks.
        num_heads: attention heads.
        hidden_dim: inner width of the feed-forward network; None for 4 * width.
        max_positions: longest sequence.
        num_token_types: kinds of segments (sentence A and sentence B); 0 for none, as DistilBERT.
        activation: of the feed-forward network and the masked-LM head.
        pooler_activation: "tanh", or DistilBERT's "relu".
        norm_epsilon: added to the variance.
        dropout: rate on embeddings, attention weights and sub-layer outputs (0.1 in the paper).
        initializer_range: standard deviation of the kernels.
        attention_dropout: rate on attention weights; ``dropout`` where None.
    """

    vocab_size: int
    width: int
    num_layers: int
    num_heads: int
    hidden_dim: int | None = None
    max_positions: int = 512
    num_token_types: int = 2
    activation: str = "gelu"
    pooler_activation: str = "tanh"
    norm_epsilon: float = 1e-12
    dropout: float = 0.0
    initializer_range: float = 0.02
    attention_dropout: float | None = None

    @classmethod
    def from_preset(cls, name: str, **changes: Any) -> BERTConfig:
        """A named configuration with some fields changed, such as the vocabulary's size."""
        return preset(PRESETS, name, **changes)


PRESETS = {
    "tiny": BERTConfig(512, 64, 2, 2, max_positions=128),
    "mini": BERTConfig(2_048, 128, 4, 4, max_positions=256),
    "small": BERTConfig(30_522, 512, 4, 8),
    "bert_base": BERTConfig(30_522, 768, 12, 12, dropout=0.1),
    "bert_base_chinese": BERTConfig(21_128, 768, 12, 12, dropout=0.1),
    "bert_large": BERTConfig(30_522, 1_024, 24, 16, dropout=0.1),
}


@keras.saving.register_keras_serializable("tfalign")
class BERT(PretrainedModel, Exported, keras.Model):
    """The encoder and its pooler.

    Args:
        config: BERTConfig, or a dict of its fields.

    Call arguments:
        token_ids: int32[B, T].
        padding_mask: bool[B, T], true at real tokens, padding on either side; None for all.
        token_type_ids: int32[B, T], 0 for the first segment, 1 for the second; None for all 0. Not
            looked at by a model without token types.

    Returns:
        float[B, T, W]. Padding columns hold no meaning.
    """

    def __init__(self, config: BERTConfig | Mapping[str, Any], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.config = BERTConfig.from_dict(config) if isinstance(config, dict) else config
        check_mesh(self.config, current_mesh())
        c, shared = self.config, {"dtype": self.dtype_policy}
        shared["initializer_range"] = self.config.initializer_range
        self.token_embedding = TokenEmbedding(
            c.vocab_size, c.width, name="token_embedding", **shared
        )
        self.position_embedding = LearnedPositions(
            c.max_positions, c.width, name="position_embedding", **shared
        )
        self.type_embedding = None
        if c.num_token_types:
            self.type_embedding = TokenEmbedding(
                c.num_token_types, c.width, name="type_embedding", **shared
            )
        self.embedding_norm = normalization(
            "layer", c.norm_epsilon, "embedding_norm", self.dtype_policy
        )
        self.embedding_dropout = Dropout(c.dropout, dtype=self.dtype_policy)
        self.blocks = [self._block(index) for index in range(c.num_layers)]
        self.pooler = keras.layers.Dense(
            c.width,
            activation=c.pooler_activation,
            kernel_initializer=Normal(stddev=c.initializer_range),
            dtype=self.dtype_policy,
            name="pooler",
        )
        self._build_all()

    def call(
        self,
        token_ids: Array,
        padding_mask: Array | None = None,
        token_type_ids: Array | None = None,
        training: bool | None = None,
    ) -> Array:
        embedded = self.token_embedding(token_ids)
        return self.from_embeddings(embedded, padding_mask, token_type_ids, training)

    def from_embeddings(
        self,
        embedded: Array,
        padding_mask: Array | None = None,
        token_type_ids: Array | None = None,
        training: bool | None = None,
    ) -> Array:
        """As a call, of float[B, T, W] that stand for the token embeddings."""
        x, mask = self._enter(embedded, padding_mask, token_type_ids, training)
        given = {"attention_mask": mask, "training": training}
        x = run_blocks(self.blocks, x, [given] * len(self.blocks))
        return with_unused(x, *self.pooler.weights) if training else x

    def trace(
        self,
        token_ids: Array,
        padding_mask: Array | None = None,
        token_type_ids: Array | None = None,
    ) -> Trace:
        """A call with all intermediate states: ``models.Trace``."""
        x, mask = self._enter(self.token_embedding(token_ids), padding_mask, token_type_ids)
        return trace_blocks(self.blocks, x, [mask] * len(self.blocks))

    def _enter(self, embedded, padding_mask=None, token_type_ids=None, training=None):
        """(what the first block gets, the mask of all blocks)."""
        padding_mask = all_real(embedded) if padding_mask is None else padding_mask
        x = embedded + self.position_embedding(positions_from_mask(padding_mask))
        if self.type_embedding is not None:
            first_kind = ops.zeros_like(padding_mask, dtype="int32")
            types = first_kind if token_type_ids is None else token_type_ids
            x = x + self.type_embedding(types)
        x = self.embedding_norm(x)
        if self.config.dropout:
            x = self.embedding_dropout(x, training=training)
        return x, Visibility.of_real(padding_mask)

    def pool(self, hidden: Array, padding_mask: Array | None = None) -> Array:
        """Pooled representation of the text, at the first real token: float[B, W].

        A linear map of its state and an activation (Devlin et al. 2019, tanh).

        Args:
            hidden: float[B, T, W], from a call.
            padding_mask: bool[B, T]; None where the first column is real in every row.
        """
        if padding_mask is None:
            return self.pooler(hidden[:, 0])
        first = ops.argmax(ops.cast(padding_mask, "int32"), axis=1)
        return self.pooler(ops.take_along_axis(hidden, first[:, None, None], axis=1)[:, 0])

    def readout_kernel(self) -> Array:
        """float[W, V], the transposed token embedding."""
        return self.token_embedding.readout_kernel()

    def _block(self, index):
        c = self.config
        shared = {"dtype": self.dtype_policy, "initializer_range": c.initializer_range}
        rate = c.dropout if c.attention_dropout is None else c.attention_dropout
        return TransformerBlock(
            MultiHeadAttention(c.num_heads, dropout=rate, name="attention", **shared),
            normalization("layer", c.norm_epsilon, "attention_norm", self.dtype_policy),
            FeedForward(
                c.hidden_dim or 4 * c.width, activation=c.activation, name="feed_forward", **shared
            ),
            normalization("layer", c.norm_epsilon, "feed_forward_norm", self.dtype_policy),
            pre_norm=False,
            dropout=c.dropout,
            dtype=self.dtype_policy,
            name=f"block_{index}",
        )

    def _build_all(self):
        shape = (None, None, self.config.width)
        for embedding in (self.token_embedding, self.position_embedding, self.type_embedding):
            if embedding is not None:
                embedding.build()
        for layer in (self.embedding_norm, *self.blocks):
            layer.build(shape)
        self.pooler.build((None, self.config.width))
        self.built = True

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"config": self.config.to_dict()}
