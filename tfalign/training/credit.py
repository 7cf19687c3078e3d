"""Credit assignment: per-token advantages and returns from a response's reward.

A credit is a small frozen object, ``credit(scored, kl_coefficient) -> Credited``. It is half of an
on-policy algorithm; the other half is an objective, which says how far a token's probability
follows its advantage. All credits start from the same per-token rewards: minus beta times the KL at
every token, plus the score at the last, or where its parts were earned. With a coefficient of 0
there is no KL in the reward, and the objective may carry it instead.
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

from keras import ops

from tfalign.functional.advantages import (
    dr_grpo_advantages,
    generalized_advantages,
    grpo_advantages,
    place_rewards,
    rewards_to_go,
    rloo_advantages,
)
from tfalign.functional.masking import masked_sum, masked_whiten
from tfalign.functional.turns import group_turn_advantages, turn_advantages
from tfalign.types import Array


class Scored(NamedTuple):
    """Input of credit assignment: rewards per response, KL, values, groups."""

    scores: Array  # float32[B]
    kl: Array  # float32[B, R], log pi - log pi_ref of each token, nats; 0 where masked
    mask: Array  # bool[B, R], true at real tokens
    values: Array | None  # float32[B, R], 0 where masked; None without a critic
    baseline: Array  # float32[B], what was to be expected of a response before it was drawn, or 0
    group_size: int  # completions of a prompt, next to each other
    earned: Array | None = None  # float32[B, R], what of the score single tokens earned


class Credited(NamedTuple):
    """Result of credit assignment; float32[B, R] each, 0 where masked."""

    rewards: Array
    advantages: Array
    returns: Array  # the critic's targets


class Credit:
    """Base of the credit assignments.

    Attributes:
        needs_values: whether a critic must have looked at every state.
        needs_group: whether completions of a prompt are compared.
        takes_baseline: whether a baseline is subtracted, see ``training.baselines``.
    """

    needs_values = False
    needs_group = False
    takes_baseline = False

    def __call__(self, scored: Scored, kl_coefficient: Array | float) -> Credited:
        """Rewards, advantages and returns.

        Args:
            scored: Scored.
            kl_coefficient: float32[], beta, of the KL in the reward.

        Returns:
            Credited.
        """
        raise NotImplementedError


@dataclasses.dataclass(frozen=True)
class GAE(Credit):
    """Generalised advantage estimation from a critic (Schulman et al. 2016); the defaults are those
    of Ziegler et al. 2019. With ``gae_lambda=1`` an advantage is the return less the value.

    Attributes:
        gamma: discount.
        gae_lambda: 1 trusts the rewards, 0 the critic.
        whiten_rewards: scale the per-token rewards to variance 1, keeping their mean.
        whiten_advantages: shift and scale the advantages over the real tokens of the batch.
    """

    gamma: float = 1.0
    gae_lambda: float = 0.95
    whiten_rewards: bool = False
    whiten_advantages: bool = True
    needs_values = True

    def __call__(self, scored: Scored, kl_coefficient: Array | float) -> Credited:
        rewards = _rewards(scored, kl_coefficient)
        if self.whiten_rewards:
            rewards = masked_whiten(rewards, scored.mask, shift_mean=False)
        advantages, returns = self.estimate(rewards, scored.values, scored.mask)
        if self.whiten_advantages:
            advantages = masked_whiten(advantages, scored.mask)
        return Credited(rewards, advantages, returns)

    def estimate(self, rewards: Array, values: Array, mask: Array) -> tuple[Array, Array]:
        """(advantages, returns), float32[B, R] each, from per-token rewards and values of the same shape."""
        return generalized_advantages(rewards, values, mask, self.gamma, self.gae_lambda)


@dataclasses.dataclass(frozen=True)
class RewardToGo(Credit):
    """Reward to go: the discounted rewards from a token on, less the response's baseline.

    REINFORCE (Williams 1992); with a ``GreedyBaseline`` ReMax (Li et al. 2023, algorithm 1); whitened
    REINFORCE++ (Hu 2025, section 3).

    Attributes:
        gamma: discount.
        whiten_advantages: shift and scale the advantages over the real tokens of the batch.
    """

    gamma: float = 1.0
    whiten_advantages: bool = False
    takes_baseline = True

    def __call__(self, scored: Scored, kl_coefficient: Array | float) -> Credited:
        rewards = _rewards(scored, kl_coefficient)
        returns = rewards_to_go(rewards, scored.mask, self.gamma)
        baseline = ops.expand_dims(scored.baseline, -1)
        advantages = ops.where(scored.mask, returns - baseline, 0.0)
        if self.whiten_advantages:
            advantages = masked_whiten(advantages, scored.mask)
        return Credited(rewards, advantages, returns)


@dataclasses.dataclass(frozen=True)
class NoCredit(Credit):
    """No credit assignment, for objectives that compare whole responses: advantages of 0."""

    def __call__(self, scored: Scored, kl_coefficient: Array | float) -> Credited:
        rewards = _rewards(scored, kl_coefficient)
        return Credited(rewards, ops.zeros_like(rewards), rewards_to_go(rewards, scored.mask))


@dataclasses.dataclass(frozen=True)
class RewardsAlone(Credit):
    """Per-token rewards alone, for objectives that compute advantages themselves, as V-trace does.

    Attributes:
        whiten_rewards: scale the per-token rewards to variance 1, keeping their mean.
    """

    whiten_rewards: bool = False
    needs_values = True

    def __call__(self, scored: Scored, kl_coefficient: Array | float) -> Credited:
        rewards = _rewards(scored, kl_coefficient)
        if self.whiten_rewards:
            rewards = masked_whiten(rewards, scored.mask, shift_mean=False)
        return Credited(rewards, ops.zeros_like(rewards), rewards_to_go(rewards, scored.mask))


class _WholeResponse(Credit):
    """All tokens of a response share one advantage, relative to its group."""

    needs_group = True

    def relative(self, totals, group_size):
        """float32[B], advantages, from float32[B], what each response earned in all."""
        raise NotImplementedError

    def __call__(self, scored, kl_coefficient):
        rewards = _rewards(scored, kl_coefficient)
        totals = scored.scores - kl_coefficient * masked_sum(scored.kl, scored.mask, axis=1)
        advantages = ops.expand_dims(self.relative(totals, scored.group_size), -1)
        return Credited(
            rewards,
            ops.where(scored.mask, advantages, 0.0),
            rewards_to_go(rewards, scored.mask),
        )


@dataclasses.dataclass(frozen=True)
class GroupRelative(_WholeResponse):
    """GRPO: in standard deviations of the group (Shao et al. 2024, section 4.1.2).

    A group of equal scores gets exactly 0.
    """

    def relative(self, totals: Array, group_size: int) -> Array:
        return grpo_advantages(totals, group_size)


@dataclasses.dataclass(frozen=True)
class GroupCentred(_WholeResponse):
    """Dr. GRPO: less the group's mean, not divided by its spread (Liu et al. 2025, section 3.2)."""

    def relative(self, totals: Array, group_size: int) -> Array:
        return dr_grpo_advantages(totals, group_size)


@dataclasses.dataclass(frozen=True)
class LeaveOneOut(_WholeResponse):
    """RLOO: less the mean of the others of the group (Ahmadian et al. 2024, eq. 7)."""

    def relative(self, totals: Array, group_size: int) -> Array:
        return rloo_advantages(totals, group_size)


@dataclasses.dataclass(frozen=True)
class TurnLevel(GAE):
    """GAE over the turns of a conversation: a critic of turns above an actor of tokens (ArCHer, Zhou et al. 2024).

    All tokens of a turn share its advantage, and the value of a turn is that of its first token; ``gamma`` discounts
    a turn.
    """

    def estimate(self, rewards: Array, values: Array, mask: Array) -> tuple[Array, Array]:
        return turn_advantages(rewards, values, mask, self.gamma, self.gae_lambda)


@dataclasses.dataclass(frozen=True)
class TurnRelative(Credit):
    """GRPO turn by turn: what is earned from a turn on, relative to the group's same turn (Zeng et al. 2025)."""

    needs_group = True

    def __call__(self, scored: Scored, kl_coefficient: Array | float) -> Credited:
        rewards = _rewards(scored, kl_coefficient)
        advantages = group_turn_advantages(rewards, scored.mask, scored.group_size)
        return Credited(rewards, advantages, rewards_to_go(rewards, scored.mask))


def _rewards(scored, kl_coefficient):
    """float32[B, R], of every token; what of a score no token earned is the last one's."""
    if scored.earned is None:
        return place_rewards(scored.scores, scored.kl, scored.mask, kl_coefficient)
    earned = ops.where(scored.mask, scored.earned, 0.0)
    rest = scored.scores - ops.sum(earned, axis=1)
    return earned + place_rewards(rest, scored.kl, scored.mask, kl_coefficient)
