"""Classifies the relation of two marked entities, from an encoder's states."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
from keras import ops

from tfalign.applications.knowledge.relation_examples import NUM_KINDS, MarkedTexts
from tfalign.layers import Dropout
from tfalign.models import BERT, BERTConfig, PooledClassifierHead
from tfalign.objectives.classification import class_loss
from tfalign.types import Array, Metrics

_FURTHEST = 40  # tokens from a marker that are told apart
_PIECES = 5  # vectors that the head reads


@keras.saving.register_keras_serializable("tfalign")
class RelationClassifier(keras.Model):
    """A class for the relation of two entities in a text.

    Tokens know how far they are from both entities; n-grams of the encoder's states are added to these; what the head
    reads are the states at the two markers (Soares et al. 2019, section 3.2), and of the text before, between and
    behind them the largest value of each number ("piecewise max pooling", Zeng et al. 2015). An encoder of no blocks
    is the embeddings alone.

    Args:
        backbone: BERT, its configuration, or a dict of its fields; with 4 token types.
        num_classes: C.
        n: tokens of an n-gram, odd.
        dropout: rate on what the head reads.
        token_dropout: rate of tokens whose embeddings are dropped as a whole; of the numbers of all embeddings of a text
            twice as many are.

    Call arguments:
        token_ids, padding_mask, kinds, starts: see ``MarkedTexts``.

    Returns:
        float32[B, C], logits.

    Raises:
        ValueError: if the encoder has other token types, or n is even.

    >>> config = BERTConfig(20, width=8, num_layers=0, num_heads=1, num_token_types=4)
    >>> model = RelationClassifier(config, num_classes=3)
    >>> ids = keras.ops.ones((2, 6), "int32")
    >>> model(ids, padding_mask=ids > 0, kinds=ids, starts=keras.ops.ones((2, 2), "int32")).shape
    TensorShape([2, 3])
    """

    def __init__(
        self,
        backbone: BERT | BERTConfig | Mapping[str, Any],
        num_classes: int,
        n: int = 3,
        dropout: float = 0.5,
        token_dropout: float = 0.1,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.backbone = backbone if isinstance(backbone, BERT) else BERT(backbone)
        config = self.backbone.config
        if config.num_token_types != NUM_KINDS or n % 2 == 0:
            raise ValueError(
                f"An encoder of relations has {NUM_KINDS} token types, and n is odd. Received: "
                f"num_token_types={config.num_token_types}, n={n}"
            )
        self.num_classes, self.n = num_classes, n
        self.dropout, self.token_dropout = dropout, token_dropout
        width = config.width
        self.whole_tokens = Dropout(token_dropout, noise_shape=(None, None, 1))
        self.whole_numbers = Dropout(2 * token_dropout, noise_shape=(None, 1, None))
        self.distances = [
            keras.layers.Embedding(2 * _FURTHEST + 1, width, name=f"distance_{side}")
            for side in ("head", "tail")
        ]
        self.n_grams = keras.layers.Dense(width, activation="gelu", name="n_grams")
        self.head = PooledClassifierHead(num_classes, dropout=dropout, name="head")
        for layer in self.distances:
            layer.build(None)
        self.n_grams.build((None, None, n * width))
        self.head.build((None, _PIECES * width))
        self.built = True

    def call(
        self,
        token_ids: Array,
        padding_mask: Array,
        kinds: Array,
        starts: Array,
        training: bool | None = None,
    ) -> Array:
        embedded = self.backbone.token_embedding(token_ids)
        embedded = self.whole_tokens(embedded, training=training)
        embedded = self.whole_numbers(embedded, training=training)
        columns = ops.arange(token_ids.shape[1], dtype="int32")
        for distance, start in zip(self.distances, ops.unstack(starts, 2, axis=1)):
            away = ops.clip(columns - start[:, None], -_FURTHEST, _FURTHEST)
            embedded = embedded + distance(away + _FURTHEST)
        states = self.backbone.from_embeddings(embedded, padding_mask, kinds, training)
        states = states + self.n_grams(self._windows(states, padding_mask))
        at_markers = ops.take_along_axis(states, starts[..., None], axis=1)
        pieces = self._pieces(states, padding_mask, starts, columns)
        features = ops.concatenate([at_markers[:, 0], at_markers[:, 1], *pieces], axis=-1)
        return self.head(features, training=training)

    def _windows(self, states, padding_mask):
        """float[B, T, n W], of each token the states around it, 0 where there are none."""
        real = ops.where(padding_mask[..., None], states, 0.0)
        around, length = self.n // 2, states.shape[1]
        wide = ops.pad(real, [[0, 0], [around, around], [0, 0]])
        return ops.concatenate([wide[:, i : i + length] for i in range(self.n)], axis=-1)

    def _pieces(self, states, padding_mask, starts, columns):
        """Three of float[B, W]: the largest values before, between and behind the markers; 0 of an empty piece."""
        first, last = ops.min(starts, axis=1)[:, None], ops.max(starts, axis=1)[:, None]
        for piece in (columns < first, (columns >= first) & (columns < last), columns >= last):
            piece = piece & padding_mask
            largest = ops.max(ops.where(piece[..., None], states, -1e9), axis=1)
            yield ops.where(ops.any(piece, axis=1)[:, None], largest, 0.0)

    def get_config(self) -> dict[str, Any]:
        names = ("num_classes", "n", "dropout", "token_dropout")
        return (
            super().get_config()
            | {"backbone": self.backbone.config.to_dict()}
            | {name: getattr(self, name) for name in names}
        )


class RelationClassification:
    """-log p of the relation of every pair."""

    def __call__(
        self, model: RelationClassifier, batch: MarkedTexts, training: bool = True
    ) -> tuple[Array, Array, Metrics]:
        """Sum over pairs.

        Args:
            model: RelationClassifier.
            batch: MarkedTexts.
            training: bool, whether dropout is on.

        Returns:
            (loss_sum float32[], weight float32[], metrics).
        """
        everywhere = ops.ones_like(batch.labels, dtype="bool")[:, None]
        return class_loss(
            _logits(model, batch, training)[:, None], batch.labels[:, None], everywhere
        )


def relation_log_probs(model: RelationClassifier, batch: MarkedTexts) -> Array:
    """float32[B, C], log-probability of every relation of each pair."""
    return ops.log_softmax(_logits(model, batch, False))


def _logits(model, batch, training):
    return model(
        batch.token_ids,
        padding_mask=batch.padding_mask,
        kinds=batch.kinds,
        starts=batch.starts,
        training=training,
    )
