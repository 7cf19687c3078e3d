"""Log importance ratios of responses that an older policy sampled: log pi - log pi_old.

Of a token, of the rest of its response, or of the whole response; each function takes

    log_probs: float32[B, R], current policy, nats.
    old_log_probs: float32[B, R], sampling policy; no gradient flows.
    mask: bool[B, R], true at the policy's tokens.

and returns float32[B, R], nats.
"""

from __future__ import annotations

from keras import ops

from tfalign.functional.advantages import rewards_to_go
from tfalign.functional.arrays import Array
from tfalign.functional.masking import masked_mean


def token_log_ratio(log_probs: Array, old_log_probs: Array, mask: Array) -> Array:
    """Log-ratio of each token by itself; 0 where masked."""
    return ops.where(mask, log_probs - ops.stop_gradient(old_log_probs), 0.0)


def log_ratio_to_go(log_probs: Array, old_log_probs: Array, mask: Array) -> Array:
    """Log-ratio of a token and all that follow it in its response; 0 where masked.

    Weighed by it a sampled return counts as often as the current policy would have earned it from
    the state before the token (Precup et al. 2000, section 3).
    """
    return rewards_to_go(token_log_ratio(log_probs, old_log_probs, mask), mask)


def sequence_log_ratio(log_probs: Array, old_log_probs: Array, mask: Array) -> Array:
    """Log-ratio of the whole response, mean over its tokens (GSPO, Zheng et al. 2025, eq. 7); the same at
    all of them."""
    log_ratios = log_probs - ops.stop_gradient(old_log_probs)
    means = masked_mean(log_ratios, mask, axis=1)
    return ops.broadcast_to(ops.expand_dims(means, -1), log_probs.shape)
