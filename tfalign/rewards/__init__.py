"""Rewards: learned from preferences, or computed by rules.

A reward function of rollouts is any ``(token_ids int32[B, T], padding_mask bool[B, T],
response_mask bool[B, R]) -> float32[B]``.
"""

from tfalign.rewards.combination import Combination
from tfalign.rewards.ensemble import (
    Ensemble,
    mean_less_deviation,
    mean_less_variance,
    worst_case,
)
from tfalign.rewards.errors import RewardError
from tfalign.rewards.guarded import Guarded
from tfalign.rewards.learned import LearnedReward, PackedReward, RewardModel
from tfalign.rewards.numbers import last_number, marked_number, parse_number
from tfalign.rewards.process import (
    ProcessReward,
    ProcessRewardModel,
    product_of_steps,
    worst_step,
)
from tfalign.rewards.rules import (
    ExactMatch,
    Format,
    Length,
    Mentions,
    NumericMatch,
    Repetition,
)
from tfalign.rewards.text_reward import TextReward

__all__ = [
    "Combination",
    "Ensemble",
    "ExactMatch",
    "Format",
    "Guarded",
    "LearnedReward",
    "Length",
    "Mentions",
    "NumericMatch",
    "PackedReward",
    "ProcessReward",
    "ProcessRewardModel",
    "Repetition",
    "RewardError",
    "RewardModel",
    "TextReward",
    "last_number",
    "marked_number",
    "mean_less_deviation",
    "mean_less_variance",
    "parse_number",
    "product_of_steps",
    "worst_case",
    "worst_step",
]
