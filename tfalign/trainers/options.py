"""The option records of the trainers.

This module imports neither Keras nor TensorFlow, so that ``tfalign JOB --help`` prints at once.
"""

from __future__ import annotations

import re

from tfalign.options import option, option_record, record
from tfalign.types import LoRA

OPTIMIZERS = ("adamw", "adamw_bfloat16", "adam", "adam_bfloat16", "adagrad", "adafactor", "lamb")
CHUNK_HELP = (
    "Positions whose logits are computed at a time; 0: all at once; none: all at once up to 67 million "
    "logits on a CPU, 537 million on another device."
)
CONSTRAINT_HELP = (
    "Constraint on responses: regex:PATTERN, json:FILE or json:SCHEMA (a JSON schema), with:WORD,WORD or "
    "without:WORD,WORD; none: all texts."
)
PREFERENCE_LOSSES = ("dpo", "cdpo", "robust_dpo", "slic", "ipo", "kto", "orpo", "simpo", "cpo")
LAYOUTS = ("alpaca", "sharegpt", "stepwise", "anthropic")
RANKING_LOSSES = ("plackett_luce", "best_of_k", "all_pairs")


def step_range(steps: str | None) -> tuple[int, int] | None:
    """The first and the last step that are traced; None for none.

    >>> step_range("10:13")
    (10, 13)

    Raises:
        ValueError: if the text is no range.
    """
    if steps is None:
        return None
    match = re.fullmatch(r"(\d+):(\d+)", steps)
    first, last = map(int, match.groups()) if match else (0, 0)
    if not 1 <= first <= last:
        raise ValueError(
            f"profile_steps is FIRST:LAST, from 1 on, such as 10:13. Received: profile_steps={steps!r}"
        )
    return first, last


@option_record
class RunOptions:
    """Run: length, seed, logs, checkpoints."""

    steps: int = option(250, "Training steps.", at_least=1)
    epochs: float | None = option(
        None, "Passes over the training data, which then decide --steps.", above=0
    )
    seed: int = option(
        0, "Random seed of initialisation, shuffling and sampling.", at_least=0, below=2**32
    )
    log_every: int = option(10, "Steps between lines of metrics.jsonl.", at_least=1)
    save_every: int = option(100, "Steps between checkpoints.", at_least=1)
    background_save: bool = option(
        True,
        "Write checkpoints while the training goes on, from a copy in memory; else it waits for each.",
    )
    log_to: tuple[str, ...] = option((), "Further loggers beside TensorBoard.", ("wandb", "mlflow"))
    resume_from: int | None = option(
        None,
        "Step of the checkpoint to continue from, later ones are removed; none: the newest.",
        at_least=0,
    )
    profile_steps: str | None = option(
        None, "Steps traced for TensorBoard's profile page: FIRST:LAST, such as 10:13; none: none."
    )
    peak_tflops: float | None = option(
        None,
        "Peak of one device, TFLOP/s, of which the metric mfu is a fraction; none: that of a known GPU or TPU.",
        above=0,
    )

    def __post_init__(self) -> None:
        step_range(self.profile_steps)


@option_record
class EvaluationOptions:
    """Evaluation while training: held-out data, the best model, early stopping."""

    eval_every: int | None = option(
        None, "Steps between evaluations on held-out data; none: after the last step.", at_least=1
    )
    keep_best: bool = option(
        False,
        "Save the weights of the best evaluation instead of the last ones: that of the lowest loss, or of "
        "the highest mean reward where training is on-policy.",
    )
    patience: int | None = option(
        None, "Stop after this many evaluations that are not better; none: never.", at_least=1
    )

    def __post_init__(self) -> None:
        if self.eval_every is None and (self.keep_best or self.patience is not None):
            raise ValueError(
                "keep_best and patience need eval_every. "
                f"Received: keep_best={self.keep_best}, patience={self.patience}, eval_every=None"
            )


@option_record
class SampleOptions:
    """Sample texts while training, in samples.jsonl and TensorBoard."""

    sample_every: int | None = option(
        None, "Steps between sample texts; none: no samples.", at_least=1
    )
    sample_prompts: tuple[str, ...] = option(
        (), "Prompts of the samples, in a config file a list; none: four of the data's."
    )
    sample_tokens: int = option(48, "Maximum length of a sample's response, tokens.", at_least=1)
    sample_temperature: float | None = option(
        None, "Sampling temperature of samples; none: greedy.", above=0
    )


@option_record
class TextEvaluationOptions(EvaluationOptions, SampleOptions):
    """Evaluation and sample texts while training: the best model, early stopping, samples.jsonl."""


@option_record
class DataOptions:
    """Data: where datasets are built, what is held out, bad records."""

    data_dir: str = option("runs/data", "Directory in which TFDS datasets are built.")
    test_fraction: float = option(
        0.1, "Fraction of prompts held out where the source has no split.", above=0, below=1
    )
    disk_dir: str | None = option(
        None,
        "Directory for records and token ids larger than memory, in files that are gone with the process; none: "
        "in memory.",
    )
    layout: str | None = option(
        None,
        "How the data's rows are spelled, where their columns are not called as the records' fields; none: they are.",
        LAYOUTS,
    )
    on_bad: str = option(
        "stop", "Bad or over-long records: stop at the first, or skip and count.", ("stop", "skip")
    )


@option_record
class UpdateOptions:
    """Optimizer: batch size, learning rate, schedule."""

    batch_size: int = option(32, "Rows (pairs, responses) per batch.", at_least=1)
    accumulate: int = option(1, "Micro-batches per optimizer step.", at_least=1)
    optimizer: str = option("adamw", "Optimizer.", OPTIMIZERS)
    learning_rate: float = option(5e-4, "Peak learning rate.", above=0)
    warmup_steps: int = option(20, "Steps of linear warm-up.", at_least=0)
    decay: str = option(
        "cosine", "Learning-rate schedule after warm-up.", ("cosine", "linear", "constant")
    )
    final_fraction: float = option(
        0.1, "Fraction of the peak learning rate at the last step.", at_least=0, at_most=1
    )
    weight_decay: float = option(0.01, "Weight decay of matrices.", at_least=0)
    clip_norm: float = option(1.0, "Global gradient norm is clipped to it.", above=0)
    precision: str | None = option(
        None, "Keras dtype policy; none: the model's own, float32.", ("float32", "mixed_bfloat16")
    )


@option_record
class TrainingOptions:
    """What every training on examples takes."""

    run: RunOptions = record(RunOptions())
    evaluation: EvaluationOptions = record(EvaluationOptions())
    data_options: DataOptions = record(DataOptions())
    update: UpdateOptions = record(UpdateOptions())


@option_record
class SupervisedOptions(TrainingOptions):
    """What every training of a model that was pretrained takes."""

    lora: LoRA | None = record(None, prefix="lora.")


@option_record
class FineTuneOptions(SupervisedOptions):
    """Options of ``FineTuner``."""

    evaluation: TextEvaluationOptions = record(TextEvaluationOptions())
    length: int = option(
        96, "Maximum sequence length of prompt and completion, tokens.", at_least=2
    )
    conversations: bool = option(False, 'Records are conversations ("messages"), not completions.')
    packed: bool = option(
        False,
        "Several examples in a row of --length tokens, kept apart: --batch_size rows hold more examples.",
    )
    chunk: int | None = option(None, CHUNK_HELP, at_least=0)


@option_record
class DistillOptions(SupervisedOptions):
    """Options of ``DistillationTrainer``."""

    evaluation: TextEvaluationOptions = record(TextEvaluationOptions())
    responses: str = option(
        "data",
        "Texts on which the student learns: completions of the data, or responses to its prompts by the teacher "
        "(sequence-level) or the student (on-policy).",
        ("data", "teacher", "student"),
    )
    divergence: str = option(
        "forward_kl",
        "Exact divergence per token: KL(teacher || student), KL(student || teacher), or the generalised "
        "Jensen-Shannon divergence.",
        ("forward_kl", "reverse_kl", "jsd"),
    )
    jsd_beta: float = option(0.5, "The teacher's weight in --divergence=jsd.", above=0, below=1)
    temperature: float = option(1.0, "Temperature of both distributions in the loss.", above=0)
    conversations: bool = option(False, 'Records are conversations ("messages"), not completions.')
    length: int = option(96, "Maximum length of the data's texts, tokens.", at_least=2)
    max_prompt_tokens: int = option(48, "Maximum prompt length, tokens.", at_least=1)
    max_new_tokens: int = option(48, "Maximum length of sampled responses, tokens.", at_least=1)


@option_record
class PretrainOptions(TrainingOptions):
    """Options of ``Pretrainer``."""

    run: RunOptions = record(RunOptions(steps=800, log_every=20, save_every=200))
    evaluation: TextEvaluationOptions = record(TextEvaluationOptions())
    update: UpdateOptions = record(
        UpdateOptions(learning_rate=2e-3, warmup_steps=50, weight_decay=0.1)
    )
    vocab_size: int = option(1024, "Vocabulary size of the tokenizer that is trained.", at_least=2)
    preset: str = option("mini", "Preset of models.gpt_config.PRESETS.")
    width: int | None = option(None, "Hidden size; none: the preset's.", at_least=1)
    num_layers: int | None = option(None, "Number of blocks; none: the preset's.", at_least=1)
    num_heads: int | None = option(None, "Attention heads; none: the preset's.", at_least=1)
    attention_window: int | None = option(
        None, "Tokens that every other block attends to; none: all.", at_least=1
    )
    dropout: float | None = option(None, "Dropout rate; none: the preset's.", at_least=0, below=1)
    max_positions: int = option(128, "Longest sequence of the model, tokens.", at_least=2)
    length: int = option(96, "Sequence length of packed rows, tokens.", at_least=2)
    chunk: int | None = option(None, CHUNK_HELP, at_least=0)
    ramp: str | None = option(
        None, "Smaller batches first: UPDATES:ROWSxLENGTH, comma-separated, such as 100:8x32."
    )


@option_record
class RewardTrainOptions(SupervisedOptions):
    """Options of ``RewardTrainer``."""

    run: RunOptions = record(RunOptions(steps=300))
    update: UpdateOptions = record(UpdateOptions(learning_rate=3e-4))
    backbone: str = option(
        "model", "The given model's backbone, or a new BERT of its size.", ("model", "bert")
    )
    length: int = option(96, "Maximum sequence length of prompt and response, tokens.", at_least=2)
    max_prompt_tokens: int = option(48, "Maximum prompt length, tokens.", at_least=1)
    max_new_tokens: int = option(48, "Maximum response length, tokens.", at_least=1)
    centering: float = option(
        0.0, "Coefficient of (chosen + rejected)^2, which centres scores at 0.", at_least=0
    )
    rankings: str | None = option(
        None, "Loss of records that rank several responses; none: pairs.", RANKING_LOSSES
    )
    normalize_with: str | None = option(
        None, "Policy on whose responses scores are normalised to N(0, 1); none: the model."
    )
    normalize_batches: int = option(
        8, "Batches of responses on which scores are normalised.", at_least=1
    )

    def __post_init__(self) -> None:
        if self.rankings and self.centering:
            raise ValueError(f"centering is of pairs. Received: rankings={self.rankings}")


@option_record
class ProcessRewardOptions(SupervisedOptions):
    """Options of ``ProcessRewardTrainer``."""

    run: RunOptions = record(RunOptions(steps=300))
    update: UpdateOptions = record(UpdateOptions(learning_rate=3e-4))
    length: int = option(256, "Maximum sequence length of prompt and steps, tokens.", at_least=2)


@option_record
class LossOptions:
    """Preference loss: numbers that replace the paper's."""

    beta: float | None = option(None, "Strength of the implicit KL constraint.", above=0)
    label_smoothing: float | None = option(
        None, "Probability that a preference label is wrong.", at_least=0, below=0.5
    )
    gamma: float | None = option(None, "Target margin of the chosen response.", at_least=0)
    nll_coefficient: float | None = option(
        None, "Weight of the chosen response's negative log-likelihood.", at_least=0
    )
    desirable_weight: float | None = option(None, "Weight of liked responses (KTO).", at_least=0)
    undesirable_weight: float | None = option(
        None, "Weight of disliked responses (KTO).", at_least=0
    )
    per_token: bool | None = option(None, "Mean of the log-ratios over tokens instead of the sum.")
    chunk: int | None = option(None, CHUNK_HELP, at_least=0)


@option_record
class PreferenceOptions(SupervisedOptions):
    """Options of ``PreferenceTrainer``."""

    run: RunOptions = record(RunOptions(steps=300))
    evaluation: TextEvaluationOptions = record(TextEvaluationOptions())
    update: UpdateOptions = record(UpdateOptions(learning_rate=2e-4))
    loss_options: LossOptions = record(LossOptions())
    loss: str = option("dpo", "Preference loss.", PREFERENCE_LOSSES)
    reference: str | None = option(
        None, "Directory of the reference model; none: the starting model."
    )
    unpaired: bool = option(
        False, 'Records have "prompt", "completion" and "label" instead of pairs (KTO).'
    )
    packed: bool = option(
        False,
        "Several responses with their prompts in a row, kept apart: the same updates, more programs to compile.",
    )
    max_prompt_tokens: int = option(48, "Maximum prompt length, tokens.", at_least=1)
    max_new_tokens: int = option(48, "Maximum response length, tokens.", at_least=1)


@option_record
class EvaluateOptions:
    """Options of ``PolicyEvaluator``."""

    data_options: DataOptions = record(DataOptions(on_bad="skip"))
    before_name: str = option("sft", "Name of the model before alignment in the report.")
    after_name: str = option("ppo", "Name of the model after it.")
    num_prompts: int = option(512, "Maximum number of held-out prompts.", at_least=1)
    batch_size: int = option(64, "Responses sampled at a time.", at_least=1)
    max_prompt_tokens: int = option(48, "Maximum prompt length, tokens.", at_least=1)
    max_new_tokens: int = option(48, "Maximum response length, tokens.", at_least=1)
    temperature: float = option(1.0, "Sampling temperature.", above=0)
    seed: int = option(1, "Random seed of sampling.", at_least=0)
    title: str = option("Alignment report", "Title of the report.")
    summary: str = option("", "What ran, in a few sentences of Markdown.")


@option_record
class DeviceOptions:
    """Devices: of the process, not recorded in a run."""

    strategy: str = option(
        "one",
        "TensorFlow: tf.distribute strategy that shares the rows of a batch.",
        ("one", "mirrored", "multiworker", "tpu"),
    )
    cpu_devices: int = option(
        1, "TensorFlow: logical CPUs to split this machine's into.", at_least=1
    )
    tpu: str = option("local", "TensorFlow: name or address of the TPU of --strategy=tpu.")
    mesh: str | None = option(
        None,
        'JAX: mesh axes, such as "data:8", "fsdp:2,model:4", "expert:8" or "fsdp:2,context:4"; none: one device.',
    )
    multihost: bool = option(
        False, "JAX: join the processes of other machines, see docs/devices.md."
    )
    remat: bool = option(False, "Recompute blocks in the backward pass to save memory.")
    scan_blocks: bool | None = option(
        None,
        "Compile a model's equal blocks as one block in a loop; none: on JAX from 24 blocks on, on one device.",
    )
    peer_timeout: float = option(300.0, "Seconds to wait for other workers at the start.", above=0)
