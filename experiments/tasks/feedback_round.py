"""A round of feedback: people's choices or votes are collected, a policy learns from them on adapters, both are compared.

    python -m experiments.pipeline --config=demo
    python -m experiments.tasks.feedback_round --loss=dpo --run_dir=runs/choices
    python -m experiments.tasks.feedback_round --loss=kto --run_dir=runs/votes
    tfalign serve --model=runs/demo/models/sft --feedback=feedback.jsonl
    python -m experiments.tasks.feedback_round --feedback=feedback.jsonl --run_dir=runs/people

``--feedback`` is the file of ``tfalign serve --feedback=FILE``. Without one the demo's gold reward stands in for a person who
errs now and then: of two sampled answers to each training prompt the better one is chosen (DPO), or each is voted good that is
better than the median (KTO); the lines go to RUN_DIR/feedback.jsonl as the server's do. DPO also takes what choices votes on one
prompt make, KTO takes choices apart. Writes RUN_DIR/report.md: gold reward, win rate, KL, with 95% intervals, on the embedded
data's held-out prompts, whose request templates no training prompt has. A minute and a half of CPU time a round.

Result: docs/results/feedback_round.md.
"""

from __future__ import annotations

import numpy as np

from experiments.launch import launch
from tfalign.data import (
    FeedbackFile,
    PromptRecord,
    paired,
    read_feedback,
    split_by_prompt,
    unpaired,
)
from tfalign.data.customer_service import gold_details, gold_reward
from tfalign.options import changed, option, option_record, record, to_dict
from tfalign.trainers import PolicyEvaluator, PreferenceTrainer
from tfalign.trainers.base import open_run
from tfalign.trainers.data import read_split
from tfalign.trainers.evaluation import compare
from tfalign.trainers.options import EvaluateOptions, PreferenceOptions
from tfalign.trainers.saving import model_directory
from tfalign.types import LoRA

_LIMITS = {"max_prompt_tokens": 42, "max_new_tokens": 48}  # the demo's
_HELD_OUT = 0.1  # of the prompts with feedback, for the loss


@option_record
class FeedbackRoundConfig:
    run_dir: str = option("runs/feedback_round", "Run directory.")
    model: str = option("runs/demo/models/sft", "Directory of the policy before the round.")
    feedback: str | None = option(
        None, "File of feedback; none: the embedded data's gold reward stands in for a person."
    )
    num_prompts: int = option(
        1024, "Prompts the simulated person is asked, two answers each.", at_least=1
    )
    mistakes: float = option(
        0.1, "Probability that the simulated person errs.", at_least=0, at_most=0.5
    )
    training: PreferenceOptions = record(
        changed(
            PreferenceOptions(),
            steps=100,
            learning_rate=1e-3,
            warmup_steps=10,
            on_bad="skip",
            lora=LoRA(),
            **_LIMITS,
        )
    )
    evaluate: EvaluateOptions = option(
        changed(
            EvaluateOptions(),
            title="A round of feedback",
            after_name="round",
            num_prompts=384,
            **_LIMITS,
        ),
        "Evaluation on held-out prompts",
    )


def main(config):
    run = open_run(config.run_dir, {"feedback_round": to_dict(config)}, "feedback_round")
    file = config.feedback or collect(config, run.file("feedback.jsonl"))
    train, held_out = split_by_prompt(judged(file, config.training.loss), _HELD_OUT)
    options = changed(config.training, unpaired=config.training.loss == "kto")
    stage = config.evaluate.after_name
    given = {"held_out": held_out, "options": options, "run_dir": run, "stage": stage}
    if not model_directory(run.path, stage).exists():
        PreferenceTrainer(config.model, train, **given).train()
    evaluator = evaluator_of(config, "embedded", config.evaluate)
    found = compare(evaluator, config.model, model_directory(run.path, stage), run)
    rate = found[stage][f"win_rate_vs_{config.evaluate.before_name}"]
    print(f"win rate {rate['value']:.3f} {rate['ci95']}, report: {run.path}/report.md")


def evaluator_of(config, prompts, options):
    """Lets policies answer, the gold reward judges."""
    judges = {"gold": gold_reward, "details": gold_details}
    return PolicyEvaluator(config.model, gold_reward, prompts, options=options, **judges)


def judged(file, loss):
    """The records of a file that a loss learns from."""
    choices, votes = read_feedback(file)
    if loss == "kto":
        return [*votes, *unpaired(choices)]
    return [*choices, *paired(votes)]


def collect(config, file):
    """The file, with what the simulated person says of the policy's answers to training prompts."""
    file.unlink(missing_ok=True)  # of a round that was cut short
    prompts = read_split("embedded", PromptRecord, "train", config.training.data_options)
    options = changed(config.evaluate, num_prompts=config.num_prompts)
    some = prompts[: config.num_prompts]
    answers = [evaluator_of(config, some, changed(options, seed=seed)) for seed in (10_000, 20_000)]
    answered = [evaluator(config.model) for evaluator in answers]
    texts = [one.responses for one in answered]
    golds = np.stack([one.gold for one in answered])
    rng = np.random.default_rng(config.training.run.seed)
    say = votes_of if config.training.loss == "kto" else choices_of
    kept = FeedbackFile(file)
    for row in say(answers[0].prompts, texts, golds, rng.random(golds.shape) < config.mistakes):
        kept.add(row)
    return file


def choices_of(prompts, texts, golds, errs):
    """A row for each prompt of whose two answers one is better.

    >>> rows = choices_of(["p"], [["a"], ["b"]], np.array([[0.0], [1.0]]), np.array([[False], [False]]))
    >>> list(rows)
    [{'prompt': 'p', 'chosen': 'b', 'rejected': 'a', 'user': 'gold'}]
    """
    for prompt, left, right, (first, second), err in zip(prompts, *texts, golds.T, errs[0]):
        if first == second or not left.strip() or not right.strip():
            continue
        chosen, rejected = (left, right) if (first > second) != err else (right, left)
        yield {"prompt": prompt, "chosen": chosen, "rejected": rejected, "user": "gold"}


def votes_of(prompts, texts, golds, errs):
    """A row for each answer, good where it is better than the median of all."""
    middle = np.median(golds)
    for answers, worth, wrong in zip(texts, golds, errs):
        for prompt, text, gold, err in zip(prompts, answers, worth, wrong):
            if text.strip():
                label = bool((gold > middle) != err)
                yield {"prompt": prompt, "completion": text, "label": label, "user": "gold"}


if __name__ == "__main__":
    launch(FeedbackRoundConfig, main, __doc__)
