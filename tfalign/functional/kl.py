"""Per-token Kullback-Leibler divergence of a policy from its reference, KL(pi || pi_ref), nats.

k1, k2 and k3 are Schulman's (2020, 'Approximating KL divergence') estimators from the log-probs of
tokens that pi sampled; k1 and k3 are unbiased, k2 and k3 have less variance and are never negative.
"""

from __future__ import annotations

import numpy as np
from keras import ops

from tfalign.functional.arrays import Array
from tfalign.functional.log_probs import MAX_LOG_RATIO, bounded, scale_logits


def k1(log_probs: Array, ref_log_probs: Array) -> Array:
    """log pi - log pi_ref: unbiased; the KL of the per-token reward.

    Args:
        log_probs: float32[B, R], of tokens the policy sampled, nats.
        ref_log_probs: float32[B, R], of the same tokens under the reference.

    Returns:
        float32[B, R], of either sign.
    """
    return log_probs - ref_log_probs


def k2(log_probs: Array, ref_log_probs: Array) -> Array:
    """(log pi - log pi_ref)**2 / 2: biased; its gradient's mean is that of the KL.

    Args:
        log_probs: float32[B, R], of tokens the policy sampled, nats.
        ref_log_probs: float32[B, R], of the same tokens under the reference.

    Returns:
        float32[B, R], never negative.
    """
    return 0.5 * ops.square(log_probs - ref_log_probs)


def k3(log_probs: Array, ref_log_probs: Array) -> Array:
    """exp(d) - d - 1 with d = log pi_ref - log pi: unbiased (Shao et al. 2024, eq. 4).

    d is held at or below MAX_LOG_RATIO nats, where exp would soon overflow: no gradient there.
    (Held in the exponential alone, d would leave a gradient away from the reference.)

    Args:
        log_probs: float32[B, R], of tokens the policy sampled, nats.
        ref_log_probs: float32[B, R], of the same tokens under the reference.

    Returns:
        float32[B, R], never negative.
    """
    difference = ops.minimum(ref_log_probs - log_probs, MAX_LOG_RATIO)
    return ops.expm1(difference) - difference


def full_kl(logits: Array, ref_logits: Array, temperature: float | Array = 1.0) -> Array:
    """Exact KL divergence at each position, summed over the vocabulary.

    Args:
        logits: float[B, R, V], of the policy; -inf bans a token.
        ref_logits: float[B, R, V], of the reference.
        temperature: float > 0 or float32[], of both.

    Returns:
        float32[B, R]; infinite where the reference bans a token that the policy does not.

    Raises:
        ValueError: if temperature is a Python number that is not positive and finite.
    """
    log_probs = ops.log_softmax(scale_logits(logits, temperature), axis=-1)
    ref_log_probs = ops.log_softmax(scale_logits(ref_logits, temperature), axis=-1)
    ref_log_probs = bounded(ref_log_probs, ref_logits)
    # A token the policy bans adds 0, where the product 0 * -inf would be NaN.
    differences = ops.where(ops.isfinite(log_probs), log_probs - ref_log_probs, 0.0)
    is_infinite = ops.isinf(differences)  # however small the probability it is multiplied with
    terms = ops.exp(log_probs) * ops.where(is_infinite, 0.0, differences)
    return ops.sum(ops.where(is_infinite, np.inf, terms), axis=-1)
