"""One PPO step of TRL 0.24's PPOTrainer on GPT-2 models with random weights.

    python trl_ppo.py --vocab 512 --width 128 --layers 4 --heads 4 \\
        --batch 32 --prompt 16 --new 48 --minibatch 8

Newer releases of TRL have dropped PPOTrainer (requirements-trl-ppo.txt). Policy, critic, reference
and reward model are separate models of one size: two GPT2LMHeadModel and two
GPT2ForSequenceClassification with one label.

Timed: one whole update, from the end of one optimisation step's callback to the end of the next,
so everything a user waits for: fetching prompts, `generate`, log-probs, reference, critic and
reward model, rewards and advantages, 4 epochs over batch / minibatch minibatches (in TRL 0.24
`per_device_train_batch_size` is the rollout batch and `num_mini_batches` divides it), metrics.
Not timed: building models and trainer, the warm-up updates, checkpoints and sample tables (off).

Phases are seen from outside, by noting when `batch_generation`, `get_reward` and `gc.collect`
return; together they are the whole step:
    generation  fetching the prompts, sampling the tokens, stacking their logits
    scoring     log-probs, reference, critic and reward model
    collection  the two full `gc.collect()` calls that PPOTrainer makes in every step; their cost
                depends on the number of Python objects, not on the model
    update      rewards, advantages, the 4 epochs, metrics

Settings: TRL's defaults but for float32 instead of bfloat16, no gradient checkpointing (both are
faster here), temperature 1, one chunk of `batch` rows in the rollout, no stop token, so every
response has `new` tokens. Progress bar and printed metrics are off.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from types import ModuleType

from datasets import Dataset
from transformers import (
    GPT2ForSequenceClassification,
    GPT2LMHeadModel,
    PrinterCallback,
    TrainerCallback,
)
from trl import PPOConfig, PPOTrainer
from trl.trainer import ppo_trainer

from common import (
    WARM_UPS,
    count_parameters,
    gpt2_config,
    parse_arguments,
    print_report,
    random_prompts,
    word_tokenizer,
)

EPOCHS = 4


class StepClock(TrainerCallback):
    """Splits each PPO step into phases: a phase lasts from the previous mark to its own.

    Attributes:
        steps: one dict per finished step, phase name to seconds. The first step starts where
            training began.
    """

    def __init__(self):
        self.steps = []
        self._phases = defaultdict(float)
        self._last_mark = 0.0

    def mark_end_of(self, phase: str) -> None:
        """Adds the time since the previous mark to `phase`."""
        now = time.perf_counter()
        self._phases[phase] += now - self._last_mark
        self._last_mark = now

    def watch(self, module: ModuleType, function_name: str, phase: str) -> None:
        """Makes every return of a module's function the end of `phase`."""
        function = getattr(module, function_name)

        @functools.wraps(function)
        def watched(*args, **kwargs):
            result = function(*args, **kwargs)
            self.mark_end_of(phase)
            return result

        setattr(module, function_name, watched)

    def on_train_begin(self, args, state, control, **kwargs):
        self._phases.clear()
        self._last_mark = time.perf_counter()

    def on_step_end(self, args, state, control, **kwargs):
        self.mark_end_of("update")
        self.steps.append(dict(self._phases))
        self._phases.clear()


def build_trainer(args, output_dir: str, clock: StepClock) -> PPOTrainer:
    """A PPOTrainer that runs WARM_UPS + repeats updates."""
    updates = WARM_UPS + args.repeats
    config = PPOConfig(
        output_dir=output_dir,
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        report_to="none",
        disable_tqdm=True,
        save_strategy="no",
        num_sample_generations=0,
        per_device_train_batch_size=args.batch,
        gradient_accumulation_steps=1,
        num_mini_batches=args.batch // args.minibatch,
        num_ppo_epochs=EPOCHS,
        local_rollout_forward_batch_size=args.batch,
        total_episodes=args.batch * updates,
        response_length=args.new,
        temperature=1.0,
    )
    prompts = Dataset.from_dict({"input_ids": random_prompts(args, 4 * args.batch).tolist()})
    critic_config = gpt2_config(args, num_labels=1)
    trainer = PPOTrainer(
        args=config,
        processing_class=word_tokenizer(args.vocab),
        model=GPT2LMHeadModel(gpt2_config(args)),
        ref_model=GPT2LMHeadModel(gpt2_config(args)),
        reward_model=GPT2ForSequenceClassification(critic_config),
        value_model=GPT2ForSequenceClassification(critic_config),
        train_dataset=prompts,
        eval_dataset=prompts,
        callbacks=[clock],
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


def main() -> None:
    args = parse_arguments(__doc__)
    clock = StepClock()
    clock.watch(ppo_trainer, "batch_generation", "generation")
    clock.watch(ppo_trainer, "get_reward", "scoring")
    clock.watch(gc, "collect", "collection")
    # TRL prints to stdout, which belongs to the JSON line.
    with tempfile.TemporaryDirectory() as directory, contextlib.redirect_stdout(sys.stderr):
        trainer = build_trainer(args, directory, clock)
        trainer.train()

    steps = clock.steps[WARM_UPS:]
    seconds = [sum(step.values()) for step in steps]
    print_report(
        "trl ppo",
        args,
        ["torch", "transformers", "trl"],
        seconds,
        parameters=count_parameters(trainer.policy_model),
        epochs=EPOCHS,
        seconds_per_step=round(statistics.median(seconds), 5),
        phase_seconds={
            phase: round(statistics.median(step[phase] for step in steps), 5)
            for phase in ("generation", "scoring", "collection", "update")
        },
    )


if __name__ == "__main__":
    main()
