"""Rewards of the steps of an answer, and of the answer by its steps."""

from __future__ import annotations

from collections.abc import Callable

import keras
from keras import ops

from tfalign import backend
from tfalign.functional.masking import last_true_index, masked_sum
from tfalign.models.tasks import Critic
from tfalign.types import Array


@keras.saving.register_keras_serializable("tfalign")
class ProcessRewardModel(Critic):
    """A GPT trunk with a scalar head at every column (Uesato et al. 2022; Lightman et al. 2023).

    Args:
        backbone: GPT, GPTConfig or a dict of its fields.

    Call arguments:
        token_ids: int32[B, T].
        padding_mask: bool[B, T].

    Returns:
        float32[B, T]; where a step ends, the log-odds that it is right.
    """


def product_of_steps(log_probs: Array, step_ends: Array) -> Array:
    """The probability that all steps are right (Lightman et al. 2023, section 2.6).

    Args:
        log_probs: float32[B, R], that the step which ends at a column is right, nats.
        step_ends: bool[B, R].

    Returns:
        float32[B] in [0, 1].
    """
    return ops.exp(masked_sum(log_probs, step_ends, axis=-1))


def worst_step(log_probs: Array, step_ends: Array) -> Array:
    """The probability that the most doubtful step is right; as ``product_of_steps``."""
    return ops.exp(ops.min(ops.where(step_ends, log_probs, 0.0), axis=-1))


class ProcessReward:
    """A process reward model as a reward function of rollouts, compiled.

    A step ends at a separator, and the last one with the response. A response without a token scores
    1: there is no step to be wrong.

    Args:
        model: ProcessRewardModel.
        separator: int, id of the token that separates steps, see ``data.separator_id``.
        combine: ``product_of_steps``, ``worst_step`` or another function like them.
    """

    def __init__(
        self,
        model: ProcessRewardModel,
        separator: int,
        combine: Callable[[Array, Array], Array] = product_of_steps,
    ) -> None:
        self.model = model

        def score(token_ids, padding_mask, response_mask):
            length = response_mask.shape[1]
            logits = model(token_ids, padding_mask=padding_mask, training=False)[:, -length:]
            separates = ops.equal(token_ids[:, -length:], separator)
            columns = ops.arange(length, dtype="int32")
            is_last = ops.equal(columns, last_true_index(response_mask)[:, None])
            step_ends = ops.logical_and(response_mask, ops.logical_or(separates, is_last))
            return combine(ops.log_sigmoid(logits), step_ends)

        self.compiled = backend.jit_rows(score, model.variables)

    def __call__(self, token_ids: Array, padding_mask: Array, response_mask: Array) -> Array:
        """float32[B] in [0, 1], of int32[B, T] prompts with responses in the last R columns.

        Args:
            token_ids: int32[B, T].
            padding_mask: bool[B, T].
            response_mask: bool[B, R].
        """
        return self.compiled(token_ids, padding_mask, response_mask)
