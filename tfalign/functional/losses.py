"""Losses to be minimised, per token or per pair; the caller masks and reduces.

What a loss treats as given (advantages, old log-probs, old values, returns, the reference's
log-probs) gets no gradient here, whether or not the caller has stopped it.
"""

from __future__ import annotations

import numpy as np
from keras import ops

from tfalign.functional.arrays import Array
from tfalign.functional.log_probs import probability_ratio
from tfalign.functional.masking import masked_mean, masked_sum

_ABSENT = -1e30  # a score nothing is chosen with; finite, so that no gradient is NaN


def policy_gradient_loss(log_probs: Array, advantages: Array) -> Array:
    """-A log pi: its gradient is the policy gradient's estimate (Williams 1992, REINFORCE).

    Args:
        log_probs: float32[B, R], current policy, nats.
        advantages: float32[B, R]; no gradient flows.

    Returns:
        float32[B, R]; the caller masks and reduces.
    """
    return -ops.stop_gradient(advantages) * log_probs


def clipped_policy_loss(
    log_probs: Array,
    old_log_probs: Array,
    advantages: Array,
    clip: float | Array,
    clip_high: float | Array | None = None,
) -> Array:
    """Per-token PPO surrogate, to be minimised (Schulman et al. 2017, eq. 7).

    -min(rho A, clip(rho, 1 - clip, 1 + clip_high) A) with rho = pi(token) / pi_old(token), its
    logarithm held at or below MAX_LOG_RATIO.

    Args:
        log_probs: float32[B, R], current policy, nats.
        old_log_probs: float32[B, R], sampling policy; no gradient flows.
        advantages: float32[B, R], whitened over real tokens; no gradient flows.
        clip: float > 0, allowed deviation of the ratio from 1.
        clip_high: float > 0, allowed deviation upwards (DAPO: 0.28); None means clip.

    Returns:
        float32[B, R]; the caller masks and reduces.

    Raises:
        ValueError: if clip or clip_high is a Python number that is not positive.
    """
    return -ops.minimum(*_surrogates(log_probs, old_log_probs, advantages, clip, clip_high))


def truncated_policy_loss(
    log_probs: Array, log_ratios: Array, advantages: Array, cap: float | Array
) -> Array:
    """-min(rho, cap) A log pi, the weight without gradient (CISPO, MiniMax 2025, eq. 4).

    Importance sampling whose weights are truncated (Ionides 2008; IMPALA's rho-bar): rollouts of an
    older policy count by how likely the current one finds them, at most ``cap`` times. Unlike under
    PPO's clip every token keeps a gradient.

    Args:
        log_probs: float32[B, R], current policy, nats.
        log_ratios: float32[B, R], log rho by which each token is weighed, see
            ``functional.importance``; no gradient flows.
        advantages: float32[B, R]; no gradient flows.
        cap: float > 0, largest weight; inf for none.

    Returns:
        float32[B, R]; the caller masks and reduces.

    Raises:
        ValueError: if cap is a Python number that is not positive.
    """
    _check_positive("cap", cap)
    ratios = probability_ratio(ops.stop_gradient(log_ratios), ops.zeros_like(log_ratios))
    return ops.minimum(ratios, cap) * policy_gradient_loss(log_probs, advantages)


def clip_is_active(
    log_probs: Array,
    old_log_probs: Array,
    advantages: Array,
    clip: float | Array,
    clip_high: float | Array | None = None,
) -> Array:
    """Where ``clipped_policy_loss`` is clipped, so that the token gets no gradient.

    Its mean over real tokens is PPO's clip fraction.

    Args:
        log_probs: float32[B, R], current policy, nats.
        old_log_probs: float32[B, R], sampling policy.
        advantages: float32[B, R].
        clip: float > 0, allowed deviation of the ratio from 1.
        clip_high: float > 0, allowed deviation upwards; None means clip.

    Returns:
        bool[B, R].

    Raises:
        ValueError: if clip or clip_high is a Python number that is not positive.
    """
    free, clipped = _surrogates(log_probs, old_log_probs, advantages, clip, clip_high)
    return clipped < free


def clipped_value_loss(
    values: Array, old_values: Array, returns: Array, clip: float | Array
) -> Array:
    """PPO's value loss: half the larger of the squared errors of the value and of the clipped value.

    0.5 max((v - G)**2, (clip(v, v_old - clip, v_old + clip) - G)**2) (Ziegler et al. 2019's code;
    Huang et al. 2024, 'The N implementation details of RLHF with PPO').

    Args:
        values: float32[B, R], current critic.
        old_values: float32[B, R], the critic that sampled; no gradient flows.
        returns: float32[B, R], the critic's targets; no gradient flows.
        clip: float > 0, allowed deviation from the old value, in units of the return.

    Returns:
        float32[B, R]; the caller masks and reduces.

    Raises:
        ValueError: if clip is a Python number that is not positive.
    """
    _check_positive("clip", clip)
    old_values, returns = ops.stop_gradient(old_values), ops.stop_gradient(returns)
    clipped_values = ops.minimum(ops.maximum(values, old_values - clip), old_values + clip)
    squares = ops.square(values - returns)
    return 0.5 * ops.maximum(squares, ops.square(clipped_values - returns))


def bradley_terry_loss(
    chosen_scores: Array, rejected_scores: Array, margin: float | Array = 0.0
) -> Array:
    """-log sigma(chosen - rejected - margin) (Ouyang et al. 2022, eq. 1; margin: Touvron et al.
    2023, eq. 2).

    Args:
        chosen_scores: float32[B], of the preferred response.
        rejected_scores: float32[B], of the other.
        margin: float or float32[B], by how much the preferred one should lead.

    Returns:
        float32[B], nats; the caller reduces.
    """
    return -ops.log_sigmoid(chosen_scores - rejected_scores - margin)


def score_centering_loss(chosen_scores: Array, rejected_scores: Array) -> Array:
    """(chosen + rejected)**2, which holds a reward model's scores around 0.

    The Bradley-Terry loss leaves their level free (Eisenstein et al. 2023, eq. 7). Weigh it with a
    small coefficient.

    Args:
        chosen_scores: float32[B], of the preferred response.
        rejected_scores: float32[B], of the other.

    Returns:
        float32[B]; the caller weighs and reduces.
    """
    return ops.square(chosen_scores + rejected_scores)


def pair_accuracy(chosen_scores: Array, rejected_scores: Array) -> Array:
    """1 where the preferred response scores higher, 0 where lower, one half at a tie.

    Args:
        chosen_scores: float32[B], of the preferred response.
        rejected_scores: float32[B], of the other.

    Returns:
        float32[B].
    """
    return 0.5 * (1.0 + ops.sign(chosen_scores - rejected_scores))


def plackett_luce_loss(scores: Array, present: Array) -> Array:
    """-log probability of a ranking, best first (Plackett 1975; Xia et al. 2008, ListMLE).

    The best is chosen among all with probability softmax(scores), the second among the rest, and so
    on; for two responses it is the Bradley-Terry loss.

    Args:
        scores: float32[B, K], of the responses to a prompt, from the best to the worst.
        present: bool[B, K], false where a prompt has fewer responses.

    Returns:
        float32[B], nats; 0 where fewer than two are present. The caller reduces.
    """
    num = scores.shape[-1]
    not_before = np.tril(np.ones((num, num), "bool")).T  # [i, j]: j is not ranked before i
    among = ops.logical_and(ops.expand_dims(present, -2), not_before)
    left = ops.where(among, ops.expand_dims(scores, -2), _ABSENT)
    return masked_sum(ops.logsumexp(left, axis=-1) - scores, present, axis=-1)


def best_of_k_loss(scores: Array, present: Array) -> Array:
    """-log softmax(scores)[0]: the best is chosen among all (Ziegler et al. 2019, eq. 1).

    Args and returns are those of ``plackett_luce_loss``; only the first one's rank matters. 0 where
    the best is absent.
    """
    among = ops.logsumexp(ops.where(present, scores, _ABSENT), axis=-1)
    return ops.where(present[:, 0], among - scores[:, 0], 0.0)


def all_pairs_loss(scores: Array, present: Array) -> Array:
    """The Bradley-Terry loss in mean over all pairs of a ranking (Ouyang et al. 2022, eq. 1).

    Args and returns are those of ``plackett_luce_loss``.
    """
    higher, lower = ops.expand_dims(scores, -1), ops.expand_dims(scores, -2)
    return masked_mean(bradley_terry_loss(higher, lower), ranked_pairs(present), axis=(-2, -1))


def ranked_pairs(present: Array) -> Array:
    """bool[B, K, K], true where i is ranked above j and both are present, bool[B, K]."""
    num = present.shape[-1]
    above = np.triu(np.ones((num, num), "bool"), 1)
    both = ops.logical_and(ops.expand_dims(present, -1), ops.expand_dims(present, -2))
    return ops.logical_and(both, above)


def binary_loss(logits: Array, labels: Array) -> Array:
    """Binary cross-entropy with logits: -log sigma(logit) of a true label, -log sigma(-logit) of a false one.

    Args:
        logits: float32[...].
        labels: bool[...].

    Returns:
        float32[...], nats; the caller masks and reduces.
    """
    return -ops.log_sigmoid(ops.where(labels, logits, -logits))


def contrastive_loss(scores: Array, excluded: Array | None = None) -> Array:
    """-log p of the own candidate of each row, the one on the diagonal, under a softmax over all candidates (InfoNCE,
    van den Oord et al. 2018, eq. 4, with the other rows' candidates as negatives).

    Args:
        scores: float32[B, D], D >= B; cosines are divided by a temperature before.
        excluded: bool[B, D], candidates that are no negatives of a row; None for none.

    Returns:
        float32[B], nats.
    """
    own = ops.diagonal(scores)
    if excluded is not None:
        others = ops.logical_not(ops.eye(*scores.shape, dtype="bool"))
        scores = ops.where(ops.logical_and(excluded, others), _ABSENT, scores)
    return ops.logsumexp(scores, axis=-1) - own


def _surrogates(log_probs, old_log_probs, advantages, clip, clip_high):
    """(rho A, clip(rho) A), float32[B, R] each."""
    clip_high = clip if clip_high is None else clip_high
    _check_positive("clip", clip)
    _check_positive("clip_high", clip_high)
    advantages = ops.stop_gradient(advantages)
    ratios = probability_ratio(log_probs, ops.stop_gradient(old_log_probs))
    clipped_ratios = ops.minimum(ops.maximum(ratios, 1.0 - clip), 1.0 + clip_high)
    return ratios * advantages, clipped_ratios * advantages


def _check_positive(name, value):
    if isinstance(value, (int, float)) and value <= 0:
        raise ValueError(f"{name} must be positive. Received: {name}={value}")


def smoothed_token_loss(logits: Array, tokens: Array, smoothing: float) -> Array:
    """Per-token cross-entropy against (1 - e) of the token and e of all tokens alike (Szegedy et al.
    2016, section 7; Vaswani et al. 2017, section 5.4): lse(z) - (1 - e) z_token - e mean(z).

    Args:
        logits: float[B, T, V].
        tokens: int32[B, T], in [0, V).
        smoothing: float in [0, 1), e; 0 for -log p of the token.

    Returns:
        float32[B, T], nats.
    """
    logits = ops.cast(logits, "float32")
    chosen = ops.take_along_axis(logits, tokens[..., None], axis=-1)[..., 0]
    aim = (1.0 - smoothing) * chosen + smoothing * ops.mean(logits, axis=-1)
    return ops.logsumexp(logits, axis=-1) - aim
