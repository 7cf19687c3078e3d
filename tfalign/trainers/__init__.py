"""Whole trainings, one file each: ``Trainer(model, data, run_dir=...).train()``.

A trainer is imported when it is first asked for; ``trainers.options`` imports neither Keras nor TensorFlow.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tfalign.lazy import lazily

if TYPE_CHECKING:
    from tfalign.trainers.bert_pretraining import MaskedPretrainer
    from tfalign.trainers.classification import ClassificationTrainer
    from tfalign.trainers.distillation import DistillationTrainer
    from tfalign.trainers.distributed import DistributedOnPolicyTrainer
    from tfalign.trainers.evaluation import PolicyEvaluator
    from tfalign.trainers.fine_tuning import FineTuner
    from tfalign.trainers.on_policy import OnPolicyTrainer
    from tfalign.trainers.pipeline import Pipeline
    from tfalign.trainers.preference import PreferenceTrainer
    from tfalign.trainers.pretraining import Pretrainer
    from tfalign.trainers.process_rewards import ProcessRewardTrainer
    from tfalign.trainers.reporting import report_run
    from tfalign.trainers.reward_modelling import RewardTrainer
    from tfalign.trainers.similarity import SimilarityTrainer
    from tfalign.trainers.tagging import TaggingTrainer

_HOMES = {
    "ClassificationTrainer": "classification",
    "DistillationTrainer": "distillation",
    "DistributedOnPolicyTrainer": "distributed",
    "FineTuner": "fine_tuning",
    "MaskedPretrainer": "bert_pretraining",
    "OnPolicyTrainer": "on_policy",
    "Pipeline": "pipeline",
    "PolicyEvaluator": "evaluation",
    "PreferenceTrainer": "preference",
    "Pretrainer": "pretraining",
    "ProcessRewardTrainer": "process_rewards",
    "RewardTrainer": "reward_modelling",
    "SimilarityTrainer": "similarity",
    "TaggingTrainer": "tagging",
    "report_run": "reporting",
}

__all__ = [
    "ClassificationTrainer",
    "DistillationTrainer",
    "DistributedOnPolicyTrainer",
    "FineTuner",
    "MaskedPretrainer",
    "OnPolicyTrainer",
    "Pipeline",
    "PolicyEvaluator",
    "PreferenceTrainer",
    "Pretrainer",
    "ProcessRewardTrainer",
    "RewardTrainer",
    "SimilarityTrainer",
    "TaggingTrainer",
    "report_run",
]


__getattr__ = lazily(__name__, _HOMES)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
