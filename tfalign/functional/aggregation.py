"""Aggregation of per-token losses: a sum and the weight to divide it by; the GRPO family differs in this.

A pair adds up over micro-batches and replicas before it is divided, so that an update's mean does
not depend on how its batch was cut. Each function takes

    loss: float32[B, R], per token.
    mask: bool[B, R], true at the tokens that count.

and returns (sum float32[], weight float32[]).
"""

from __future__ import annotations

from keras import ops

from tfalign.functional.arrays import Array
from tfalign.functional.masking import masked_mean, masked_sum


def token_mean(loss: Array, mask: Array) -> tuple[Array, Array]:
    """Every token of the batch weighs the same (PPO; DAPO, Yu et al. 2025, eq. 8)."""
    return masked_sum(loss, mask), ops.sum(ops.cast(mask, "float32"))


def sequence_mean(loss: Array, mask: Array) -> tuple[Array, Array]:
    """Every response weighs the same: the mean of its tokens' mean (GRPO, Shao et al. 2024, eq. 3).

    A response without a token adds 0 to the sum and 1 to the weight.
    """
    return ops.sum(masked_mean(loss, mask, axis=1)), ops.cast(mask.shape[0], "float32")


def fixed_length_mean(loss: Array, mask: Array) -> tuple[Array, Array]:
    """Every token weighs 1 / R, however long its response (Dr. GRPO, Liu et al. 2025, section 3.2).

    The other means give the tokens of short responses, or of batches of them, larger steps.
    """
    return masked_sum(loss, mask), ops.cast(mask.shape[0] * mask.shape[1], "float32")


def micro_batch_token_mean(loss: Array, mask: Array) -> tuple[Array, Array]:
    """Every token of the micro-batch weighs the same, and so does every micro-batch.

    TRL's ``bnpo``; ``token_mean`` where a batch is not cut, and the one of these functions whose
    result depends on the cut.
    """
    return masked_mean(loss, mask), ops.ones((), "float32")
