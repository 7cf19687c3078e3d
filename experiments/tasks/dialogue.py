"""Teaches a small model to serve callers: supervised fine-tuning on dialogues, then RL against a user simulator.

    python -m experiments.tasks.dialogue --run_dir=runs/dialogue
    python -m experiments.tasks.dialogue --data=camrest:../shared/data/camrest --run_dir=runs/camrest

A dialogue is one sequence: the user's words, the model's belief about what the user wants, how many entities the
database has for that, the model's reply with placeholders for values, the user's next words. The model, a small
Llama-style one with random weights, is fine-tuned on the data's beliefs and replies; then it talks to users with
agendas, whose words are templates of the training set's, and is rewarded where one leaves content, at a price for each
turn. Writes RUN_DIR/dialogue.json and dialogue.md: the test set's joint goal accuracy, match, success F1 and BLEU; success
and turns with simulated users of other goals, greedily and sampled; conversations side by side, and a picture of success
against KL.

Result: docs/results/dialogue.md.
"""

from __future__ import annotations

import itertools
import json

import keras

from experiments.launch import launch
from tfalign.applications.dialogue import (
    Agendas,
    DialogueEnvironment,
    Writer,
    as_numbers,
    drawn_goals,
    judge,
    make_tokenizer,
    open_data,
    play,
    satisfiable,
    scripted,
    scripts,
    side_by_side,
    spoken_values,
    summarise,
    varied,
)
from tfalign.decoding import Sampler
from tfalign.evaluation.curves import read_curves
from tfalign.evaluation.plots import reward_against_kl
from tfalign.files import write_json_atomically, write_text_atomically
from tfalign.models import CausalLM
from tfalign.options import changed, option, option_record, record, to_dict
from tfalign.pretrained import Pretrained, load
from tfalign.trainers import FineTuner, OnPolicyTrainer
from tfalign.trainers.base import open_run
from tfalign.trainers.on_policy_options import OnPolicyOptions
from tfalign.trainers.options import FineTuneOptions
from tfalign.trainers.pipeline import SecondsOfRun
from tfalign.trainers.saving import model_directory

_SHOWN = 6  # conversations in the report


@option_record
class DialogueConfig:
    run_dir: str = option("runs/dialogue", "Run directory.")
    data: str = option(
        "embedded",
        "Dialogues: embedded, embedded:chinese, or camrest:FOLDER, crosswoz:FOLDER.",
    )
    width: int = option(128, "Hidden size.", at_least=1)
    num_layers: int = option(2, "Number of blocks.", at_least=1)
    dropout: float = option(0.1, "Dropout rate of fine-tuning.", at_least=0, below=1)
    copies: int = option(
        10, "Copies of each training dialogue, all but the first with other values.", at_least=1
    )
    goals: int = option(600, "Goals that are drawn for training, beside the data's.", at_least=0)
    test_goals: int = option(
        500, "Goals of simulated users that the model is tested with.", at_least=2
    )
    algorithm: str = option("rloo", "On-policy algorithm.")
    dialogue_turns: int = option(7, "Replies after which a simulated user gives up.", at_least=1)
    price: float = option(0.03, "Price of a turn; a content user is worth 1.", at_least=0)
    sft: FineTuneOptions = record(
        changed(
            FineTuneOptions(),
            conversations=True,
            length=200,
            batch_size=16,
            steps=400,
            learning_rate=3e-3,
            warmup_steps=50,
            on_bad="skip",
            log_every=50,
        ),
        "Fine-tuning on dialogues",
        prefix="sft.",
    )
    rl: OnPolicyOptions = record(
        changed(
            OnPolicyOptions(),
            batch_size=128,
            steps=60,
            learning_rate=3e-4,
            warmup_steps=5,
            kl_coefficient=0.02,
            missing_stop="keep",
            max_prompt_tokens=40,
            max_new_tokens=176,
            log_every=1,
            save_every=20,
        ),
        "RL",
    )


def main(config):
    run = open_run(config.run_dir, {"dialogue": to_dict(config)}, "dialogue")
    watch = SecondsOfRun(run)
    settings = {"run_dir": run, "seed": config.rl.run.seed}
    task = Task(config)
    if not model_directory(run.path, "sft").exists():
        keras.utils.set_random_seed(config.rl.run.seed)
        start = task.model()
        data = {"data": task.conversations(), "held_out": task.held_out()}
        tuner = FineTuner(start, **data, options=config.sft, **settings)
        watch.measure("sft", tuner.train)
    if not model_directory(run.path, "rl").exists():
        policy = load(model_directory(run.path, "sft"), dropout=0.0)
        how = {"options": config.rl, "stage": "rl"} | settings
        simulated, prompts = task.simulated, task.prompts("train")
        trainer = OnPolicyTrainer(policy, simulated, prompts, config.algorithm, **how)
        watch.measure("rl", trainer.train)
    report(config, run, task, watch)


class Task:
    """The data, and what is made of them.

    Args:
        config: DialogueConfig.
    """

    def __init__(self, config):
        self.config = config
        self.world, self.train, self.validation, self.test, templates = open_data(config.data)
        self.writer = Writer(self.world)
        self.values = spoken_values(self.world, self.train)
        self.agendas = Agendas(self.world, templates, self.writer.reader(self.train))
        limits = config.dialogue_turns, config.price
        self.simulated = DialogueEnvironment(self.world, self.agendas, *limits)
        self.scripted = DialogueEnvironment(self.world, scripted, max_turns=99)

    def conversations(self):
        """Training dialogues and their copies as [{"messages": ...}]."""
        found = []
        for copy in range(self.config.copies):
            for number, one in enumerate(self.train):
                fresh = varied(one, self.world, self.values, [copy, number]) if copy else one
                found.append({"messages": self.writer.messages(fresh)})
        return found

    def held_out(self):
        """Dialogues whose loss is logged."""
        return [{"messages": self.writer.messages(one)} for one in self.validation]

    def model(self):
        """A model with random weights, and its closed vocabulary."""
        texts = [m["content"] for one in self.conversations() for m in one["messages"]]
        tokenizer = make_tokenizer(self.world, texts)
        longest = self.config.rl.responses.max_prompt_tokens + 400
        sizes = {"width": self.config.width, "num_layers": self.config.num_layers}
        model = CausalLM.from_preset(
            "mini_llama",
            vocab_size=tokenizer.vocab_size,
            max_positions=max(longest, self.config.sft.length),
            dropout=self.config.dropout,
            tied=True,
            **sizes,
        )
        return Pretrained(model, tokenizer)

    def prompts(self, split):
        """Simulated users with goals of the split's dialogues, and goals drawn from the database; for want of goals,
        several with one."""
        train, test = (satisfiable(self.world, records) for records in (self.train, self.test))
        if not self.world.open_slots:
            train += drawn_goals(self.world, self.values, self.config.goals, 1)
            test += drawn_goals(self.world, self.values, self.config.test_goals, 2)
        if split == "train":
            return self.agendas.prompts(self.agendas.sayable(train), 1)
        known = {repr(goal) for goal in train}
        fresh = [goal for goal in self.agendas.sayable(test) if repr(goal) not in known]
        users = itertools.islice(itertools.cycle(fresh), self.config.test_goals)
        return self.agendas.prompts(list(users), 2)


def report(config, run, task, watch):
    """Measures both models and writes what was found."""
    found, shown = {}, {}
    for stage in ("sft", "rl"):
        pretrained = load(model_directory(run.path, stage), dropout=0.0)
        found[stage], shown[stage] = measured(config, task, pretrained)
    found["seconds"] = watch.seconds
    file = run.path / "metrics.jsonl"
    titles = {"success": "Success with simulated users", "score": "Reward"}
    reward_against_kl(run.file("success_against_kl.png"), read_curves(file)["rl"], titles)
    write_json_atomically(run.file("dialogue.json"), found)
    talks = side_by_side(task.world, {"before RL": shown["sft"], "after RL": shown["rl"]})
    write_text_atomically(run.file("dialogue.md"), talks)
    print(json.dumps(found, indent=1))


def measured(config, task, pretrained):
    """(numbers of a model, its first dialogues with simulated users)."""
    references = [[task.writer.reply(turn) for turn in one.turns] for one in task.test]
    replayed = play(pretrained, task.scripted, scripts(task.world, task.test), 360)
    exchanges = [one.exchanges for one in replayed]
    prompts, columns = task.prompts("test"), config.rl.responses.max_new_tokens
    greedy = play(pretrained, task.simulated, prompts, columns)
    sampled = play(pretrained, task.simulated, prompts, columns, Sampler())
    numbers = {
        "test": as_numbers(judge(task.world, task.test, references, exchanges)),
        "simulated": as_numbers(summarise(greedy)),
        "simulated_sampled": as_numbers(summarise(sampled)),
    }
    return numbers, greedy[:_SHOWN]


if __name__ == "__main__":
    launch(DialogueConfig, main, __doc__)
