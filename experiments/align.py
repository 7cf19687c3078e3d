"""Aligns a policy with a learned reward by PPO, or by any on-policy algorithm.

    python -m experiments.align --run_dir=runs/ppo --policy=runs/sft/models/sft \\
        --reward_model=runs/reward/models/reward_model
    python -m experiments.align --algorithm=grpo --policy=DIR --reward_model=DIR
    python -m experiments.align --policy=DIR --reward_model=DIR --data=prompts.jsonl
    python -m experiments.align --policy=DIR --reward_model=DIR --cost_model=DIR --cost_limit=0
    python -m experiments.align --algorithm=vtrace --refresh_every=8 --policy=DIR --reward_model=DIR
    python -m experiments.align --policy=DIR --reward_model=DIR1,DIR2,DIR3 --ensemble=worst

The third reads JSON lines with "prompt"; the fourth holds a second model's mean score under a limit;
in the fifth the policy of up to seven batches ago samples, as where sampling runs beside training;
the sixth trusts the least of three rewards.
The default is PPO as Ziegler et al. 2019 and Stiennon et al. 2020 have it, with the details of "The N
implementation details of RLHF with PPO"; the learning rate is larger than theirs, as the models are
smaller. The others and their papers' numbers stand in ``tfalign.training.algorithms``; an option of
-1 or "" is the algorithm's own number, and one that it has no use for is refused. Writes
RUN_DIR/models/ALGORITHM. About two minutes on two CPU cores for the embedded data.
"""

from __future__ import annotations

import dataclasses
import importlib
from typing import NamedTuple

import numpy as np

from experiments import adapters, stages
from experiments.launch import launch
from tfalign.data import BatchStream, PromptRecord, encode_prompts, separator_id
from tfalign.functional import aggregation, kl
from tfalign.models import (
    Actor,
    SeparateActorCritic,
    SharedActorCritic,
    from_pretrained,
    separate_critic,
)
from tfalign.options import option, option_record
from tfalign.rewards import (
    Ensemble,
    Guarded,
    LearnedReward,
    ProcessReward,
    ProcessRewardModel,
    TextReward,
    mean_less_deviation,
    mean_less_variance,
    worst_case,
)
from tfalign.text import Tokenizer
from tfalign.training.algorithms import ALGORITHMS, Algorithm, algorithm
from tfalign.training.kl_control import AdaptiveKL, FixedKL
from tfalign.training.lagrange import CostLimit
from tfalign.training.learner import Learner
from tfalign.training.loggers import LOGGERS
from tfalign.training.on_policy import improve
from tfalign.training.responses import Responder, RolloutConfig
from tfalign.training.rollouts import RolloutWorker

_AGGREGATIONS = (
    "token_mean",
    "sequence_mean",
    "fixed_length_mean",
    "micro_batch_token_mean",
)
_ESTIMATORS = ("k1", "k2", "k3")
_YES_NO = ("", "true", "false")
_BOUNDS = {
    "deviation": mean_less_deviation,
    "variance": mean_less_variance,
    "worst": worst_case,
}


@option_record
class AlignConfig:
    run_dir: str = option("runs/ppo", "where the run lives")
    algorithm: str = option("ppo", "how the policy learns", list(ALGORITHMS))
    policy: str = option(
        "runs/sft/models/sft", "directory of the policy, which is the reference too"
    )
    reward_model: str = option(
        "runs/reward/models/reward_model",
        "directory of the reward model; several, comma-separated, are an ensemble",
    )
    rule: str = option(
        "", "MODULE:FUNCTION of (prompt, response) instead of a reward model, in its own process"
    )
    rule_timeout: float = option(
        10.0, "seconds a rule may take; 0 to run it in this process", at_least=0
    )
    ensemble: str = option("deviation", "what an ensemble's mean is lowered by", list(_BOUNDS))
    cost_model: str = option("", "directory of a second one, whose score is held under a limit")
    cost_limit: float = option(0.0, "of the mean cost")
    cost_rate: float = option(
        0.05, "by how much the price of a cost moves for an excess of 1", at_least=0
    )
    lora: adapters.AdapterConfig = option(
        adapters.AdapterConfig(),
        "low-rank adapters on the policy, whose base is the reference then",
    )
    data: str = option(stages.EMBEDDED, '"embedded", FILE.jsonl with "prompt", tfds:NAME:SPLIT')
    data_dir: str = option("runs/data", "where datasets are built")
    on_bad: str = option("stop", "what a bad or over-long record does", ["stop", "skip"])
    on_bad_reward: str = option(
        "stop", "what a batch does whose reward fails or is not finite", ["stop", "skip"]
    )
    precision: str = option("float32", "Keras dtype policy", ["float32", "mixed_bfloat16"])
    critic: str = option(
        "shared", "a value head on the policy, or a trunk of its own", ["shared", "separate"]
    )
    critic_from: str = option(
        "reward_model", "what a separate critic starts from", ["reward_model", "policy"]
    )
    max_prompt_tokens: int = option(48, "longest prompt", at_least=1)
    max_new_tokens: int = option(48, "longest response", at_least=1)
    stop_tokens: str = option(
        "", "ids that end a response, comma-separated; EOS where empty", list_of=int, at_least=0
    )
    temperature: float = option(1.0, "of sampling, and of all log-probs", above=0)
    batch_size: int = option(64, "responses of a batch of rollouts", at_least=1)
    minibatch_size: int = option(-1, "responses of an update", at_least=1, also=(-1,))
    accumulate: int = option(1, "micro-batches an update is cut into", at_least=1)
    group_size: int = option(-1, "completions of a prompt", at_least=1, also=(-1,))
    epochs: int = option(-1, "passes over the rollouts", at_least=1, also=(-1,))
    steps: int = option(100, "batches of rollouts", at_least=1)
    refresh_every: int = option(
        1,
        "batches that an older policy samples before it is brought up to date; 1 is on-policy",
        at_least=1,
    )
    corrected: bool = option(
        True, "take ratios to the older policy that sampled; else treat rollouts as today's"
    )
    learning_rate: float = option(2e-4, "at the start; decays linearly to 0", above=0)
    optimizer: str = option("adam", "what updates", list(stages.PPO_OPTIMIZERS))
    chunk: int = option(
        -1, "positions whose logits are computed at a time in an update", at_least=1, also=(-1,)
    )
    clip_norm: float = option(1.0, "global norm gradients are clipped to", above=0)
    clip: float = option(-1.0, "of the probability ratio", above=0, also=(-1,))
    clip_high: float = option(-1.0, "of the probability ratio upwards", above=0, also=(-1,))
    beta: float = option(-1.0, "of online DPO: strength of the KL constraint", above=0, also=(-1,))
    cap: float = option(-1.0, "of a truncated importance weight", above=0, also=(-1,))
    value_clip: float = option(-1.0, "of the values", above=0, also=(-1,))
    value_coefficient: float = option(-1.0, "of the value loss", at_least=0, also=(-1,))
    entropy_coefficient: float = option(0.0, "of the entropy bonus", at_least=0)
    aggregate: str = option("", "how tokens make a loss", ["", *_AGGREGATIONS])
    gamma: float = option(-1.0, "discount", at_least=0, at_most=1, also=(-1,))
    gae_lambda: float = option(-1.0, "of advantage estimation", at_least=0, at_most=1, also=(-1,))
    whiten_rewards: str = option("", "scale per-token rewards to variance 1", _YES_NO)
    whiten_advantages: str = option("", "shift and scale advantages over the batch", _YES_NO)
    redraws: int = option(
        -1, "times at most that groups of equal scores are drawn again", at_least=0, also=(-1,)
    )
    drop_zero_spread: str = option("", "leave groups of equal scores out of the loss", _YES_NO)
    overlong_share: float = option(
        -1.0,
        "of the longest response: where a score begins to fall",
        at_least=0,
        at_most=1,
        also=(-1,),
    )
    mask_overlong: bool = option(False, "leave responses that never end out of the loss")
    missing_stop_score: float = option(
        -1.0, "score of a response that never ends, with --missing_stop=score"
    )
    missing_stop_penalty: float = option(
        1.0,
        "taken off the score of one that never ends, with --missing_stop=penalty",
        at_least=0,
    )
    missing_stop: str = option(
        "penalty", "what a response that never ends gets", ["keep", "score", "penalty"]
    )
    kl_in: str = option("", "where the KL penalty stands", ["", "reward", "loss"])
    kl_estimator: str = option("", "of a KL in the loss", ["", *_ESTIMATORS])
    kl: str = option("fixed", "coefficient of the KL penalty", ["fixed", "adaptive"])
    kl_coefficient: float = option(
        -1.0, "per nat; where it starts, if adaptive", at_least=0, also=(-1,)
    )
    kl_target: float = option(6.0, "nats a response, if adaptive", above=0)
    kl_horizon: float = option(10_000.0, "episodes, if adaptive", above=0)
    target_kl: float = option(
        0.0, "stop an iteration's epochs at this approx-KL; 0 never", at_least=0
    )
    seed: int = option(0, "of shuffling and sampling", at_least=0, below=2**32)
    log_every: int = option(1, "iterations between lines in metrics.jsonl", at_least=1)
    log_to: str = option(
        "", "metrics go to TensorBoard, and to these: wandb, mlflow", LOGGERS, list_of=str
    )
    save_every: int = option(10, "iterations between checkpoints", at_least=1)
    resume_from: int = stages.resume_option()

    def __post_init__(self):
        chosen = chosen_algorithm(self)
        if self.batch_size % minibatch_size(self, chosen):
            raise ValueError(
                "--minibatch_size must divide --batch_size. Received: "
                f"minibatch_size={minibatch_size(self, chosen)}, batch_size={self.batch_size}"
            )
        if self.batch_size % chosen.group_size:
            raise ValueError(
                "--group_size must divide --batch_size. Received: "
                f"group_size={chosen.group_size}, batch_size={self.batch_size}"
            )
        if self.rule and not all(self.rule.partition(":")):
            raise ValueError(f"--rule is MODULE:FUNCTION. Received: {self.rule!r}")
        if not (self.corrected or self.samples_with_an_older_policy):
            raise ValueError(
                "--corrected is of an older policy's responses, --refresh_every of more than 1. "
                f"Received: refresh_every={self.refresh_every}"
            )
        if self.refresh_every < 1:
            raise ValueError(
                f"--refresh_every must be at least 1. Received: refresh_every={self.refresh_every}"
            )
        if self.critic == "separate" and not chosen.needs_critic:
            raise ValueError(
                f"--algorithm={self.algorithm} has no critic. Received: critic={self.critic}"
            )
        if chosen.kl_in == "loss" and self.kl == "adaptive":
            raise ValueError("--kl=adaptive moves a KL in the reward. Received: kl_in=loss")
        if chosen.kl_in == "reward" and self.kl_estimator:
            raise ValueError(
                "--kl_estimator is of a KL in the loss, --kl_in=loss. "
                f"Received: kl_estimator={self.kl_estimator}"
            )

    @property
    def samples_with_an_older_policy(self):
        return self.refresh_every > 1


def chosen_algorithm(config):
    """The Algorithm a config names, with the numbers it gives instead of the paper's.

    Raises:
        ValueError: if an option is given that the algorithm has no use for.
    """
    given = {
        "temperature": config.temperature,
        **{name: getattr(config, name) for name in _CHANGES if getattr(config, name) != -1},
        **{name: getattr(config, name) == "true" for name in _SWITCHES if getattr(config, name)},
    }
    if config.entropy_coefficient:
        given["entropy_coefficient"] = config.entropy_coefficient
    if config.kl_in:
        given["kl_in"] = config.kl_in
    if config.kl_estimator:
        given["kl_estimator"] = getattr(kl, config.kl_estimator)
    if config.aggregate:
        given["aggregate"] = getattr(aggregation, config.aggregate)
    return algorithm(config.algorithm, **given)


_CHANGES = (
    "group_size",
    "epochs",
    "clip",
    "clip_high",
    "cap",
    "value_clip",
    "value_coefficient",
    "gamma",
    "gae_lambda",
    "redraws",
    "overlong_share",
    "kl_coefficient",
    "beta",
    "chunk",
)
_SWITCHES = ("whiten_rewards", "whiten_advantages", "drop_zero_spread")


def align(config, run, gold=None, reward=None, stage=None, remote=None):
    """Improves the policy and saves it; goes on from the newest checkpoint of the run.

    Args:
        config: AlignConfig.
        run: RunDirectory.
        gold: ``(prompt, response) -> float``, logged beside the reward and never trained on; None
            where there is none.
        reward: see ``RolloutWorker``; None for the reward model of the config.
        stage: str, what checkpoints, metrics and the model go by; None for the algorithm's name.
        remote: ``rollout_actors.RemoteResponses``; None to respond here.
    """
    stage = stage or config.algorithm
    tokenizer, chosen, worker, learner, kl_control = assemble(config, reward, remote)
    prompts = BatchStream(
        training_prompts(config, tokenizer, stage),
        config.batch_size // chosen.group_size,
        [config.max_prompt_tokens],
        seed=config.seed,
    )
    state, first_step = stages.resumable(
        run,
        stage,
        learner,
        {"prompts": prompts, "kl": kl_control} | worker.stateful,
        config.resume_from,
        more_variables=worker.variables,
    )

    if remote is not None:
        remote.begin(prompts, first_step + 1)

    def update(step):
        if worker.sampler is not None and step % config.refresh_every == 1:
            worker.refresh_sampler()
        if remote is not None:
            remote.publish(worker.actor_critic.policy)
        rollout, metrics = improve(
            worker,
            learner,
            next(prompts),
            kl_control,
            seed=config.seed,
            step=step,
            epochs=chosen.epochs,
            minibatch_size=minibatch_size(config, chosen),
            target_kl=config.target_kl or None,
            on_bad=config.on_bad_reward,
            arrange=chosen.arrange,
        )
        if gold is not None and rollout is not None:
            metrics["gold_reward"] = _mean_gold(gold, tokenizer, rollout)
        if remote is not None:
            metrics |= {"age": remote.age, "redone": float(remote.redone)}
        return metrics

    stages.repeat(run, stage, update, config, state, first_step)
    policy = worker.actor_critic.policy
    adapters.save_model(run, stage, policy, tokenizer, config.lora, config.policy)


class Parts(NamedTuple):
    """What an alignment is made of."""

    tokenizer: Tokenizer
    algorithm: Algorithm
    worker: RolloutWorker
    learner: Learner
    kl_control: FixedKL


def assemble(config, reward=None, remote=None):
    """The Parts that a config asks for.

    Args:
        config: AlignConfig.
        reward, remote: see ``RolloutWorker``; without a reward there is the config's.
    """
    chosen = chosen_algorithm(config)
    tokenizer = stages.load_tokenizer(config.policy)

    def load():
        return from_pretrained(config.policy, dtype=config.precision)

    policy = load()
    reward_model = None
    if reward is None:
        reward, reward_model = reward_of(config, tokenizer)
    actor_critic = _actor_critic(config, chosen, policy, reward_model)
    older = load() if config.refresh_every > 1 else None
    for model in filter(None, (policy, older)):
        adapters.adapt(model, config.lora)
    worker = RolloutWorker(
        actor_critic,
        adapters.reference_of(policy, config.lora, load),
        reward,
        rollout_config(config, tokenizer),
        chosen.credit,
        chosen.baseline and chosen.baseline(),
        _cost_limit(config),
        older,
        remote,
        config.corrected,
    )
    sized = dataclasses.replace(
        config, minibatch_size=minibatch_size(config, chosen), epochs=chosen.epochs
    )
    optimizer = stages.ppo_optimizer(sized, config.clip_norm, config.optimizer)
    learner = Learner(worker.actor_critic, chosen.loss, optimizer, config.accumulate)
    return Parts(tokenizer, chosen, worker, learner, _kl_control(config, chosen))


def responder(config):
    """(the config's policy, a Responder of it with the config's reward), in a process that only responds."""
    tokenizer = stages.load_tokenizer(config.policy)
    policy = from_pretrained(config.policy, dtype=config.precision)
    adapters.adapt(policy, config.lora)
    reward, _ = reward_of(config, tokenizer)
    return policy, Responder(policy, reward, rollout_config(config, tokenizer))


def training_prompts(config, tokenizer, stage):
    """The config's prompts, encoded."""
    records = stages.read(config.data, PromptRecord, "train", config.on_bad, config.data_dir)
    return stages.tell(
        stage, encode_prompts(records, tokenizer, config.max_prompt_tokens, config.on_bad)
    )


def reward_of(config, tokenizer):
    """(the reward that a config names, its model or None)."""
    if not config.rule:
        return learned_reward(config, tokenizer)
    module, _, name = config.rule.partition(":")
    try:
        rule = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"There is no such rule: {error}. Received: rule={config.rule}") from error
    timeout = config.rule_timeout or None
    return TextReward(Guarded(rule, timeout=timeout), tokenizer.decode), None


def learned_reward(config, tokenizer):
    """(the reward of ``config.reward_model``, an Ensemble where there are several; the first model).

    Args:
        config: has ``reward_model``, ``ensemble`` and ``precision``.
        tokenizer: the policy's, in whose tokens a process reward model separates steps.
    """
    models = [
        from_pretrained(directory, dtype=config.precision)
        for directory in config.reward_model.split(",")
    ]
    rewards = [
        ProcessReward(model, separator_id(tokenizer))
        if isinstance(model, ProcessRewardModel)
        else LearnedReward(model)
        for model in models
    ]
    reward = rewards[0] if len(rewards) == 1 else Ensemble(rewards, _BOUNDS[config.ensemble])
    return reward, models[0]


def rollout_config(config, tokenizer):
    """How the experiment's options say responses are sampled, and which of them count."""
    chosen = chosen_algorithm(config)
    given = tuple(int(token) for token in config.stop_tokens.split(",") if token)
    return RolloutConfig(
        config.max_new_tokens,
        temperature=config.temperature,
        stop_tokens=given or tokenizer.stop_ids,
        pad_id=tokenizer.pad_id,
        group_size=chosen.group_size,
        missing_stop_score=config.missing_stop_score if config.missing_stop == "score" else None,
        missing_stop_penalty=(
            config.missing_stop_penalty if config.missing_stop == "penalty" else 0.0
        ),
        overlong_buffer=round(chosen.overlong_share * config.max_new_tokens),
        mask_overlong=config.mask_overlong,
        redraws=chosen.redraws,
        drop_zero_spread=chosen.drop_zero_spread,
    )


def minibatch_size(config, chosen):
    """Responses of an update: as given, else the algorithm's share of a batch."""
    if config.minibatch_size != -1:
        return config.minibatch_size
    return max(config.batch_size // chosen.minibatches, 1)


def _actor_critic(config, chosen, policy, reward_model):
    if not chosen.needs_critic:
        return Actor(policy)
    if config.critic == "shared":
        return SharedActorCritic(policy)
    initial = reward_model if config.critic_from == "reward_model" else None
    return SeparateActorCritic(policy, separate_critic(policy, initial))


def _cost_limit(config):
    if not config.cost_model:
        return None
    cost = LearnedReward(from_pretrained(config.cost_model, dtype=config.precision))
    return CostLimit(cost, config.cost_limit, config.cost_rate)


def _kl_control(config, chosen):
    coefficient = chosen.kl_coefficient if chosen.kl_in == "reward" else 0.0
    if config.kl == "fixed":
        return FixedKL(coefficient)
    return AdaptiveKL(coefficient, config.kl_target, config.kl_horizon)


def _mean_gold(gold, tokenizer, rollout):
    prompts, responses = stages.texts(tokenizer, rollout)
    return float(np.mean([gold(p, r) for p, r in zip(prompts, responses)]))


def main(config):
    from tfalign.data.customer_service import gold_reward

    gold = gold_reward if config.data == stages.EMBEDDED else None
    align(config, stages.open_run(config.algorithm, config), gold)


if __name__ == "__main__":
    launch(AlignConfig, main, __doc__)
