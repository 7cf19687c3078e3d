"""Aligns a policy with a learned reward by PPO.

    python -m experiments.align --run_dir=runs/ppo --policy=runs/sft/models/sft \\
        --reward_model=runs/reward/models/reward_model
    python -m experiments.align --policy=DIR --reward_model=DIR --data=prompts.jsonl

The second reads JSON lines with "prompt". The algorithm is that of Ziegler et al. 2019 and Stiennon
et al. 2020 with the details of "The N implementation details of RLHF with PPO"; the learning rate
is larger than theirs, as the models are smaller. Writes RUN_DIR/models/ppo. About two minutes on two
CPU cores for the embedded data.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from experiments import stages
from experiments.launch import launch, option
from tfalign.data import BatchStream, PromptRecord, encode_prompts
from tfalign.models import (
    SeparateActorCritic,
    SharedActorCritic,
    from_pretrained,
    separate_critic,
)
from tfalign.objectives import PPO
from tfalign.rewards import LearnedReward
from tfalign.training.kl_control import AdaptiveKL, FixedKL
from tfalign.training.learner import Learner
from tfalign.training.on_policy import improve
from tfalign.training.rollouts import RolloutConfig, RolloutWorker


@dataclasses.dataclass(frozen=True)
class AlignConfig:
    run_dir: str = option("runs/ppo", "where the run lives")
    policy: str = option(
        "runs/sft/models/sft", "directory of the policy, which is the reference too"
    )
    reward_model: str = option("runs/reward/models/reward_model", "directory of the reward model")
    data: str = option(stages.EMBEDDED, '"embedded", FILE.jsonl with "prompt", tfds:NAME:SPLIT')
    data_dir: str = option("runs/data", "where datasets are built")
    on_bad: str = option("stop", "what a bad or over-long record does", ["stop", "skip"])
    precision: str = option("float32", "Keras dtype policy", ["float32", "mixed_bfloat16"])
    critic: str = option(
        "shared", "a value head on the policy, or a trunk of its own", ["shared", "separate"]
    )
    critic_from: str = option(
        "reward_model", "what a separate critic starts from", ["reward_model", "policy"]
    )
    max_prompt_tokens: int = option(48, "longest prompt")
    max_new_tokens: int = option(48, "longest response")
    stop_tokens: str = option("", "ids that end a response, comma-separated; EOS where empty")
    temperature: float = option(1.0, "of sampling, and of all log-probs")
    batch_size: int = option(64, "responses of a batch of rollouts")
    minibatch_size: int = option(16, "responses of an update")
    accumulate: int = option(1, "micro-batches an update is cut into")
    epochs: int = option(4, "passes over the rollouts")
    steps: int = option(100, "batches of rollouts")
    learning_rate: float = option(2e-4, "at the start; decays linearly to 0")
    clip_norm: float = option(1.0, "global norm gradients are clipped to")
    clip: float = option(0.2, "of the probability ratio")
    value_clip: float = option(0.2, "of the values")
    value_coefficient: float = option(0.1, "of the value loss")
    entropy_coefficient: float = option(0.0, "of the entropy bonus")
    gamma: float = option(1.0, "discount")
    gae_lambda: float = option(0.95, "of advantage estimation")
    whiten_rewards: bool = option(False, "scale per-token rewards to variance 1")
    whiten_advantages: bool = option(True, "shift and scale advantages over the batch")
    missing_stop_score: float = option(
        -1.0, "score of a response that never ends, with --missing_stop=score"
    )
    missing_stop_penalty: float = option(
        1.0, "taken off the score of one that never ends, with --missing_stop=penalty"
    )
    missing_stop: str = option(
        "penalty", "what a response that never ends gets", ["keep", "score", "penalty"]
    )
    kl: str = option("fixed", "coefficient of the KL penalty", ["fixed", "adaptive"])
    kl_coefficient: float = option(0.05, "per nat; where it starts, if adaptive")
    kl_target: float = option(6.0, "nats a response, if adaptive")
    kl_horizon: float = option(10_000.0, "episodes, if adaptive")
    target_kl: float = option(0.0, "stop an iteration's epochs at this approx-KL; 0 never")
    seed: int = option(0, "of shuffling and sampling")
    log_every: int = option(1, "iterations between lines in metrics.jsonl")
    save_every: int = option(10, "iterations between checkpoints")

    def __post_init__(self):
        if self.batch_size % self.minibatch_size:
            raise ValueError(
                "--minibatch_size must divide --batch_size. Received: "
                f"minibatch_size={self.minibatch_size}, batch_size={self.batch_size}"
            )


def align(config, run, gold=None):
    """Improves the policy and saves it; goes on from the newest checkpoint of the run.

    Args:
        config: AlignConfig.
        run: RunDirectory.
        gold: ``(prompt, response) -> float``, logged beside the learned reward and never trained
            on; None where there is none.
    """
    tokenizer = stages.load_tokenizer(config.policy)
    reference = from_pretrained(config.policy, dtype=config.precision)
    policy = from_pretrained(config.policy, dtype=config.precision)
    reward_model = from_pretrained(config.reward_model, dtype=config.precision)
    actor_critic = _actor_critic(config, policy, reward_model)
    worker = RolloutWorker(
        actor_critic, reference, LearnedReward(reward_model), rollout_config(config, tokenizer)
    )
    objective = PPO(
        config.temperature,
        config.clip,
        config.value_clip,
        config.value_coefficient,
        config.entropy_coefficient,
    )
    optimizer = stages.ppo_optimizer(config, config.clip_norm)
    learner = Learner(actor_critic, objective, optimizer, config.accumulate)
    prompts = BatchStream(
        stages.tell(
            "ppo",
            encode_prompts(
                stages.read(config.data, PromptRecord, "train", config.on_bad, config.data_dir),
                tokenizer,
                config.max_prompt_tokens,
                config.on_bad,
            ),
        ),
        config.batch_size,
        [config.max_prompt_tokens],
        seed=config.seed,
    )
    kl_control = _kl_control(config)
    state, first_step = stages.resumable(
        run, "ppo", learner, {"prompts": prompts, "kl": kl_control}
    )

    def update(step):
        batch = next(prompts)
        rollout, metrics = improve(
            worker,
            learner,
            batch,
            kl_control,
            seed=config.seed,
            step=step,
            epochs=config.epochs,
            minibatch_size=config.minibatch_size,
            target_kl=config.target_kl or None,
        )
        if gold is not None:
            metrics["gold_reward"] = _mean_gold(gold, tokenizer, rollout)
        return metrics

    stages.repeat(run, "ppo", update, config, state, first_step)
    stages.save_model(run, "ppo", policy, tokenizer)


def rollout_config(config, tokenizer):
    """How the experiment's options say responses are sampled and credited."""
    given = tuple(int(token) for token in config.stop_tokens.split(",") if token)
    return RolloutConfig(
        config.max_new_tokens,
        temperature=config.temperature,
        stop_tokens=given or (tokenizer.eos_id,),
        pad_id=tokenizer.pad_id,
        gamma=config.gamma,
        gae_lambda=config.gae_lambda,
        whiten_rewards=config.whiten_rewards,
        whiten_advantages=config.whiten_advantages,
        missing_stop_score=config.missing_stop_score if config.missing_stop == "score" else None,
        missing_stop_penalty=(
            config.missing_stop_penalty if config.missing_stop == "penalty" else 0.0
        ),
    )


def _actor_critic(config, policy, reward_model):
    if config.critic == "shared":
        return SharedActorCritic(policy)
    initial = reward_model if config.critic_from == "reward_model" else None
    return SeparateActorCritic(policy, separate_critic(policy, initial))


def _kl_control(config):
    if config.kl == "fixed":
        return FixedKL(config.kl_coefficient)
    return AdaptiveKL(config.kl_coefficient, config.kl_target, config.kl_horizon)


def _mean_gold(gold, tokenizer, rollout):
    prompts, responses = stages.texts(tokenizer, rollout)
    return float(np.mean([gold(p, r) for p, r in zip(prompts, responses)]))


def main(config):
    from tfalign.data.customer_service import gold_reward

    gold = gold_reward if config.data == stages.EMBEDDED else None
    align(config, stages.open_run("ppo", config), gold)


if __name__ == "__main__":
    launch(AlignConfig, main, __doc__)
