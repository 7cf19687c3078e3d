"""Teaches a small model to add and subtract by GRPO with a verifiable reward.

    python -m experiments.tasks.arithmetic --run_dir=runs/arithmetic
    python -m experiments.tasks.arithmetic --right_share=1 --sft.steps=200 --steps=4000 --run_dir=runs/learnt

A small Llama-style model is first trained on demonstrations: the 9,099 training problems ("37+48=", one token
per digit) with eight answers each, of which one in five is right and the others are one or two too large.
It learns to answer like them: it can calculate, but is rarely right. Then GRPO (Shao et al. 2024, without the KL
penalty, as Yu et al. 2025) samples 8 answers to each of 128 problems per iteration, and rewards the right
ones. Writes to RUN_DIR/report.json, and prints, the fraction of right answers to the 1,001 held-out
problems, which neither stage sees, before and after GRPO, greedy and sampled at temperature 1. About 15 minutes
on two CPU cores beside other work.

In the second command all demonstrations are right, but fine-tuning ends before the model can calculate: GRPO
has to teach it, which is much slower.

Result: GRPO takes the fraction of right answers from 1% to 99% greedy and from 16% to 96% sampled
(docs/results/arithmetic.md).
"""

from __future__ import annotations

import json

import keras

from experiments.launch import launch
from tfalign.data import BatchStream, as_prompts, encode_prompts
from tfalign.data.arithmetic import arithmetic_problems, solve, solved_by_pupils
from tfalign.decoding import Generator, Greedy, Sampler
from tfalign.evaluation.curves import read_curves
from tfalign.evaluation.learning_curves import Panel, learning_curves
from tfalign.evaluation.statistics import wilson_interval
from tfalign.files import write_json_atomically
from tfalign.models import CausalLM
from tfalign.options import changed, option, option_record, record, to_dict
from tfalign.pretrained import load
from tfalign.rewards import ExactMatch, TextReward
from tfalign.text import train_byte_bpe
from tfalign.trainers import FineTuner, OnPolicyTrainer
from tfalign.trainers.base import open_run
from tfalign.trainers.on_policy_options import OnPolicyOptions
from tfalign.trainers.options import FineTuneOptions
from tfalign.trainers.pipeline import SecondsOfRun
from tfalign.trainers.saving import model_directory, save_model
from tfalign.training.responses import join

_PROMPT, _ANSWER = 7, 3  # maximum lengths, tokens: BOS 9 9 - 9 9 =, and 9 9 EOS
_BYTES = 256 + 3  # vocabulary size without merges: every digit is one token
_PANELS = (
    Panel("sft", "Demonstrations", "loss, nats per token", {"loss": "train"}),
    Panel("grpo", "GRPO: right answers", "fraction of samples", {"score": "rollouts"}),
    Panel("grpo", "GRPO: groups with different rewards", "fraction", {"spread": "rollouts"}),
    Panel("grpo", "GRPO: entropy", "nats per token", {"entropy": "rollouts"}),
)


@option_record
class ArithmeticConfig:
    run_dir: str = option("runs/arithmetic", "Run directory.")
    preset: str = option("mini_llama", "Preset of models.gpt_config.PRESETS.")
    width: int = option(96, "Hidden size.", at_least=1)
    num_layers: int = option(2, "Number of blocks.", at_least=1)
    pupils: int = option(
        8, "Demonstrations: answers per training problem, right and wrong.", at_least=1
    )
    right_share: float = option(
        0.2, "Demonstrations: fraction of right answers.", at_least=0, at_most=1
    )
    sft: FineTuneOptions = option(
        changed(
            FineTuneOptions(),
            length=_PROMPT + _ANSWER,
            batch_size=256,
            steps=2000,
            learning_rate=3e-3,
            warmup_steps=50,
        ),
        "Fine-tuning on the demonstrations",
    )
    grpo: OnPolicyOptions = record(
        changed(
            OnPolicyOptions(),
            batch_size=1024,  # 8 responses to each of 128 prompts
            steps=600,
            learning_rate=1e-3,
            warmup_steps=20,
            kl_coefficient=0.0,
            missing_stop="keep",
            max_prompt_tokens=_PROMPT,
            max_new_tokens=_ANSWER,
            log_every=10,
            save_every=200,
        ),
        "GRPO",
    )

    @property
    def seed(self):
        """Random seed of both stages, an int."""
        return self.grpo.run.seed


def main(config):
    run = open_run(config.run_dir, {"arithmetic": to_dict(config)}, "arithmetic")
    watch = SecondsOfRun(run)
    if not model_directory(run.path, "sft").exists():
        watch.measure("sft", lambda: _fine_tune(config, run))
    if not model_directory(run.path, "grpo").exists():
        watch.measure("grpo", lambda: reinforce(config, run))
    report = {stage: _right(config, run, stage) for stage in ("sft", "grpo")}
    report["seconds"] = watch.seconds
    write_json_atomically(run.file("report.json"), report)
    learning_curves(
        run.plots / "learning_curves.png", read_curves(run.path / "metrics.jsonl"), _PANELS
    )
    print(json.dumps(report, indent=2))


def reinforce(config, run):
    """Aligns the fine-tuned model by GRPO and saves it; continues from the newest checkpoint of the run."""
    policy = model_directory(run.path, "sft")
    problems = as_prompts(arithmetic_problems("train"))
    settings = {"options": config.grpo, "run_dir": run}
    OnPolicyTrainer(policy, ExactMatch(solve), problems, "grpo", **settings).train()


def _fine_tune(config, run):
    """Fine-tunes a new model on the demonstrations and saves it."""
    keras.utils.set_random_seed(config.seed)
    start, data = _model(config, run), _write_problems(config, run)
    FineTuner(start, data, options=config.sft, run_dir=run, seed=config.seed).train()


def _write_problems(config, run):
    """Writes demonstrations, and held-out problems with right answers, to RUN_DIR/data; returns the source."""
    folder = run.file("data")
    folder.mkdir(exist_ok=True)
    train, test = arithmetic_problems("train"), arithmetic_problems("test")
    pupils = solved_by_pupils(train, config.pupils, config.right_share, config.seed)
    for name, records in {"pupils": pupils, "test": test}.items():
        lines = (json.dumps({"prompt": r.prompt, "completion": r.completion}) for r in records)
        (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n")
    return f"{folder}/pupils.jsonl::{folder}/test.jsonl"


def _model(config, run):
    """Saves a model with random weights, unless it exists; returns its directory."""
    directory = model_directory(run.path, "start")
    if not directory.exists():
        tokenizer = train_byte_bpe([], _BYTES)
        model = CausalLM.from_preset(
            config.preset,
            vocab_size=tokenizer.vocab_size,
            max_positions=2 * (_PROMPT + _ANSWER),
            width=config.width,
            num_layers=config.num_layers,
        )
        run.begin()
        save_model(directory, model, tokenizer)
    return str(directory)


def _right(config, run, stage):
    """The fraction of right answers to held-out problems, greedy and sampled, with its 95% interval."""
    pretrained = load(model_directory(run.path, stage))
    model, tokenizer = pretrained.model, pretrained.tokenizer
    examples = encode_prompts(arithmetic_problems("test"), tokenizer)
    prompts = next(BatchStream(examples, len(examples), [_PROMPT]))
    rule = TextReward(ExactMatch(solve), tokenizer.decode)
    fractions = {}
    for name, sampler in (("greedy", Greedy()), ("sampled", Sampler())):
        generator = Generator(model, _ANSWER, sampler, tokenizer.stop_ids, tokenizer.pad_id)
        generation = generator(prompts.token_ids, prompts.mask, config.seed)
        right = rule(*join(prompts, generation), generation.mask)
        interval = wilson_interval(int(right.sum()), len(right))
        fractions[name] = {"right": interval.value, "ci95": [interval.low, interval.high]}
    return fractions


if __name__ == "__main__":
    launch(ArithmeticConfig, main, __doc__)
