"""Objectives: ``objective(model, batch) -> (loss_sum, weight, metrics)``, one file each.

The loss is a sum and comes with the weight to divide it by, so that replicas, accumulated
micro-batches and ragged lengths add up to exactly the global mean. Metrics are such pairs too.
"""

from tfalign.objectives.language_modelling import LanguageModelling
from tfalign.objectives.ppo import PPO
from tfalign.objectives.reward_modelling import RewardModelling, score_pairs

__all__ = ["PPO", "LanguageModelling", "RewardModelling", "score_pairs"]
