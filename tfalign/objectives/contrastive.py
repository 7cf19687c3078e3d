"""Embeddings of texts learned from pairs that belong together, against all that stand beside them in a batch."""

from __future__ import annotations

import dataclasses

from keras import ops

from tfalign.functional.losses import contrastive_loss
from tfalign.models import SentenceEncoder
from tfalign.types import Array, ContrastiveTexts, Metrics


@dataclasses.dataclass(frozen=True)
class Contrastive:
    """-log p(own document | query), a softmax over cosines with all documents of the batch: the other queries'
    documents, and everyone's hard negatives (Karpukhin et al. 2020, section 3.2). A document that says the same as
    the own one, token for token, is no negative.

    Attributes:
        temperature: float > 0, by which cosines are divided (Gao et al. 2021, SimCSE: 0.05).

    Raises:
        ValueError: if the temperature is not positive.
    """

    temperature: float = 0.05

    def __post_init__(self) -> None:
        if not self.temperature > 0:
            raise ValueError(
                f"temperature must be positive. Received: temperature={self.temperature}"
            )

    def __call__(
        self, model: SentenceEncoder, batch: ContrastiveTexts, training: bool = True
    ) -> tuple[Array, Array, Metrics]:
        """Sum over queries.

        Args:
            model: SentenceEncoder.
            batch: ContrastiveTexts.
            training: bool, whether dropout is on.

        Returns:
            (loss_sum float32[], weight float32[], metrics): "accuracy", how often the own document, or one that says
            the same, is the nearest.
        """
        queries, documents = _vectors(model, batch, training)
        scores = ops.matmul(queries, ops.transpose(documents)) / self.temperature
        same = _same_texts(batch, ops.shape(queries)[0])
        count = ops.cast(ops.shape(queries)[0], "float32")
        nearest = ops.argmax(scores, axis=-1)[:, None]
        right = ops.take_along_axis(ops.cast(same, "float32"), nearest, axis=1)
        return ops.sum(self.losses(scores, same)), count, {"accuracy": (ops.sum(right), count)}

    def losses(self, scores: Array, same: Array) -> Array:
        """float32[B], nats, of scores float32[B, D]; ``same`` bool[B, D] is true at the own document's equals."""
        return contrastive_loss(scores, same)


@dataclasses.dataclass(frozen=True)
class SymmetricContrastive(Contrastive):
    """The mean of that and of -log p(own query | document), a softmax over the queries of the batch (Radford et al.
    2021, CLIP, figure 3). Hard negatives belong to no query and count in the first half alone."""

    def losses(self, scores: Array, same: Array) -> Array:
        count = scores.shape[0]
        backwards = contrastive_loss(
            ops.transpose(scores[:, :count]), ops.transpose(same[:, :count])
        )
        return (super().losses(scores, same) + backwards) / 2


def _vectors(model, batch, training):
    """(float32[B, W], float32[D, W]), from one forward pass over both sides."""
    count = batch.query_ids.shape[0]
    token_ids = ops.concatenate([batch.query_ids, batch.document_ids], axis=0)
    mask = ops.concatenate([batch.query_mask, batch.document_mask], axis=0)
    vectors = model(token_ids, padding_mask=mask, training=training)
    return vectors[:count], vectors[count:]


def _same_texts(batch, count):
    """bool[B, D], true where a document has the tokens of the row's own."""
    own, own_mask = batch.document_ids[:count, None], batch.document_mask[:count, None]
    equal = ops.logical_or(batch.document_ids == own, ops.logical_not(own_mask))
    equal = ops.logical_and(equal, batch.document_mask == own_mask)
    return ops.all(equal, axis=-1)
