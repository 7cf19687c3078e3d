"""Next-token prediction: pretraining and supervised fine-tuning."""

from __future__ import annotations

import dataclasses

from keras import ops

from tfalign.functional.log_probs import chunked_token_log_probs, token_log_probs
from tfalign.functional.masking import masked_sum


@dataclasses.dataclass(frozen=True)
class LanguageModelling:
    """-log p of every target token (Radford et al. 2018, eq. 1).

    ``loss_mask`` of the batch says which tokens are targets: all of a document in pretraining,
    those of the completion in fine-tuning.

    Attributes:
        chunk: compute the vocabulary's logits for this many positions at a time, forward and
            backward, so that [B, T, V] never exists; None for all at once.
    """

    chunk: int | None = None

    def __call__(self, model, batch, training=True):
        """Sum over target tokens.

        Args:
            model: CausalLM.
            batch: LanguageModelBatch.
            training: bool, whether dropout is on.

        Returns:
            (loss_sum float32[], weight float32[], metrics); metrics maps a name to a pair
            (sum, weight).
        """
        hidden = model.backbone(batch.token_ids, segment_ids=batch.segment_ids, training=training)[
            :, :-1
        ]
        targets, mask = batch.token_ids[:, 1:], batch.loss_mask[:, 1:]
        if self.chunk is None:
            log_probs = token_log_probs(model.logits(hidden), targets)
        else:
            log_probs, _ = chunked_token_log_probs(
                hidden, model.readout_kernel(), targets, self.chunk
            )
        loss = -masked_sum(log_probs, mask)
        weight = ops.sum(ops.cast(mask, "float32"))
        real = ops.cast(batch.padding_mask, "float32")
        tokens, rows = ops.sum(real), ops.sum(ops.ones_like(real[:, 0]))
        return loss, weight, {"tokens_per_row": (tokens, rows)}
