"""The whole road: pretrain, fine-tune, learn a reward, align with PPO, evaluate.

    python -m experiments.pipeline --config=demo           # what `make demo` runs
    python -m experiments.pipeline --config=mine.json --run_dir=runs/mine
    python -m experiments.pipeline --config=demo --seed=1 --ppo.steps=50 --run_dir=runs/seed1

Options of a stage are dotted flags, or nested objects of the config file. A stage that is done is
not run again; one that was killed goes on from its newest checkpoint. Everything lives in RUN_DIR:
models/, checkpoints/, metrics.jsonl, TensorBoard events, and at the end report.md with its pictures.
"""

from __future__ import annotations

import dataclasses
import json

from experiments import stages
from experiments.align import AlignConfig, align
from experiments.evaluate import EvaluateConfig, evaluate
from experiments.launch import launch, option
from experiments.naive_bayes import NaiveBayes
from experiments.pretrain_gpt import PretrainConfig, pretrain
from experiments.sft import SFTConfig, fine_tune
from experiments.train_reward import RewardConfig, train_reward
from tfalign.data.customer_service import gold_reward

_PLACES = {"run_dir", "data_dir", "seed"}  # the pipeline's own, passed on to every stage


@dataclasses.dataclass(frozen=True)
class PipelineConfig:
    run_dir: str = option("runs/demo", "where the run lives")
    data_dir: str = option("runs/data", "where datasets are built")
    seed: int = option(0, "of everything")
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
    watch = stages.SecondsOfRun(run)
    for stage, work in {
        "pretrain": pretrain,
        "sft": fine_tune,
        "reward_model": train_reward,
        "ppo": lambda c, r: align(c, r, gold, stage="ppo"),
    }.items():
        if stages.model_directory(run, stage).exists():
            print(f"{stage}: done before")
            continue
        watch.measure(stage, lambda work=work, stage=stage: work(stage_configs[stage], run))
    return watch.measure(
        "evaluate", lambda: evaluate(stage_configs["evaluate"], run, gold, watch.seconds)
    )


def _gold(config):
    """The judge that nothing is trained on, a function of prompt and response; None for none."""
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
