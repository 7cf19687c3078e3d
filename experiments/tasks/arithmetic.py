"""GRPO with a rule reward teaches a small model to add and subtract rightly.

    python -m experiments.tasks.arithmetic --run_dir=runs/arithmetic
    python -m experiments.tasks.arithmetic --right_share=1 --sft.steps=200 --steps=4000 --run_dir=runs/learnt

A small Llama-style model first reads the 9,099 training problems ("37+48=", one token a digit) with the
answers of eight pupils to each, of whom one in five is right and the others count one or two too far.
It learns to answer as they do: it can calculate, and does not care to be right. Then GRPO (Shao et al.
2024, without the KL penalty, as Yu et al. 2025) samples 8 answers to each of 128 problems an iteration,
and rewards those that are right. Writes to RUN_DIR/report.json, and prints, the share of right answers
to the 1,001 held-out problems, which neither stage sees, before and after, greedy and sampled at
temperature 1. The aim is from under 30% to over 90%; it goes from 1% to 99%, sampled from 16% to 96%, in 15
minutes on two CPU cores beside other work.

In the second command all pupils are right, and pretraining ends before the model can calculate: GRPO
has to teach it, which is slower by far.
"""

from __future__ import annotations

import json

import keras

from experiments import stages
from experiments.launch import launch
from tfalign.data import BatchStream, encode_prompts
from tfalign.data.arithmetic import arithmetic_problems, solve, solved_by_pupils
from tfalign.decoding import Generator, Greedy, Sampler
from tfalign.evaluation.curves import read_curves
from tfalign.evaluation.learning_curves import Panel, learning_curves
from tfalign.evaluation.statistics import wilson_interval
from tfalign.files import write_json_atomically
from tfalign.models import Actor, from_pretrained
from tfalign.options import changed, option, option_record
from tfalign.pretrained import load_tokenizer
from tfalign.rewards import ExactMatch, TextReward
from tfalign.text import train_byte_bpe
from tfalign.trainers import FineTuner
from tfalign.trainers.options import FineTuneOptions
from tfalign.trainers.pipeline import SecondsOfRun
from tfalign.training.algorithms import algorithm
from tfalign.training.kl_control import FixedKL
from tfalign.training.learner import Learner
from tfalign.training.loggers import LOGGERS
from tfalign.training.on_policy import improve
from tfalign.training.optimizers import WarmupDecay
from tfalign.training.responses import RolloutConfig, join
from tfalign.training.rollouts import RolloutWorker

_PROMPT, _ANSWER = 7, 3  # tokens of the longest: BOS 9 9 - 9 9 =, and 9 9 EOS
_BYTES = 256 + 3  # a vocabulary without merges: every digit is a token
_PANELS = (
    Panel("sft", "Pupils' answers", "loss, nats per token", {"loss": "train"}),
    Panel("grpo", "GRPO: right answers", "share of samples", {"score": "rollouts"}),
    Panel("grpo", "GRPO: groups that teach", "share", {"spread": "rollouts"}),
    Panel("grpo", "GRPO: entropy", "nats per token", {"entropy": "rollouts"}),
)


@option_record
class ArithmeticConfig:
    run_dir: str = option("runs/arithmetic", "where the run lives")
    seed: int = option(0, "of everything", at_least=0, below=2**32)
    preset: str = option("mini_llama", "of models.gpt.PRESETS")
    width: int = option(96, "W", at_least=1)
    num_layers: int = option(2, "blocks", at_least=1)
    pupils: int = option(
        8, "answers to each training problem that the model reads before GRPO", at_least=1
    )
    right_share: float = option(0.2, "of those answers", at_least=0, at_most=1)
    sft: FineTuneOptions = option(
        changed(
            FineTuneOptions(),
            length=_PROMPT + _ANSWER,
            batch_size=256,
            steps=2000,
            learning_rate=3e-3,
            warmup_steps=50,
        ),
        "learning from the pupils",
    )
    problems: int = option(128, "of an iteration", at_least=1)
    group_size: int = option(8, "answers to each", at_least=1)
    steps: int = option(600, "iterations, each of one update", at_least=1)
    learning_rate: float = option(1e-3, "at its peak; decays linearly to 0", above=0)
    warmup_steps: int = option(20, "iterations until the peak", at_least=0)
    kl_coefficient: float = option(0.0, "of the KL penalty in the loss", at_least=0)
    entropy_coefficient: float = option(0.0, "of the entropy bonus", at_least=0)
    log_every: int = option(10, "iterations between lines in metrics.jsonl", at_least=1)
    log_to: str = option(
        "", "metrics go to TensorBoard, and to these: wandb, mlflow", LOGGERS, list_of=str
    )
    save_every: int = option(200, "iterations between checkpoints", at_least=1)
    resume_from: int = stages.resume_option()

    def __post_init__(self):
        stages.check_warmup(self)


def main(config):
    run = stages.open_run("arithmetic", config)
    watch = SecondsOfRun(run)
    if not stages.model_directory(run, "sft").exists():
        watch.measure("sft", lambda: _learn_from_pupils(config, run))
    if not stages.model_directory(run, "grpo").exists():
        watch.measure("grpo", lambda: reinforce(config, run))
    report = {stage: _right(config, run, stage) for stage in ("sft", "grpo")}
    report["seconds"] = watch.seconds
    write_json_atomically(run.file("report.json"), report)
    learning_curves(
        run.plots / "learning_curves.png", read_curves(run.path / "metrics.jsonl"), _PANELS
    )
    print(json.dumps(report, indent=2))


def reinforce(config, run):
    """Improves the fine-tuned model and saves it; goes on from the newest checkpoint of the run."""
    directory = stages.model_directory(run, "sft")
    policy, tokenizer = from_pretrained(directory), load_tokenizer(directory)
    grpo = algorithm(
        "grpo",
        group_size=config.group_size,
        kl_coefficient=config.kl_coefficient,
        entropy_coefficient=config.entropy_coefficient,
    )
    actor = Actor(policy)
    worker = RolloutWorker(
        actor,
        from_pretrained(directory),
        TextReward(ExactMatch(solve), tokenizer.decode),
        RolloutConfig(
            _ANSWER,
            stop_tokens=tokenizer.stop_ids,
            pad_id=tokenizer.pad_id,
            group_size=config.group_size,
        ),
        credit=grpo.credit,
    )
    schedule = WarmupDecay(config.learning_rate, config.steps, config.warmup_steps, shape="linear")
    optimizer = keras.optimizers.Adam(schedule, epsilon=1e-5, global_clipnorm=1.0)
    learner = Learner(actor, grpo.loss, optimizer)
    problems = BatchStream(
        encode_prompts(arithmetic_problems("train"), tokenizer),
        config.problems,
        [_PROMPT],
        seed=config.seed,
    )
    no_kl_in_reward = FixedKL(0.0)
    state, first_step = stages.resumable(
        run, "grpo", learner, {"problems": problems}, config.resume_from
    )

    def update(step):
        _, metrics = improve(
            worker,
            learner,
            next(problems),
            no_kl_in_reward,
            seed=config.seed,
            step=step,
            epochs=grpo.epochs,
        )
        return metrics

    stages.repeat(run, "grpo", update, config, state, first_step)
    stages.save_model(run, "grpo", policy, tokenizer)


def _learn_from_pupils(config, run):
    stages.seed_everything(config.seed)
    start, data = _model(config, run), _write_problems(config, run)
    FineTuner(start, data, options=config.sft, run_dir=run, seed=config.seed).train()


def _write_problems(config, run):
    """The source of what the pupils wrote, and of the held-out problems with the right answers: JSON
    lines in RUN_DIR/data."""
    folder = run.file("data")
    folder.mkdir(exist_ok=True)
    train, test = arithmetic_problems("train"), arithmetic_problems("test")
    pupils = solved_by_pupils(train, config.pupils, config.right_share, config.seed)
    for name, records in {"pupils": pupils, "test": test}.items():
        lines = (json.dumps({"prompt": r.prompt, "completion": r.completion}) for r in records)
        (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n")
    return f"{folder}/pupils.jsonl::{folder}/test.jsonl"


def _model(config, run):
    """The directory of a model with random weights."""
    if not stages.model_directory(run, "start").exists():
        tokenizer = train_byte_bpe([], _BYTES)
        model = stages.new_model(
            config.preset,
            tokenizer.vocab_size,
            2 * (_PROMPT + _ANSWER),
            "float32",
            width=config.width,
            num_layers=config.num_layers,
        )
        stages.save_model(run, "start", model, tokenizer)
    return str(stages.model_directory(run, "start"))


def _right(config, run, stage):
    """dict of "greedy" and "sampled": the share of held-out problems answered right, with its 95 %
    interval."""
    directory = stages.model_directory(run, stage)
    model, tokenizer = from_pretrained(directory), load_tokenizer(directory)
    examples = encode_prompts(arithmetic_problems("test"), tokenizer)
    prompts = next(BatchStream(examples, len(examples), [_PROMPT]))
    rule = TextReward(ExactMatch(solve), tokenizer.decode)
    shares = {}
    for name, sampler in (("greedy", Greedy()), ("sampled", Sampler())):
        generator = Generator(model, _ANSWER, sampler, tokenizer.stop_ids, tokenizer.pad_id)
        generation = generator(prompts.token_ids, prompts.mask, config.seed)
        right = rule(*join(prompts, generation), generation.mask)
        interval = wilson_interval(int(right.sum()), len(right))
        shares[name] = {"right": interval.value, "ci95": [interval.low, interval.high]}
    return shares


if __name__ == "__main__":
    launch(ArithmeticConfig, main, __doc__)
