"""Rewards, returns and advantages, from per-token values and from groups of completions.

Every recursion here is y_t = x_t + a_t * y_{t+1}; ``reverse_recurrence`` solves it for all tokens
at once. Time runs along the last axis, whose length is R.
"""

from __future__ import annotations

from keras import ops

from tfalign.functional.arrays import Array
from tfalign.functional.log_probs import probability_ratio
from tfalign.functional.magnitude import safe_scale
from tfalign.functional.masking import last_true_index


def reverse_recurrence(x: Array, a: Array) -> Array:
    """Solve y_t = x_t + a_t * y_{t+1} backwards from y_R = 0.

    Hillis and Steele's (1986) scan: after step k each token has gathered the 2**k tokens from
    itself on, so ceil(log2(R)) vector operations suffice. It is differentiable under XLA, which
    loops over tokens are not on TensorFlow, and what lies after a token's last non-zero term
    changes none of its bits.

    Args:
        x: float32[B, R].
        a: float32[B, R], or broadcastable to it.

    Returns:
        float32[B, R], y.
    """
    a = ops.broadcast_to(ops.cast(a, x.dtype), x.shape)
    reach = 1
    while reach < x.shape[-1]:
        x = x + a * _shift_left(x, reach)
        a = a * _shift_left(a, reach)
        reach *= 2
    return x


def place_rewards(
    scores: Array, kl_per_token: Array, mask: Array, kl_coefficient: float | Array
) -> Array:
    """Per-token rewards: the KL penalty everywhere, the score at the last real token.

    r_t = -beta * kl_t + [t is last] * score (Ziegler et al. 2019, section 2; Stiennon et al. 2020).

    Args:
        scores: float32[B], of the reward model.
        kl_per_token: float32[B, R], log pi(token) - log pi_ref(token), nats.
        mask: bool[B, R], true at the response's real tokens.
        kl_coefficient: float or float32[], beta.

    Returns:
        float32[B, R]; 0 where the mask is false. A row without a real token loses its score.
    """
    mask = ops.cast(mask, "bool")
    columns = ops.arange(mask.shape[-1], dtype="int32")
    is_last = columns == ops.expand_dims(last_true_index(mask), -1)
    placed = ops.where(is_last, ops.expand_dims(scores, -1), 0.0)
    return ops.where(mask, placed - kl_coefficient * kl_per_token, 0.0)


def gae(
    rewards: Array, values_with_bootstrap: Array, discounts: Array, gae_lambda: float | Array
) -> Array:
    """Generalised advantage estimates (Schulman et al. 2016, eq. 16).

    A_t = delta_t + discount_t * lambda * A_{t+1}, delta_t = r_t + discount_t * v_{t+1} - v_t.

    Args:
        rewards: float32[B, R], received for leaving state t.
        values_with_bootstrap: float32[B, R + 1], of the states, the one after the last included.
        discounts: float32[B, R], gamma, or 0 where the episode ends.
        gae_lambda: float in [0, 1], or float32[B, R].

    Returns:
        float32[B, R], advantages; add the values to get the critic's targets.
    """
    values, next_values = values_with_bootstrap[:, :-1], values_with_bootstrap[:, 1:]
    temporal_differences = rewards + discounts * next_values - values
    return reverse_recurrence(temporal_differences, discounts * gae_lambda)


def generalized_advantages(
    rewards: Array, values: Array, mask: Array, gamma: float = 1.0, gae_lambda: float = 0.95
) -> tuple[Array, Array]:
    """GAE of responses whose episode ends at their last real token (bootstrap 0 there).

    Args:
        rewards: float32[B, R], per token.
        values: float32[B, R], of the state before each token, by the critic that sampled.
        mask: bool[B, R], true at the policy's tokens; what a user says in between takes no time.
        gamma: float in [0, 1], discount.
        gae_lambda: float in [0, 1].

    Returns:
        (advantages, returns): float32[B, R] each, 0 where the mask is false;
        returns = advantages + values, before any whitening.
    """
    mask = ops.cast(mask, "bool")
    rewards = ops.where(mask, rewards, 0.0)
    values, is_followed = _over_gaps(values, mask)
    advantages = gae(
        rewards,
        ops.pad(values, ((0, 0), (0, 1))),
        ops.where(mask, gamma * is_followed, 1.0),
        ops.where(mask, gae_lambda, 1.0),
    )
    return ops.where(mask, advantages, 0.0), ops.where(mask, advantages + values, 0.0)


def lambda_returns(
    rewards: Array, next_values: Array, discounts: Array, return_lambda: float
) -> Array:
    """TD(lambda) returns (Sutton and Barto 2018, eq. 12.18, in recursive form).

    G_t = r_t + discount_t * ((1 - lambda) * v_{t+1} + lambda * G_{t+1}), with G_R = v_R.

    Args:
        rewards: float32[B, R], received for leaving state t.
        next_values: float32[B, R], of the state after step t; the last one is the bootstrap.
        discounts: float32[B, R], 0 where the episode ends.
        return_lambda: float in [0, 1].

    Returns:
        float32[B, R].
    """
    bootstrap = _at_last_column(next_values[:, -1], next_values.shape[-1])
    blended_values = (1.0 - return_lambda) * next_values + return_lambda * bootstrap
    return reverse_recurrence(rewards + discounts * blended_values, discounts * return_lambda)


def discounted_returns(rewards: Array, discounts: Array, bootstrap: Array) -> Array:
    """G_t = r_t + discount_t * G_{t+1}, with G_R = bootstrap (Sutton and Barto 2018, eq. 3.9).

    Args:
        rewards: float32[B, R], received for leaving state t.
        discounts: float32[B, R], 0 where the episode ends.
        bootstrap: float32[B], value of the state after the last step.

    Returns:
        float32[B, R].
    """
    tail = discounts * _at_last_column(bootstrap, rewards.shape[-1])
    return reverse_recurrence(rewards + tail, discounts)


def rewards_to_go(rewards: Array, mask: Array, gamma: float = 1.0) -> Array:
    """Discounted sum of a token's reward and of those after it, within its response.

    Args:
        rewards: float32[B, R], per token.
        mask: bool[B, R], true at the policy's tokens; what a user says in between takes no time.
        gamma: float in [0, 1], discount.

    Returns:
        float32[B, R], 0 where the mask is false.
    """
    mask = ops.cast(mask, "bool")
    rewards = ops.where(mask, rewards, 0.0)
    discounts = ops.where(mask, gamma, 1.0)
    returns = discounted_returns(rewards, discounts, ops.zeros_like(rewards[:, 0]))
    return ops.where(mask, returns, 0.0)


def soft_overlong_penalty(lengths: Array, max_length: int, buffer: int) -> Array:
    """Soft penalty of overlong responses, added to the reward (DAPO, Yu et al. 2025, eq. 13).

    0 up to max_length - buffer tokens, then linearly down to -1 at max_length.

    Args:
        lengths: float32[B], tokens.
        max_length: int, tokens.
        buffer: int in [1, max_length], tokens.

    Returns:
        float32[B] in [-1, 0].

    Raises:
        ValueError: if buffer is out of its range.
    """
    if not 1 <= buffer <= max_length:
        raise ValueError(f"buffer must lie in [1, {max_length}]. Received: buffer={buffer}")
    return ops.clip((max_length - buffer - lengths) / buffer, -1.0, 0.0)


def vtrace(
    log_probs: Array,
    old_log_probs: Array,
    rewards: Array,
    values_with_bootstrap: Array,
    discounts: Array,
    clip_rho: float | Array = 1.0,
    clip_trace: float | Array = 1.0,
    trace_lambda: float | Array = 1.0,
) -> Array:
    """V-trace corrections of the values, vs_t - v_t (Espeholt et al. 2018, eq. 1, remark 1).

    Args:
        log_probs: float32[B, R], of the taken actions under the target policy, nats.
        old_log_probs: float32[B, R], under the policy that acted.
        rewards: float32[B, R], received for leaving state t.
        values_with_bootstrap: float32[B, R + 1], of the states, the one after the last included.
        discounts: float32[B, R], 0 where the episode ends.
        clip_rho: float > 0, largest weight of a temporal difference (rho-bar).
        clip_trace: float > 0, largest weight of a trace (c-bar).
        trace_lambda: float in [0, 1], multiplies the traces.

    Returns:
        float32[B, R]; add the values to get V-trace's targets.

    Raises:
        ValueError: if clip_rho or clip_trace is a Python number that is not positive.
    """
    _check_clips(clip_rho=clip_rho, clip_trace=clip_trace)
    ratios = probability_ratio(log_probs, old_log_probs)
    values, next_values = values_with_bootstrap[:, :-1], values_with_bootstrap[:, 1:]
    temporal_differences = rewards + discounts * next_values - values
    traces = trace_lambda * ops.minimum(ratios, clip_trace)
    return reverse_recurrence(
        ops.minimum(ratios, clip_rho) * temporal_differences, discounts * traces
    )


def vtrace_of_responses(
    log_probs: Array,
    old_log_probs: Array,
    rewards: Array,
    values: Array,
    mask: Array,
    gamma: float = 1.0,
    clip_rho: float = 1.0,
    clip_trace: float = 1.0,
) -> tuple[Array, Array]:
    """V-trace's targets and advantages of responses that end at their last real token (Espeholt et al.
    2018, section 4.2; bootstrap 0 there).

    Args:
        log_probs: float32[B, R], of the tokens under the target policy, nats.
        old_log_probs: float32[B, R], under the policy that sampled them.
        rewards: float32[B, R], per token.
        values: float32[B, R], of the state before each token.
        mask: bool[B, R], true at the policy's tokens; what a user says in between takes no time.
        gamma: float in [0, 1], discount.
        clip_rho: float > 0, largest weight of a temporal difference and of an advantage.
        clip_trace: float > 0, largest weight of a trace.

    Returns:
        (targets, advantages): float32[B, R] each, 0 where the mask is false; the advantages are
        rho_t (r_t + gamma * target_{t+1} - v_t).

    Raises:
        ValueError: if clip_rho or clip_trace is a Python number that is not positive.
    """
    _check_clips(clip_rho=clip_rho, clip_trace=clip_trace)
    mask = ops.cast(mask, "bool")
    values, is_followed = _over_gaps(values, mask)
    # Ratios in a gap are 1 and its reward 0: only what follows goes through it, at its full weight.
    log_probs, old_log_probs, rewards = (
        ops.where(mask, x, 0.0) for x in (log_probs, old_log_probs, rewards)
    )
    discounts = ops.where(mask, gamma * is_followed, 1.0)
    corrections = vtrace(
        log_probs,
        old_log_probs,
        rewards,
        ops.pad(values, ((0, 0), (0, 1))),
        discounts,
        clip_rho,
        clip_trace,
        ops.where(mask, 1.0, 1.0 / min(clip_trace, 1.0)),
    )
    targets = values + corrections
    weights = ops.minimum(probability_ratio(log_probs, old_log_probs), clip_rho)
    advantages = weights * (rewards + discounts * _shift_left(targets, 1) - values)
    return ops.where(mask, targets, 0.0), ops.where(mask, advantages, 0.0)


def grpo_advantages(scores: Array, group_size: int, epsilon: float = 1e-4) -> Array:
    """Group-relative advantages: rewards less the group's mean, over its standard deviation
    (Shao et al. 2024, section 4.1.2).

    A = (score - mean) / (std + epsilon), std with Bessel's correction. A group of equal scores
    gets exactly 0.

    Args:
        scores: float32[B], the completions of a prompt next to each other.
        group_size: int >= 2, completions of a prompt; divides B.
        epsilon: float, added to the standard deviation.

    Returns:
        float32[B].

    Raises:
        ValueError: if group_size is below 2 or does not divide B.
    """
    deviations, scale = _deviations(scores, group_size)
    variance = ops.sum(ops.square(deviations), axis=-1, keepdims=True) / (group_size - 1)
    return ops.reshape(deviations / (ops.sqrt(variance) + epsilon * scale), (-1,))


def dr_grpo_advantages(scores: Array, group_size: int) -> Array:
    """Group-centred advantages: rewards less the group's mean (Liu et al. 2025, 'Dr. GRPO', section 3.2).

    A group of equal scores gets exactly 0.

    Args:
        scores: float32[B], the completions of a prompt next to each other.
        group_size: int >= 2, completions of a prompt; divides B.

    Returns:
        float32[B].

    Raises:
        ValueError: if group_size is below 2 or does not divide B.
    """
    deviations, scale = _deviations(scores, group_size)
    return ops.reshape(deviations / scale, (-1,))


def rloo_advantages(scores: Array, group_size: int) -> Array:
    """Leave-one-out advantages: rewards less the mean of the group's others
    (Ahmadian et al. 2024, RLOO, eq. 7).

    Args:
        scores: float32[B], the completions of a prompt next to each other.
        group_size: int >= 2, completions of a prompt; divides B.

    Returns:
        float32[B]; a group of equal scores gets exactly 0.

    Raises:
        ValueError: if group_size is below 2 or does not divide B.
    """
    return dr_grpo_advantages(scores, group_size) * (group_size / (group_size - 1))


def group_has_spread(scores: Array, group_size: int) -> Array:
    """Whether the rewards of a response's group differ; only then is there a policy gradient.

    Args:
        scores: float32[B], the completions of a prompt next to each other.
        group_size: int >= 2, completions of a prompt; divides B.

    Returns:
        bool[B].

    Raises:
        ValueError: if group_size is below 2 or does not divide B.
    """
    groups = _groups(scores, group_size)
    return ops.repeat(ops.max(groups, axis=-1) > ops.min(groups, axis=-1), group_size)


def _deviations(scores, group_size):
    """float32[B / G, G], scores less their group's mean, times a power of two, float32[B / G, 1]."""
    groups = _groups(scores, group_size)
    scale = safe_scale(groups, axis=-1)
    # Relative to the group's first score: a mean of equal numbers need not round to that number.
    offsets = groups * scale - groups[:, :1] * scale
    return offsets - ops.mean(offsets, axis=-1, keepdims=True), scale


def _groups(scores, group_size):
    if group_size < 2 or scores.shape[0] % group_size:
        raise ValueError(
            "group_size must be at least 2 and divide the number of scores. "
            f"Received: group_size={group_size}, scores of shape {tuple(scores.shape)}"
        )
    return ops.reshape(scores, (-1, group_size))


def _check_clips(**clips):
    for name, clip in clips.items():
        if isinstance(clip, (int, float)) and not clip > 0:
            raise ValueError(f"{name} must be positive. Received: {name}={clip}")


def _over_gaps(values, mask):
    """(values, whether a token of the policy follows as 0 or 1), float32[B, R] each: a column between two
    turns has the value of the next token, and one after the last of them 0."""
    passes_on = ops.where(mask, 0.0, 1.0)
    values = reverse_recurrence(ops.where(mask, values, 0.0), passes_on)
    is_followed = _shift_left(reverse_recurrence(ops.cast(mask, values.dtype), passes_on), 1)
    return values, is_followed


def _shift_left(x, distance):
    """float[B, R] with column t + distance in column t, zeros behind."""
    return ops.pad(x[:, distance:], ((0, 0), (0, distance)))


def _at_last_column(x, num_columns):
    """float[B] as the last column of zeros[B, num_columns]."""
    return ops.pad(ops.expand_dims(x, -1), ((0, 0), (num_columns - 1, 0)))
