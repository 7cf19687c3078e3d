"""The whole of it: fine-tuning on people's texts, GRPO towards the briefs, and a report on held-out briefs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import keras

from tfalign.applications.content.measures import measure, table_of
from tfalign.applications.content.options import ComposeOptions
from tfalign.applications.content.rewards import Banned, SlotReward, word_count
from tfalign.applications.content.tasks import Task, task_of
from tfalign.applications.content.writing import Writer
from tfalign.decoding import Constraint
from tfalign.decoding.patterns import named_constraint
from tfalign.evaluation.curves import read_curves
from tfalign.evaluation.learning_curves import Panel, learning_curves
from tfalign.files import is_whole, write_json_atomically, write_text_atomically
from tfalign.models import CausalLM
from tfalign.options import changed, to_dict
from tfalign.pretrained import Pretrained, load
from tfalign.text import train_byte_bpe
from tfalign.trainers import FineTuner, OnPolicyTrainer
from tfalign.trainers.base import open_run
from tfalign.trainers.pipeline import SecondsOfRun
from tfalign.trainers.saving import model_directory
from tfalign.training.run_directory import RunDirectory

SFT, GRPO = "sft", "grpo"


def compose(options: ComposeOptions) -> dict[str, Any]:
    """Trains, measures and writes report.json, report.md and a picture to the run's directory.

    A stage that is done is not run again; one that was killed goes on from its newest checkpoint.

    Args:
        options: ComposeOptions.

    Returns:
        What report.json holds: measures by stage, sampled and greedy, and of people's own texts.
    """
    task = task_of(options.data, options.held_out_fraction)
    with open_run(options.run_dir, {"compose": to_dict(options)}, "compose") as run:
        seconds = SecondsOfRun(run)
        for stage, train in ((SFT, fine_tune), (GRPO, align)):
            if not is_whole(model_directory(run.path, stage)):
                seconds.measure(stage, lambda train=train: train(task, options, run))
        report = measured_run(task, options, run)
        write_report(run, report | {"seconds": seconds.seconds})
    return report


def fine_tune(task: Task, options: ComposeOptions, run: RunDirectory) -> None:
    """Fine-tunes a model with random weights on the task's texts."""
    records = task.records(texts=True, copies=options.copies)
    tokenizer = train_byte_bpe(
        (one["prompt"] + one["completion"] for one in records), options.vocab_size
    )
    keras.utils.set_random_seed(options.sft.run.seed)
    sizes = {"width": options.width, "num_layers": options.num_layers}
    model = CausalLM.from_preset(
        "mini_llama", vocab_size=tokenizer.vocab_size, max_positions=options.sft.length, **sizes
    )
    held_out = task.records("test", texts=True)
    start = Pretrained(model, tokenizer)
    FineTuner(
        start, records, held_out=held_out, options=options.sft, run_dir=run, stage=SFT
    ).train()


def align(task: Task, options: ComposeOptions, run: RunDirectory) -> None:
    """Aligns the fine-tuned model with the briefs of the task, by GRPO."""
    costs, limits = costs_of(task, options)
    OnPolicyTrainer(
        model_directory(run.path, SFT),
        reward_of(task, options),
        task.records(),
        GRPO,
        costs=costs,
        options=changed(options.grpo, cost_limits=limits) if limits else options.grpo,
        run_dir=run,
        stage=GRPO,
    ).train()


def reward_of(task: Task, options: ComposeOptions) -> dict[str, Any]:
    """The reward, in slots: the errors of the text, and what weights charge for the rest."""
    parts = {
        "slots": (1.0, SlotReward(task.checker)),
        "banned": (-options.banned_weight, Banned(task.compliance)),
        "words": (-options.length_weight, word_count),
    }
    return {name: part for name, part in parts.items() if part[0]}


def costs_of(task: Task, options: ComposeOptions) -> tuple[dict[str, Any], tuple[float, ...]]:
    """(name -> cost, their limits), of those that are limited."""
    limited = {
        "banned": (Banned(task.compliance), options.banned_limit),
        "words": (word_count, options.length_limit),
    }
    limited = {name: pair for name, pair in limited.items() if pair[1] is not None}
    costs = {name: cost for name, (cost, _) in limited.items()}
    return costs, tuple(limit for _, limit in limited.values())


def measured_run(task: Task, options: ComposeOptions, run: RunDirectory) -> dict[str, Any]:
    """Measures on held-out briefs: of people's texts, and of every stage greedily and sampled."""
    responses = options.grpo.responses
    limits = responses.max_prompt_tokens, responses.max_new_tokens
    writer = Writer(task, load(model_directory(run.path, SFT)), *limits)
    task = writer.task
    found = {"people": measure(task, [list(one.texts) for one in task.test], by_others=True)}
    for stage in (SFT, GRPO):
        policy = load(model_directory(run.path, stage))
        constraint = constraint_of(policy, options) if stage == GRPO else None
        greedy = writer(policy, greedy=True, constraint=constraint)
        sampled = writer(policy, options.texts_each, constraint=constraint)
        found |= {f"{stage} greedy": greedy.measures, f"{stage} sampled": sampled.measures}
        pairs = zip(task.test, greedy.texts)
        samples = [{"prompt": one.prompt, "text": some[0]} for one, some in pairs]
        write_json_atomically(run.file(f"{stage}.json"), samples)
    return found


def constraint_of(policy: Pretrained, options: ComposeOptions) -> Constraint | None:
    """The constraint under which GRPO samples, which is part of its policy; None for none."""
    responses = options.grpo.responses
    if not responses.constraint:
        return None
    limits = policy.model.config.vocab_size, responses.max_new_tokens
    return named_constraint(responses.constraint, policy.tokenizer, *limits)


def write_report(run: RunDirectory, report: Mapping[str, Any]) -> None:
    """Writes report.json, report.md with a table and texts, and the pictures of the training."""
    write_json_atomically(run.file("report.json"), report)
    samples = {stage: json.loads((run.path / f"{stage}.json").read_text()) for stage in (SFT, GRPO)}
    curves = read_curves(run.path / "metrics.jsonl")
    learning_curves(run.plots / "compose.png", curves, panels(curves.get(GRPO, {})))
    lines = ["# Texts for briefs", table_of(report), "![GRPO](plots/compose.png)"]
    for before, after in list(zip(*samples.values()))[:6]:
        lines.append(
            f"`{before['prompt']}`\n\n- before: {before['text']}\n- after: {after['text']}"
        )
    text = "\n\n".join(lines) + "\n"
    write_text_atomically(run.file("report.md"), text)
    print(text)


def panels(metrics: Mapping[str, Any]) -> list[Panel]:
    """What is drawn of a GRPO run: reward, KL, and cost and price of each limit."""
    names = [name.removeprefix("cost_") for name in metrics if name.startswith("cost_")]
    reward = "reward" if "reward" in metrics else "score"
    shown = [(reward, "Reward", "slots"), ("kl", "KL to the fine-tuned model", "nats per text")]
    for name in names:
        shown.append((f"cost_{name}", f"Cost: {name}", "mean of a batch"))
        shown.append((f"price_{name}", f"Price: {name}", "Lagrange multiplier, slots"))
    return [Panel(GRPO, title, unit, {metric: "rollouts"}) for metric, title, unit in shown]
