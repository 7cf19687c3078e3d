"""Reward modelling from rankings of several responses."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import keras
from keras import ops

from tfalign.functional.losses import pair_accuracy, plackett_luce_loss, ranked_pairs
from tfalign.functional.masking import masked_sum
from tfalign.types import Array, Metrics, RankedResponses


@dataclasses.dataclass(frozen=True)
class RankedRewardModelling:
    """-log probability of the ranking, in mean over prompts.

    A prompt with fewer than two responses counts nowhere.

    Attributes:
        loss: of ``functional.losses``: ``plackett_luce_loss``, ``best_of_k_loss`` (Ziegler et al.
            2019 choose among four) or ``all_pairs_loss`` (Ouyang et al. 2022 rank four to nine).
    """

    loss: Callable = plackett_luce_loss

    def __call__(
        self, model: keras.Model, batch: RankedResponses, training: bool = True
    ) -> tuple[Array, Array, Metrics]:
        """Sum over prompts.

        Args:
            model: RewardModel.
            batch: RankedResponses.
            training: bool, whether dropout is on.

        Returns:
            (loss_sum float32[], weight float32[], metrics): "accuracy" is the fraction of pairs that
            the scores order as the ranking does, ties one half.
        """
        scores, present = score_ranked(model, batch, training)
        pairs = ranked_pairs(present)
        counts = ops.any(pairs, axis=(-2, -1))
        prompts = ops.sum(ops.cast(counts, "float32"))
        right = pair_accuracy(ops.expand_dims(scores, -1), ops.expand_dims(scores, -2))
        metrics = {"accuracy": (masked_sum(right, pairs), ops.sum(ops.cast(pairs, "float32")))}
        return masked_sum(self.loss(scores, present), counts), prompts, metrics


def score_ranked(
    model: keras.Model, batch: RankedResponses, training: bool = False
) -> tuple[Array, Array]:
    """Scores of all responses from one forward pass: (scores float32[B, K], present bool[B, K])."""
    num_prompts, num_responses, num_columns = batch.token_ids.shape
    token_ids = ops.reshape(batch.token_ids, (num_prompts * num_responses, num_columns))
    mask = ops.reshape(batch.padding_mask, token_ids.shape)
    scores = model(token_ids, padding_mask=mask, training=training)
    present = ops.any(batch.response_mask, axis=-1)
    return ops.reshape(scores, (num_prompts, num_responses)), present
