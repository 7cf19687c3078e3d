"""Process reward modelling: whether each step of an answer is right."""

from __future__ import annotations

import dataclasses

import keras
from keras import ops

from tfalign.functional.losses import binary_loss
from tfalign.functional.masking import masked_sum
from tfalign.types import Array, LabelledSteps, Metrics


@dataclasses.dataclass(frozen=True)
class ProcessRewardModelling:
    """-log probability of each step's label, in mean over steps (Uesato et al. 2022; Lightman et al.
    2023, section 2.6)."""

    def __call__(
        self, model: keras.Model, batch: LabelledSteps, training: bool = True
    ) -> tuple[Array, Array, Metrics]:
        """Sum over steps.

        Args:
            model: ProcessRewardModel.
            batch: LabelledSteps.
            training: bool, whether dropout is on.

        Returns:
            (loss_sum float32[], weight float32[], metrics): "accuracy" is the fraction of steps whose
            logit has the label's sign.
        """
        logits = model(batch.token_ids, padding_mask=batch.padding_mask, training=training)
        steps = ops.sum(ops.cast(batch.step_ends, "float32"))
        right = ops.cast(ops.equal(logits > 0, batch.labels), "float32")
        loss = masked_sum(binary_loss(logits, batch.labels), batch.step_ends)
        return loss, steps, {"accuracy": (masked_sum(right, batch.step_ends), steps)}
