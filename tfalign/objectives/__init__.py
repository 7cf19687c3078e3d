"""Objectives: ``objective(model, batch) -> (loss_sum, weight, metrics)``, one file each.

The loss is a sum and comes with the weight to divide it by, so that replicas, accumulated
micro-batches and ragged lengths add up to exactly the global mean. Metrics are such pairs too.
"""

from tfalign.objectives.a2c import A2C
from tfalign.objectives.classification import Classification, Tagging
from tfalign.objectives.contrastive import Contrastive, SymmetricContrastive
from tfalign.objectives.cpo import CPO
from tfalign.objectives.distillation import Distillation
from tfalign.objectives.dpo import DPO
from tfalign.objectives.grpo import GRPO
from tfalign.objectives.gspo import GSPO
from tfalign.objectives.ipo import IPO
from tfalign.objectives.kto import KTO
from tfalign.objectives.language_modelling import LanguageModelling
from tfalign.objectives.masked_lm import BERTPretraining, MaskedLanguageModelling
from tfalign.objectives.online_dpo import OnlineDPO
from tfalign.objectives.orpo import ORPO
from tfalign.objectives.pair_objective import PairObjective
from tfalign.objectives.policy_objective import PolicyObjective
from tfalign.objectives.ppo import PPO
from tfalign.objectives.process_reward_modelling import ProcessRewardModelling
from tfalign.objectives.ranked_reward_modelling import RankedRewardModelling, score_ranked
from tfalign.objectives.reinforce import Reinforce
from tfalign.objectives.response_log_probs import ResponseLogProbs, response_log_probs
from tfalign.objectives.reward_modelling import RewardModelling, score_pairs
from tfalign.objectives.robust_dpo import RobustDPO
from tfalign.objectives.sampled_language_modelling import SampledLanguageModelling
from tfalign.objectives.sentence_similarity import SentenceSimilarity, cosine_of_pairs
from tfalign.objectives.simpo import SimPO
from tfalign.objectives.slic import SLiC
from tfalign.objectives.translation import Translation
from tfalign.objectives.truncated_importance import TruncatedImportance
from tfalign.objectives.vtrace import VTrace

__all__ = [
    "A2C",
    "CPO",
    "DPO",
    "Distillation",
    "GRPO",
    "GSPO",
    "IPO",
    "KTO",
    "ORPO",
    "PPO",
    "BERTPretraining",
    "Classification",
    "Contrastive",
    "LanguageModelling",
    "MaskedLanguageModelling",
    "OnlineDPO",
    "PairObjective",
    "PolicyObjective",
    "ProcessRewardModelling",
    "RankedRewardModelling",
    "Reinforce",
    "ResponseLogProbs",
    "RewardModelling",
    "RobustDPO",
    "SLiC",
    "SampledLanguageModelling",
    "SentenceSimilarity",
    "SimPO",
    "SymmetricContrastive",
    "Tagging",
    "Translation",
    "TruncatedImportance",
    "VTrace",
    "cosine_of_pairs",
    "response_log_probs",
    "score_pairs",
    "score_ranked",
]
