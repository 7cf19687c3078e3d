"""Conversations by their turns: sums, advantages and groups of whole turns instead of tokens.

A turn of the policy is a run of its tokens; what others say separates it from the next. Turns are numbered
from 0, and of R columns there are at most (R + 1) // 2.
"""

from __future__ import annotations

from keras import ops

from tfalign.functional.advantages import gae, rewards_to_go
from tfalign.functional.arrays import Array
from tfalign.functional.magnitude import safe_scale


def turn_numbers(mask: Array) -> Array:
    """int32[B, R], the number of the turn each token is in; of others' columns that of the turn before.

    Args:
        mask: bool[B, R], true at the policy's tokens.
    """
    return ops.cumsum(ops.cast(_begins(mask), "int32"), axis=1) - 1


def turn_advantages(
    rewards: Array, values: Array, mask: Array, gamma: float = 1.0, gae_lambda: float = 0.95
) -> tuple[Array, Array]:
    """GAE over turns: a turn's rewards are summed, its value is that of its first token (ArCHer, Zhou et al. 2024,
    section 3; the estimator is Schulman et al. 2016, eq. 16).

    Args:
        rewards: float32[B, R], per token.
        values: float32[B, R], of the state before each token.
        mask: bool[B, R], true at the policy's tokens.
        gamma: float in [0, 1], discount of a turn.
        gae_lambda: float in [0, 1].

    Returns:
        (advantages, returns): float32[B, R] each, the same at all tokens of a turn, 0 where the mask is false.
    """
    mask = ops.cast(mask, "bool")
    members = _members(mask)
    of_turn = ops.einsum("btk,bt->bk", members, ops.where(mask, rewards, 0.0))
    first = ops.einsum("btk,bt->bk", members, ops.where(_begins(mask), values, 0.0))
    exists = ops.any(members > 0, axis=1)
    is_followed = ops.pad(exists[:, 1:], ((0, 0), (0, 1)))
    discounts = gamma * ops.cast(is_followed, "float32")
    advantages = gae(of_turn, ops.pad(first, ((0, 0), (0, 1))), discounts, gae_lambda)
    return tuple(
        ops.einsum("btk,bk->bt", members, each) for each in (advantages, advantages + first)
    )


def turn_returns(rewards: Array, mask: Array) -> Array:
    """float32[B, K], what is earned from the beginning of each turn on; 0 where there is no such turn.

    Args:
        rewards: float32[B, R], per token.
        mask: bool[B, R], true at the policy's tokens.
    """
    to_go = rewards_to_go(rewards, mask)
    return ops.einsum("btk,bt->bk", _members(mask), ops.where(_begins(mask), to_go, 0.0))


def group_turn_advantages(
    rewards: Array, mask: Array, group_size: int, epsilon: float = 1e-4
) -> Array:
    """What is earned from a turn on, in standard deviations of the group's same turn (Zeng et al. 2025, MT-GRPO,
    with returns for rewards).

    Args:
        rewards: float32[B, R], per token.
        mask: bool[B, R], true at the policy's tokens.
        group_size: int, G; completions of a prompt stand next to each other.
        epsilon: float, added to the deviation, as in GRPO.

    Returns:
        float32[B, R], the same at all tokens of a turn; exactly 0 where the group's returns are equal, or nobody
        else of it has such a turn.
    """
    mask = ops.cast(mask, "bool")
    members = _members(mask)
    returns = turn_returns(rewards, mask)
    turns = returns.shape[1]
    exists = ops.reshape(ops.cast(ops.any(members > 0, axis=1), "float32"), (-1, group_size, turns))
    grouped = ops.reshape(returns, exists.shape)
    scale = safe_scale(grouped, axis=1)
    deviations = _from_mean(grouped * scale, exists)
    others = ops.maximum(ops.sum(exists, axis=1, keepdims=True) - 1.0, 1.0)
    variance = ops.sum(ops.square(deviations), axis=1, keepdims=True) / others
    advantages = deviations / (ops.sqrt(variance) + epsilon * scale)
    return ops.einsum("btk,bk->bt", members, ops.reshape(advantages, (-1, turns)))


def _from_mean(values, weights):
    """Values less their weighted mean over axis 1; exactly 0 where they are equal, or the weight is 0."""
    low = ops.min(ops.where(weights > 0, values, float("inf")), axis=1, keepdims=True)
    high = ops.max(ops.where(weights > 0, values, -float("inf")), axis=1, keepdims=True)
    count = ops.maximum(ops.sum(weights, axis=1, keepdims=True), 1.0)
    mean = ops.sum(values * weights, axis=1, keepdims=True) / count
    return ops.where((weights > 0) & (high > low), values - mean, 0.0)


def _begins(mask):
    """bool[B, R], the first token of every turn."""
    mask = ops.cast(mask, "bool")
    return mask & ~ops.pad(mask[:, :-1], ((0, 0), (1, 0)))


def _members(mask):
    """float32[B, R, K], one at the turn of each of the policy's tokens."""
    turns = ops.arange((mask.shape[1] + 1) // 2, dtype="int32")
    is_in = turn_numbers(mask)[:, :, None] == turns
    return ops.cast(is_in & ops.cast(mask, "bool")[:, :, None], "float32")
