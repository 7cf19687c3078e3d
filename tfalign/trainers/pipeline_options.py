"""The option records of the pipeline: a stage is a trainer's options and its data.

This module imports neither Keras nor TensorFlow.
"""

from __future__ import annotations

from tfalign.options import option, option_record, record
from tfalign.trainers.on_policy_options import ALGORITHMS, OnPolicyOptions
from tfalign.trainers.options import (
    EvaluateOptions,
    FineTuneOptions,
    PretrainOptions,
    RewardTrainOptions,
)


@option_record
class PretrainStage:
    """Stage pretrain."""

    data: str = option("embedded", "Its data, as of `tfalign pretrain`.")
    options: PretrainOptions = record(PretrainOptions(), "Pretraining")


@option_record
class FineTuneStage:
    """Stage sft."""

    data: str = option("embedded", "Its data, as of `tfalign sft`.")
    options: FineTuneOptions = record(FineTuneOptions(), "Fine-tuning")


@option_record
class RewardStage:
    """Stage reward_model."""

    data: str = option("embedded", "Its data, as of `tfalign reward`.")
    options: RewardTrainOptions = record(RewardTrainOptions(), "Reward modelling")


@option_record
class AlignStage:
    """Stage ppo."""

    data: str = option("embedded", "Its prompts, as of `tfalign align`.")
    algorithm: str = option("ppo", "Algorithm.", ALGORITHMS)
    options: OnPolicyOptions = record(OnPolicyOptions())


@option_record
class EvaluateStage:
    """Stage evaluate."""

    data: str = option("embedded", "Its prompts, as of `tfalign evaluate`.")
    options: EvaluateOptions = record(EvaluateOptions(), "Evaluation")


@option_record
class PipelineOptions:
    """Options of ``Pipeline``."""

    data_dir: str = option("runs/data", "Directory in which TFDS datasets are built.")
    seed: int = option(0, "Random seed of every training.", at_least=0, below=2**32)
    resume_from: int | None = option(
        None,
        "Step of the checkpoint to continue the running stage from; none: the newest.",
        at_least=0,
    )
    judge: str | None = option(
        None, "File of a NaiveBayes judge: the gold reward where the data has none of its own."
    )
    pretrain: PretrainStage = option(PretrainStage(), "Stage pretrain: language modelling")
    sft: FineTuneStage = option(FineTuneStage(), "Stage sft: supervised fine-tuning")
    reward_model: RewardStage = option(RewardStage(), "Stage reward_model: preferences")
    ppo: AlignStage = option(AlignStage(), "Stage ppo: alignment")
    evaluate: EvaluateStage = option(EvaluateStage(), "Stage evaluate: the report")
