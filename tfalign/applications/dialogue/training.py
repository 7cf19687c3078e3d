"""The whole of it: fine-tuning on dialogues, RL against simulated users, and a report with conversations side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras

from tfalign.applications.dialogue.environment import DialogueEnvironment
from tfalign.applications.dialogue.evaluation import as_numbers, judge, summarise
from tfalign.applications.dialogue.learned_user import LearnedUsers, UserWriter
from tfalign.applications.dialogue.options import DialogueOptions
from tfalign.applications.dialogue.pages import side_by_side
from tfalign.applications.dialogue.playing import play, scripts
from tfalign.applications.dialogue.tasks import Task
from tfalign.decoding import Sampler
from tfalign.evaluation.curves import read_curves
from tfalign.evaluation.markdown import number, table
from tfalign.evaluation.plots import reward_against_kl
from tfalign.files import is_whole, write_json_atomically, write_text_atomically
from tfalign.options import to_dict
from tfalign.pretrained import Pretrained, load
from tfalign.trainers import FineTuner, OnPolicyTrainer
from tfalign.trainers.base import open_run
from tfalign.trainers.pipeline import SecondsOfRun
from tfalign.trainers.saving import model_directory
from tfalign.training.run_directory import RunDirectory

SFT, RL, USER = "sft", "rl", "user"
_TITLES = {SFT: "before RL", RL: "after RL"}
_PICTURE = "success_against_kl.png"
_SHOWN = 6  # conversations in the report
_SCRIPTED = 360  # tokens of a dialogue of the test set


def train_dialogue(options: DialogueOptions) -> dict[str, Any]:
    """Trains, measures, and writes report.json, report.md and a picture to the run's directory.

    A stage that is done is not run again; one that was killed goes on from its newest checkpoint.

    Args:
        options: DialogueOptions.

    Returns:
        What report.json holds: by stage the numbers of ``measured``, and "seconds".
    """
    task = Task(options)
    with open_run(options.run_dir, {"dialogue": to_dict(options)}, "dialogue") as run:
        watch = SecondsOfRun(run)
        stages = {SFT: fine_tune, RL: align} | ({USER: teach_user} if options.learned_users else {})
        for stage, train in stages.items():
            if not is_whole(model_directory(run.path, stage)):
                watch.measure(stage, lambda train=train: train(task, run))
        found, shown = {}, {}
        for stage in (SFT, RL):
            pretrained = load(model_directory(run.path, stage), dropout=0.0)
            found[stage], shown[_TITLES[stage]] = measured(task, pretrained)
            if options.learned_users:
                user = load(model_directory(run.path, USER), dropout=0.0)
                found[stage] |= measured_with(user, task, pretrained)
        found["seconds"] = watch.seconds
        write_report(task, run, found, shown)
    return found


def fine_tune(task: Task, run: RunDirectory) -> None:
    """Fine-tunes a model with random weights on the task's dialogues."""
    _imitate(task, run, task.writer, SFT)


def teach_user(task: Task, run: RunDirectory) -> None:
    """Fine-tunes a model with random weights on the users' side of them."""
    _imitate(task, run, UserWriter(task.world), USER)


def _imitate(task, run, writer, stage):
    seed = task.options.rl.run.seed
    keras.utils.set_random_seed(seed)
    conversations = task.conversations(writer)
    FineTuner(
        task.model(conversations),
        conversations,
        held_out=task.held_out(writer),
        options=task.options.sft,
        run_dir=run,
        stage=stage,
        seed=seed,
    ).train()


def align(task: Task, run: RunDirectory) -> None:
    """Aligns the fine-tuned model with simulated users."""
    OnPolicyTrainer(
        load(model_directory(run.path, SFT), dropout=0.0),
        task.simulated,
        task.prompts("train"),
        task.options.algorithm,
        options=task.options.rl,
        run_dir=run,
        stage=RL,
    ).train()


def measured(
    task: Task, pretrained: Pretrained
) -> tuple[dict[str, Any], list[DialogueEnvironment]]:
    """What a model does with the test set's users and with simulated ones.

    Returns:
        (numbers: "test" of ``judge``; "simulated" and "simulated_sampled" of ``summarise``; the first dialogues with
        simulated users, greedily).
    """
    references = [[task.writer.reply(turn) for turn in one.turns] for one in task.test]
    replayed = play(pretrained, task.scripted, scripts(task.world, task.test), _SCRIPTED)
    exchanges = [one.exchanges for one in replayed]
    prompts, columns = task.prompts("test"), task.options.rl.responses.max_new_tokens
    greedy = play(pretrained, task.simulated, prompts, columns)
    sampled = play(pretrained, task.simulated, prompts, columns, Sampler())
    numbers = {
        "test": as_numbers(judge(task.world, task.test, references, exchanges)),
        "simulated": as_numbers(summarise(greedy)),
        "simulated_sampled": as_numbers(summarise(sampled)),
    }
    return numbers, greedy[:_SHOWN]


def measured_with(user: Pretrained, task: Task, pretrained: Pretrained) -> dict[str, Any]:
    """What a model does with learned users, who have the simulated ones' goals.

    Returns:
        numbers: "learned" and "learned_sampled" of ``summarise``.
    """
    users = LearnedUsers(UserWriter(task.world), user)
    limits = task.options.dialogue_turns, task.options.price
    environment = DialogueEnvironment(task.world, users, *limits)
    prompts = users.prompts(task.goals("test")[: task.options.learned_users], 3)
    columns = task.options.rl.responses.max_new_tokens
    return {
        name: as_numbers(summarise(play(pretrained, environment, prompts, columns, sampler)))
        for name, sampler in (("learned", None), ("learned_sampled", Sampler()))
    }


def write_report(
    task: Task,
    run: RunDirectory,
    found: Mapping[str, Any],
    shown: Mapping[str, Sequence[DialogueEnvironment]],
) -> None:
    """Writes report.json, report.md and the picture of success against KL.

    Args:
        task: Task.
        run: RunDirectory.
        found: numbers by stage.
        shown: title -> dialogues, of the same users.
    """
    write_json_atomically(run.file("report.json"), found)
    titles = {"success": "Success with simulated users", "score": "Reward"}
    curves = read_curves(run.path / "metrics.jsonl")[RL]
    drawn = reward_against_kl(run.plots / _PICTURE, curves, titles)
    picture = [f"![Success against KL](plots/{_PICTURE})"] * drawn
    numbers = table_of({_TITLES[stage]: found[stage] for stage in (SFT, RL)})
    talks = side_by_side(task.world, shown)
    text = "\n\n".join(["# Dialogue", numbers, *picture, talks]) + "\n"
    write_text_atomically(run.file("report.md"), text)
    print(text)


def table_of(found: Mapping[str, Mapping[str, Any]]) -> str:
    """Markdown: a column for each model, a row for each number, with its 95% interval where it has one.

    >>> print(table_of({"before": {"simulated": {"success": [0.5, 0.4, 0.6], "distinct": 1.0}}}))
    |  | before |
    | --- | --- |
    | simulated, success | 0.5 [0.4, 0.6] |
    | simulated, distinct | 1 |
    """
    first = next(iter(found.values()))
    rows = [
        [f"{users.replace('_', ', ')}, {name.replace('_', ' ')}"]
        + [_cell(one[users][name]) for one in found.values()]
        for users, numbers in first.items()
        for name in numbers
    ]
    return table(["", *found], rows)


def _cell(value):
    if isinstance(value, list):
        middle, low, high = map(number, value)
        return f"{middle} [{low}, {high}]"
    return number(value)
