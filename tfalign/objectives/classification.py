"""Classification of texts and of their words."""

from __future__ import annotations

from keras import ops

from tfalign.functional.log_probs import token_log_probs
from tfalign.functional.masking import masked_sum
from tfalign.models import SequenceClassifier, TokenClassifier
from tfalign.types import Array, ClassifiedTexts, Metrics, TaggedTexts


class Classification:
    """-log p of the class of every text."""

    def __call__(
        self, model: SequenceClassifier, batch: ClassifiedTexts, training: bool = True
    ) -> tuple[Array, Array, Metrics]:
        """Sum over texts.

        Args:
            model: SequenceClassifier.
            batch: ClassifiedTexts.
            training: bool, whether dropout is on.

        Returns:
            (loss_sum float32[], weight float32[], metrics).
        """
        logits = model(batch.token_ids, padding_mask=batch.padding_mask, training=training)
        everywhere = ops.ones_like(batch.labels, dtype="bool")
        return class_loss(logits[:, None], batch.labels[:, None], everywhere[:, None])


class Tagging:
    """-log p of the tag of every word, at its first token (Devlin et al. 2019, section 5.3)."""

    def __call__(
        self, model: TokenClassifier, batch: TaggedTexts, training: bool = True
    ) -> tuple[Array, Array, Metrics]:
        """Sum over words.

        Args:
            model: TokenClassifier.
            batch: TaggedTexts.
            training: bool, whether dropout is on.

        Returns:
            (loss_sum float32[], weight float32[], metrics).
        """
        logits = model(batch.token_ids, padding_mask=batch.padding_mask, training=training)
        return class_loss(logits, batch.labels, batch.is_word)


def class_loss(logits: Array, labels: Array, mask: Array) -> tuple[Array, Array, Metrics]:
    """Cross-entropy over classes.

    Args:
        logits: float[B, T, C].
        labels: int32[B, T].
        mask: bool[B, T], what counts.

    Returns:
        (loss_sum float32[], weight float32[], {"accuracy": (sum, weight)}).
    """
    weight = ops.sum(ops.cast(mask, "float32"))
    right = ops.equal(ops.argmax(logits, axis=-1), labels)
    loss = -masked_sum(token_log_probs(logits, labels), mask)
    return loss, weight, {"accuracy": (masked_sum(right, mask), weight)}


def class_log_probs(model: SequenceClassifier, batch: ClassifiedTexts) -> Array:
    """float32[B, C], log-probability of every class of each text.

    Args:
        model: SequenceClassifier.
        batch: ClassifiedTexts.
    """
    return ops.log_softmax(model(batch.token_ids, padding_mask=batch.padding_mask))
