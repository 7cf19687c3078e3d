"""Sentence embeddings learned from the similarity of sentence pairs."""

from __future__ import annotations

from keras import ops

from tfalign.models import SentenceEncoder
from tfalign.types import Array, Metrics, SimilarTexts


class SentenceSimilarity:
    """(cosine of the two embeddings - similarity)^2 (Reimers and Gurevych 2019, section 3.1)."""

    def __call__(
        self, model: SentenceEncoder, batch: SimilarTexts, training: bool = True
    ) -> tuple[Array, Array, Metrics]:
        """Sum over pairs.

        Args:
            model: SentenceEncoder.
            batch: SimilarTexts.
            training: bool, whether dropout is on.

        Returns:
            (loss_sum float32[], weight float32[], metrics).
        """
        cosines = cosine_of_pairs(model, batch, training)
        loss = ops.sum(ops.square(cosines - batch.similarity))
        return loss, ops.cast(ops.shape(cosines)[0], "float32"), {}


def cosine_of_pairs(model: SentenceEncoder, batch: SimilarTexts, training: bool = False) -> Array:
    """float32[B], from one forward pass over both sides."""
    token_ids = ops.concatenate([batch.first_ids, batch.second_ids], axis=0)
    mask = ops.concatenate([batch.first_mask, batch.second_mask], axis=0)
    first, second = ops.split(model(token_ids, padding_mask=mask, training=training), 2, axis=0)
    return ops.sum(first * second, axis=-1)
