"""One GRPO step of TRL 1.16's GRPOTrainer on a GPT-2 with random weights.

    python trl_grpo.py --vocab 512 --width 128 --layers 4 --heads 4 \\
        --batch 32 --prompt 16 --new 48

`batch` counts completions: batch / 8 prompts with 8 generations each. Policy and reference are
separate models of one size (beta is 0.04); the reward is a Python function of the token ids, so no
reward model is run.

Timed: one whole step, from the end of one optimisation step's callback to the end of the next:
sampling the prompts, tokenisation, `generate`, decoding to text, reference log-probs, rewards,
group advantages, forward, backward, clipping, AdamW, metrics. Not timed: building models and
trainer, the warm-up steps, checkpoints and completion tables (off).

Settings: TRL's defaults (temperature 1, one optimiser step a batch of completions, DAPO's token
normalisation) but for float32 instead of bfloat16 and no gradient checkpointing (both are faster
here). The tokenizer's end token lies outside the model's vocabulary, so every completion has `new`
tokens. Progress bar and printed metrics are off.
"""

from __future__ import annotations

import contextlib
import itertools
import statistics
import sys
import tempfile
import time

from datasets import Dataset
from transformers import GPT2LMHeadModel, PrinterCallback, TrainerCallback
from trl import GRPOConfig, GRPOTrainer

from common import (
    WARM_UPS,
    count_parameters,
    gpt2_config,
    parse_arguments,
    print_report,
    random_prompts,
    word_tokenizer,
)

GENERATIONS = 8
BETA = 0.04


class StepClock(TrainerCallback):
    """Notes `time.perf_counter()` at the end of each optimiser step, in `ends`."""

    def __init__(self):
        self.ends = []

    def on_step_end(self, args, state, control, **kwargs):
        self.ends.append(time.perf_counter())


def even_token_share(completion_ids: list[list[int]], **columns) -> list[float]:
    """Reward of each completion: the share of even token ids, a rule that costs nothing."""
    return [sum(token % 2 == 0 for token in ids) / len(ids) for ids in completion_ids]


def build_trainer(args, directory: str, clock: StepClock) -> GRPOTrainer:
    """A GRPOTrainer that runs WARM_UPS + repeats steps.

    The policy goes through `directory`, from which the trainer loads its reference model too.
    """
    GPT2LMHeadModel(gpt2_config(args)).save_pretrained(directory)
    tokenizer = word_tokenizer(args.vocab)
    config = GRPOConfig(
        output_dir=directory,
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        report_to="none",
        disable_tqdm=True,
        save_strategy="no",
        max_steps=WARM_UPS + args.repeats,
        per_device_train_batch_size=args.batch,
        gradient_accumulation_steps=1,
        num_generations=GENERATIONS,
        max_completion_length=args.new,
        beta=BETA,
        generation_kwargs={"use_cache": True},
        model_init_kwargs={"dtype": "float32"},
    )
    prompts = random_prompts(args, 4 * args.batch).tolist()
    trainer = GRPOTrainer(
        model=directory,
        reward_funcs=even_token_share,
        args=config,
        processing_class=tokenizer,
        train_dataset=Dataset.from_dict({"prompt": [tokenizer.decode(ids) for ids in prompts]}),
        callbacks=[clock],
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


def main() -> None:
    args = parse_arguments(__doc__)
    if args.batch % GENERATIONS:
        sys.exit(f"--batch must be a multiple of {GENERATIONS}. Received: {args.batch}")
    clock = StepClock()
    # TRL prints to stdout, which belongs to the JSON line.
    with tempfile.TemporaryDirectory() as directory, contextlib.redirect_stdout(sys.stderr):
        trainer = build_trainer(args, directory, clock)
        trainer.train()

    ends = clock.ends[-args.repeats - 1 :]
    seconds = [end - start for start, end in itertools.pairwise(ends)]
    print_report(
        "trl grpo",
        args,
        ["torch", "transformers", "trl"],
        seconds,
        parameters=count_parameters(trainer.model),
        generations=GENERATIONS,
        beta=BETA,
        seconds_per_step=round(statistics.median(seconds), 5),
    )


if __name__ == "__main__":
    main()
