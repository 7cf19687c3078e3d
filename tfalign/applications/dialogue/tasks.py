"""What a model is taught dialogue with: the data, copies of it, simulated users, a model to begin with."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from typing import Any

from tfalign.applications.dialogue.data import open_data
from tfalign.applications.dialogue.environment import DialogueEnvironment
from tfalign.applications.dialogue.goals import drawn_goals, satisfiable, spoken_values
from tfalign.applications.dialogue.learned_user import UserWriter, user_columns
from tfalign.applications.dialogue.options import DialogueOptions
from tfalign.applications.dialogue.playing import Agendas, scripted
from tfalign.applications.dialogue.records import Goal
from tfalign.applications.dialogue.sequences import Writer, make_tokenizer, varied
from tfalign.models import CausalLM
from tfalign.pretrained import Pretrained


class Task:
    """Data and simulated users, and what training is made of.

    Args:
        options: DialogueOptions.

    Attributes:
        simulated: DialogueEnvironment with agenda users.
        scripted: DialogueEnvironment whose users say what they said in the data.
    """

    def __init__(self, options: DialogueOptions) -> None:
        self.options = options
        self.world, self.train, self.validation, self.test, templates = open_data(options.data)
        self.writer = Writer(self.world)
        self.values = spoken_values(self.world, self.train)
        self.agendas = Agendas(self.world, templates, self.writer.reader(self.train))
        limits = options.dialogue_turns, options.price
        self.simulated = DialogueEnvironment(self.world, self.agendas, *limits)
        self.scripted = DialogueEnvironment(self.world, scripted, max_turns=99)

    def conversations(self, writer: Writer | UserWriter) -> list[dict[str, Any]]:
        """Training dialogues and their copies as [{"messages": ...}], from the system's side or the user's."""
        found = []
        for copy in range(self.options.copies):
            for number, one in enumerate(self.train):
                fresh = varied(one, self.world, self.values, [copy, number]) if copy else one
                found.append({"messages": writer.messages(fresh)})
        return found

    def held_out(self, writer: Writer | UserWriter) -> list[dict[str, Any]]:
        """Dialogues whose loss is logged."""
        return [{"messages": writer.messages(one)} for one in self.validation]

    def model(self, conversations: Iterable[Mapping[str, Any]]) -> Pretrained:
        """A model with random weights, and the closed vocabulary of what it learns."""
        texts = [m["content"] for one in conversations for m in one["messages"]]
        tokenizer = make_tokenizer(self.world, texts)
        longest = self.options.rl.responses.max_prompt_tokens + 400
        longest = max(longest, self.options.sft.length, user_columns(self.options.dialogue_turns))
        sizes = {"width": self.options.width, "num_layers": self.options.num_layers}
        model = CausalLM.from_preset(
            "mini_llama",
            vocab_size=tokenizer.vocab_size,
            max_positions=longest,
            dropout=self.options.dropout,
            tied=True,
            **sizes,
        )
        return Pretrained(model, tokenizer)

    def prompts(self, split: str) -> list[dict[str, Any]]:
        """Simulated users with goals of a split, see ``goals``."""
        return self.agendas.prompts(self.goals(split), 1 if split == "train" else 2)

    def goals(self, split: str) -> list[Goal]:
        """Goals of a split's dialogues, and goals drawn from the database; for want of goals, several times.

        Args:
            split: "train" or "test"; no goal of the latter is one of the former.
        """
        train, test = (satisfiable(self.world, records) for records in (self.train, self.test))
        if not self.world.open_slots:
            train += drawn_goals(self.world, self.values, self.options.goals, 1)
            test += drawn_goals(self.world, self.values, self.options.test_goals, 2)
        if split == "train":
            return self.agendas.sayable(train)
        known = {repr(goal) for goal in train}
        fresh = [goal for goal in self.agendas.sayable(test) if repr(goal) not in known]
        return list(itertools.islice(itertools.cycle(fresh), self.options.test_goals))
