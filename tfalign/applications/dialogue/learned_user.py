"""A user learned from dialogues: a language model that reads a goal and replies, and writes the user's words.

Where an agenda says what its rules say, this one says what users of the data did, so that a policy can be tested with
somebody it was not trained with.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tfalign.applications.dialogue.belief import write_belief
from tfalign.applications.dialogue.lexicon import Lexicon, lexicalise
from tfalign.applications.dialogue.playing import prompts_of
from tfalign.applications.dialogue.records import DialogueRecord, Goal, without_preferences
from tfalign.applications.dialogue.users import Answer, Contentment, Heard
from tfalign.applications.dialogue.world import World, count_word
from tfalign.pretrained import Pretrained

GOAL, ASK, FIRST, HEARD, LEAVE = "<goal>", "<ask>", "<first>", "<heard>", "<leave>"
_GOAL = 64  # columns that a goal has room in
_MOST_WORDS = 32  # of a turn, the user's or what it hears


def user_columns(turns: int) -> int:
    """The columns that a learned user's model needs for its goal and so many turns.

    >>> user_columns(7)
    554
    """
    return _GOAL + turns * 2 * (_MOST_WORDS + 3)


class UserWriter:
    """Writes dialogues as conversations whose assistant is the user.

    Args:
        world: World, without open slots, whose values a user could not say.

    Raises:
        ValueError: if the world has open slots.

    >>> from tfalign.applications.dialogue.data import open_data
    >>> data = open_data("embedded")
    >>> goal = Goal({"food": "thai", "area": "north"}, ("phone",))
    >>> UserWriter(data.world).goal(goal)
    '<goal> food: thai area: north <ask> phone <first> -'
    """

    def __init__(self, world: World) -> None:
        if world.open_slots:
            raise ValueError(
                "A learned user says values of a closed vocabulary. Received: a world with the open slots "
                f"{', '.join(world.open_slots)}"
            )
        self.world = world
        told = [slot for slot in world.requestable if slot not in world.informable]
        self._lexicon = Lexicon.of_world(world, (*world.names, *told))

    def goal(self, goal: Goal) -> str:
        """What a user wants."""
        wanted, first = (write_belief(b, self.world) for b in (goal.constraints, goal.first))
        return " ".join([GOAL, wanted, ASK, *goal.requests, FIRST, first])

    def heard(self, words: Sequence[str], found: int) -> str:
        """What a user reads after a turn of its own: a reply's words, names and what is told as placeholders."""
        words = self._lexicon.delexicalise(words).words[:_MOST_WORDS]
        return " ".join([HEARD, count_word(found), *words])

    def messages(self, record: DialogueRecord) -> list[dict[str, str]]:
        """The conversation of a dialogue, from its user's side: [{"role": ..., "content": ...}]. The user leaves with
        its last words; its goal is what it came to want."""
        found = [("user", self.goal(self._came_to_want(record)))]
        for turn in record.turns:
            found.append(("assistant", " ".join(self.world.words(turn.user))))
            count = len(self.world.matching(turn.belief))
            found.append(("user", self.heard(self.world.words(turn.reply), count)))
        role, last = found[-2]
        found[-2:] = [(role, f"{last} {LEAVE}")]
        return [{"role": role, "content": content} for role, content in found]

    def _came_to_want(self, record):
        """The goal by the beliefs, which hold in copies with other values, too."""
        beliefs = [without_preferences(turn.belief) for turn in record.turns]
        wanted = beliefs[-1]
        changed = [(s, v) for belief in beliefs for s, v in belief.items() if wanted.get(s) != v]
        return Goal(wanted, record.goal.requests, dict(reversed(changed)))


class LearnedUser:
    """Says what a language model says for its goal after what it heard, sampled.

    Args:
        goal: Goal.
        writer: UserWriter.
        pretrained: a language model, trained on the writer's conversations.
        seed: int or sequence of int.

    Attributes:
        so_far: Contentment.
    """

    def __init__(
        self, goal: Goal, writer: UserWriter, pretrained: Pretrained, seed: int | Sequence[int]
    ) -> None:
        self.so_far = Contentment(goal, writer.world)
        self._writer = writer
        self._pretrained = pretrained
        self._seeds = np.random.SeedSequence(seed)
        self._messages = [{"role": "user", "content": writer.goal(goal)}]

    @property
    def is_content(self) -> bool:
        """See ``Contentment``."""
        return self.so_far.is_content

    def begin(self) -> Answer:
        """See ``User``; who leaves at once has still said something."""
        words, _ = self._said()
        return Answer(words or ["."], ())

    def hear(self, heard: Heard) -> Answer:
        """See ``User``."""
        self.so_far.note(heard)
        world = self._writer.world
        row = {} if self.so_far.entity is None else world.rows[self.so_far.entity]
        known = {slot: row[slot] for slot in world.informable if isinstance(row.get(slot), str)}
        words = lexicalise(heard.words, known, world)
        self._messages.append({"role": "user", "content": self._writer.heard(words, heard.found)})
        words, leaves = self._said()
        return Answer(None if leaves or not words else words, ())

    def _said(self):
        """(words, whether it leaves)."""
        seed = int(self._seeds.generate_state(len(self._messages))[-1])
        text = self._pretrained.generate(self._messages, max_new_tokens=_MOST_WORDS, seed=seed)
        self._messages.append({"role": "assistant", "content": text})
        words = text.split()
        return [word for word in words if word != LEAVE], LEAVE in words


class LearnedUsers:
    """Makes learned users of records with "goal" (a Goal's fields) and "seed".

    Args:
        writer: UserWriter.
        pretrained: a language model, trained on the writer's conversations.
    """

    def __init__(self, writer: UserWriter, pretrained: Pretrained) -> None:
        self.writer = writer
        self.pretrained = pretrained

    def __call__(self, record: Mapping[str, Any]) -> LearnedUser:
        """The user of a record."""
        return LearnedUser(Goal(**record["goal"]), self.writer, self.pretrained, record["seed"])

    def prompts(self, goals: Sequence[Goal], seed: int) -> list[dict[str, Any]]:
        """See ``playing.prompts_of``."""
        return prompts_of(self, self.writer.world, goals, seed)
