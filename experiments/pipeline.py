"""The whole road: pretrain, fine-tune, learn a reward, align with PPO, evaluate.

    python -m experiments.pipeline --config=demo           # what `make demo` runs
    python -m experiments.pipeline --config=mine.json --run_dir=runs/mine
    python -m experiments.pipeline --config=demo --seed=1 --ppo.steps=50 --run_dir=runs/seed1

Options of a stage are dotted flags, or nested objects of the config file. A stage that is done is
not run again; one that was killed goes on from its newest checkpoint. Everything lives in RUN_DIR:
models/, checkpoints/, metrics.jsonl, TensorBoard events, and at the end report.md with its pictures.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json

from experiments import stages
from experiments.align import AlignConfig, align
from experiments.evaluate import EvaluateConfig, evaluate
from experiments.launch import launch
from experiments.naive_bayes import NaiveBayes
from experiments.pretrain_gpt import PretrainConfig, pretrain
from experiments.sft import SFTConfig, fine_tune
from experiments.train_reward import RewardConfig, train_reward
from tfalign.data import (
    CompletionRecord,
    ConversationRecord,
    PreferenceRecord,
    PromptRecord,
    RankedRecord,
    TextRecord,
)
from tfalign.data.customer_service import gold_reward
from tfalign.options import option, option_record

_PLACES = {"run_dir", "data_dir", "seed"}  # the pipeline's own, passed on to every stage


@option_record
class PipelineConfig:
    run_dir: str = option("runs/demo", "where the run lives")
    data_dir: str = option("runs/data", "where datasets are built")
    seed: int = option(0, "of everything", at_least=0, below=2**32)
    resume_from: int = stages.resume_option()
    judge: str = option(
        "", "what experiments.naive_bayes saved: the gold reward where the data has none of its own"
    )
    pretrain: PretrainConfig = option(PretrainConfig(), "the first stage")
    sft: SFTConfig = option(SFTConfig(), "supervised fine-tuning")
    reward_model: RewardConfig = option(RewardConfig(), "learning the reward")
    ppo: AlignConfig = option(AlignConfig(), "alignment")
    evaluate: EvaluateConfig = option(EvaluateConfig(), "the report")


def run_pipeline(config):
    """Runs the stages that are not done yet, and the report.

    Returns:
        dict, what report.json holds.
    """
    run = stages.run_directory(config.run_dir, dataclasses.asdict(config))
    stage_configs = _connected(config, run)
    gold = _gold(config)
    if not any(stages.model_directory(run, stage).exists() for stage in stage_configs):
        _check_sources(stage_configs)
    watch = stages.SecondsOfRun(run)
    resume_from = config.resume_from
    for stage, work in {
        "pretrain": pretrain,
        "sft": fine_tune,
        "reward_model": train_reward,
        "ppo": lambda c, r: align(c, r, gold, stage="ppo"),
    }.items():
        if stages.model_directory(run, stage).exists():
            print(f"{stage}: done before")
            continue
        stage_config = stage_configs[stage]
        if resume_from != -1:
            stage_config = dataclasses.replace(stage_config, resume_from=resume_from)
            resume_from = -1  # of the stage that goes on, not of those after it
        watch.measure(stage, lambda work=work, c=stage_config: work(c, run))
    return watch.measure(
        "evaluate", lambda: evaluate(stage_configs["evaluate"], run, gold, watch.seconds)
    )


def _check_sources(stage_configs):
    """Reads what every stage will read, once, so that what is wrong with it is said before the first."""
    kinds = {
        "pretrain": TextRecord,
        "sft": ConversationRecord if stage_configs["sft"].conversations else CompletionRecord,
        "reward_model": RankedRecord
        if stage_configs["reward_model"].rankings
        else PreferenceRecord,
        "ppo": PromptRecord,
        "evaluate": PromptRecord,
    }
    with contextlib.redirect_stdout(io.StringIO()):  # the stages say how much they read
        for stage, kind in kinds.items():
            c = stage_configs[stage]
            if c.data != stages.EMBEDDED:
                stages.read(c.data, kind, "train", c.on_bad, c.data_dir)
                stages.read(c.data, kind, "test", c.on_bad, c.data_dir)


def _gold(config):
    """The judge of the results, a function of prompt and response; None for none. No policy is trained
    on it; of the embedded data it also chose, with noise, the preference pairs' better answers."""
    if config.ppo.data == stages.EMBEDDED:
        return gold_reward
    return NaiveBayes.load(config.judge) if config.judge else None


def _connected(config, run):
    """Each stage's config with the models of the stages before it."""
    models = {name: str(run.path / "models" / name) for name in ("pretrain", "sft", "ppo")}
    reward = str(run.path / "models" / "reward_model")
    inputs = {
        "pretrain": {},
        "sft": {"model": models["pretrain"]},
        "reward_model": {"model": models["sft"]},
        "ppo": {"policy": models["sft"], "reward_model": reward},
        "evaluate": {"before": models["sft"], "after": models["ppo"], "reward_model": reward},
    }
    places = {name: getattr(config, name) for name in _PLACES}
    return {
        stage: dataclasses.replace(getattr(config, stage), **places, **given)
        for stage, given in inputs.items()
    }


def main(config):
    values = run_pipeline(config)
    ppo = values.get("ppo", {})
    print(
        json.dumps(
            {key: ppo[key] for key in ("gold_reward", "win_rate_vs_sft", "kl") if key in ppo}
        )
    )
    print(f"report: {config.run_dir}/report.md")


if __name__ == "__main__":
    launch(PipelineConfig, main, __doc__)
