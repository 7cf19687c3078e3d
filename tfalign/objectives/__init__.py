"""Objectives: ``objective(model, batch) -> (loss_sum, weight, metrics)``, one file each.

The loss is a sum and comes with the weight to divide it by, so that replicas, accumulated
micro-batches and ragged lengths add up to exactly the global mean. Metrics are such pairs too.
"""

from tfalign.objectives.a2c import A2C
from tfalign.objectives.grpo import GRPO
from tfalign.objectives.gspo import GSPO
from tfalign.objectives.language_modelling import LanguageModelling
from tfalign.objectives.policy_objective import PolicyObjective
from tfalign.objectives.ppo import PPO
from tfalign.objectives.reinforce import Reinforce
from tfalign.objectives.reward_modelling import RewardModelling, score_pairs
from tfalign.objectives.truncated_importance import TruncatedImportance
from tfalign.objectives.vtrace import VTrace

__all__ = [
    "A2C",
    "GRPO",
    "GSPO",
    "PPO",
    "LanguageModelling",
    "PolicyObjective",
    "Reinforce",
    "TruncatedImportance",
    "VTrace",
    "RewardModelling",
    "score_pairs",
]
