"""The option record of a plan.

This module imports neither Keras nor TensorFlow.
"""

from __future__ import annotations

from tfalign.options import option, option_record
from tfalign.training.accelerators import DEVICES

RULE = "rule"


@option_record
class PlanOptions:
    """What is planned."""

    model: str = option(
        "gpt2", "Directory with config.json, or a preset of models.gpt_config.PRESETS."
    )
    algorithm: str = option(
        "ppo",
        "What is run; other algorithms on rollouts cost what ppo does.",
        ("sft", "reward", "dpo", "ppo", "grpo"),
    )
    device: str | None = option(
        None,
        f"One of {', '.join(DEVICES)}, or numbers: GB of memory,GB/s,TFLOP/s,GB/s of links; "
        "none: h100, or that of --compile_for.",
    )
    mesh: str | None = option(
        None,
        'Devices: "data:8" or "fsdp:8" for rows, "model:4" for heads, "context:4" for columns, or several; none: one.',
    )
    reward_model: str | None = option(
        None, f"Reward model, as --model; none: the policy's shape; {RULE}: a rule, no model."
    )
    critic: str = option(
        "shared", "Critic of PPO: on the policy's trunk, or of its own.", ("shared", "separate")
    )
    batch_size: int = option(64, "Rows of text, pairs, or responses per step.", at_least=1)
    max_prompt_tokens: int = option(48, "Prompt length, tokens; 0: text without one.", at_least=0)
    max_new_tokens: int = option(48, "Length of the response, or of the text, tokens.", at_least=1)
    minibatch_size: int | None = option(
        None, "Responses per optimizer step; none: the algorithm's own.", at_least=1
    )
    epochs: int | None = option(
        None, "Passes over the rollouts; none: the algorithm's own.", at_least=1
    )
    accumulate: int = option(1, "Micro-batches per optimizer step.", at_least=1)
    lora_rank: int | None = option(
        None, "Rank of adapters on all Dense layers; none: all weights are trained.", at_least=1
    )
    precision: str = option("float32", "Keras dtype policy.", ("float32", "mixed_bfloat16"))
    remat: bool = option(False, "Recompute blocks in the backward pass to save memory.")
    chunk: int | None = option(
        None,
        "Positions whose logits are computed at a time; 0: all at once; none: all at once up to 67 million "
        "logits on a CPU, 537 million on another device.",
        at_least=0,
    )
    check: bool = option(False, "Run a step and compare with what XLA compiled.")
    compile_for: str | None = option(
        None,
        "Compile every program of a step with the TPU compiler, without a TPU, for a slice such as "
        "v5e:2x4, v6e:2x4, v4:2x2x1 or v5p:2x2x1; needs the extra tpu and KERAS_BACKEND=jax.",
    )

    def __post_init__(self) -> None:
        if self.critic == "separate" and self.algorithm != "ppo":
            raise ValueError(f"{self.algorithm} has no critic. Received: critic={self.critic}")
        if self.chunk and self.algorithm == "reward":
            raise ValueError(f"A reward model has no logits. Received: chunk={self.chunk}")
        if self.compile_for and (self.check or self.device):
            raise ValueError(
                "compile_for names a device of its own, and runs nothing to check. "
                f"Received: device={self.device}, check={self.check}"
            )
