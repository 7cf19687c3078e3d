"""BERT's pretraining: masked tokens and next-sentence prediction."""

from __future__ import annotations

from keras import ops

from tfalign.functional.log_probs import token_log_probs
from tfalign.functional.masking import masked_sum
from tfalign.models import BERTPretrainer, MaskedLM
from tfalign.objectives.classification import class_loss
from tfalign.types import Array, MaskedTexts, Metrics


class MaskedLanguageModelling:
    """-log p of every masked token (Devlin et al. 2019, section 3.1, task 1); RoBERTa's objective
    (Liu et al. 2019), which leaves the second task out.

    Only the masked columns are read out: M of them meet the vocabulary, not all T.
    """

    def __call__(
        self, model: MaskedLM, batch: MaskedTexts, training: bool = True
    ) -> tuple[Array, Array, Metrics]:
        """Sum over masked tokens.

        Args:
            model: MaskedLM.
            batch: MaskedTexts.
            training: bool, whether dropout is on.

        Returns:
            (loss_sum float32[], weight float32[], metrics).
        """
        logits = read_hidden_columns(model, _states(model, batch, training), batch)
        loss, weight, metrics = class_loss(logits, batch.hidden_ids, batch.is_hidden)
        return loss, weight, {"masked_accuracy": metrics["accuracy"]}


class BERTPretraining:
    """The sum of the mean -log p of the masked tokens and of the mean -log p of "it follows" or not
    (Devlin et al. 2019, appendix A.2).

    A row's second term counts as often as the row has masked tokens, so that sums of
    micro-batches and replicas add up to the whole batch's.
    """

    def __call__(
        self, model: BERTPretrainer, batch: MaskedTexts, training: bool = True
    ) -> tuple[Array, Array, Metrics]:
        """Sum over masked tokens.

        Args:
            model: BERTPretrainer.
            batch: MaskedTexts.
            training: bool, whether dropout is on.

        Returns:
            (loss_sum float32[], weight float32[], metrics).
        """
        states = _states(model, batch, training)
        logits = read_hidden_columns(model, states, batch)
        masked_loss, weight, metrics = class_loss(logits, batch.hidden_ids, batch.is_hidden)
        pooled = model.backbone.pool(states, batch.padding_mask)
        follows = model.next_sentence(pooled, training=training)
        row_losses = -token_log_probs(follows[:, None], batch.is_random[:, None])[:, 0]
        hidden_per_row = ops.sum(ops.cast(batch.is_hidden, "float32"), axis=1)
        right = ops.equal(ops.argmax(follows, axis=-1), batch.is_random)
        rows = ops.sum(ops.ones_like(row_losses))
        return (
            masked_loss + ops.sum(hidden_per_row * row_losses),
            weight,
            {
                "masked_loss": (masked_loss, weight),
                "masked_accuracy": metrics["accuracy"],
                "next_loss": (ops.sum(row_losses), rows),
                "next_accuracy": (masked_sum(right, ops.ones_like(right)), rows),
            },
        )


def read_hidden_columns(model: MaskedLM, states: Array, batch: MaskedTexts) -> Array:
    """float32[B, M, V], logits at the masked positions alone.

    Args:
        model: MaskedLM.
        states: float[B, T, W], of its backbone.
        batch: MaskedTexts.
    """
    chosen = ops.take_along_axis(states, batch.hidden_columns[..., None], axis=1)
    return model.head(chosen, kernel=model.backbone.readout_kernel())


def _states(model, batch, training):
    return model.backbone(
        batch.token_ids,
        padding_mask=batch.padding_mask,
        token_type_ids=batch.token_type_ids,
        training=training,
    )
