"""The option records of reinforcement learning: responses, algorithm, credit, KL, reward, actors.

This module imports neither Keras nor TensorFlow.
"""

from __future__ import annotations

from tfalign.options import option, option_record, record
from tfalign.trainers.options import (
    CHUNK_HELP,
    CONSTRAINT_HELP,
    DataOptions,
    RunOptions,
    TextEvaluationOptions,
    UpdateOptions,
)
from tfalign.types import LoRA

AGGREGATIONS = ("token_mean", "sequence_mean", "fixed_length_mean", "micro_batch_token_mean")
CALL_FORMATS = ("hermes", "llama", "python")
KL_ESTIMATORS = ("k1", "k2", "k3")
ALGORITHMS = (
    "ppo",
    "a2c",
    "vtrace",
    "reinforce",
    "reinforce_moving",
    "reinforce_baseline",
    "reinforce_is",
    "reinforce_pp",
    "remax",
    "rloo",
    "grpo",
    "dr_grpo",
    "dapo",
    "cispo",
    "gspo",
    "turn_ppo",
    "turn_grpo",
    "online_dpo",
    "rejection_sampling",
)


@option_record
class ResponseOptions:
    """Responses: how they are sampled, and what counts."""

    max_prompt_tokens: int = option(48, "Maximum prompt length, tokens.", at_least=1)
    max_new_tokens: int = option(48, "Maximum response length, tokens.", at_least=1)
    temperature: float = option(1.0, "Sampling temperature, and that of all log-probs.", above=0)
    stop_tokens: tuple[int, ...] = option((), "Ids that end a response; none: the model's own.")
    constraint: str | None = option(None, CONSTRAINT_HELP)
    slots: int | None = option(
        None,
        "Responses, or conversations, decoded at once, where one that ends makes room for the next; none: all of a batch.",
        at_least=1,
    )
    packed: bool = option(
        False,
        "Pack several responses into a row for updates, reference, critic and reward models, which then do not work on "
        "padding; more programs are compiled.",
    )
    missing_stop: str = option(
        "penalty",
        "Reward of a response without a stop token: kept, replaced, or lowered.",
        ("keep", "score", "penalty"),
    )
    missing_stop_score: float = option(-1.0, "Its reward, with --missing_stop=score.")
    missing_stop_penalty: float = option(
        1.0, "What is subtracted from its reward, with --missing_stop=penalty.", at_least=0
    )
    mask_overlong: bool = option(False, "Leave responses without a stop token out of the loss.")
    refresh_every: int = option(
        1, "Batches sampled by one copy of the policy; 1 is on-policy.", at_least=1
    )
    corrected: bool = option(
        True, "Importance correction for an older sampling policy, with --refresh_every > 1."
    )


@option_record
class TurnOptions:
    """Turns: conversations with tools."""

    max_turns: int | None = option(
        None,
        "Maximum number of the policy's turns; none: until --max_new_tokens are written.",
        at_least=1,
    )
    tool_timeout: float = option(10.0, "Maximum duration of a tool's call, seconds.", above=0)
    tool_characters: int = option(
        2000, "Maximum length of a tool's result, characters; the rest is cut off.", at_least=1
    )
    call_format: str | None = option(
        None, "How calls are written; none: as the chat template says.", CALL_FORMATS
    )


@option_record
class AlgorithmOptions:
    """Algorithm: numbers that replace the paper's."""

    minibatch_size: int | None = option(
        None, "Responses per optimizer step; must divide --batch_size.", at_least=1
    )
    group_size: int | None = option(None, "Responses per prompt.", at_least=1)
    update_epochs: int | None = option(None, "Passes over each batch of rollouts.", at_least=1)
    clip: float | None = option(
        None,
        "PPO clip range epsilon: the probability ratio is clipped to [1 - epsilon, 1 + epsilon].",
        above=0,
    )
    clip_high: float | None = option(None, "Upper clip range, if other than --clip.", above=0)
    chunk: int | None = option(None, CHUNK_HELP, at_least=0)
    cap: float | None = option(None, "Upper bound of a truncated importance weight.", above=0)
    beta: float | None = option(None, "Online DPO: strength of the KL constraint.", above=0)
    entropy_coefficient: float | None = option(
        None, "Coefficient of the entropy bonus.", at_least=0
    )
    aggregate: str | None = option(None, "How per-token losses are averaged.", AGGREGATIONS)
    redraws: int | None = option(
        None,
        "Dynamic sampling (DAPO): maximum number of times groups whose rewards are all equal are resampled.",
        at_least=0,
    )
    drop_zero_spread: bool | None = option(
        None, "Leave groups whose rewards are all equal out of the loss."
    )
    overlong_share: float | None = option(
        None,
        "Last fraction of the maximum length over which the reward falls (DAPO).",
        at_least=0,
        at_most=1,
    )


@option_record
class CreditOptions:
    """Credit assignment: critic, discount, advantages."""

    critic: str = option(
        "shared", "Value head on the policy, or a critic of its own.", ("shared", "separate")
    )
    critic_from: str = option(
        "reward_model", "What a separate critic starts from.", ("reward_model", "policy")
    )
    gamma: float | None = option(None, "Discount per token.", above=0, at_most=1)
    gae_lambda: float | None = option(None, "GAE lambda.", at_least=0, at_most=1)
    value_clip: float | None = option(None, "Clip range of value predictions.", above=0)
    value_coefficient: float | None = option(None, "Weight of the value loss.", at_least=0)
    whiten_rewards: bool | None = option(None, "Scale per-token rewards to variance 1.")
    whiten_advantages: bool | None = option(
        None, "Shift and scale advantages over the batch to N(0, 1)."
    )


@option_record
class KLOptions:
    """KL penalty to the reference model."""

    kl_coefficient: float | None = option(
        None, "Coefficient, per nat; the initial one with --kl=adaptive.", at_least=0
    )
    kl_in: str | None = option(None, "Where the penalty stands.", ("reward", "loss"))
    kl_estimator: str | None = option(None, "Estimator of a KL in the loss.", KL_ESTIMATORS)
    kl: str = option("fixed", "How the coefficient changes.", ("fixed", "adaptive"))
    kl_target: float = option(6.0, "Adaptive: target KL, nats per response.", above=0)
    kl_horizon: float = option(10_000.0, "Adaptive: horizon, responses.", above=0)
    target_kl: float | None = option(
        None, "End an iteration's epochs once approx_kl (nats per token) exceeds it.", above=0
    )


@option_record
class RewardOptions:
    """Reward and cost."""

    ensemble: str = option(
        "deviation",
        "Several reward models: what their mean is lowered by, or the worst of them.",
        ("deviation", "variance", "worst"),
    )
    reward_timeout: float | None = option(
        None,
        "Seconds that a Python reward may take, in a process of its own; none: no limit.",
        above=0,
    )
    on_bad_reward: str = option(
        "stop", "A batch whose reward fails or is not finite: stop, or skip it.", ("stop", "skip")
    )
    cost_limits: tuple[float, ...] = option(
        (), "Limits of the mean costs, one for each of --costs."
    )
    cost_rates: tuple[float, ...] = option(
        (0.05,),
        "Step sizes of the Lagrange multipliers, one for each of --costs, or one for all.",
        above=0,
    )
    cost_proportional: tuple[float, ...] = option(
        (0.0,), "PID: factors of a mean cost's excess over its limit, as --cost_rates.", at_least=0
    )
    cost_derivative: tuple[float, ...] = option(
        (0.0,),
        "PID: factors of a mean cost's rise since the batch before, as --cost_rates.",
        at_least=0,
    )


@option_record
class ResponseEvaluationOptions(TextEvaluationOptions):
    """Evaluation and sample texts while training: held-out prompts, the best model, early stopping, samples.jsonl."""

    eval_every: int | None = option(
        None,
        "Steps between evaluations on held-out prompts, by default the data's test split; none: no "
        "evaluations on that split.",
        at_least=1,
    )
    eval_prompts: int = option(
        256, "Maximum number of held-out prompts, each of which gets one response.", at_least=1
    )


@option_record
class OnPolicyOptions:
    """Options of ``OnPolicyTrainer``."""

    run: RunOptions = record(RunOptions(steps=100, log_every=1, save_every=10))
    data_options: DataOptions = record(DataOptions())
    responses: ResponseOptions = record(ResponseOptions())
    turns: TurnOptions = record(TurnOptions())
    update: UpdateOptions = record(
        UpdateOptions(
            batch_size=64,
            optimizer="adam",
            learning_rate=2e-4,
            warmup_steps=0,
            decay="linear",
            final_fraction=0.0,
            weight_decay=0.0,
        )
    )
    algorithm_options: AlgorithmOptions = record(AlgorithmOptions())
    credit: CreditOptions = record(CreditOptions())
    kl_penalty: KLOptions = record(KLOptions())
    reward_options: RewardOptions = record(RewardOptions())
    evaluation: ResponseEvaluationOptions = record(ResponseEvaluationOptions())
    lora: LoRA | None = record(None, prefix="lora.")


@option_record
class ActorOptions:
    """Actors: processes that respond and score."""

    actors: int = option(2, "Processes that respond and score.", at_least=1)
    staleness: int = option(
        0, "Maximum number of batches that are sampled before they are needed.", at_least=0
    )
    fixed_age: bool = option(
        False, "Responses of the policy of exactly --staleness updates before, not of the newest."
    )
    address: str | None = option(
        None, "Address of a Ray cluster; none: one is started on this machine."
    )


@option_record
class DistributedOptions(OnPolicyOptions):
    """Options of ``DistributedOnPolicyTrainer``."""

    actor_options: ActorOptions = record(ActorOptions())

    def __post_init__(self) -> None:
        for name, value, alone in (
            ("refresh_every", self.responses.refresh_every, 1),
            ("cost_limits", self.reward_options.cost_limits, ()),
        ):
            if value != alone:
                raise ValueError(f"--{name} is for one process. Received: {name}={value}")
