"""The neural probabilistic language model of Bengio et al. 2003."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import keras
from keras import ops

from tfalign.layers import Dropout, TokenEmbedding, columns_at
from tfalign.layers.initializers import Normal
from tfalign.models.config import ModelConfig
from tfalign.models.keras_use import Exported
from tfalign.types import Array


@dataclasses.dataclass(frozen=True)
class NeuralNGramConfig(ModelConfig):
    """The shape of a ``NeuralNGram``.

    Attributes:
        vocab_size: V.
        order: n; the n - 1 tokens before a token predict it.
        embedding_width: E, of a token.
        hidden_width: H, of the layer of tanh units.
        direct: whether the embeddings meet the LM head, too.
        dropout: rate on the hidden layer.
        initializer_range: standard deviation of embeddings and LM head.
    """

    vocab_size: int
    order: int = 5
    embedding_width: int = 64
    hidden_width: int = 256
    direct: bool = False
    dropout: float = 0.0
    initializer_range: float = 0.05

    def __post_init__(self) -> None:
        if self.order < 2:
            raise ValueError(
                f"A neural n-gram needs a token of context. Received: order={self.order}"
            )

    @property
    def context_length(self) -> int:
        return self.order - 1

    @property
    def width(self) -> int:
        """int, of the hidden states: a one, the embeddings if direct, and the tanh units."""
        embeddings = (self.order - 1) * self.embedding_width
        return 1 + self.direct * embeddings + self.hidden_width


@keras.saving.register_keras_serializable("tfalign")
class NeuralNGram(Exported, keras.Model):
    """The backbone of Bengio et al. 2003, eq. 1: with x the embeddings of the last n - 1 tokens side by
    side,

        logits = b + W x + U tanh(d + H x).

    Its hidden state is (1, x, tanh(d + H x)), its LM head kernel (b, W, U): so it is read out as
    every other language model here is. What lies before a row's first token counts as zeros.

    Args:
        config: NeuralNGramConfig, or a dict of its fields.

    Call arguments, output: as ``GPT``; but packed documents see what is before them.
    """

    def __init__(self, config: NeuralNGramConfig | Mapping[str, Any], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if isinstance(config, dict):
            config = NeuralNGramConfig.from_dict(config)
        self.config = c = config
        normal = Normal(stddev=c.initializer_range)
        self.embedding = TokenEmbedding(
            c.vocab_size,
            c.embedding_width,
            initializer_range=c.initializer_range,
            dtype=self.dtype_policy,
            name="embedding",
        )
        self.hidden = keras.layers.Dense(
            c.hidden_width, activation="tanh", dtype=self.dtype_policy, name="hidden"
        )
        self.hidden_dropout = Dropout(c.dropout, dtype=self.dtype_policy)
        self.embedding.build()
        self.hidden.build((None, None, (c.order - 1) * c.embedding_width))
        self.readout = self.add_weight(
            name="readout", shape=(c.vocab_size, c.width), initializer=normal
        )
        self.built = True

    def call(
        self,
        token_ids: Array,
        padding_mask: Array | None = None,
        segment_ids: Array | None = None,
        last: int | None = None,
        training: bool | None = None,
    ) -> Array:
        if segment_ids is not None:
            padding_mask = segment_ids > 0
        embeddings = self._embed(token_ids, padding_mask)
        before = self.new_cache(ops.shape(token_ids)[0], None)
        hidden = self._hidden(ops.concatenate([before, embeddings], axis=1), training)
        return hidden if last is None else hidden[:, -last:]

    def new_cache(self, batch_size: int, length: int) -> Array:
        """The embeddings of the n - 2 tokens before the first: float[B, n - 2, E], zeros."""
        shape = (batch_size, self.config.order - 2, self.config.embedding_width)
        return ops.zeros(shape, self.compute_dtype)

    def extend(
        self, token_ids: Array, cache: Array, column: Array | int, visible: Array, positions: Array
    ) -> tuple[Array, Array]:
        """As ``GPT.extend``, with a cache that holds no more than is seen."""
        count = token_ids.shape[1]
        mask = columns_at(visible, column, count)
        embeddings = ops.concatenate([cache, self._embed(token_ids, mask)], axis=1)
        return self._hidden(embeddings), embeddings[:, count:]

    def readout_kernel(self) -> Array:
        """float[W, V], kernel of the LM head."""
        return ops.cast(ops.transpose(self.readout), self.compute_dtype)

    def _embed(self, token_ids, mask):
        embeddings = self.embedding(token_ids)
        return embeddings if mask is None else ops.where(mask[..., None], embeddings, 0)

    def _hidden(self, embeddings, training=None):
        """float[B, n - 2 + T, E] to float[B, T, W]."""
        contexts = self.config.order - 1
        columns = embeddings.shape[1] - contexts + 1
        x = ops.concatenate(
            [embeddings[:, first : first + columns] for first in range(contexts)], axis=-1
        )
        hidden = self.hidden_dropout(self.hidden(x), training=training)
        direct = [x] if self.config.direct else []
        return ops.concatenate([ops.ones_like(x[..., :1]), *direct, hidden], axis=-1)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"config": self.config.to_dict()}
