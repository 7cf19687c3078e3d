"""Next-token prediction: pretraining and supervised fine-tuning."""

from __future__ import annotations

import dataclasses

from keras import ops

from tfalign.functional.masking import masked_sum
from tfalign.models import CausalLM
from tfalign.models.read_out import read_out
from tfalign.types import Array, LanguageModelBatch, Metrics


@dataclasses.dataclass(frozen=True)
class LanguageModelling:
    """-log p of every target token (Radford et al. 2018, eq. 1).

    ``loss_mask`` of the batch says which tokens are targets: all of a document in pretraining,
    those of the completion in fine-tuning.

    Attributes:
        chunk: see ``models.read_out.read_out``.
    """

    chunk: int | None = None

    def __call__(
        self, model: CausalLM, batch: LanguageModelBatch, training: bool = True
    ) -> tuple[Array, Array, Metrics]:
        """Sum over target tokens.

        Args:
            model: CausalLM.
            batch: LanguageModelBatch.
            training: bool, whether dropout is on.

        Returns:
            (loss_sum float32[], weight float32[], metrics); metrics maps a name to a pair
            (sum, weight).
        """
        hidden = model.backbone(batch.token_ids, segment_ids=batch.segment_ids, training=training)
        # columns stay as many as they are, which devices and tiles divide; the last one has no target
        targets, mask = (_next_column(x) for x in (batch.token_ids, batch.loss_mask))
        loss = -masked_sum(self.log_probs(model, hidden, targets, training), mask)
        weight = ops.sum(ops.cast(mask, "float32"))
        real = ops.cast(batch.padding_mask, "float32")
        tokens, rows = ops.sum(real), ops.sum(ops.ones_like(real[:, 0]))
        return loss, weight, {"tokens_per_row": (tokens, rows)}

    def log_probs(self, model: CausalLM, hidden: Array, targets: Array, training: bool) -> Array:
        """Log-probs of targets int32[B, T] from the states before them: float32[B, T]."""
        return read_out(model, hidden, targets, chunk=self.chunk)


def _next_column(x):
    """x[:, 1:] of [B, T], and zeros."""
    return ops.concatenate([x[:, 1:], ops.zeros_like(x[:, :1])], axis=1)
