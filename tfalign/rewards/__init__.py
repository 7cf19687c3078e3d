"""Rewards: learned from preferences, or computed by rules.

A reward function of rollouts is any ``(token_ids int32[B, T], padding_mask bool[B, T],
response_mask bool[B, R]) -> float32[B]``.
"""

from tfalign.rewards import architectures
from tfalign.rewards.learned import LearnedReward, RewardModel
from tfalign.rewards.rules import TextReward

__all__ = ["LearnedReward", "RewardModel", "TextReward", "architectures"]
