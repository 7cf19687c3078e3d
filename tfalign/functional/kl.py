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


def full_kl_from(logits: Array, ref_logits: Array, temperature: float | Array = 1.0) -> Array:
    """Exact KL(pi_ref || pi) at each position: ``full_kl`` of the other direction, "forward" where pi_ref is a teacher.

    >>> even, sharp = np.zeros((1, 1, 2)), np.log([[[0.9, 0.1]]])
    >>> np.asarray(full_kl_from(even, sharp)).round(3), np.asarray(full_kl(even, sharp)).round(3)
    (array([[0.368]], dtype=float32), array([[0.511]], dtype=float32))
    """
    return full_kl(ref_logits, logits, temperature)


def full_jsd(
    logits: Array, ref_logits: Array, temperature: float | Array = 1.0, beta: float = 0.5
) -> Array:
    """Exact generalised Jensen-Shannon divergence at each position (Agarwal et al. 2024, "On-policy distillation of
    language models", eq. 2): beta KL(pi_ref || m) + (1 - beta) KL(pi || m) with m = beta pi_ref + (1 - beta) pi.

    Args:
        logits, ref_logits, temperature: as for ``full_kl``; no token is banned.
        beta: float in (0, 1); divided by it, it is near KL(pi_ref || pi) towards 0.

    Returns:
        float32[B, R], nats, never above log 2.

    Raises:
        ValueError: if beta is not between 0 and 1.
    """
    if not 0 < beta < 1:
        raise ValueError(f"beta must be between 0 and 1. Received: beta={beta}")
    log_probs, ref_log_probs = (
        ops.log_softmax(scale_logits(one, temperature), axis=-1) for one in (logits, ref_logits)
    )
    mixture = ops.logaddexp(np.log(beta) + ref_log_probs, np.log1p(-beta) + log_probs)
    of_ref = ops.sum(ops.exp(ref_log_probs) * (ref_log_probs - mixture), axis=-1)
    of_policy = ops.sum(ops.exp(log_probs) * (log_probs - mixture), axis=-1)
    return beta * of_ref + (1 - beta) * of_policy
