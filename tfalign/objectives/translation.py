"""Translation with an encoder-decoder."""

from __future__ import annotations

import dataclasses

from keras import ops

from tfalign.functional.log_probs import token_log_probs
from tfalign.functional.losses import smoothed_token_loss
from tfalign.functional.masking import masked_sum
from tfalign.models import Transformer
from tfalign.types import Array, Metrics, SequencePairs


@dataclasses.dataclass(frozen=True)
class Translation:
    """Cross-entropy of every target token, given the source and the target before it (teacher
    forcing), against targets that are smoothed (Vaswani et al. 2017, section 5.4).

    Attributes:
        label_smoothing: float in [0, 1), fraction of the target that all tokens have alike (0.1 in the
            paper).
    """

    label_smoothing: float = 0.1

    def __post_init__(self) -> None:
        if not 0 <= self.label_smoothing < 1:
            raise ValueError(
                f"label_smoothing must lie in [0, 1). Received: {self.label_smoothing}"
            )

    def __call__(
        self, model: Transformer, batch: SequencePairs, training: bool = True
    ) -> tuple[Array, Array, Metrics]:
        """Sum over target tokens.

        Args:
            model: Transformer.
            batch: SequencePairs.
            training: bool, whether dropout is on.

        Returns:
            (loss_sum float32[], weight float32[], metrics): "nll", -log p without smoothing, and
            "accuracy", how many tokens were the likeliest.
        """
        logits = model(
            batch.source_ids,
            batch.target_ids[:, :-1],
            source_mask=batch.source_mask,
            target_mask=batch.target_mask[:, :-1],
            training=training,
        )
        targets, mask = batch.target_ids[:, 1:], batch.target_mask[:, 1:]
        loss = masked_sum(smoothed_token_loss(logits, targets, self.label_smoothing), mask)
        weight = ops.sum(ops.cast(mask, "float32"))
        right = ops.equal(ops.argmax(logits, axis=-1), targets)
        metrics = {
            "nll": (-masked_sum(token_log_probs(logits, targets), mask), weight),
            "accuracy": (masked_sum(right, mask), weight),
        }
        return loss, weight, metrics
