"""Reward modelling from preference pairs."""

from __future__ import annotations

import dataclasses

import keras
from keras import ops

from tfalign.functional.losses import (
    bradley_terry_loss,
    pair_accuracy,
    score_centering_loss,
)
from tfalign.types import Array, Metrics, PreferencePairs


@dataclasses.dataclass(frozen=True)
class RewardModelling:
    """-log sigma(chosen - rejected - margin), in mean over pairs (Ouyang et al. 2022, eq. 1).

    Attributes:
        centering: coefficient of (chosen + rejected)^2, which holds the scores around 0
            (Eisenstein et al. 2023 use 0.01).
    """

    centering: float = 0.0

    def __call__(
        self, model: keras.Model, batch: PreferencePairs, training: bool = True
    ) -> tuple[Array, Array, Metrics]:
        """Sum over pairs.

        Args:
            model: RewardModel.
            batch: PreferencePairs.
            training: bool, whether dropout is on.

        Returns:
            (loss_sum float32[], weight float32[], metrics).
        """
        chosen, rejected = score_pairs(model, batch, training)
        loss = bradley_terry_loss(chosen, rejected, batch.margin)
        if self.centering:
            loss = loss + self.centering * score_centering_loss(chosen, rejected)
        pairs = ops.cast(ops.shape(chosen)[0], "float32")
        metrics = {
            "accuracy": (ops.sum(pair_accuracy(chosen, rejected)), pairs),
            "score_gap": (ops.sum(chosen - rejected), pairs),
        }
        return ops.sum(loss), pairs, metrics


def score_pairs(
    model: keras.Model, batch: PreferencePairs, training: bool = False
) -> tuple[Array, Array]:
    """Scores of both sides from one forward pass: (chosen float32[B], rejected float32[B])."""
    token_ids = ops.concatenate([batch.chosen_ids, batch.rejected_ids], axis=0)
    mask = ops.concatenate([batch.chosen_mask, batch.rejected_mask], axis=0)
    return ops.split(model(token_ids, padding_mask=mask, training=training), 2, axis=0)
