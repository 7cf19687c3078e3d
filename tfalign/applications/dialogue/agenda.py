"""A user with an agenda (Schatzmann et al. 2007): from a goal to acts, and from acts to words."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tfalign.applications.dialogue.records import DONTCARE, Act, Goal
from tfalign.applications.dialogue.templates import BYE, ReplyReader, Templates
from tfalign.applications.dialogue.users import Answer, Contentment, Heard
from tfalign.applications.dialogue.world import World


class AgendaUser:
    """Says what it looks for, answers what it is asked, asks for what it wants to know, and leaves with it.

    What it says follows from the goal, the seed and what it heard alone.

    Args:
        goal: Goal.
        world: World.
        templates: Templates.
        reader: ReplyReader.
        seed: int or sequence of int, of its choices.

    Attributes:
        so_far: Contentment.

    >>> from tfalign.applications.dialogue.templates import Key
    >>> world = World("english", [{"name": "Ann's", "area": "north", "phone": "1"}], ("area",), ("phone",))
    >>> area, phone = Act("inform", "area"), Act("request", "phone")
    >>> templates = {Key((area,), True): [("[area]",)], Key((phone,), False): [("phone", "?")]}
    >>> told = Templates(world, templates | {Key((BYE,), False): [("bye",)]})
    >>> user = AgendaUser(Goal({"area": "north"}, ("phone",)), world, told, ReplyReader({}), 0)
    >>> user.begin().words, user.hear(Heard(("[name]",), 0, 1)).words
    (['north'], ['phone', '?'])
    >>> user.hear(Heard(("[phone]",), None, 1)).words, user.is_content
    (['bye'], True)
    """

    def __init__(
        self,
        goal: Goal,
        world: World,
        templates: Templates,
        reader: ReplyReader,
        seed: int | Sequence[int],
    ) -> None:
        self.goal = goal
        self.world = world
        self.templates = templates
        self.reader = reader
        self.numbers = np.random.default_rng(seed)
        self.so_far = Contentment(goal, world)
        first = dict(goal.constraints) | dict(goal.first)
        self._wanted = dict(goal.constraints) if world.matching(first) else first
        self._untold = list(self.numbers.permutation(sorted(self._wanted)).tolist())

    @property
    def is_content(self) -> bool:
        """See ``Contentment``."""
        return self.so_far.is_content

    def begin(self) -> Answer:
        """Its first words: one or more of its constraints."""
        count = int(self.numbers.integers(1, len(self._untold) + 1)) if self._untold else 0
        return self._say(self._told(self._untold[:count]) or self._asked(), True)

    def hear(self, heard: Heard) -> Answer:
        """Its answer to a reply."""
        self.so_far.note(heard)
        if self.is_content:
            return self._say((BYE,), False)
        asked = self.reader.acts(heard.words)
        if self.so_far.fits:
            return self._say(self._asked(), False)
        return self._say(self._next(asked, heard), False)

    def _next(self, asked, heard):
        """Acts of a user that has not been offered what it looks for."""
        refused = not heard.found or Act("nooffer", "") in asked
        if refused and self._wanted != dict(self.goal.constraints):
            changed = [s for s, v in self._wanted.items() if self.goal.constraints.get(s) != v]
            self._wanted = dict(self.goal.constraints)
            return self._told([slot for slot in changed if slot in self._wanted])
        requested = [act.slot for act in asked if act.intent == "request"]
        answers = self._told(requested) if heard.entity is None else ()
        if answers:
            return answers
        wrong = [] if heard.entity is None else self.so_far.violated(self._wanted, heard.entity)
        if not wrong and self._untold:
            return self._told(self._untold[:1])
        every = sorted(self._wanted)
        return self._told(wrong[:2] or [every[int(self.numbers.integers(len(every)))]])

    def _told(self, slots):
        """Acts that say what it wants in some slots, where there are words for it."""
        self._untold = [slot for slot in self._untold if slot not in slots]
        acts = [Act("inform", slot, self._wanted.get(slot, DONTCARE)) for slot in slots]
        return tuple(act for act in acts if self.templates.can_say(act))

    def _asked(self):
        """Acts that ask for one or two of what it does not know yet."""
        left = [slot for slot in self.goal.requests if slot not in self.so_far.answered]
        count = min(len(left), int(self.numbers.integers(1, 3)))
        return tuple(Act("request", slot) for slot in left[:count])

    def _say(self, acts, is_first):
        words = self.templates.say(acts, is_first, self.numbers)
        return Answer(words, tuple(acts))
